"""The bill adds up and the plan is JSON, whatever the fleet and the prices."""

import json
import math
from dataclasses import asdict, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.planner.costs import Group, costs, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.model import estimate_sweep
from hangup.planner.plan import as_text, make_plan
from hangup.planner.prices import Prices, list_prices

FLEETS = st.builds(
    Fleet,
    connections=st.integers(1, 10**9),
    heartbeat_s=st.floats(0.1, 119),
    idle_share=st.floats(0, 1),
    lifetime_s=st.floats(120, 7_200),
    record_bytes=st.integers(1, 409_600),
    activity_resolution_s=st.integers(0, 119),
    closes_per_second=st.integers(0, 1_000),
    precise=st.booleans(),
)
PRICES = st.fixed_dictionaries(
    {name: st.just(0.0) | st.floats(0, 1_000_000) for name in list_prices().usd}
)


@given(fleet=FLEETS, prices=PRICES)
def test_the_items_and_the_groups_have_the_same_total(fleet: Fleet, prices: Prices) -> None:
    items = costs(fleet, estimate_sweep(fleet), None, prices)
    total = sum(item.usd for item in items)
    assert math.isfinite(total)
    assert math.isclose(sum(subtotal_usd(items, group) for group in Group), total)
    assert all(item.usd >= 0 for item in items)


@given(fleet=FLEETS, prices=PRICES)
def test_connection_minutes_are_their_number_times_their_price(
    fleet: Fleet, prices: Prices
) -> None:
    items = costs(fleet, estimate_sweep(fleet), None, prices)
    (minutes,) = (item for item in items if item.name == "connection minutes")
    assert minutes.usd == minutes.quantity * prices["connection_minutes"]


@settings(max_examples=25)
@given(fleet=FLEETS, prices=PRICES)
def test_a_plan_is_json_whatever_the_prices(fleet: Fleet, prices: Prices) -> None:
    plan = make_plan(fleet, replace(list_prices(), usd=prices))
    # Raises for what JSON has no number for.
    json.dumps(asdict(plan), allow_nan=False)
    assert as_text(plan)
    planned = plan.topologies[plan.planned]
    added = [item.usd for item in planned.items if item.group is Group.ADDED]
    assert math.isclose(sum(added), planned.added_usd, abs_tol=1e-9)
