"""When a sweep doubts what the table says, and what makes it go on."""

from itertools import pairwise

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import (
    DEFAULT_GUARD,
    GuardPolicy,
    Hold,
    ProbeResult,
    judge,
    probe_result,
    probe_result_of_scheduled,
)

CUTOFF_MS = EpochMs(1_700_000_000_000)


def connections(number: int) -> list[Connection]:
    return [Connection(connection_id=f"c{i}") for i in range(number)]


@pytest.mark.parametrize(
    ("idle", "checked", "suspicious"),
    [
        (0, 0, False),
        (19, 19, False),  # too few to tell
        (20, 20, True),
        (20, 39, True),
        (20, 40, False),  # exactly half
        (501, 1_000, True),
        (500, 1_000, False),
    ],
)
def test_doubts_from_twenty_on_if_more_than_half_look_idle(
    idle: int, checked: int, *, suspicious: bool
) -> None:
    assert DEFAULT_GUARD.is_suspicious(idle=idle, checked=checked, whole_table=True) is suspicious


@pytest.mark.parametrize(
    ("idle", "checked", "suspicious"), [(0, 10, False), (1, 2, False), (1, 1, True), (6, 11, True)]
)
def test_few_are_enough_for_a_doubt_where_the_scan_broke_off(
    idle: int, checked: int, *, suspicious: bool
) -> None:
    assert DEFAULT_GUARD.is_suspicious(idle=idle, checked=checked, whole_table=False) is suspicious


def test_a_share_of_all_never_doubts() -> None:
    guard = GuardPolicy(share_percent=100, at_least=1, sample_size=1)
    for whole_table in (True, False):
        assert not guard.is_suspicious(idle=10_000, checked=10_000, whole_table=whole_table)


@pytest.mark.parametrize("number", [0, 1, 19, 20, 21, 59, 1_000])
def test_a_sample_is_of_different_connections_spread_over_all(number: int) -> None:
    idle = connections(number)
    sample = DEFAULT_GUARD.sample(idle, seed=0)
    assert len(sample) == len({c.connection_id for c in sample}) == min(20, number)
    positions = [idle.index(connection) for connection in sample]
    gaps = [after - before for before, after in pairwise(positions)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_another_seed_is_another_sample() -> None:
    idle = connections(1_000)
    samples = {
        connection.connection_id
        for seed in range(50)
        for connection in DEFAULT_GUARD.sample(idle, seed=seed)
    }
    assert len(samples) == 1_000


@pytest.mark.parametrize(
    ("last_active_ms", "expected"),
    [
        (None, ProbeResult.GONE),
        (CUTOFF_MS - 1, ProbeResult.QUIET),
        (CUTOFF_MS, ProbeResult.ACTIVE),
        (CUTOFF_MS + 100_000, ProbeResult.ACTIVE),
    ],
)
def test_says_what_api_gateways_last_activity_means(
    last_active_ms: EpochMs | None, expected: ProbeResult
) -> None:
    assert probe_result(last_active_ms, cutoff_ms=CUTOFF_MS) is expected


@pytest.mark.parametrize(
    "sample",
    [[], [ProbeResult.GONE], [ProbeResult.QUIET] * 20, [ProbeResult.GONE, ProbeResult.QUIET]],
)
def test_goes_on_if_each_is_gone_or_quiet(sample: list[ProbeResult]) -> None:
    assert judge(sample) is None


@pytest.mark.parametrize("doubt", [ProbeResult.ACTIVE, ProbeResult.UNKNOWN])
def test_holds_on_one_doubt_and_says_what_was_seen(doubt: ProbeResult) -> None:
    assert judge([ProbeResult.QUIET, ProbeResult.GONE, doubt, ProbeResult.QUIET]) == Hold(
        sample={"quiet": 2, "gone": 1, str(doubt): 1}
    )


@pytest.mark.parametrize(
    ("last_active_ms", "expected"),
    [
        (None, ProbeResult.GONE),
        (CUTOFF_MS - 60_000, ProbeResult.QUIET),
        (CUTOFF_MS + 2_000 + 5_000, ProbeResult.QUIET),
        (CUTOFF_MS + 2_000 + 5_001, ProbeResult.ACTIVE),
    ],
)
def test_what_is_due_is_quiet_if_what_was_recorded_is_all_there_was(
    last_active_ms: EpochMs | None, expected: ProbeResult
) -> None:
    seen = probe_result_of_scheduled(
        last_active_ms, recorded_ms=CUTOFF_MS, activity_resolution_ms=DurationMs(2_000)
    )
    assert seen is expected
