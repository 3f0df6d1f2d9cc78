"""What precise queues, what it costs, and when it is worth it: against sums made by hand."""

import json
from dataclasses import replace
from itertools import product

import pytest

from hangup.config import DEFAULT_METRIC_ROLES
from hangup.core.connection import DurationMs, TimeoutReason
from hangup.core.events import NO_ROLE
from hangup.core.guard import Hold
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.pacing import close_functions
from hangup.core.report import (
    MIN_MOSTLY_GONE,
    OTHER_ROLE,
    ClosesReport,
    CloseStatus,
    SweepReport,
)
from hangup.local.deploy import packaged_template
from hangup.planner import assumptions
from hangup.planner.costs import Item
from hangup.planner.fleet import Fleet
from hangup.planner.model import (
    Percentiles,
    Queue,
    estimate_sweep,
    inline_lateness_s,
    queued_per_sweep,
    simulate_queue,
    sweep_of,
)
from hangup.planner.plan import Plan, Topology, make_plan
from hangup.planner.prices import list_prices
from hangup.planner.quotas import quotas
from tests.support.documents import ROOT
from tests.support.templates import Resources

PRECISE = Fleet(precise=True)
PRICES = list_prices()


def queue_of(fleet: Fleet) -> Queue:
    return simulate_queue(fleet, estimate_sweep(fleet))


def late(fleet: Fleet) -> Percentiles:
    found = queue_of(fleet).late_s
    assert found is not None
    return found


def requests_per_month(fleet: Fleet) -> float:
    return items_of(fleet)["queue of due connections"].quantity


def items_of(fleet: Fleet) -> dict[str, Item]:
    """Return the bill of a precise fleet."""
    items = make_plan(fleet, PRICES).topologies["precise"].items
    return {item.name: item for item in items}


class TestMessages:
    def test_a_silent_connection_is_in_five_messages_of_four_sweeps(self) -> None:
        # The look-ahead of 75 s is a quarter longer than a sweep's interval.
        silent, live = queued_per_sweep(PRECISE)
        assert silent == pytest.approx(100_000 / 7_200 / 10 * 60 * 1.25)
        assert queue_of(PRECISE).per_second == pytest.approx((silent + live) / 60)

    def test_a_timeout_below_the_interval_still_makes_a_message_for_each_close(self) -> None:
        fleet = replace(PRECISE, idle_timeout_s=40)
        assert queued_per_sweep(fleet)[0] == pytest.approx(fleet.idle_closes_per_second * 60)

    @pytest.mark.parametrize(
        ("heartbeat_s", "timeout_s", "resolution_s", "share"),
        [
            (30, 120, 0, 0),
            (45, 120, 0, 0),
            (60, 120, 0, 15 / 60),
            (90, 120, 0, 45 / 90),
            (30, 75, 0, 1),
            (30, 60, 0, 1),
            # A record is 60 s old at most, and due from 105 s on.
            (30, 120, 60, 0),
            # Every fourth heartbeat is recorded: up to 120 s old, due from 145 s on.
            (30, 120, 100, 0),
            (100, 120, 100, 0),
            (110, 120, 20, 45 / 110),
        ],
    )
    def test_who_is_between_two_heartbeats_is_queued_if_due_before_the_next_look(
        self, heartbeat_s: float, timeout_s: float, resolution_s: float, share: float
    ) -> None:
        fleet = replace(
            PRECISE,
            heartbeat_s=heartbeat_s,
            idle_timeout_s=timeout_s,
            activity_resolution_s=resolution_s,
            idle_share=0,
        )
        assert queue_of(fleet).live == pytest.approx(100_000 * share)

    def test_a_batch_fills_with_the_rate_up_to_ten(self) -> None:
        assert queue_of(replace(PRECISE, connections=1_000)).batch == pytest.approx(1, abs=0.01)
        # Only messages that find no free function are taken together.
        assert queue_of(PRECISE).batch < 1.1
        assert 2 < queue_of(Fleet(connections=1_000_000, precise=True)).batch < 3
        assert queue_of(Fleet(connections=4_000_000, precise=True)).batch > 9
        assert queue_of(replace(PRECISE, heartbeat_s=100)).batch == 10

    def test_a_batch_takes_a_turn_of_the_pace_and_ends_with_its_last_calls(self) -> None:
        # 200 a second, four functions: a turn each 20 ms. One for the batch, nine between its
        # closes, and the 50 ms of the last one's calls.
        queue = queue_of(PRECISE)
        assert queue.limited_by == "pace"
        assert queue.per_second_at_most == pytest.approx(4 * 10 / (10 * 0.020 + 0.050))

    def test_where_the_turns_are_long_they_alone_count(self) -> None:
        # 20 a second, four functions: a turn each 200 ms, which the last calls end within.
        queue = queue_of(replace(PRECISE, closes_per_second=20))
        assert queue.per_second_at_most == pytest.approx(4 * 10 / (11 * 0.200))

    def test_without_a_pace_the_cpu_is_the_limit(self) -> None:
        unpaced = queue_of(replace(PRECISE, closes_per_second=0))
        assert unpaced.limited_by == "CPU"

    def test_an_idle_queue_is_asked_fifteen_times_a_minute(self) -> None:
        fleet = replace(PRECISE, idle_share=0)
        assert queue_of(fleet).per_second == 0
        assert requests_per_month(fleet) == pytest.approx(15 * 60 * 24 * 30)

    def test_requests_are_a_send_for_ten_and_a_receive_and_a_delete_for_each_batch(self) -> None:
        fleet = replace(PRECISE, heartbeat_s=100)
        queue = queue_of(fleet)
        assert queue.batch == 10
        per_second = queue.per_second / 10 * 3
        assert requests_per_month(fleet) == pytest.approx((per_second + 0.25) * 2_592_000)


class TestBill:
    def test_precise_adds_these_items_and_nothing_else_changes_but_the_sweep(self) -> None:
        inline, precise = make_plan(Fleet(), PRICES).topologies.values()
        plan = make_plan(PRECISE, PRICES)
        assert plan.topologies[plan.planned] == precise
        before = {item.name: item.usd for item in inline.items}
        after = {item.name: item.usd for item in precise.items}
        # Not to the last bit: charges are rounded, by less than can be seen.
        changed = {name for name, usd in before.items() if after[name] != pytest.approx(usd)}
        assert changed == {"sweep: function", "metrics and alarms, at most"}
        assert after.keys() - before.keys() == {
            "queue of due connections",
            "close function",
            "close function: logs",
            "close function: looks at records",
        }

    def test_the_items_are_those_of_a_sum_by_hand(self) -> None:
        # 4.5 million messages a month, some of them two to an invocation.
        items = items_of(PRECISE)
        invocations = 4_500_000 / queue_of(PRECISE).batch
        assert 4_200_000 < invocations < 4_500_000
        assert items["close function"].quantity == pytest.approx(invocations)
        # A tenth of a send for each; a receive and a delete for each batch; 15 receives a minute.
        requests = 450_000 + 2 * invocations + 648_000
        assert items["queue of due connections"].quantity == pytest.approx(requests)
        assert items["queue of due connections"].usd == pytest.approx(requests * 0.4e-6)
        assert items["close function: looks at records"].quantity == pytest.approx(4_500_000)


class TestLateness:
    def test_is_the_calls_of_the_close_where_the_message_came_early_enough(self) -> None:
        found = late(replace(PRECISE, connections=1_000))
        calls_s = assumptions.CLOSE_LATENCY_MS / 1000
        # Six in a hundred come early by less than the way takes.
        assert found["p50"] == pytest.approx(calls_s, abs=0.001)
        # Eight in a hundred do, with the turn that the batch takes for itself.
        assert found["p99"] == pytest.approx(calls_s + 0.07, abs=0.01)

    def test_at_worst_is_not_early_and_waits_for_a_function_that_waits(self) -> None:
        found = late(PRECISE)
        turn_s = 0.020
        at_worst_s = 1 + assumptions.DELIVERY_S + 0.05 + 0.05 + turn_s
        assert found["p99"] < 0.3 < found["max"] <= at_worst_s

    def test_the_more_messages_the_more_find_all_functions_waiting(self) -> None:
        fleets = [replace(PRECISE, connections=n) for n in (1_000, 1_000_000, 4_000_000)]
        p99 = [late(fleet)["p99"] for fleet in fleets]
        assert p99[0] < 0.13 < p99[1] < 0.5 < p99[2] < 1

    def test_at_the_limit_messages_pile_up_where_two_sweeps_queue_them(self) -> None:
        at = replace(PRECISE, connections=9_200_000)
        queue = queue_of(at)
        assert queue.per_second == pytest.approx(queue.per_second_at_most, rel=0.01)
        # Fifteen seconds of each minute have twice the messages: 75 s of work in 60 s.
        assert 1 < late(at)["p95"] < 15
        # A turn for the batch, nine between its closes, the calls: as without a wait.
        assert queue.batch > 9.9
        assert queue.batch_s == pytest.approx(0.2 + 0.05, rel=0.1)
        beyond = queue_of(replace(PRECISE, connections=100_000_000))
        assert beyond.late_s is None

    def test_is_the_same_every_time(self) -> None:
        assert queue_of(PRECISE) == queue_of(PRECISE)

    def test_takes_more_shards_where_a_sweep_would_come_too_late(self) -> None:
        fleet = Fleet(connections=4_000_000, precise=True)
        sweep = estimate_sweep(fleet)
        assert sweep_of(fleet, shards=1).duration_s > assumptions.PRECISE_BUDGET_S
        assert sweep.shards == 2
        assert sweep.duration_s <= assumptions.PRECISE_BUDGET_S

    def test_a_short_timeout_is_late_as_without_precise(self) -> None:
        fleet = replace(PRECISE, connections=1_000, heartbeat_s=5, idle_timeout_s=10)
        found = late(fleet)
        inline = replace(fleet, precise=False)
        without = inline_lateness_s(inline, estimate_sweep(inline))
        assert without is not None
        # Ten of sixty seconds are seen in time; from all others these ten seconds are taken.
        assert found["p50"] == pytest.approx(without["p50"] - 10, abs=2)
        assert found["max"] == pytest.approx(50, abs=2)


def advise(fleet: Fleet) -> tuple[Plan, Topology, Topology]:
    plan = make_plan(fleet, PRICES)
    inline, precise = plan.topologies.values()
    return plan, inline, precise


class TestAdvice:
    def test_a_cent_in_the_dollar_is_the_bound(self) -> None:
        few, inline, precise = advise(Fleet(connections=10))
        assert few.recommended == "inline"
        assert precise.added_usd - inline.added_usd > 0.01 * inline.total_usd
        assert "over 1% to the bill" in few.because
        many, inline, precise = advise(Fleet())
        assert many.recommended == "precise"
        assert precise.added_usd - inline.added_usd <= 0.01 * inline.total_usd

    def test_a_longer_interval_rules_precise_out(self) -> None:
        plan = make_plan(Fleet(sweep_interval_s=300), PRICES)
        assert list(plan.topologies) == [plan.recommended]
        assert plan.topologies[plan.recommended].queue is None
        assert "needs a sweep every 60 s" in plan.because

    def test_what_the_close_functions_cannot_take_is_not_recommended(self) -> None:
        plan, inline, precise = advise(Fleet(heartbeat_s=60))
        assert plan.recommended == "inline"
        assert precise.sweep.fits
        assert precise.late_s is None
        assert inline.late_s is not None
        assert "418 messages a second are more than the 160" in plan.because

    def test_precise_is_the_way_where_inline_sweeps_cannot_close_so_many(self) -> None:
        # 125 a second are below the pace of 200, but reading leaves too little time for them.
        plan, inline, precise = advise(
            Fleet(
                connections=75_000,
                idle_share=1,
                lifetime_s=600,
                page_latency_ms=6_000,
            )
        )
        assert not inline.sweep.fits
        assert precise.late_s is not None
        assert plan.recommended == "precise"
        assert "20 inline sweeps cannot" in plan.because

    def test_the_quota_of_the_close_functions_is_reached_where_it_says(self) -> None:
        found = {quota.name: quota for quota in quotas(PRECISE, queue_of(PRECISE))}
        at = found["messages to close functions"].reached_at
        assert queue_of(replace(PRECISE, connections=at)).keeps_up
        assert not queue_of(replace(PRECISE, connections=at + 1_000)).keeps_up

    @pytest.mark.parametrize("closes_per_second", [0, 200, 600, 1_000])
    def test_the_number_of_close_functions_is_that_of_the_pace(
        self, closes_per_second: int
    ) -> None:
        fleet = replace(PRECISE, closes_per_second=closes_per_second)
        functions = close_functions(closes_per_second)
        found = {quota.name: quota.source for quota in quotas(fleet, queue_of(fleet))}
        assert f"{functions} functions at once" in found["messages to close functions"]
        overloaded = replace(fleet, connections=1_000_000, heartbeat_s=100)
        assert f"{functions} close functions" in make_plan(overloaded, PRICES).because


class TestConstants:
    def test_are_those_of_the_templates(self) -> None:
        precise = Resources(template=packaged_template(precise=True))
        (mapping,) = precise.of_type("AWS::Lambda::EventSourceMapping").values()
        assert mapping["ScalingConfig"]["MaximumConcurrency"] == close_functions(200)
        assert mapping["BatchSize"] == MAX_QUEUE_BATCH

    @pytest.mark.parametrize(
        ("precise", "alarms"),
        [
            (False, assumptions.ALARMS),
            (True, assumptions.PRECISE_ALARMS),
        ],
    )
    def test_the_alarms_are_those_of_the_construct(self, *, precise: bool, alarms: int) -> None:
        template = Resources(template=packaged_template(precise=precise))
        # Each of the construct's own, not of the stack around it, has its name before its own.
        names = template.of_type("AWS::CloudWatch::Alarm")
        assert sum(name.startswith("IdleTimeout") for name in names) == alarms

    @pytest.mark.parametrize(
        ("precise", "at_most"),
        [
            (False, assumptions.METRICS),
            (True, assumptions.PRECISE_METRICS),
        ],
    )
    def test_the_metrics_are_those_of_the_reports(self, *, precise: bool, at_most: int) -> None:
        everything = ClosesReport(
            timeouts=dict.fromkeys(
                product((*DEFAULT_METRIC_ROLES, OTHER_ROLE, NO_ROLE), TimeoutReason), 1
            ),
            statuses=dict.fromkeys(CloseStatus, 1),
            lateness_ms=[DurationMs(1)],
            notices_failed=1,
            handovers_repeated=1,
            sockets_lost=1,
        )
        sweep = SweepReport(
            checked=1,
            found=1 + int(precise),
            closes=everything,
            queued=int(precise),
            queue_failures=int(precise),
            clocks_started=1,
            unreadable=1,
            ignored=1,
            failed_segments=0,
            hold=None,
            has_read_all=False,
        )
        gone = replace(everything, timeouts={(NO_ROLE, TimeoutReason.GONE): MIN_MOSTLY_GONE})
        reports = [sweep, replace(sweep, hold=Hold.CLOCK), replace(sweep, closes=gone)]
        emitted = [metric for report in reports for metric in report.metrics()]
        emitted += everything.metrics() if precise else []
        names = {(metric.name, *sorted(metric.dimensions.items())) for metric in emitted}
        assert len(names) == at_most

    def test_a_close_is_planned_on_the_safe_side_of_what_was_measured(self) -> None:
        results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
        measured = {row["name"]: row["hangup"] for row in results["rows"]}
        paced_ms = measured["close_paced_cpu_ms"]
        assert measured["close_cpu_ms"] <= paced_ms <= assumptions.CLOSE_CPU_MS <= paced_ms * 2


@pytest.mark.parametrize(
    ("closes_per_second", "at_most"),
    [(200, 160), (400, 266.7), (600, 400), (1_000, 642.9), (0, 1_284)],
)
def test_the_queue_scales_with_the_pace(closes_per_second: int, at_most: int) -> None:
    queue = queue_of(replace(PRECISE, closes_per_second=closes_per_second))
    assert queue.per_second_at_most == pytest.approx(at_most, rel=0.001)
