"""How fast closes may follow one another.

API Gateway admits 500 new connections a second and account (API Gateway developer guide, quotas):
a crowd that is closed faster than that comes back against a closed door. Closes are spaced evenly.
"""

import math
from dataclasses import dataclass
from typing import Final

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.guard import Activity

_QUESTIONS_PER_SECOND: Final = 500
"""Of the 10,000 requests a second that an account has by default, and its clients share (API
Gateway developer guide, quotas). A sweep can ask about 24,000 connections."""

_QUESTIONS_OF_ONE: Final = 2_000
"""Questions a second of one function where API Gateway's account is the source of activity. The CPU
of 256 MB is enough for some 600 that are followed by a write (``hangup.planner.assumptions``). On a
faster one this leaves most of the account's quota of 10,000 a second to its clients."""

_QUESTIONS_AT_ONCE: Final = 10
"""They start every five milliseconds: a pace is kept in whole ones."""

_FEWEST_FUNCTIONS: Final = 4
"""Two would do for 200 closes a second; of more, a slow batch keeps fewer waiting."""

_MOST_FUNCTIONS: Final = 16
"""For a rate without a limit: some 1,300 closes a second, far above the 500 that may come back."""

_CLOSES_OF_ONE: Final = 120
"""Closes a second that the CPU of one function of 256 MB is enough for, at 1.2 ms of a whole CPU
each (``hangup.planner.assumptions.CLOSE_CPU_MS``)."""

_KEPT_PERCENT: Final = 94
"""Of the rate, whatever the rounding of the shares: for each from 1 to 1,000 some number in these
bounds keeps it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate of closes, 1 to 1,000 a second; 0 does not pace.

    ``shared_by`` (1 or more) is how many processes may be closing at once: each takes its share, so
    that the rate is that of all together. ``at_once`` (1 or more) start together, and the rate may
    be that many times as high. Each close starts at least one interval after the one
    before, and what was not used is not made up for later: so no second has more than
    ``per_second`` starts. The interval is rounded up to whole milliseconds: 300 a second are 250.
    """

    per_second: int
    shared_by: int = 1
    at_once: int = 1

    def next_start_ms(self, *, last_start_ms: EpochMs | None, now_ms: EpochMs) -> EpochMs:
        """Return when the next close may start: now, or later."""
        if last_start_ms is None or not self.per_second:
            return now_ms
        return EpochMs(max(now_ms, last_start_ms + self.interval_ms))

    @property
    def interval_ms(self) -> DurationMs:
        """Between two closes of one process, rounded up to whole milliseconds; 0 does not pace."""
        if not self.per_second:
            return DurationMs(0)
        return DurationMs(-(-1_000 * self.shared_by * self.at_once // self.per_second))


def pace_of_questions(closes: Pace, activity: Activity = Activity.RECORDED) -> Pace:
    """Return the pace at which API Gateway is asked: 500 a second, or as fast as closes are.

    It is shared as that of the closes is. Where its account is the source of activity, each
    function asks up to 2,000 a second: every client has to be asked about once a timeout, and more
    functions are for more clients.
    """
    if activity is Activity.GATEWAY:
        return Pace(_QUESTIONS_OF_ONE, at_once=_QUESTIONS_AT_ONCE)
    per_second = closes.per_second and max(closes.per_second, _QUESTIONS_PER_SECOND)
    return Pace(per_second, shared_by=closes.shared_by)


def close_functions(per_second: int) -> int:
    """Return how many functions behind the queue close at once: 4 to 16; 16 for no limit (0).

    ``per_second`` is 0 to 1,000.
    About one for each 120 closes a second. Each takes its share of the pace, in whole milliseconds
    rounded up, so some more where that would cost more than 6 % of the rate: 600 a second are 10 ms
    for each of six, and only 555 by 9 ms for each of five.
    """
    if not per_second:
        return _MOST_FUNCTIONS
    fewest = max(_FEWEST_FUNCTIONS, math.ceil(per_second / _CLOSES_OF_ONE))
    return next(
        functions
        for functions in range(fewest, _MOST_FUNCTIONS + 1)
        if 100_000 * functions
        >= _KEPT_PERCENT * per_second * Pace(per_second, shared_by=functions).interval_ms
    )
