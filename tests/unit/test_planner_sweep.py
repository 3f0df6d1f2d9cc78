"""How long a sweep takes, how late a close is, and which quota comes first."""

from dataclasses import replace
from typing import Any

import pytest

from hangup.errors import ConfigurationError
from hangup.local.deploy import packaged_template
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import (
    Distribution,
    act_interval_ms,
    estimate_sweep,
    lateness,
    silence_at_close,
)
from hangup.planner.quotas import STAGE_REQUESTS_PER_SECOND, Quota, quotas
from tests.infra.templates import Resources

FLEET = Fleet()
MILLION = Fleet(connections=1_000_000)


class TestSweep:
    def test_has_a_page_for_each_megabyte_and_one_for_each_segment_at_least(self) -> None:
        assert estimate_sweep(Fleet(connections=1)).pages == 16
        assert estimate_sweep(Fleet(connections=1, scan_segments=9)).pages == 9
        assert estimate_sweep(MILLION).pages == 288

    def test_closes_what_fell_silent_since_the_last_one(self) -> None:
        assert estimate_sweep(FLEET).closes == pytest.approx(100_000 / 7_200 / 10 * 60)

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
        assert act_interval_ms(replace(FLEET, **changes))[1] == limited_by

    def test_the_pace_is_rounded_as_the_closer_rounds_it(self) -> None:
        fleet = replace(FLEET, close_cpu_ms=0.01, closes_per_second=150)
        assert act_interval_ms(fleet) == (7, "pace")

    def test_one_invocation_is_enough_until_its_time_is_used_up(self) -> None:
        one = estimate_sweep(MILLION)
        assert one.one_is_enough
        assert one.duration_s == one.single.duration_s < 49
        more = estimate_sweep(Fleet(connections=9_000_000))
        assert not more.one_is_enough
        assert more.segments == 2
        assert more.single.duration_s > 49
        assert more.fits
        assert more.duration_s < 49

    def test_sweeps_side_by_side_share_the_pace(self) -> None:
        fleet = replace(FLEET, close_cpu_ms=0.01, closes_per_second=150)
        assert act_interval_ms(fleet, segments=3) == (20, "pace")

    def test_no_number_of_sweeps_is_enough_for_more_closes_than_the_pace_allows(self) -> None:
        sweep = estimate_sweep(replace(FLEET, idle_share=1, lifetime_s=300))
        assert sweep.closes == pytest.approx(20_000)
        assert (sweep.fits, sweep.segments) == (False, 20)

    def test_a_scan_that_takes_too_long_is_split_even_without_a_close(self) -> None:
        sweep = estimate_sweep(Fleet(connections=10_900_000, idle_share=0))
        assert 44 < sweep.single.duration_s < 49
        assert sweep.segments == 2

    @pytest.mark.parametrize("found", [0.5, 1_000, 1_000.5, 2_000, 2_000.5])
    def test_a_sweep_that_reads_longer_than_it_closes_has_a_batch_left_at_most(
        self, found: float
    ) -> None:
        sweep = replace(estimate_sweep(MILLION), found=found, interval_ms=2.0)
        sweep = replace(sweep, slower_beside_closes=1.0)
        first_s = sweep.scan_s * min(1, 1_000 / found)
        # Reading takes longer here, and after it a batch at most is left.
        least_s = max(sweep.scan_s, first_s + sweep.act_s)
        assert least_s <= sweep.duration_s <= sweep.scan_s + 1_000 * sweep.interval_ms / 1_000
        assert sweep.read_by_s == pytest.approx(sweep.scan_s)

    def test_says_how_many_closes_there_is_time_for(self) -> None:
        sweep = estimate_sweep(MILLION)
        most = sweep.found_at_most
        assert replace(sweep, found=most).fits
        assert not replace(sweep, found=most + 1).fits
        first_s = sweep.scan_s * 1_000 / most
        assert most == pytest.approx((49 - first_s) * 1_000 / sweep.interval_ms, rel=0.01)
        assert replace(sweep, scan_s=45.0).found_at_most == 0


class TestDistribution:
    def test_without_an_offset_it_is_even(self) -> None:
        even = Distribution(60, [0.0])
        for percent in (1, 50, 95, 99):
            assert even.percentile_s(percent) == pytest.approx(0.6 * percent)
        assert even.max_s == 60
        assert even.share_within(-1) == 0
        assert even.share_within(61) == 1

    def test_offsets_are_equally_likely(self) -> None:
        assert Distribution(10, [0.0, 100.0]).share_within(50) == 0.5

    def test_a_close_is_late_by_a_sweep_interval_and_a_sweep_at_most(self) -> None:
        sweep = estimate_sweep(FLEET)
        late = lateness(FLEET, sweep)
        assert 60 < late.max_s <= 60 + sweep.duration_s
        assert late.percentile_s(50) == pytest.approx(30 + sweep.scan_s + sweep.act_s / 2, abs=1)

    def test_the_readmes_bound_holds_for_a_small_table(self) -> None:
        fleet = Fleet(connections=1_000)
        assert silence_at_close(fleet, lateness(fleet, estimate_sweep(fleet))).max_s < 181

    def test_a_batch_is_closed_while_the_next_is_gathered(self) -> None:
        fleet = replace(
            MILLION, idle_share=1, close_cpu_ms=0.1, closes_per_second=0, page_latency_ms=200
        )
        sweep = estimate_sweep(fleet)
        assert sweep.closes > 5_000
        assert min(lateness(fleet, sweep).offsets_s) < sweep.scan_s / 2
        assert sweep.duration_s < sweep.scan_s + sweep.act_s
        # No more than a batch of closes is left when all is read.
        assert sweep.duration_s - sweep.read_by_s <= 1_000 * sweep.interval_ms / 1_000

    def test_a_resolution_makes_closes_later_by_what_it_coalesces(self) -> None:
        fleet = replace(FLEET, resolution_s=60)
        late = lateness(fleet, estimate_sweep(fleet))
        silence = silence_at_close(fleet, late)
        assert silence.max_s == pytest.approx(120 + 60 + late.max_s)
        assert min(silence.offsets_s) == pytest.approx(120 + 60 - 30 + min(late.offsets_s))

    def test_nobody_silent_has_a_lateness_all_the_same(self) -> None:
        fleet = replace(FLEET, idle_share=0)
        assert lateness(fleet, estimate_sweep(fleet)).max_s > 60


def by_name(fleet: Fleet) -> dict[str, Quota]:
    return {quota.name: quota for quota in quotas(fleet, estimate_sweep(fleet))}


class TestQuotas:
    def test_the_first_is_the_one_that_is_met_first(self) -> None:
        found = quotas(MILLION, estimate_sweep(MILLION))
        assert found[0].name == "requests, account"
        aws = [quota for quota in found if not quota.ours]
        shares = [quota.share for quota in aws if quota.reached_at is not None]
        assert shares == sorted(shares, reverse=True)

    def test_hangups_own_limits_are_marked_and_come_after_those_of_aws(self) -> None:
        fleet = replace(MILLION, precise=True)
        found = quotas(fleet, estimate_sweep(fleet))
        assert [quota.name for quota in found[-3:]] == [
            "requests, reference stage",
            "sweep, one invocation",
            "messages to close functions",
        ]
        assert [quota.ours for quota in found] == [False] * (len(found) - 3) + [True] * 3
        assert found[-3].share > found[0].share

    def test_each_is_reached_where_it_says(self) -> None:
        for quota in quotas(MILLION, estimate_sweep(MILLION)):
            if quota.reached_at is None:
                continue
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
        assert limits["requests, account"] == 10_000
        assert limits["live connections"] == 3_600_000
        assert limits["sweep, one invocation"] == 49

    def test_the_stages_limit_is_that_of_the_template(self) -> None:
        template = Resources(template=packaged_template())
        (stage,) = template.of_type("AWS::ApiGatewayV2::Stage").values()
        settings = stage["DefaultRouteSettings"]
        assert settings["ThrottlingRateLimit"] == STAGE_REQUESTS_PER_SECOND

    def test_what_does_not_grow_is_never_the_first(self) -> None:
        quick = Fleet(connections=1, page_latency_ms=1)
        found = quotas(quick, estimate_sweep(quick))
        shares = [quota.share for quota in found if quota.reached_at is None]
        assert found[0].reached_at is not None
        assert max(shares) > 1 > found[0].share


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heartbeat_s": 120}, "the heartbeat must be the shorter"),
        ({"resolution_s": 120}, "must be below the idle timeout"),
        ({"lifetime_s": 119}, "a lifetime of 119 s must be from the idle timeout"),
        ({"lifetime_s": 7_201}, "API Gateway's limit of 7200 s"),
        ({"idle_share": 1.01}, "idle closes an hour are more than the"),
        ({"message_bytes": 131_073}, "a message of 131073 bytes"),
        ({"record_bytes": 409_601}, "a record of 409601 bytes"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        replace(FLEET, **changes)
