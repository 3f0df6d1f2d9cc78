"""How long a sweep takes, how late a close is, and which quota comes first."""

from dataclasses import replace
from typing import Any

import pytest

from hangup.errors import ConfigurationError
from hangup.local.deploy import packaged_template
from hangup.planner.fleet import Fleet
from hangup.planner.model import (
    Percentiles,
    Sweep,
    estimate_sweep,
    inline_lateness_s,
    simulate_queue,
    sweep_of,
)
from hangup.planner.quotas import STAGE_REQUESTS_PER_SECOND, Quota, quotas
from tests.support.templates import Resources

FLEET = Fleet()
MILLION = Fleet(connections=1_000_000)


class TestSweep:
    def test_has_a_page_for_each_megabyte_and_one_for_each_segment_at_least(self) -> None:
        assert estimate_sweep(Fleet(connections=1)).pages == 16
        assert estimate_sweep(MILLION).pages == 288

    def test_closes_what_fell_silent_since_the_last_one(self) -> None:
        assert estimate_sweep(FLEET).found == pytest.approx(100_000 / 7_200 / 10 * 60)

    @pytest.mark.parametrize(
        ("changes", "limited_by"),
        [
            ({"close_cpu_ms": 3.3}, "CPU"),
            ({"close_cpu_ms": 0.24, "closes_per_second": 20}, "pace"),
            ({"close_cpu_ms": 0.05, "closes_per_second": 0}, "latency"),
        ],
    )
    def test_the_slowest_of_pace_cpu_and_latency_decides(
        self, changes: dict[str, Any], limited_by: str
    ) -> None:
        assert estimate_sweep(replace(FLEET, **changes)).limited_by == limited_by

    def test_the_pace_is_rounded_as_the_closer_rounds_it(self) -> None:
        fleet = replace(FLEET, close_cpu_ms=0.01, closes_per_second=150)
        assert at_intervals(fleet, shards=1) == (7, "pace")

    def test_one_invocation_is_enough_until_its_time_is_used_up(self) -> None:
        one = estimate_sweep(MILLION)
        assert one.fits
        assert one.shards == 1
        assert one.duration_s < 49
        large = Fleet(connections=8_000_000)
        more = estimate_sweep(large)
        assert more.shards == 2
        assert sweep_of(large, shards=1).duration_s > 49
        assert more.fits
        assert more.duration_s < 49

    def test_sweeps_side_by_side_share_the_pace(self) -> None:
        fleet = replace(FLEET, close_cpu_ms=0.01, closes_per_second=150)
        assert at_intervals(fleet, shards=3) == (20, "pace")

    def test_no_number_of_sweeps_is_enough_for_more_closes_than_the_pace_allows(self) -> None:
        sweep = estimate_sweep(replace(FLEET, idle_share=1, lifetime_s=300))
        assert sweep.found == pytest.approx(20_000)
        assert (sweep.fits, sweep.shards) == (False, 20)

    def test_a_scan_that_takes_too_long_is_split_even_without_a_close(self) -> None:
        fleet = Fleet(connections=10_900_000, idle_share=0)
        assert 44 < sweep_of(fleet, shards=1).duration_s < 49
        assert estimate_sweep(fleet).shards == 2

    @pytest.mark.parametrize("closes", [0.5, 1_000, 1_000.5, 2_000, 2_000.5, 20_000])
    def test_a_sweep_that_reads_longer_than_it_closes_has_a_batch_left_at_most(
        self, closes: float
    ) -> None:
        sweep = closing(closes, cpu_ms=0.001)
        act_s = closes * sweep.interval_ms / 1000
        assert sweep.limited_by == "latency"
        assert sweep.scan_s < sweep.duration_s
        # Beside the closes it reads one segment at a time, a quarter as fast.
        assert sweep.scan_s <= sweep.read_by_s <= sweep.scan_s + 0.75 * act_s + 0.001
        assert sweep.duration_s - sweep.read_by_s <= 1_000 * sweep.interval_ms / 1_000 + 0.001

    @pytest.mark.parametrize("closes", [1_000.5, 2_000, 6_500])
    def test_a_sweep_that_closes_longer_than_it_reads_has_read_a_batch_before(
        self, closes: float
    ) -> None:
        sweep = closing(closes, cpu_ms=3)
        first_s = sweep.scan_s * 1_000 / closes
        assert sweep.limited_by == "CPU"
        assert sweep.duration_s == pytest.approx(first_s + closes * sweep.interval_ms / 1000)


def closing(closes: float, *, cpu_ms: float) -> Sweep:
    """Return a sweep of a million connections that closes so many of them."""
    fleet = replace(MILLION, lifetime_s=120, close_cpu_ms=cpu_ms, closes_per_second=0)
    return sweep_of(replace(fleet, idle_share=closes / 500_000), shards=1)


def at_intervals(fleet: Fleet, *, shards: int) -> tuple[float, str]:
    sweep = sweep_of(fleet, shards=shards)
    return sweep.interval_ms, sweep.limited_by


def late(fleet: Fleet) -> Percentiles:
    found = inline_lateness_s(fleet, estimate_sweep(fleet))
    assert found is not None
    return found


class TestLateness:
    def test_deadlines_are_even_between_two_sweeps(self) -> None:
        # One record: nothing but the wait for the sweep, and a page of each segment, four at once.
        fleet = Fleet(connections=1)
        found = late(fleet)
        for percent in (50, 95, 99):
            assert found[f"p{percent}"] == pytest.approx(0.6 * percent + 0.23, abs=0.02)
        assert found["max"] == pytest.approx(60.23, abs=0.01)

    def test_a_close_is_late_by_a_sweep_interval_and_a_sweep_at_most(self) -> None:
        sweep = estimate_sweep(FLEET)
        act_s = sweep.found * sweep.interval_ms / 1000
        found = late(FLEET)
        assert 60 < found["max"] <= 60 + sweep.duration_s
        assert found["p50"] == pytest.approx(30 + sweep.scan_s + act_s / 2, abs=1)

    def test_the_documented_bound_holds_for_a_small_table(self) -> None:
        fleet = Fleet(connections=1_000)
        assert fleet.idle_timeout_s + late(fleet)["max"] < 181

    def test_a_batch_is_closed_while_the_next_is_gathered(self) -> None:
        fleet = replace(
            MILLION, idle_share=1, close_cpu_ms=0.1, closes_per_second=0, page_latency_ms=200
        )
        sweep = estimate_sweep(fleet)
        assert sweep.found > 5_000
        assert sweep.acts_after_s(0) < sweep.scan_s / 2
        assert sweep.duration_s < sweep.scan_s + sweep.found * sweep.interval_ms / 1000
        # No more than a batch of closes is left when all is read.
        assert sweep.duration_s - sweep.read_by_s <= 1_000 * sweep.interval_ms / 1_000 + 1e-9

    def test_nobody_silent_has_a_lateness_all_the_same(self) -> None:
        assert late(replace(FLEET, idle_share=0))["max"] > 60

    def test_sweeps_that_fall_behind_have_none(self) -> None:
        fleet = replace(FLEET, idle_share=1, lifetime_s=300)
        assert inline_lateness_s(fleet, estimate_sweep(fleet)) is None


def found_by(fleet: Fleet) -> tuple[Quota, ...]:
    return quotas(fleet, simulate_queue(fleet, estimate_sweep(fleet)) if fleet.precise else None)


def by_name(fleet: Fleet) -> dict[str, Quota]:
    return {quota.name: quota for quota in found_by(fleet)}


class TestQuotas:
    def test_the_first_is_the_one_that_is_met_first(self) -> None:
        found = found_by(MILLION)
        assert found[0].name == "Lambda requests"
        shares = [quota.share for quota in found if not quota.ours]
        assert shares == sorted(shares, reverse=True)

    def test_lambda_takes_ten_requests_a_second_for_each_unit_of_concurrency(self) -> None:
        found = by_name(replace(MILLION, idle_share=0.5))["Lambda requests"]
        assert found.limit == 10 * by_name(MILLION)["Lambda functions at once"].limit == 10_000
        # Heartbeats, joins, and a run of the disconnect function: two where a sweep closes.
        assert found.load == pytest.approx(1_000_000 / 30 + 1_000_000 / 7_200 * 2.5)
        precise = by_name(replace(MILLION, idle_share=0.5, precise=True))["Lambda requests"]
        assert precise.load > found.load

    def test_hangups_own_limits_are_marked_and_come_after_those_of_aws(self) -> None:
        fleet = replace(MILLION, precise=True)
        found = found_by(fleet)
        assert [quota.name for quota in found[-3:]] == [
            "requests, reference stage",
            "sweep, one invocation",
            "messages to close functions",
        ]
        assert [quota.ours for quota in found] == [False] * (len(found) - 3) + [True] * 3
        assert found[-3].share > found[0].share

    def test_each_is_reached_where_it_says(self) -> None:
        for quota in found_by(MILLION):
            at = by_name(replace(MILLION, connections=quota.reached_at))[quota.name]
            above = by_name(replace(MILLION, connections=quota.reached_at + 1_000))[quota.name]
            assert at.share == pytest.approx(1, abs=0.02)
            assert above.share > at.share

    def test_a_small_fleet_is_told_as_much_as_a_large_one(self) -> None:
        few = by_name(Fleet(connections=100))["sweep, one invocation"].reached_at
        assert few == by_name(MILLION)["sweep, one invocation"].reached_at

    def test_a_sweep_that_is_never_enough_is_reached_at_none(self) -> None:
        slow = Fleet(page_latency_ms=60_000)
        assert by_name(slow)["sweep, one invocation"].reached_at == 0

    def test_the_values_are_those_of_aws(self) -> None:
        limits = {name: quota.limit for name, quota in by_name(MILLION).items()}
        assert limits["new connections"] == 500
        assert limits["API Gateway requests"] == 10_000
        assert limits["live connections"] == 3_600_000
        assert limits["sweep, one invocation"] == 49

    def test_the_stages_limit_is_that_of_the_template(self) -> None:
        template = packaged_template()
        (stage,) = Resources(template=template).of_type("AWS::ApiGatewayV2::Stage").values()
        parameter = stage["DefaultRouteSettings"]["ThrottlingRateLimit"]["Ref"]
        assert int(template["Parameters"][parameter]["Default"]) == STAGE_REQUESTS_PER_SECOND


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heartbeat_s": 120}, "the idle timeout of 120 s must be longer"),
        ({"activity_resolution_s": 120}, "must be below the idle timeout of 120 s"),
        ({"lifetime_s": 119}, "a lifetime of 119 s must be at least the idle timeout of 120 s"),
        ({"precise": True, "sweep_interval_s": 61}, "must come every 60 s, not every 61 s"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        replace(FLEET, **changes)
