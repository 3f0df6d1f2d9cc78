"""The planner's bill: against the README's table, and against sums made by hand."""

import re
from dataclasses import replace

import pytest

from hangup.aws import clients
from hangup.core import limits
from hangup.core.timing import REPORT_MS, SCAN_MARGIN_MS
from hangup.idle import sweep
from hangup.planner.assumptions import (
    BATCH_SIZE,
    CONCURRENCY,
    INVOCATION_S,
    MAX_CONNECTION_S,
    MONTH_S,
    QUEUE_CONCURRENCY,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
)
from hangup.planner.costs import Group, close_usd, messages_usd, subtotal_usd, sweep_function_usd
from hangup.planner.fleet import Fleet
from hangup.planner.plan import make_plan
from hangup.planner.prices import packaged_prices
from hangup.planner.topology import advise
from tests.support.documents import README, table

PRICES = packaged_prices()
COLUMNS = (1_000, 10_000, 100_000, 1_000_000)
README_FLEET = Fleet(heartbeat_s=30, record_bytes=300, lifetime_s=7_200, idle_share=0.1)
LINES = {
    "heartbeats and their answers": "heartbeats and their answers",
    "closes, with notice and cleanup": "closes, with notice and cleanup",
    "activity writes": "activity writes",
    "heartbeat function": "heartbeat function",
    "heartbeat logs": "heartbeat logs",
    "connection minutes": "connection minutes",
    "sweep: reading the table every minute": "sweep: reading the table",
    "metrics and alarms, at most": "metrics and alarms, at most",
}


def readme(line: str) -> list[float]:
    (row,) = (row for row in table("Connections") if row[0].strip("*") == line)
    return [float(cell.strip("*").replace(",", "")) for cell in row[1:]]


def planned(fleet: Fleet) -> dict[str, float]:
    return {item.name: item.usd for item in make_plan(fleet, PRICES).items}


def of_size(connections: int) -> Fleet:
    return replace(README_FLEET, connections=connections)


@pytest.mark.parametrize("line", LINES)
def test_the_readme_has_the_planners_numbers(line: str) -> None:
    ours = [planned(of_size(connections))[LINES[line]] for connections in COLUMNS]
    assert [round(usd, 2) for usd in ours] == readme(line)


def test_the_readme_has_the_planners_subtotal_of_being_there() -> None:
    plans = [make_plan(of_size(connections), PRICES) for connections in COLUMNS]
    ours = [round(subtotal_usd(plan.items, Group.THERE), 2) for plan in plans]
    assert ours == readme("being there, with or without Hangup")


def test_the_readmes_upper_bound_of_the_sweep_function_is_the_planners() -> None:
    bound = sweep_function_usd(README_FLEET, PRICES.prices, invocations=1, duration_s=INVOCATION_S)
    assert {round(bound, 2)} == set(readme("sweep: function, if it ran all 60 s of every minute"))
    for connections in COLUMNS:
        assert 0 < planned(of_size(connections))["sweep: function"] < bound


@pytest.mark.parametrize(
    ("price", "pattern"),
    [
        ("messages_first_billion", r"A close costs \$([\d.]+) per million"),
        ("messages_above_a_billion", r"\(\$([\d.]+) above a billion messages\)"),
    ],
)
def test_the_readmes_price_of_a_close_is_the_planners(price: str, pattern: str) -> None:
    prices = PRICES.prices
    each = close_usd(README_FLEET, prices, notice_usd=getattr(prices, price))
    stated = re.search(pattern, README)
    assert stated is not None
    assert round(each * 1e6, 2) == float(stated[1])


def test_the_readmes_price_table_is_the_planners() -> None:
    cells = " | ".join(" | ".join(row) for row in table("Price"))
    prices = PRICES.prices
    first, above = prices.messages_first_billion * 1e6, prices.messages_above_a_billion * 1e6
    written, read = prices.dynamodb_writes * 1e6, prices.dynamodb_reads * 1e6
    for part in (
        f"${first:.2f} / ${above:.2f} per million",
        f"${prices.connection_minutes * 1e6:.2f} per million",
        f"${written:.3f} / ${read:.3f} per million",
        f"${prices.lambda_requests * 1e6:.2f} per million / ${prices.lambda_gb_seconds:.10f}",
        f"${prices.logs * 1e9:.2f} per GB",
        f"${prices.metrics:.2f} / ${prices.alarms:.2f} each",
    ):
        assert part in cells


def test_the_readmes_price_of_precise_is_the_planners() -> None:
    stated = re.search(r"`precise=True` adds ([$0-9., and]+) a month", README)
    assert stated is not None
    advices = [advise(of_size(connections), PRICES.prices) for connections in COLUMNS]
    more = [each.precise.adds_usd - each.inline.adds_usd for each in advices if each.precise]
    assert re.findall(r"\$([\d.]+)", stated[1]) == [f"{usd:.2f}" for usd in more]
    assert f"${PRICES.prices.queue_requests * 1e6:.2f} per million" in README


def test_the_readmes_other_ways_are_the_planners() -> None:
    usd = planned(of_size(1_000_000))
    assert f"${2 * usd['activity writes']:,.0f} a month" in README
    assert f"a ${usd['sweep: reading the table']:,.0f} scan" in README
    assert f"{1_000_000 * MONTH_S / 120 / 1e9:.1f} billion a month" in README
    assert f"${PRICES.prices.schedules * 1e6:.2f} per million" in README


def test_messages_get_cheaper_above_a_billion() -> None:
    assert messages_usd(PRICES.prices, 1e9) == pytest.approx(1_000)
    assert messages_usd(PRICES.prices, 1e9 + 1e6) == pytest.approx(1_000.80)


def test_a_large_message_counts_for_several_and_its_answer_for_one() -> None:
    heartbeats = README_FLEET.connections * MONTH_S / 30
    for size, units in ((32_768, 1), (32_769, 2)):
        items = make_plan(replace(README_FLEET, message_bytes=size), PRICES).items
        assert items[0].quantity == (units + 1) * heartbeats


def test_a_record_above_a_kilobyte_doubles_the_activity_writes() -> None:
    one = planned(replace(README_FLEET, record_bytes=1_024))["activity writes"]
    assert planned(replace(README_FLEET, record_bytes=1_025))["activity writes"] == 2 * one


def test_a_resolution_saves_no_write() -> None:
    # A write whose condition is false is charged like one that takes effect.
    coalesced = planned(replace(README_FLEET, resolution_s=60))
    assert coalesced["activity writes"] == planned(README_FLEET)["activity writes"]


def test_nobody_silent_costs_no_close() -> None:
    assert planned(replace(README_FLEET, idle_share=0))["closes, with notice and cleanup"] == 0


def test_fewer_sweeps_cost_less_and_more_invocations_more() -> None:
    def usd(fleet: Fleet, invocations: int) -> float:
        return sweep_function_usd(fleet, PRICES.prices, invocations=invocations, duration_s=2)

    one = usd(README_FLEET, 1)
    assert usd(replace(README_FLEET, sweep_interval_s=300), 1) == pytest.approx(one / 5)
    assert usd(README_FLEET, 3) == pytest.approx(3 * one)


def test_the_constants_are_those_of_the_product() -> None:
    assert clients.CLOSES_IN_FLIGHT == CONCURRENCY
    assert interleaving._FIRST_WAITS == QUEUE_CONCURRENCY
    assert sweep.BATCH_SIZE == BATCH_SIZE
    assert INVOCATION_S - (SCAN_MARGIN_MS + REPORT_MS) / 1000 == SCAN_BUDGET_S
    assert INVOCATION_S - (sweep.STOP_MARGIN_MS + REPORT_MS) / 1000 == SWEEP_BUDGET_S
    assert limits.MAX_CONNECTION_S == MAX_CONNECTION_S
