"""How fast closes may follow one another.

API Gateway admits 500 new connections a second and account (API Gateway developer guide, quotas):
a crowd that is closed faster than that comes back against a closed door. Closes are spaced evenly.
"""

from dataclasses import dataclass

from hangup.core.model import EpochMs

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate of closes, 1 to 1,000 a second; 0 does not pace.

    ``shared_by`` (1 or more) is how many processes may be closing at once: each takes its share, so
    that the rate is that of all together. Each close starts at least one interval after the one
    before, and what was not used is not made up for later: so no second has more than
    ``per_second`` starts. The interval is rounded up to whole milliseconds: 300 a second are 250.
    """

    per_second: int
    shared_by: int = 1

    def next_start_ms(self, *, last_start_ms: EpochMs | None, now_ms: EpochMs) -> EpochMs:
        """Return when the next close may start: now, or later."""
        if last_start_ms is None or not self.per_second:
            return now_ms
        interval_ms = -(-1_000 * self.shared_by // self.per_second)
        return EpochMs(max(now_ms, last_start_ms + interval_ms))
