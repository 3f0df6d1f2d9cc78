"""The planner's bill: against the documented table, and against sums made by hand."""

import re
from dataclasses import replace

import pytest

from hangup.core.guard import Activity
from hangup.core.timing import FUNCTION_TIMEOUT_S
from hangup.planner.assumptions import (
    CLEANUP_S,
    HEARTBEAT_S,
    MONTH_S,
)
from hangup.planner.costs import (
    Group,
    Item,
    close_usd,
    costs,
    lambda_usd,
    messages_usd,
    subtotal_usd,
)
from hangup.planner.fleet import Fleet, FleetContradiction
from hangup.planner.model import estimate_sweep
from hangup.planner.plan import as_text, make_plan
from hangup.planner.prices import list_prices
from tests.support.documents import page, table

PRICES = list_prices()
COLUMNS = (1_000, 10_000, 100_000, 1_000_000)
COSTS, ALTERNATIVES = page("explanation/costs"), page("explanation/alternatives")

DOCUMENTED_FLEET = Fleet(heartbeat_s=30, record_bytes=300, lifetime_s=7_200, idle_share=0.1)
LINES = {
    "heartbeats and their answers": "heartbeats and their answers",
    "closes, with notice and cleanup": "closes, with notice and cleanup",
    "activity writes": "activity writes",
    "heartbeat function": "heartbeat function",
    "heartbeat logs": "heartbeat logs",
    "connection minutes": "connection minutes",
    "joins": "joins",
    "leaves by the client": "leaves by the client",
    "logs of joins and cleanups": "logs of joins and cleanups",
    "sweep: reading the table every minute": "sweep: reading the table",
    "metrics and alarms, at most": "metrics and alarms, at most",
}


def documented(line: str) -> list[float]:
    (row,) = (row for row in table("Connections", COSTS) if row[0].strip("*") == line)
    return [float(cell.strip("*").replace(",", "")) for cell in row[1:]]


def items_of(fleet: Fleet) -> tuple[Item, ...]:
    return costs(fleet, estimate_sweep(fleet), None, PRICES.usd)


def planned(fleet: Fleet) -> dict[str, float]:
    return {item.name: item.usd for item in items_of(fleet)}


def of_size(connections: int) -> Fleet:
    return replace(DOCUMENTED_FLEET, connections=connections)


@pytest.mark.parametrize("line", LINES)
def test_the_page_has_the_planners_numbers(line: str) -> None:
    ours = [planned(of_size(connections))[LINES[line]] for connections in COLUMNS]
    assert [round(usd, 2) for usd in ours] == documented(line)


@pytest.mark.parametrize("group", [Group.THERE, Group.COMING_AND_GOING])
def test_the_page_has_the_planners_subtotals(group: Group) -> None:
    bills = [items_of(of_size(connections)) for connections in COLUMNS]
    assert [round(subtotal_usd(items, group), 2) for items in bills] == documented(group)


def test_the_documented_upper_bound_of_the_sweep_function_is_the_planners() -> None:
    bound = MONTH_S / 60 * lambda_usd(PRICES.usd, FUNCTION_TIMEOUT_S)
    assert {round(bound, 2)} == set(
        documented("sweep: function, if it ran all 60 s of every minute")
    )
    for connections in COLUMNS:
        assert 0 < planned(of_size(connections))["sweep: function"] < bound


@pytest.mark.parametrize(
    ("price", "pattern"),
    [
        ("messages_first_billion", r"A close costs \$([\d.]+) per million"),
        ("messages_above_a_billion", r"\(\$([\d.]+) above a billion messages\)"),
    ],
)
def test_the_documented_price_of_a_close_is_the_planners(price: str, pattern: str) -> None:
    prices = PRICES.usd
    each = close_usd(DOCUMENTED_FLEET, prices, notice_usd=prices[price])
    stated = re.search(pattern, COSTS)
    assert stated is not None
    assert round(each * 1e6, 2) == float(stated[1])


def test_the_documented_price_table_is_the_planners() -> None:
    cells = " | ".join(" | ".join(row) for row in table("Price", COSTS))
    prices = PRICES.usd
    first, above = prices["messages_first_billion"] * 1e6, prices["messages_above_a_billion"] * 1e6
    written, read = prices["dynamodb_writes"] * 1e6, prices["dynamodb_reads"] * 1e6
    for part in (
        f"${first:.2f} / ${above:.2f} per million",
        f"${prices['connection_minutes'] * 1e6:.2f} per million",
        f"${written:.3f} / ${read:.3f} per million",
        f"${prices['lambda_requests'] * 1e6:.2f} per million / ${prices['lambda_gb_seconds']:.10f}",
        f"${prices['logs'] * 1e9:.2f} per GB",
        f"${prices['metrics']:.2f} / ${prices['alarms']:.2f} each",
    ):
        assert part in cells


def test_the_documented_price_of_precise_is_the_planners() -> None:
    stated = re.search(r"`precise=True` adds ([$0-9., and]+) a month", COSTS)
    assert stated is not None
    plans = [make_plan(of_size(connections), PRICES).topologies.values() for connections in COLUMNS]
    more = [precise.added_usd - inline.added_usd for inline, precise in plans]
    assert re.findall(r"\$([\d.]+)", stated[1]) == [f"{usd:.2f}" for usd in more]
    assert f"${PRICES.usd['queue_requests'] * 1e6:.2f} per million" in COSTS


def test_the_documented_other_ways_are_the_planners() -> None:
    usd = planned(of_size(1_000_000))
    assert f"${2 * usd['activity writes']:,.0f} a month" in ALTERNATIVES
    assert f"a ${usd['sweep: reading the table']:,.0f} scan" in ALTERNATIVES
    assert f"{1_000_000 * MONTH_S / 120 / 1e9:.1f} billion a month" in ALTERNATIVES


@pytest.mark.parametrize(("column", "connections"), [(1, 100_000), (2, 1_000_000)])
def test_the_table_of_alternatives_is_a_sum_of_the_planners_prices(
    column: int, connections: int
) -> None:
    document = ALTERNATIVES
    stated = {row[0]: float(row[column].replace(",", "")) for row in table("Way", document)}
    fleet, prices = of_size(connections), PRICES.usd
    usd = planned(fleet)
    # What every way that closes by itself has: the closes, the metrics and alarms.
    beside = usd["closes, with notice and cleanup"] + usd["metrics and alarms, at most"]
    checks = connections * MONTH_S / 120
    check = lambda_usd(prices, HEARTBEAT_S) + prices["dynamodb_reads"]
    removed = lambda_usd(prices, CLEANUP_S) * fleet.idle_closes_per_second * MONTH_S
    assert stated["Hangup: a scan every minute"] == round(
        subtotal_usd(items_of(fleet), Group.ADDED), 2
    )
    schedules = checks * (1e-6 + check) + beside
    assert stated["one schedule per connection"] == round(schedules, 2)
    assert stated["a Step Functions loop per connection"] == round(checks * 3 * 25e-6 + beside, 2)
    assert stated["DynamoDB TTL"] == round(removed, 2)
    # Two writes for each heartbeat, and two for each connection that comes and goes.
    writes = 2 * connections * (1 / 30 + 1 / 7_200) * MONTH_S * prices["dynamodb_writes"]
    # To that come the queries and the function that closes: some dollars.
    assert stated["an index on the activity time"] == pytest.approx(writes + beside, rel=0.001)


def test_messages_get_cheaper_above_a_billion() -> None:
    assert messages_usd(PRICES.usd, 1e9) == pytest.approx(1_000)
    assert messages_usd(PRICES.usd, 1e9 + 1e6) == pytest.approx(1_000.80)


def test_a_heartbeat_and_its_answer_are_two_messages() -> None:
    assert items_of(DOCUMENTED_FLEET)[0].quantity == 2 * DOCUMENTED_FLEET.connections * MONTH_S / 30


def test_a_record_above_a_kilobyte_doubles_the_activity_writes() -> None:
    one = planned(replace(DOCUMENTED_FLEET, record_bytes=1_024))["activity writes"]
    assert planned(replace(DOCUMENTED_FLEET, record_bytes=1_025))["activity writes"] == 2 * one


def test_a_resolution_saves_no_write() -> None:
    # A write whose condition is false is charged like one that takes effect.
    coalesced = planned(replace(DOCUMENTED_FLEET, activity_resolution_s=60))
    assert coalesced["activity writes"] == planned(DOCUMENTED_FLEET)["activity writes"]


def test_nobody_silent_costs_no_close() -> None:
    assert planned(replace(DOCUMENTED_FLEET, idle_share=0))["closes, with notice and cleanup"] == 0


def test_fewer_sweeps_cost_less_and_more_invocations_more() -> None:
    def usd(fleet: Fleet, shards: int) -> float:
        sweep = replace(estimate_sweep(DOCUMENTED_FLEET), shards=shards, found=0.0)
        items = costs(fleet, sweep, None, PRICES.usd)
        return next(item.usd for item in items if item.name == "sweep: function")

    one = usd(DOCUMENTED_FLEET, 1)
    assert usd(replace(DOCUMENTED_FLEET, sweep_interval_s=300), 1) == pytest.approx(one / 5)
    assert usd(DOCUMENTED_FLEET, 3) == pytest.approx(3 * one)


class TestActivityByApiGateway:
    ASKED = replace(DOCUMENTED_FLEET, connections=1_000_000, activity=Activity.GATEWAY)

    def test_the_heartbeats_function_logs_writes_and_answers_are_not_paid(self) -> None:
        plan = make_plan(self.ASKED, PRICES)
        recorded = planned(replace(self.ASKED, activity=Activity.RECORDED))
        asked = planned(self.ASKED)
        gone = {"activity writes", "heartbeat function", "heartbeat logs"} | {
            "looks whether the session has ended",
            "heartbeats and their answers",
        }
        added = {"heartbeats, not answered", "times written forward"}
        assert recorded.keys() - asked.keys() == gone
        assert asked.keys() - recorded.keys() == {*added, "questions to API Gateway, not billed"}
        less = sum(recorded[one] for one in gone) - asked["heartbeats, not answered"]
        assert 140_000 < less < 170_000
        saved = plan.by_activity_usd["recorded"] - plan.by_activity_usd["gateway"]
        # The writes forward, and longer sweeps, are taken off.
        assert saved == pytest.approx(less - asked["times written forward"], abs=500)

    def test_the_same_bill_is_beside_the_recorded_one(self) -> None:
        recorded = make_plan(replace(self.ASKED, activity=Activity.RECORDED), PRICES)
        asked = make_plan(self.ASKED, PRICES)
        assert recorded.by_activity_usd == asked.by_activity_usd
        inline = recorded.topologies["inline"].total_usd
        assert recorded.by_activity_usd["recorded"] == inline
        assert asked.by_activity_usd["gateway"] == asked.topologies["inline"].total_usd
        text = as_text(asked)
        assert (
            f"Recorded, with the reference application's heartbeat, the total is {inline:,.2f}"
            in text
        )
        assert "lastActiveAt" in text
        assert "lastActiveAt" not in as_text(recorded)

    @pytest.mark.parametrize(
        ("heartbeat_s", "apart_s"),
        # Ages are even from 0 to the heartbeat: the question comes two or three sweeps later.
        [(30, 120), (60, 120), (119, 120 - 60 * 59 / 119), (1, 120)],
    )
    def test_a_client_is_asked_about_once_a_timeout(
        self, heartbeat_s: float, apart_s: float
    ) -> None:
        fleet = replace(self.ASKED, heartbeat_s=heartbeat_s)
        assert fleet.questions_per_second == pytest.approx(1_000_000 / apart_s, rel=0.01)

    def test_without_it_nobody_is(self) -> None:
        assert replace(self.ASKED, activity=Activity.RECORDED).questions_per_second == 0

    def test_more_clients_need_more_sweeps(self) -> None:
        def shards(connections: int) -> int:
            return estimate_sweep(replace(self.ASKED, connections=connections)).shards

        assert (shards(10_000), shards(100_000)) == (1, 2)
        assert estimate_sweep(self.ASKED).fits
        assert not estimate_sweep(replace(self.ASKED, connections=2_000_000)).fits

    def test_questions_are_requests_of_the_account(self) -> None:
        calls = {
            activity: next(
                quota.load
                for quota in make_plan(replace(self.ASKED, activity=activity), PRICES).quotas
                if quota.name == "API Gateway requests"
            )
            for activity in Activity
        }
        assert calls[Activity.GATEWAY] - calls[Activity.RECORDED] == pytest.approx(8_333, abs=1)

    @pytest.mark.parametrize(("field", "value"), [("activity_resolution_s", 10), ("precise", True)])
    def test_refuses_what_contradicts_it(self, field: str, value: object) -> None:
        with pytest.raises(FleetContradiction) as error:
            replace(self.ASKED, **{field: value})  # type: ignore[arg-type]
        assert error.value.fields == ("activity", field)
