"""How long a sweep takes, how much one can do, and how late a close is after its deadline.

1. Deadlines fall anywhere between two sweeps: a connection waits for the next one, evenly
   distributed from 0 to the sweep interval.
2. To that comes the time that the sweep needs until it gets to it: the scan comes in the order of a
   hash, so each place in the sweep is as likely as another.
3. A sweep reads four segments side by side, and gathers a batch of idle connections before it
   closes the first of them, and the next batch meanwhile, of one segment at a time as long as
   there is something to close; closes follow one another at the slowest of pace, CPU and latency.
4. With ``precise`` a sweep queues instead, each with the delay to its deadline, rounded down to
   whole seconds: the message comes early by what was rounded, evenly distributed from 0 to 1 s, and
   is waited for. Its way to a close function (the delivery, and the time until one of them is free)
   makes the close late by what it takes more than that. The wait for its turn and the calls of the
   close come after the deadline. Where a sweep comes to it only after that (a timeout below the
   look-ahead, a scan that takes long), it is late by that too.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hangup.core.pacing import Pace
from hangup.core.timing import SEGMENTS_AT_ONCE
from hangup.planner.assumptions import (
    BATCH_SIZE,
    CLOSE_LATENCY_MS,
    CONCURRENCY,
    DELIVERY_S,
    LOOK_AHEAD_S,
    MAX_SEGMENTS,
    PAGE_BYTES,
    PAGE_CPU_MS,
    PRECISE_BUDGET_S,
    QUEUE_BATCH,
    QUEUE_CONCURRENCY,
    QUEUE_CPU_MS,
    QUEUE_LATENCY_MS,
    ROUNDED_S,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
    VCPU_SHARE,
)
from hangup.planner.fleet import Fleet
from hangup.planner.queueing import QueueEstimate, estimate_queue

__all__ = [
    "Distribution",
    "SweepEstimate",
    "act_interval_ms",
    "estimate_sweep",
    "lateness",
    "one_sweep_fits",
    "page_ms",
    "segment_page_ms",
    "silence_at_close",
]

_PLACES = 200
"""Places in a sweep that stand for all of them."""

_PRECISE_PLACES = 20
"""The same with ``precise``, each at every one of these moments:"""

_PHASES = 60
"""Moments between two sweeps that stand for all of them."""

_BISECTIONS = 60

_SPREAD = (0.8191725134, 0.6710436067, 0.5497004779)
"""The multiples of these, less their whole part, fill a cube evenly (Roberts' R3 sequence)."""

_CLOCK_S = 0.001
"""Clocks count milliseconds: nothing is more precise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEstimate:
    """One sweep on average, split evenly over ``segments`` that run side by side.

    ``found`` is what all of them close or, with ``precise``, queue; ``closes`` is what of it is
    closed. The durations are those of one invocation, seconds. ``segments`` are as few as stay
    within ``budget_s``; 20 at most, and ``fits`` says whether they stay within their time limit.
    ``scan_s`` is the time of reading where nothing is closed or queued meanwhile; beside that it
    takes ``slower_beside_closes`` times as long.
    """

    precise: bool
    pages: int
    scan_s: float
    found: float
    closes: float
    interval_ms: float
    limited_by: str
    segments: int
    slower_beside_closes: float
    _single: "SweepEstimate | None" = None

    @property
    def single(self) -> "SweepEstimate":
        """The same in a single invocation, whether it has the time or not."""
        return self._single or self

    @property
    def act_s(self) -> float:
        """How long the closes of each invocation take, or its queueing, by themselves."""
        return self.found * self.interval_ms / 1000 / self.segments

    @property
    def duration_s(self) -> float:
        """How long each invocation takes."""
        return self.acts_on_s(self.found / self.segments)

    @property
    def fits(self) -> bool:
        """Whether they stay within their time limit."""
        return self.read_by_s <= SCAN_BUDGET_S and self.duration_s <= SWEEP_BUDGET_S

    @property
    def read_by_s(self) -> float:
        """How long after its start an invocation has read all its pages."""
        last = max(0, math.ceil(self.found / self.segments / BATCH_SIZE) - 1)
        return self._gather_s(0) if not last else self._begins_s(last - 1) + self._gather_s(last)

    def acts_on_s(self, before: float) -> float:
        """Return how long after its start an invocation acts on what comes after so many."""
        batch = int(before // BATCH_SIZE)
        return self._begins_s(batch) + (before - batch * BATCH_SIZE) * self.interval_ms / 1000

    def _begins_s(self, batch: int) -> float:
        """Return when a batch (from 0) has been gathered, and the one before it is done."""
        first_s = self._gather_s(0)
        if not batch:
            return first_s
        between_s = (batch - 1) * max(self._gather_s(1), self._batch_s)
        return first_s + between_s + max(self._gather_s(batch), self._batch_s)

    @property
    def _batch_s(self) -> float:
        """How long the closes of a full batch take, or its queueing."""
        return BATCH_SIZE * self.interval_ms / 1000

    def _gather_s(self, batch: int) -> float:
        """Return how long it takes to read what a batch has; the last has the rest of the table."""
        found = self.found / self.segments
        if found <= BATCH_SIZE:
            return 0.0 if batch else self.scan_s
        each_s = self.scan_s * BATCH_SIZE / found
        alone_s = min(each_s, max(0.0, self.scan_s - batch * each_s))
        if not batch:
            return alone_s
        beside_s = alone_s * self.slower_beside_closes
        left_s = max(0.0, beside_s - self._batch_s)
        return beside_s - left_s + left_s / self.slower_beside_closes

    @property
    def budget_s(self) -> float:
        """How long an invocation may take; with ``precise`` what comes later is late."""
        return PRECISE_BUDGET_S if self.precise else SWEEP_BUDGET_S

    @property
    def one_is_enough(self) -> bool:
        """Whether nothing has to be split."""
        return self.fits and self.segments == 1

    @property
    def found_at_most(self) -> int:
        """How many one invocation has time to close or queue, beside its part of the scan."""
        most = int(SWEEP_BUDGET_S * 1000 / self.interval_ms)

        def is_too_many(found: int) -> bool:
            return not replace(self, found=float(found), segments=1).fits

        return max(0, bisect_left(range(most + 1), True, key=is_too_many) - 1)


def estimate_sweep(fleet: Fleet) -> SweepEstimate:
    """Return what an average sweep of this fleet takes, in as few segments as can do it."""
    tried = [_estimate(fleet, segments) for segments in range(1, MAX_SEGMENTS + 1)]
    fitting = [sweep for sweep in tried if sweep.fits]
    in_time = [sweep for sweep in fitting if sweep.duration_s <= sweep.budget_s]
    best = (in_time or fitting or tried[-1:])[0]
    return replace(best, _single=tried[0])


def one_sweep_fits(fleet: Fleet) -> bool:
    """Say whether a single invocation stays within its time limit."""
    return _estimate(fleet, 1).fits


def _estimate(fleet: Fleet, segments: int) -> SweepEstimate:
    parts = segments * fleet.scan_segments
    part_bytes = fleet.connections * fleet.record_bytes / parts
    pages = parts * max(1, math.ceil(part_bytes / PAGE_BYTES))
    scan_s = pages * page_ms(fleet) / 1000 / segments
    closes = fleet.idle_closes_per_second * fleet.sweep_interval_s
    found = estimate_queue(fleet).messages if fleet.precise else closes
    interval_ms, limited_by = act_interval_ms(fleet, segments=segments)
    return SweepEstimate(
        precise=fleet.precise,
        pages=pages,
        scan_s=scan_s,
        found=found,
        closes=closes,
        interval_ms=interval_ms,
        limited_by=limited_by,
        segments=segments,
        slower_beside_closes=segment_page_ms(fleet) / page_ms(fleet),
    )


def segment_page_ms(fleet: Fleet) -> float:
    """Return the time from one page of a segment to its next, milliseconds."""
    return fleet.page_latency_ms + PAGE_CPU_MS / VCPU_SHARE


def page_ms(fleet: Fleet) -> float:
    """Return the time from one page of a sweep to its next, milliseconds.

    That is the CPU that a page takes, where it is longer than waiting for so many side by side.
    """
    side_by_side = min(SEGMENTS_AT_ONCE, fleet.scan_segments)
    return max(PAGE_CPU_MS / VCPU_SHARE, segment_page_ms(fleet) / side_by_side)


def act_interval_ms(fleet: Fleet, *, segments: int = 1) -> tuple[float, str]:
    """Return how closely one close can follow another in one sweep, and what limits it.

    With ``precise`` the same for what is queued. Sweeps side by side share the pace.
    """
    if fleet.precise:
        return max(
            (QUEUE_CPU_MS / VCPU_SHARE, "CPU"),
            (QUEUE_LATENCY_MS / QUEUE_BATCH / QUEUE_CONCURRENCY, "latency"),
        )
    return max(
        (fleet.close_cpu_ms / VCPU_SHARE, "CPU"),
        (CLOSE_LATENCY_MS / CONCURRENCY, "latency"),
        (float(Pace(fleet.closes_per_second, shared_by=segments).interval_ms), "pace"),
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
    if fleet.precise:
        return _precise_lateness(fleet, sweep)
    return Distribution(
        fleet.sweep_interval_s, [_reached_s(sweep, place, _PLACES) for place in range(_PLACES)]
    )


def _reached_s(sweep: SweepEstimate, place: int, places: int) -> float:
    """Return how long after its start a sweep closes, or queues, what is at this place in it."""
    return sweep.acts_on_s((place + 0.5) / places * sweep.found / sweep.segments)


def _precise_lateness(fleet: Fleet, sweep: SweepEstimate) -> Distribution:
    queue = estimate_queue(fleet)
    ahead_s = min(LOOK_AHEAD_S, fleet.grace_s)
    queued_late, offsets = [], []
    for number in range(_PRECISE_PLACES * _PHASES):
        place, phase = divmod(number, _PHASES)
        part, occupied, turn = ((number + 0.5) * step % 1 for step in _SPREAD)
        # The sweep that finds it starts this long before the deadline; below 0 after it.
        before_s = ahead_s - fleet.sweep_interval_s * (phase + part) / _PHASES
        queued_late_s = max(0.0, _reached_s(sweep, place, _PRECISE_PLACES) - before_s)
        queued_late.append(queued_late_s)
        # What is queued late has no delay: it was not rounded either.
        early_s = 0.0 if queued_late_s else ROUNDED_S * part
        way_s = DELIVERY_S + queue.lag_s + _occupied_s(queue, occupied)
        turn_s = queue.longest_turn_s * turn / queue.busy_share if turn < queue.busy_share else 0.0
        offsets.append(queued_late_s + max(0.0, way_s - early_s) + turn_s + CLOSE_LATENCY_MS / 1000)
    # The worst is too rare to be one of these: not early at all, and all functions just begun.
    way_s = DELIVERY_S + queue.lag_s + ROUNDED_S
    worst_s = max(queued_late) + way_s + queue.longest_turn_s + CLOSE_LATENCY_MS / 1000
    return Distribution(_CLOCK_S, [*offsets, worst_s])


def _occupied_s(queue: QueueEstimate, chance: float) -> float:
    """Return how long one of so many messages, 0 to 1 of all, waits until a function is free.

    That is when the first of them has closed the one that it waits for.
    """
    if chance >= queue.occupied_share:
        return 0.0
    return ROUNDED_S * (1.0 - math.pow(chance / queue.occupied_share, 1 / queue.closers))


def silence_at_close(fleet: Fleet, late: Distribution) -> Distribution:
    """Return how long a closed client has said nothing: since its last message, not its record.

    With a resolution the last message is anything from the recorded one to the last that was
    coalesced with it.
    """
    grace_s = fleet.grace_s
    coalesced_s = [n * fleet.heartbeat_s for n in range(fleet.heartbeats_per_write)]
    return Distribution(
        late.period_s, [grace_s - c + o for c in coalesced_s for o in late.offsets_s]
    )
