"""A discrete-event simulation of heartbeats, silences and sweeps: the planner's second opinion.

It knows the mechanism and none of the planner's formulas: connections talk, stop talking, are found
by a sweep that reads page after page, gathers a batch and closes it one after another while it
gathers the next. With ``precise`` the sweep looks ahead and queues them instead, each with its
delay in whole seconds, and a few functions take what the queue delivers, a batch at a time: each
waits for the deadlines of its batch, closes one after another, and is free for the next batch when
it has closed them all.

``draw`` returns evenly distributed numbers from 0 to below 1; with a seeded generator the whole run
is the same every time.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hangup.core.pacing import close_functions
from hangup.planner.assumptions import (
    BATCH_SIZE,
    CLOSE_LATENCY_MS,
    DELIVERY_S,
    LOOK_AHEAD_S,
    QUEUE_BATCH,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
)
from hangup.planner.fleet import Fleet

__all__ = ["Simulated", "simulate"]

_MOMENT_S = 0.001
"""At its deadline nobody is idle: a millisecond after it."""


@dataclass(slots=True, kw_only=True)
class Simulated:
    """What came of a run. Lists are in the order of the closes, durations seconds.

    ``silences_s`` counts from the last message, whether it was recorded or coalesced. What a sweep
    queued, with ``precise``, is in ``queued_per_sweep``, and ``closes_per_sweep`` is empty.
    """

    lateness_s: list[float] = field(default_factory=list)
    silences_s: list[float] = field(default_factory=list)
    closes_per_sweep: list[int] = field(default_factory=list)
    queued_per_sweep: list[int] = field(default_factory=list)
    heartbeats: int = 0
    moved: int = 0
    sweeps_incomplete: int = 0
    closed_while_talking: int = 0


@dataclass(slots=True, eq=False)
class _Client:
    """``place`` is where a scan meets it, 0 to below 1; it ends at ``until_s``, silent or not."""

    place: float
    until_s: float
    falls_silent: bool
    last_message_s: float
    recorded_s: float
    is_open: bool = True


_Message = tuple[_Client, float]
"""Who is due, and the deadline that a sweep saw."""

_Event = tuple[float, int, Callable[[float], None]]


@dataclass(slots=True, kw_only=True)
class _Run:
    fleet: Fleet
    page_s: float
    segment_page_s: float
    close_s: float
    queue_s: float
    draw: Callable[[], float]
    until_s: float
    measure_from_s: float
    result: Simulated = field(default_factory=Simulated)
    events: list[_Event] = field(default_factory=list)
    clients: set[_Client] = field(default_factory=set)
    messages: deque[_Message] = field(default_factory=deque)
    closers: int = field(init=False)
    closers_free: int = field(init=False)
    order: int = 0

    def __post_init__(self) -> None:
        self.closers = self.closers_free = close_functions(self.fleet.closes_per_second)

    def at(self, when_s: float, action: Callable[[float], None]) -> None:
        # The running number decides between events of one moment, so that no run differs.
        self.order += 1
        heapq.heappush(self.events, (when_s, self.order, action))

    def play(self) -> Simulated:
        for _ in range(self.fleet.connections):
            self.at(self.draw() * self.fleet.heartbeat_s, self.connect)
        self.at(self.fleet.sweep_interval_s, self.sweep)
        while self.events and self.events[0][0] <= self.until_s:
            now_s, _, action = heapq.heappop(self.events)
            action(now_s)
        return self.result

    def connect(self, now_s: float) -> None:
        # Exponential, so that a run is as steady at its start as at its end.
        talks_s = -self.mean_talk_s() * math.log(1 - self.draw())
        client = _Client(
            self.draw(),
            now_s + talks_s,
            self.draw() < self.fleet.idle_share,
            last_message_s=now_s,
            recorded_s=now_s,
        )
        self.clients.add(client)
        self.at(now_s + self.fleet.heartbeat_s, lambda at_s: self.heartbeat(client, at_s))

    def mean_talk_s(self) -> float:
        """Return how long a client talks, so that with silence and wait it lasts a lifetime."""
        fleet = self.fleet
        half_sweep_s = fleet.sweep_interval_s / 2
        late_s = 0.1 if fleet.precise else half_sweep_s
        silent_s = fleet.grace_s + late_s - fleet.heartbeat_s / 2
        waits_s = half_sweep_s + fleet.idle_share * silent_s
        return max(fleet.heartbeat_s, fleet.lifetime_s - waits_s)

    def heartbeat(self, client: _Client, now_s: float) -> None:
        if not client.is_open:
            return
        if now_s > client.until_s:
            if not client.falls_silent:
                self.end(client, now_s)
            return
        client.last_message_s = now_s
        self.result.heartbeats += 1
        if now_s - client.recorded_s >= self.fleet.resolution_s:
            client.recorded_s = now_s
            self.result.moved += 1
        self.at(now_s + self.fleet.heartbeat_s, lambda at_s: self.heartbeat(client, at_s))

    def end(self, client: _Client, now_s: float) -> None:
        client.is_open = False
        self.clients.discard(client)
        # Another comes after a random wait. Came it at once, all who were closed by one sweep would
        # have their heartbeats, and so their deadlines, at one distance from the sweeps.
        self.at(now_s + self.draw() * self.fleet.sweep_interval_s, self.connect)

    def sweep(self, now_s: float) -> None:
        self.at(now_s + self.fleet.sweep_interval_s, self.sweep)
        found = list(self.found(now_s))
        precise = self.fleet.precise
        if now_s >= self.measure_from_s:
            counts = self.result.queued_per_sweep if precise else self.result.closes_per_sweep
            counts.append(len(found))
        for when_s, client in found:
            if precise:
                self.queue((client, self.deadline_s(client)), when_s)
            else:
                self.at(when_s, lambda at_s, client=client: self.close(client, at_s))  # type: ignore[misc]

    def queue(self, message: _Message, now_s: float) -> None:
        _, deadline_s = message
        delay_s = math.floor(max(0.0, deadline_s - now_s))
        self.at(now_s + delay_s + DELIVERY_S, lambda at_s: self.deliver(message, at_s))

    def deliver(self, message: _Message, now_s: float) -> None:
        self.messages.append(message)
        self.receive(now_s)

    def receive(self, now_s: float) -> None:
        while self.messages and self.closers_free:
            self.closers_free -= 1
            size = min(QUEUE_BATCH, len(self.messages))
            batch = [self.messages.popleft() for _ in range(size)]
            self.at(self.close_batch(batch, now_s), self.closer_is_free)

    def closer_is_free(self, now_s: float) -> None:
        self.closers_free += 1
        self.receive(now_s)

    def close_batch(self, batch: list[_Message], now_s: float) -> float:
        """Close these when each has had its deadline; return when the function is free again."""
        turn_s = now_s
        # Who has spoken by now, or is closed, is not waited for.
        live = [each for each in batch if each[0].is_open and self.deadline_s(each[0]) <= each[1]]
        for client, deadline_s in sorted(live, key=lambda each: each[1]):
            turn_s = max(turn_s, deadline_s + _MOMENT_S)
            closed_s = turn_s + CLOSE_LATENCY_MS / 1000
            self.at(closed_s, lambda at_s, client=client: self.close(client, at_s))  # type: ignore[misc]
            turn_s += self.closers * self.close_s
        return turn_s

    def found(self, start_s: float) -> Iterator[tuple[float, _Client]]:
        """Yield what a sweep that starts now closes, or queues, and when."""
        until_s = start_s + (LOOK_AHEAD_S if self.fleet.precise else 0.0)
        act_s = self.queue_s if self.fleet.precise else self.close_s
        due = sorted(
            (c for c in self.clients if until_s > self.deadline_s(c)), key=lambda c: c.place
        )
        # A table's records per page do not matter here, only how many pages there are.
        record_pages = self.fleet.connections * self.fleet.record_bytes / 1_048_576
        parts = self.fleet.scan_segments
        pages = parts * max(1, math.ceil(record_pages / parts))
        gathered, found, page, is_late = list[_Client](), 0, 0, False

        def read_on(now_s: float, *, acts_until_s: float) -> float:
            """Read until a batch is gathered, or all is read; return when."""
            nonlocal found, page, is_late
            while page < pages and len(gathered) < BATCH_SIZE and not is_late:
                is_late = now_s - start_s > SCAN_BUDGET_S
                if not is_late:
                    page += 1
                    now_s += self.segment_page_s if now_s < acts_until_s else self.page_s
                while found < len(due) and due[found].place * pages < page:
                    gathered.append(due[found])
                    found += 1
            return now_s

        now_s = read_on(start_s, acts_until_s=start_s)
        while gathered:
            batch = gathered[:BATCH_SIZE]
            del gathered[:BATCH_SIZE]
            read_s = read_on(now_s, acts_until_s=now_s + len(batch) * act_s)
            for client in batch:
                if now_s - start_s > SWEEP_BUDGET_S:
                    # Whatever is left is left to the next sweep.
                    self.result.sweeps_incomplete += 1
                    return
                yield now_s, client
                now_s += act_s
            now_s = max(now_s, read_s)
        self.result.sweeps_incomplete += is_late

    def deadline_s(self, client: _Client) -> float:
        return client.recorded_s + self.fleet.grace_s

    def close(self, client: _Client, now_s: float) -> None:
        if not client.is_open or now_s <= self.deadline_s(client):
            return  # it has left, or spoke in time: the claim is lost
        if now_s >= self.measure_from_s:
            self.result.lateness_s.append(now_s - self.deadline_s(client))
            self.result.silences_s.append(now_s - client.last_message_s)
            self.result.closed_while_talking += not client.falls_silent
        self.end(client, now_s)


def simulate(  # noqa: PLR0913 - what the product knows, and what it is given
    fleet: Fleet,
    *,
    page_ms: float,
    segment_page_ms: float | None = None,
    close_interval_ms: float,
    queue_interval_ms: float = 0.0,
    sweeps: int,
    draw: Callable[[], float],
) -> Simulated:
    """Return what so many sweeps did, once the fleet is in its stride; one invocation each.

    ``page_ms`` is the time of a page where segments are read side by side, ``segment_page_ms`` (the
    same if not given) that of one that is read while what was found before is closed or queued.
    With ``precise`` a sweep takes ``queue_interval_ms`` for each that it queues, and
    ``close_interval_ms`` is that of all close functions together.

    A sweep that is not done in time starts where the one before did: the rotation of the product,
    which lets no part of the table starve, is left out.
    """
    settled_s = fleet.grace_s + 2 * fleet.sweep_interval_s
    # From a sweep to a sweep; half an interval keeps the bounds clear of both.
    first = math.ceil(settled_s / fleet.sweep_interval_s) + 1
    return _Run(
        fleet=fleet,
        page_s=page_ms / 1000,
        segment_page_s=(segment_page_ms or page_ms) / 1000,
        close_s=close_interval_ms / 1000,
        queue_s=queue_interval_ms / 1000,
        draw=draw,
        measure_from_s=(first - 0.5) * fleet.sweep_interval_s,
        until_s=(first + sweeps - 0.5) * fleet.sweep_interval_s,
    ).play()
