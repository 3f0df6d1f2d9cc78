"""What precise queues, what it costs, and when it is worth it: against sums made by hand."""

import json
from dataclasses import replace
from itertools import product

import pytest

from hangup.core.connection import DurationMs, TimeoutReason
from hangup.core.limits import MAX_QUEUE_BATCH, MAX_SEGMENTS
from hangup.core.pacing import close_functions
from hangup.core.report import ClosesReport, SweepReport
from hangup.local.deploy import packaged_template
from hangup.planner import assumptions
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import estimate_sweep, lateness
from hangup.planner.plan import make_plan
from hangup.planner.prices import packaged_prices
from hangup.planner.queueing import estimate_queue
from hangup.planner.quotas import quotas
from hangup.planner.topology import advise
from hangup.sessions.model import Role
from tests.support.documents import ROOT
from tests.support.templates import Resources

PRECISE = Fleet(precise=True)
PRICES = packaged_prices()


class TestMessages:
    def test_a_silent_connection_is_in_five_messages_of_four_sweeps(self) -> None:
        # The look-ahead of 75 s is a quarter longer than a sweep's interval.
        queue = estimate_queue(PRECISE)
        assert queue.closing == pytest.approx(100_000 / 7_200 / 10 * 60 * 1.25)

    def test_a_timeout_below_the_interval_still_makes_a_message_for_each_close(self) -> None:
        fleet = replace(PRECISE, idle_timeout_s=40)
        assert estimate_queue(fleet).closing == pytest.approx(estimate_sweep(fleet).closes)

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
            resolution_s=resolution_s,
            idle_share=0,
        )
        assert estimate_queue(fleet).live == pytest.approx(100_000 * share)

    def test_a_batch_fills_with_the_rate_up_to_ten(self) -> None:
        assert estimate_queue(PRECISE).batch == 1
        some = estimate_queue(Fleet(connections=1_000_000, precise=True))
        assert some.batch == pytest.approx(some.messages_per_second / 5)
        assert estimate_queue(replace(PRECISE, heartbeat_s=100)).batch == 10

    def test_a_batch_takes_a_turn_of_the_pace_for_itself(self) -> None:
        # 200 a second, four functions: a turn each 20 ms; eleven turns for ten messages.
        queue = estimate_queue(PRECISE)
        assert queue.limited_by == "pace"
        assert queue.messages_per_second_at_most == pytest.approx(4 * 10 / (11 * 0.020))
        unpaced = estimate_queue(replace(PRECISE, closes_per_second=0))
        assert unpaced.limited_by == "CPU"

    def test_an_idle_queue_is_asked_fifteen_times_a_minute(self) -> None:
        queue = estimate_queue(replace(PRECISE, idle_share=0))
        assert queue.messages == 0
        assert queue.requests_per_month == pytest.approx(15 * 60 * 24 * 30)

    def test_requests_are_a_send_for_ten_and_a_receive_and_a_delete_for_each_batch(self) -> None:
        queue = estimate_queue(replace(PRECISE, heartbeat_s=100))
        assert queue.batch == 10
        per_second = queue.messages_per_second / 10 * 3
        assert queue.requests_per_month == pytest.approx((per_second + 0.25) * 2_592_000)


class TestBill:
    def test_precise_adds_these_items_and_nothing_else_changes_but_the_sweep(self) -> None:
        inline, precise = make_plan(Fleet(), PRICES), make_plan(PRECISE, PRICES)
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
        # 4.5 million messages a month, one to an invocation.
        items = {item.name: item for item in make_plan(PRECISE, PRICES).items}
        assert items["close function"].quantity == pytest.approx(4_500_000)
        # A tenth of a send, a receive and a delete for each, and 15 receives a minute.
        assert items["queue of due connections"].quantity == pytest.approx(
            4_500_000 * 2.1 + 648_000
        )
        assert items["queue of due connections"].usd == pytest.approx(4.04, abs=0.005)
        assert items["close function: looks at records"].quantity == pytest.approx(4_500_000)


class TestLateness:
    def test_is_the_calls_of_the_close_where_the_message_came_early_enough(self) -> None:
        fleet = replace(PRECISE, connections=1_000)
        late = lateness(fleet, estimate_sweep(fleet))
        calls_s = assumptions.CLOSE_LATENCY_MS / 1000
        # Six in a hundred come early by less than the way takes.
        assert late.share_within(calls_s + 0.001) == pytest.approx(1 - assumptions.DELIVERY_S, 0.01)
        assert late.percentile_s(50) == pytest.approx(calls_s, abs=0.01)
        assert late.percentile_s(99) == pytest.approx(calls_s + 0.05, abs=0.01)

    def test_at_worst_is_not_early_and_waits_for_a_function_that_waits(self) -> None:
        late = lateness(PRECISE, estimate_sweep(PRECISE))
        turn_s = 0.022
        assert late.max_s == pytest.approx(1 + assumptions.DELIVERY_S + 0.04 + turn_s, abs=0.01)

    @pytest.mark.parametrize(
        ("connections", "occupied"), [(1_000, 0), (100_000, 0.02), (1_000_000, 0.4)]
    )
    def test_the_more_messages_the_more_find_all_functions_waiting(
        self, connections: int, occupied: float
    ) -> None:
        queue = estimate_queue(replace(PRECISE, connections=connections))
        assert queue.lag_s == 0
        assert queue.occupied_share == pytest.approx(occupied, abs=0.01)

    def test_at_the_limit_messages_lie_there_for_the_second_and_nobody_waits(self) -> None:
        at = estimate_queue(replace(PRECISE, connections=10_400_000))
        assert at.messages_per_second == pytest.approx(at.messages_per_second_at_most, rel=0.01)
        # Ten of them: the longest wait would be 0.91 s.
        assert at.lag_s == pytest.approx(0.91 + 0.022 - 0.22, abs=0.01)
        # A turn for the batch, nine for messages while it waits, the calls: as without a wait.
        assert at.batch_ms == pytest.approx(20 + 0.2 * 1000 + 40, rel=0.1)
        beyond = estimate_queue(replace(PRECISE, connections=100_000_000))
        assert beyond.lag_s < 1

    def test_takes_more_segments_where_a_sweep_would_come_too_late(self) -> None:
        sweep = estimate_sweep(Fleet(connections=4_000_000, precise=True))
        assert sweep.single.duration_s > assumptions.PRECISE_BUDGET_S
        assert sweep.segments == 2
        assert sweep.duration_s <= assumptions.PRECISE_BUDGET_S
        assert not sweep.one_is_enough

    def test_a_short_timeout_is_late_as_without_precise(self) -> None:
        fleet = replace(PRECISE, connections=1_000, heartbeat_s=5, idle_timeout_s=10)
        late = lateness(fleet, estimate_sweep(fleet))
        assert late.max_s > 50
        # Ten of sixty seconds are seen in time.
        assert late.share_within(1.2) == pytest.approx(10 / 60, abs=0.05)


class TestAdvice:
    def test_a_cent_in_the_dollar_is_the_bound(self) -> None:
        few, many = advise(Fleet(connections=10), PRICES.prices), advise(Fleet(), PRICES.prices)
        assert (few.take_precise, many.take_precise) == (False, True)
        assert few.precise is not None
        assert few.precise.adds_usd - few.inline.adds_usd > 0.01 * few.inline.total_usd
        assert "over 1% of the bill" in few.why

    def test_a_longer_interval_rules_precise_out(self) -> None:
        advice = advise(Fleet(sweep_interval_s=300), PRICES.prices)
        assert (advice.precise, advice.queue, advice.take_precise) == (None, None, False)

    def test_what_the_close_functions_cannot_take_is_not_recommended(self) -> None:
        advice = advise(Fleet(heartbeat_s=60), PRICES.prices)
        assert not advice.take_precise
        assert advice.precise is not None
        assert advice.precise.sweep.fits
        assert not advice.precise.keeps_up
        assert advice.inline.keeps_up
        assert "418 messages a second are more than the 182" in advice.why

    def test_precise_is_the_way_where_inline_sweeps_cannot_close_so_many(self) -> None:
        # 140 a second are below the pace of 200, but reading leaves 37 s of 60 for them.
        fleet = Fleet(
            connections=84_000,
            idle_share=1,
            lifetime_s=600,
            scan_segments=4,
            page_latency_ms=12_000,
        )
        advice = advise(fleet, PRICES.prices)
        assert not advice.inline.sweep.fits
        assert advice.take_precise
        assert "not even 20 inline sweeps" in advice.why

    def test_the_quota_of_the_close_functions_is_reached_where_it_says(self) -> None:
        found = {quota.name: quota for quota in quotas(PRECISE, estimate_sweep(PRECISE))}
        at = found["messages to close functions"].reached_at
        assert at is not None
        assert estimate_queue(replace(PRECISE, connections=at)).keeps_up
        assert not estimate_queue(replace(PRECISE, connections=at + 1_000)).keeps_up
        assert found["messages in flight, due queue"].limit == 120_000


class TestConstants:
    def test_are_those_of_the_rules(self) -> None:
        assert assumptions.LOOK_AHEAD_S == due.LOOK_AHEAD_S
        assert assumptions.QUEUE_BATCH == MAX_QUEUE_BATCH

    def test_are_those_of_the_templates(self) -> None:
        precise = Resources(template=packaged_template(precise=True))
        (mapping,) = precise.of_type("AWS::Lambda::EventSourceMapping").values()
        assert mapping["ScalingConfig"]["MaximumConcurrency"] == close_functions(200)
        assert mapping["BatchSize"] == assumptions.QUEUE_BATCH

    @pytest.mark.parametrize(
        ("precise", "alarms"),
        [
            (False, assumptions.ALARMS),
            (True, assumptions.ALARMS + assumptions.PRECISE_ALARMS),
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
            (True, assumptions.METRICS + assumptions.PRECISE_METRICS),
        ],
    )
    def test_the_metrics_are_those_of_the_reports(self, *, precise: bool, at_most: int) -> None:
        everything = ClosesReport(
            timeouts=dict.fromkeys(product(Role, TimeoutReason), 1),
            lateness_ms=[DurationMs(1)],
            claims_lost=1,
            notices_failed=1,
            close_failures=1,
            handover_failures=1,
        )
        sweep = SweepReport(
            checked=1,
            idle=1,
            closes=everything,
            queued=int(precise),
            queue_failures=int(precise),
            clocks_started=1,
            unreadable=1,
            held=False,
            complete=False,
        )
        held = replace(sweep, held=True)
        emitted = [*sweep.metrics(), *held.metrics(), *(everything.metrics() if precise else [])]
        names = {(metric.name, *sorted(metric.dimensions.items())) for metric in emitted}
        assert len(names) == at_most

    def test_the_bound_of_segments_is_the_constructs(self) -> None:
        assert assumptions.MAX_SEGMENTS == MAX_SEGMENTS

    def test_a_close_is_planned_on_the_safe_side_of_what_was_measured(self) -> None:
        results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
        measured = {row["name"]: row["hangup"] for row in results["rows"]}
        paced_ms = measured["close_paced_cpu_ms"]
        assert measured["close_cpu_ms"] <= paced_ms <= assumptions.CLOSE_CPU_MS <= paced_ms * 2


@pytest.mark.parametrize(
    ("closes_per_second", "at_most"), [(200, 182), (400, 364), (600, 545), (1_000, 909), (0, 2_316)]
)
def test_the_queue_scales_with_the_pace(closes_per_second: int, at_most: int) -> None:
    queue = estimate_queue(replace(PRECISE, closes_per_second=closes_per_second))
    # A turn of each batch of ten is nobody's; without a pace it is the CPU's.
    assert queue.messages_per_second_at_most == pytest.approx(at_most, rel=0.001)
