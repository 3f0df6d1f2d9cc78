"""How fast closes may follow one another."""

import pytest

from hangup.core.connection import EpochMs
from hangup.core.pacing import Pace, close_functions

NOW_MS = EpochMs(1_700_000_000_000)


def test_the_first_close_starts_at_once() -> None:
    assert Pace(1).next_start_ms(last_start_ms=None, now_ms=NOW_MS) == NOW_MS


@pytest.mark.parametrize(
    ("per_second", "interval_ms"), [(1, 1_000), (200, 5), (300, 4), (999, 2), (1_000, 1)]
)
def test_each_starts_an_interval_after_the_one_before(per_second: int, interval_ms: int) -> None:
    pace = Pace(per_second)
    assert pace.next_start_ms(last_start_ms=NOW_MS, now_ms=NOW_MS) == NOW_MS + interval_ms
    almost_ms = EpochMs(NOW_MS + interval_ms - 1)
    assert pace.next_start_ms(last_start_ms=NOW_MS, now_ms=almost_ms) == NOW_MS + interval_ms


def test_what_was_not_used_is_not_made_up_for() -> None:
    late_ms = EpochMs(NOW_MS + 60_000)
    assert Pace(200).next_start_ms(last_start_ms=NOW_MS, now_ms=late_ms) == late_ms


def test_zero_does_not_pace() -> None:
    assert Pace(0).next_start_ms(last_start_ms=NOW_MS, now_ms=NOW_MS) == NOW_MS
    assert Pace(0).interval_ms == 0


@pytest.mark.parametrize("per_second", [1, 7, 200, 300, 1_000])
def test_no_second_has_more_starts_than_the_rate(per_second: int) -> None:
    pace, starts, now_ms = Pace(per_second), [NOW_MS], NOW_MS
    for _ in range(3 * per_second):
        now_ms = pace.next_start_ms(last_start_ms=starts[-1], now_ms=now_ms)
        starts.append(now_ms)
    # Those of any one second are fewer than it takes to be a second apart.
    for first, after_that_many in zip(starts, starts[per_second:], strict=False):
        assert after_that_many - first >= 1_000


@pytest.mark.parametrize(
    ("per_second", "shared_by", "interval_ms"),
    [(200, 4, 20), (300, 4, 14), (1, 20, 20_000), (0, 4, 0), (1_000, 1_000, 1_000)],
)
def test_each_of_several_takes_its_share(per_second: int, shared_by: int, interval_ms: int) -> None:
    pace = Pace(per_second, shared_by=shared_by)
    assert pace.next_start_ms(last_start_ms=NOW_MS, now_ms=NOW_MS) == NOW_MS + interval_ms


@pytest.mark.parametrize(
    ("per_second", "functions"),
    [(1, 4), (50, 4), (200, 4), (400, 4), (471, 4), (500, 5), (600, 6), (1_000, 9), (0, 16)],
)
def test_more_functions_close_where_the_rate_asks_for_more(per_second: int, functions: int) -> None:
    assert close_functions(per_second) == functions


def test_the_functions_behind_the_queue_reach_the_rate_and_do_not_pass_it() -> None:
    for per_second in range(1, 1_001):
        functions = close_functions(per_second)
        assert 4 <= functions <= 16
        # What the CPU of all of them is enough for.
        assert functions * 120 >= per_second
        together = functions * 1_000 / Pace(per_second, shared_by=functions).interval_ms
        assert 0.94 * per_second <= together <= per_second
