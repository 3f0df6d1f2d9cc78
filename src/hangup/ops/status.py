"""How a deployment is: its connections, its last sweeps, its alarms.

The connections are judged as a sweep judges them (``core.policy``), by what is on record alone: API
Gateway is not asked. Nothing is written.
"""

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import NO_ROLE
from hangup.core.policy import Close, IdlePolicy, Ignore, Keep, Unreadable, WithoutTime, decide
from hangup.core.timing import SWEEP_INTERVAL_S
from hangup.ports import ScanPage

EDGES_S: Final = (10, 30, 60, 120, 300, 600, 1_800, 3_600)
"""The bounds of the histogram: a connection is in the first class whose bound it is below."""

SOON_MS: Final = DurationMs(SWEEP_INTERVAL_S * 1000)
"""What is due soon is idle by then: the sweep after this time finds it."""

SWEEPS_MS: Final = DurationMs(15 * 60_000)
"""How far back sweeps are shown."""

_METRICS: Final = (
    "ConnectionsChecked",
    "IdleConnectionsDetected",
    "ConnectionsClosed",
    "CloseFailures",
    "SweepsHeld",
    "SweepsIncomplete",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A connection that is idle, or will be soon, by what is on record."""

    connection_id: str
    role: str | None
    deadline_ms: EpochMs


@dataclass(slots=True, kw_only=True)
class Crowd:
    """The records of connections at one moment, counted.

    ``most`` bounds how many of those that are due are kept, the earliest first; None keeps all.
    ``others`` are items that are not connections of this deployment, as far as they were read.
    """

    policy: IdlePolicy
    now_ms: EpochMs
    most: int | None
    items: int = 0
    connections: int = 0
    by_role: Counter[str] = field(default_factory=Counter)
    silent: Counter[int] = field(default_factory=Counter)
    """By the place of their class in ``EDGES_S``; what is above the last bound comes after it."""
    overdue: int = 0
    due_soon: int = 0
    without_time: int = 0
    unreadable: int = 0
    others: int = 0
    _due: list[tuple[int, str, str]] = field(default_factory=list)
    """A heap whose first is the latest of those that are kept: deadline (negative), id, role."""

    def add(self, page: ScanPage) -> None:
        """Count a page."""
        self.items += page.scanned_count
        self.others += page.others
        for connection in page.candidates:
            self._add(connection)

    def _add(self, connection: Connection) -> None:
        match decide(connection, self.policy, self.now_ms):
            case Ignore():
                self.others += 1
                return
            case Unreadable():
                self.unreadable += 1
            case WithoutTime():
                self.without_time += 1
            case Keep(deadline_ms):
                self._add_silence(connection)
                if deadline_ms < self.now_ms + SOON_MS:
                    self.due_soon += 1
                    self._keep(connection, deadline_ms)
            case Close():
                self._add_silence(connection)
                self.overdue += 1
                self._keep(connection, self.policy.deadline_of(connection))
        self.connections += 1
        self.by_role[connection.role or NO_ROLE] += 1

    def _add_silence(self, connection: Connection) -> None:
        idle_ms = self.now_ms - (connection.last_seen_ms or self.now_ms)
        self.silent[bisect_right(EDGES_S, idle_ms // 1000)] += 1

    def _keep(self, connection: Connection, deadline_ms: EpochMs) -> None:
        one = (-deadline_ms, connection.connection_id, connection.role or "")
        if self.most is None or len(self._due) < self.most:
            heapq.heappush(self._due, one)
        elif self.most:
            heapq.heappushpop(self._due, one)

    @property
    def due(self) -> Sequence[Due]:
        """Those that are due, the earliest deadline first."""
        return [
            Due(connection_id=one, role=role or None, deadline_ms=EpochMs(-negative_ms))
            for negative_ms, one, role in sorted(self._due, key=lambda due: (-due[0], due[1]))
        ]

    @property
    def histogram(self) -> Sequence[tuple[int | None, int]]:
        """How many are silent for less than each bound, in seconds; None is the class above all.

        Empty classes at both ends are left out.
        """
        if not self.silent:
            return []
        first, last = min(self.silent), max(self.silent)
        edges = (*EDGES_S, None)
        return [(edges[place], self.silent[place]) for place in range(first, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What the sweeps that began in one minute report together."""

    at_ms: EpochMs
    checked: int
    idle: int
    closed: int
    failures: int
    held: int
    incomplete: int


class Metrics(Protocol):
    """The metrics of a deployment."""

    def by_minute(
        self, names: Sequence[str], *, since_ms: EpochMs, until_ms: EpochMs
    ) -> Mapping[EpochMs, Mapping[str, int]]:
        """Return the sum of each metric in each minute that has any of them, by its start.

        Raises ``BackendError``.
        """


def crowd_of(
    pages: Iterator[ScanPage],
    policy: IdlePolicy,
    *,
    now_ms: EpochMs,
    most: int | None,
    progress: Callable[[str], None],
) -> Crowd:
    """Read and count all records; tell how far it is. Raises ``BackendError``."""
    crowd = Crowd(policy=policy, now_ms=now_ms, most=most)
    for page in pages:
        crowd.add(page)
        progress(f"Reading the table: {crowd.items:,} items, {crowd.connections:,} connections")
    return crowd


def last_sweeps(metrics: Metrics, *, now_ms: EpochMs) -> Sequence[Minute]:
    """Return the sweeps of the last minutes, the latest first. Raises ``BackendError``."""
    # Of whole minutes, and the one that has begun.
    since_ms = EpochMs((now_ms - SWEEPS_MS) // 60_000 * 60_000)
    minutes = metrics.by_minute(_METRICS, since_ms=since_ms, until_ms=EpochMs(now_ms + 60_000))
    return [
        Minute(
            at_ms=at_ms,
            checked=sums["ConnectionsChecked"],
            idle=sums.get("IdleConnectionsDetected", 0),
            closed=sums.get("ConnectionsClosed", 0),
            failures=sums.get("CloseFailures", 0),
            held=sums.get("SweepsHeld", 0),
            incomplete=sums.get("SweepsIncomplete", 0),
        )
        for at_ms, sums in sorted(minutes.items(), reverse=True)
        # The close function counts its closes in a minute of their own.
        if "ConnectionsChecked" in sums
    ]
