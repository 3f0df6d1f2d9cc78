"""The bill adds up, whatever the fleet and the prices, and however it is grouped."""

import json
import math
from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.planner.costs import Group, Kind, by_kind, costs, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import estimate_sweep
from hangup.planner.plan import as_json, make_plan
from hangup.planner.prices import Prices, packaged_prices
from hangup.planner.table import as_text

FLEETS = st.builds(
    Fleet,
    connections=st.integers(1, 10**9),
    heartbeat_s=st.floats(0.1, 119),
    idle_share=st.floats(0, 1),
    lifetime_s=st.floats(120, 7_200),
    record_bytes=st.integers(1, 409_600),
    message_bytes=st.integers(1, 131_072),
    resolution_s=st.integers(0, 119),
    precise=st.booleans(),
)
PRICES = st.builds(
    Prices,
    **{field.name: st.just(0.0) | st.floats(0, 1_000_000) for field in fields(Prices)},
)


@given(fleet=FLEETS, prices=PRICES)
def test_the_kinds_the_items_and_the_groups_have_the_same_total(
    fleet: Fleet, prices: Prices
) -> None:
    items = costs(fleet, estimate_sweep(fleet), prices)
    total = sum(item.usd for item in items)
    assert math.isfinite(total)
    kinds = by_kind(items)
    # No approximation: charges are rounded so that their order makes no difference.
    assert sum(kinds.values()) == total
    assert sum(reversed(kinds.values())) == total
    assert sum(item.usd for item in reversed(items)) == total
    assert sum(subtotal_usd(items, group) for group in Group) == total
    assert list(kinds) == list(Kind)
    assert all(usd >= 0 for item in items for usd in item.charges.values())


@given(fleet=FLEETS, prices=PRICES)
def test_rounding_cannot_be_seen(fleet: Fleet, prices: Prices) -> None:
    items = costs(fleet, estimate_sweep(fleet), prices)
    total = sum(item.usd for item in items)
    (minutes,) = (item for item in items if item.name == "connection minutes")
    assert math.isclose(
        minutes.usd,
        minutes.quantity * prices.connection_minutes,
        rel_tol=1e-12,
        abs_tol=total / 1e15,
    )


@settings(max_examples=8)
@given(fleet=FLEETS, prices=PRICES)
def test_a_plan_is_json_whatever_the_prices(fleet: Fleet, prices: Prices) -> None:
    plan = make_plan(fleet, replace(packaged_prices(), prices=prices))
    # Raises for what JSON has no number for.
    json.dumps(as_json(plan), allow_nan=False)
    assert as_text(plan)
