"""How long a sweep takes, what precise queues, and how late closes are.

Inline, a connection waits from its deadline for the next sweep, and then for its place in it:

1. Deadlines fall evenly between two sweeps, and the scan comes in the order of a hash, so every
   place in a sweep is equally likely.
2. A sweep reads four segments at once until it has a batch. It closes the batch while it reads the
   next one, one segment at a time. The slower of reading and closing sets its speed.
3. Closes follow one another at the slowest of pace, CPU and latency.
4. Where API Gateway's account is the source of activity, questions and closes take turns: the CPU
   is that of both, and the pace is for the closes among them.

With ``precise`` a sweep queues connections instead, with the delay until their deadline in whole
seconds. The close functions are simulated, message by message: the delay is rounded down, so a
message arrives early and its function waits for the deadline; while all functions wait, messages
lie in the queue. A function takes up to ten at once and closes one after another; the next ten it
takes when the last close's calls have ended.
"""

import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hangup.config import SCAN_SEGMENTS
from hangup.core.limits import MAX_QUEUE_BATCH, MAX_SHARDS
from hangup.core.pacing import Pace, close_functions
from hangup.core.timing import BATCH_SIZE, CLOSES_IN_FLIGHT, LOOK_AHEAD_S, SEGMENTS_AT_ONCE
from hangup.planner.assumptions import (
    CLOSE_LATENCY_MS,
    DELIVERY_S,
    PAGE_BYTES,
    PAGE_CPU_MS,
    PRECISE_BUDGET_S,
    QUESTION_CPU_MS,
    QUESTION_LATENCY_MS,
    QUEUE_CPU_MS,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
    VCPU_SHARE,
)
from hangup.planner.fleet import Fleet

Percentiles = Mapping[str, float]
"""Seconds by name: ``mean``, ``p50``, ``p95``, ``p99`` and ``max``."""

_SAMPLES = 5_000
_GOLDEN_RATIO = 0.6180339887
"""Its multiples, less their whole part, are spread evenly from 0 to 1."""

_LEAST = 1e-9
"""Connections found by a sweep: below one in a thousand million sweeps it is nothing."""

_MOST_MESSAGES = 100_000
"""Of one simulation, except that it lasts from one sweep to the next at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """An average sweep, split evenly over ``shards`` that run at once.

    ``found`` is how many connections all shards together close or, with ``precise``, queue; or ask
    about, the closes included. They follow one another in each shard every ``interval_ms``, limited
    by ``limited_by``. ``scan_s`` is how long a shard reads if it does nothing else. After the first
    batch a shard gets on by one connection every ``step_ms``, the reading included.
    """

    precise: bool
    shards: int
    pages: int
    scan_s: float
    found: float
    interval_ms: float
    limited_by: str
    step_ms: float

    def acts_after_s(self, place: float) -> float:
        """Return how long after the start a shard acts on the connection at ``place``, 0 to 1."""
        each = self.found / self.shards
        first_read_s = self.scan_s * BATCH_SIZE / max(BATCH_SIZE, each)
        rest = max(0.0, place * each - BATCH_SIZE)
        acted_ms = (place * each - rest) * self.interval_ms
        return first_read_s + (acted_ms + rest * self.step_ms) / 1000

    @property
    def duration_s(self) -> float:
        """How long each shard runs."""
        return self.acts_after_s(1)

    @property
    def read_by_s(self) -> float:
        """How long after the start a shard has read all its pages: before its last batch."""
        last_batch = min(BATCH_SIZE, self.found / self.shards)
        return self.duration_s - last_batch * self.interval_ms / 1000

    @property
    def fits(self) -> bool:
        """Whether the shards stay within their time limits."""
        return self.read_by_s <= SCAN_BUDGET_S and self.duration_s <= SWEEP_BUDGET_S

    @property
    def budget_s(self) -> float:
        """How long a shard may take; with ``precise`` what it queues later may be late."""
        return PRECISE_BUDGET_S if self.precise else SWEEP_BUDGET_S


def estimate_sweep(fleet: Fleet) -> Sweep:
    """Return an average sweep of this fleet, in as few shards as stay within their time.

    If even the most cannot, the result has that many and does not fit.
    """
    tried = [sweep_of(fleet, shards) for shards in range(1, MAX_SHARDS + 1)]
    fitting = [sweep for sweep in tried if sweep.fits]
    in_time = [sweep for sweep in fitting if sweep.duration_s <= sweep.budget_s]
    return (in_time or fitting or tried[-1:])[0]


def sweep_of(fleet: Fleet, shards: int) -> Sweep:
    """Return an average sweep of this fleet in this many shards, whether it has the time or not."""
    parts = shards * SCAN_SEGMENTS.default
    pages = parts * max(1, math.ceil(fleet.table_bytes / parts / PAGE_BYTES))
    page_cpu_ms = PAGE_CPU_MS / VCPU_SHARE
    # One segment at a time, and several at once: then the CPU may be what limits it.
    slow_ms = fleet.page_latency_ms + page_cpu_ms
    fast_ms = max(page_cpu_ms, slow_ms / SEGMENTS_AT_ONCE)
    if fleet.precise:
        found = sum(queued_per_sweep(fleet))
        interval_ms, limited_by = QUEUE_CPU_MS / VCPU_SHARE, "CPU"
    else:
        each_second = fleet.idle_closes_per_second + fleet.questions_per_second
        found = each_second * fleet.sweep_interval_s
        # Of those that are asked about, some are closed; where nobody is asked, all are.
        closed = fleet.idle_closes_per_second / each_second if fleet.is_asked else 1.0
        cpu_ms = closed * fleet.close_cpu_ms + (1 - closed) * QUESTION_CPU_MS
        latency_ms = closed * CLOSE_LATENCY_MS + (1 - closed) * QUESTION_LATENCY_MS
        interval_ms, limited_by = max(
            (cpu_ms / VCPU_SHARE, "CPU"),
            (latency_ms / CLOSES_IN_FLIGHT, "latency"),
            # The shards share the pace.
            (closed * Pace(fleet.closes_per_second, shared_by=shards).interval_ms, "pace"),
        )
    # Pages to read for each connection that is found; what is not read beside it is read after it.
    # Of far less than one in a sweep there is no rate to speak of.
    pages_each = pages / found if found > _LEAST else 0.0
    left = max(0.0, pages_each - interval_ms / slow_ms)
    return Sweep(
        precise=fleet.precise,
        shards=shards,
        pages=pages,
        scan_s=pages * fast_ms / 1000 / shards,
        found=found,
        interval_ms=interval_ms,
        limited_by=limited_by,
        step_ms=interval_ms + left * fast_ms,
    )


def queued_per_sweep(fleet: Fleet) -> tuple[float, float]:
    """Return how many silent and how many live connections a ``precise`` sweep queues.

    The look-ahead is longer than the interval, so two sweeps queue some of the silent ones; the
    claim lets one message close. A live connection is queued if it would be idle within the
    look-ahead without its next message. A record's age is even from 0 to the time between two
    recorded messages.
    """
    recorded_every_s = fleet.heartbeats_per_recorded_time * fleet.heartbeat_s
    silent = live = 0.0
    for share, grace_s in fleet.graces:
        ahead_s, closes = min(float(LOOK_AHEAD_S), grace_s), share * fleet.idle_closes_per_second
        silent += closes * max(fleet.sweep_interval_s, ahead_s)
        talking = max(0.0, share * fleet.connections - closes * grace_s)
        live += talking * max(0.0, recorded_every_s - (grace_s - ahead_s)) / recorded_every_s
    return silent, live


def inline_lateness_s(fleet: Fleet, sweep: Sweep) -> Percentiles | None:
    """Return how late closes by sweeps are, seconds; None if sweeps fall behind."""
    if not sweep.fits:
        return None
    samples = [
        fleet.sweep_interval_s * sample / _SAMPLES + sweep.acts_after_s(sample * _GOLDEN_RATIO % 1)
        for sample in range(_SAMPLES)
    ]
    return {**_percentiles(samples), "max": fleet.sweep_interval_s + sweep.duration_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What the close functions get from the queue with ``precise``, on average.

    ``functions`` close at once at most. ``live`` are the connections between two heartbeats that
    one sweep queues beside the silent ones. ``per_second_at_most`` counts a turn for each, which
    live ones do not take: it is on the safe side. An invocation gets ``batch`` messages and runs
    for ``batch_s``. ``late_s`` is how late closes are, None if they fall further and further
    behind.
    """

    functions: int
    live: float
    per_second: float
    per_second_at_most: float
    limited_by: str
    batch: float
    batch_s: float
    late_s: Percentiles | None

    @property
    def keeps_up(self) -> bool:
        """Whether the close functions take messages faster than they come."""
        return self.per_second < self.per_second_at_most


def simulate_queue(fleet: Fleet, sweep: Sweep) -> Queue:
    """Return what close functions do with what this sweep of a ``precise`` fleet queues.

    The simulation draws from a seeded generator: the same fleet has the same result.
    """
    functions = close_functions(fleet.closes_per_second)
    turn_s = Pace(fleet.closes_per_second, shared_by=functions).interval_ms / 1000
    each_s, limited_by = max((fleet.close_cpu_ms / VCPU_SHARE / 1000, "CPU"), (turn_s, "pace"))
    silent, live = queued_per_sweep(fleet)
    per_second = (silent + live) / fleet.sweep_interval_s
    # Functions that cannot keep up find ten messages every time: a turn for the batch, nine from
    # the first close to the last, and the calls of the last, or its turn if that is longer.
    batch, late_s = float(MAX_QUEUE_BATCH), None
    batch_s = turn_s + (MAX_QUEUE_BATCH - 1) * each_s + max(each_s, CLOSE_LATENCY_MS / 1000)
    at_most = functions * MAX_QUEUE_BATCH / batch_s
    if per_second < at_most and sweep.fits:
        messages = sorted(_messages(fleet, sweep, live_per_second=live / fleet.sweep_interval_s))
        batches, billed_s, late = _close(messages, functions, turn_s=turn_s, each_s=each_s)
        batch, batch_s, late_s = len(messages) / batches, billed_s / batches, _percentiles(late)
    return Queue(
        functions=functions,
        live=live,
        per_second=per_second,
        per_second_at_most=at_most,
        limited_by=limited_by,
        batch=batch,
        batch_s=batch_s,
        late_s=late_s,
    )


def _messages(
    fleet: Fleet, sweep: Sweep, *, live_per_second: float
) -> Iterator[tuple[float, float]]:
    """Yield when each message arrives, and its deadline: infinity for a live connection."""
    draw = random.Random(1).random  # noqa: S311 - seeded, so that a plan is the same every time
    interval_s, ahead_s = fleet.sweep_interval_s, min(float(LOOK_AHEAD_S), fleet.shortest_grace_s)
    # A fleet in which nobody falls silent is planned as if somebody did, very seldom.
    silent_per_second = max(fleet.idle_closes_per_second, 1e-6)
    most_s = _MOST_MESSAGES / (silent_per_second + live_per_second)
    lasts_s = max(interval_s, min(most_s, _SAMPLES / silent_per_second))
    for _ in range(round(live_per_second * lasts_s)):
        yield draw() * lasts_s, math.inf
    for _ in range(max(1, round(silent_per_second * lasts_s))):
        deadline_s, acts_after_s = draw() * lasts_s, sweep.acts_after_s(draw())
        first = math.ceil((deadline_s - ahead_s) / interval_s)
        # Every sweep that starts before the deadline queues it; the next one if there is none.
        for number in range(first, max(first + 1, math.ceil(deadline_s / interval_s))):
            queued_s = number * interval_s + acts_after_s
            yield queued_s + max(0, math.floor(deadline_s - queued_s)) + DELIVERY_S, deadline_s


def _close(
    messages: Sequence[tuple[float, float]], functions: int, *, turn_s: float, each_s: float
) -> tuple[int, float, Sequence[float]]:
    """Return the number of batches, their billed seconds in all, and how late closes were.

    ``messages`` are in the order of their arrival. A free function takes a message at once, alone;
    only those that found no free function are taken together. A batch takes a turn of the pace for
    itself, ``turn_s``; closes then follow one another every ``each_s``.
    """
    calls_s = CLOSE_LATENCY_MS / 1000
    free_s = [-math.inf] * functions
    done_s: dict[float, float] = {}
    taken, batches, billed_s = 0, 0, 0.0
    while taken < len(messages):
        start_s = max(messages[taken][0], free_s[0])
        next_ten = enumerate(messages[taken : taken + MAX_QUEUE_BATCH])
        deadlines = [d for n, (at_s, d) in next_ten if at_s < start_s or not n]
        taken, batches = taken + len(deadlines), batches + 1
        next_s, end_s = start_s + turn_s, start_s + calls_s
        for deadline_s in sorted(deadlines):
            # Live connections, and those that are closed by now, are not waited for.
            if deadline_s < math.inf and done_s.get(deadline_s, math.inf) > start_s:
                close_s = max(next_s, deadline_s)
                next_s, end_s = close_s + each_s, close_s + calls_s
                done_s[deadline_s] = min(end_s, done_s.get(deadline_s, math.inf))
        billed_s += end_s - start_s
        heapq.heapreplace(free_s, max(next_s, end_s))
    return batches, billed_s, [done - deadline_s for deadline_s, done in done_s.items()]


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    ordered = sorted(seconds)
    found = {f"p{percent}": ordered[len(ordered) * percent // 100] for percent in (50, 95, 99)}
    return {"mean": sum(ordered) / len(ordered), **found, "max": ordered[-1]}
