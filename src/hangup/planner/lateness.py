"""How long a sweep takes, how much one can do, and how late a close is after its deadline.

1. Deadlines fall anywhere between two sweeps: a connection waits for the next one, evenly
   distributed from 0 to the sweep interval.
2. To that comes the time that the sweep needs until it gets to it: the scan comes in the order of a
   hash, so each place in the sweep is as likely as another.
3. A sweep reads its pages one after the other, and gathers a batch of idle connections before it
   closes the first of them; closes follow one another at the slowest of pace, CPU and latency.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hangup.planner.assumptions import (
    BATCH_SIZE,
    CLOSE_LATENCY_MS,
    CONCURRENCY,
    PAGE_BYTES,
    PAGE_CPU_MS,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
    VCPU_SHARE,
)
from hangup.planner.fleet import Fleet

__all__ = ["Distribution", "SweepEstimate", "estimate_sweep", "lateness", "silence_at_close"]

_PLACES = 200
"""Places in a sweep that stand for all of them."""

_BISECTIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEstimate:
    """One sweep on average, split evenly over ``invocations`` that run side by side.

    The durations are those of one invocation, seconds. ``one_is_enough`` says whether a single
    invocation stays within its time; ``invocations`` is 1 then.
    """

    pages: int
    scan_s: float
    closes: float
    close_interval_ms: float
    limited_by: str
    close_s: float
    invocations: int
    single_s: float

    @property
    def duration_s(self) -> float:
        """How long each invocation takes."""
        return self.scan_s + self.close_s

    @property
    def one_is_enough(self) -> bool:
        """Whether nothing has to be split."""
        return self.invocations == 1

    @property
    def closes_at_most(self) -> int:
        """How many closes one invocation has time for, beside its part of the scan."""
        time_ms = (SWEEP_BUDGET_S - self.scan_s) * 1000
        return int(max(0.0, time_ms) / self.close_interval_ms)


def estimate_sweep(fleet: Fleet) -> SweepEstimate:
    """Return what an average sweep of this fleet takes."""
    segment_bytes = fleet.connections * fleet.record_bytes / fleet.segments
    pages = fleet.segments * max(1, math.ceil(segment_bytes / PAGE_BYTES))
    scan_s = pages * page_ms(fleet) / 1000
    interval_ms, limited_by = close_interval_ms(fleet)
    closes = fleet.idle_closes_per_second * fleet.sweep_interval_s
    close_s = closes * interval_ms / 1000
    invocations = max(
        1, math.ceil(scan_s / SCAN_BUDGET_S), math.ceil((scan_s + close_s) / SWEEP_BUDGET_S)
    )
    return SweepEstimate(
        pages=pages,
        scan_s=scan_s / invocations,
        closes=closes,
        close_interval_ms=interval_ms,
        limited_by=limited_by,
        close_s=close_s / invocations,
        invocations=invocations,
        single_s=scan_s + close_s,
    )


def page_ms(fleet: Fleet) -> float:
    """Return the time of one page of the scan, milliseconds."""
    return fleet.page_latency_ms + PAGE_CPU_MS / VCPU_SHARE


def close_interval_ms(fleet: Fleet) -> tuple[float, str]:
    """Return how closely one close can follow another in one invocation, and what limits it."""
    # Rounded up to whole milliseconds, as ``core.pacing`` does.
    pace_ms = math.ceil(1000 / fleet.closes_per_second) if fleet.closes_per_second else 0.0
    return max(
        (fleet.close_cpu_ms / VCPU_SHARE, "CPU"),
        (CLOSE_LATENCY_MS / CONCURRENCY, "latency"),
        (float(pace_ms), "pace"),
    )


@dataclass(frozen=True, slots=True)
class Distribution:
    """A wait, even from 0 to ``period_s``, plus one of ``offsets_s``, each as likely. Seconds."""

    period_s: float
    offsets_s: Sequence[float]

    @property
    def max_s(self) -> float:
        """The longest there is."""
        return self.period_s + max(self.offsets_s)

    def share_within(self, limit_s: float) -> float:
        """Return which share, 0 to 1, is at most this long."""
        shares = (min(1.0, max(0.0, (limit_s - o) / self.period_s)) for o in self.offsets_s)
        return sum(shares) / len(self.offsets_s)

    def percentile_s(self, percent: float) -> float:
        """Return what so many percent (above 0, below 100) do not exceed."""
        low, high = min(self.offsets_s), self.max_s
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if self.share_within(middle) * 100 < percent:
                low = middle
            else:
                high = middle
        return high


def lateness(fleet: Fleet, sweep: SweepEstimate) -> Distribution:
    """Return how long after its deadline a connection is claimed and closed."""
    closes = sweep.closes / sweep.invocations
    offsets = []
    for place in range(_PLACES):
        before = (place + 0.5) / _PLACES * closes
        batch_ends = (before // BATCH_SIZE + 1) * BATCH_SIZE
        scanned = min(1.0, batch_ends / closes) if closes else 1.0
        offsets.append(sweep.scan_s * scanned + before * sweep.close_interval_ms / 1000)
    return Distribution(fleet.sweep_interval_s, offsets)


def silence_at_close(fleet: Fleet, late: Distribution) -> Distribution:
    """Return how long a closed client has said nothing: since its last message, not its record.

    With a resolution the last message is anything from the recorded one to the last that was
    coalesced with it.
    """
    grace_s = fleet.idle_timeout_s + fleet.resolution_s
    coalesced_s = [n * fleet.heartbeat_s for n in range(fleet.heartbeats_per_write)]
    return Distribution(
        late.period_s, [grace_s - c + o for c in coalesced_s for o in late.offsets_s]
    )
