"""Fakes for tests of Hangup and of code that uses it: everything in memory, nothing patched.

    world = InMemoryWorld()
    world.gateway.open("c1")
    world.sessions.join(Connection(connection_id="c1", ...))

The fakes keep to the same contract suite as the adapters (``tests/contract``), so what holds here
holds against DynamoDB. They are no stores: everything is lost with the object.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hangup.core.model import Connection, DurationMs, EpochMs, JsonObject, Role, Session
from hangup.core.report import Count
from hangup.errors import BackendError
from hangup.ports import (
    ActivityOutcome,
    CloseOutcome,
    JoinOutcome,
    LeaveOutcome,
    PostOutcome,
    ScanPage,
)

__all__ = [
    "FakeClock",
    "Faults",
    "InMemoryConnections",
    "InMemoryFunctions",
    "InMemoryGateway",
    "InMemorySessions",
    "InMemoryWorld",
    "RecordingLog",
    "RecordingMetrics",
]

START_MS = EpochMs(1_700_000_000_000)


@dataclass(slots=True)
class FakeClock:
    """``Clock`` that stands still until it is told, or slept, forward."""

    ms: int = START_MS

    def now_ms(self) -> EpochMs:
        """Return the time that was set."""
        return EpochMs(self.ms)

    def sleep(self, duration_ms: DurationMs) -> None:
        """Move the time forward at once."""
        self.ms += duration_ms

    def advance(self, *, seconds: float) -> EpochMs:
        """Move the time forward and return it."""
        self.ms += round(seconds * 1000)
        return EpochMs(self.ms)


@dataclass(slots=True)
class Faults:
    """Errors to come: ``faults.fail("DeleteConnection")`` fails the next such call."""

    planned: dict[str, list[BackendError]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda _operation, _key: None
    """Called before every operation with its name and the connection or session it is about; a
    test can make something happen in between by it."""

    def fail(self, operation: str, *, times: int = 1, retryable: bool = True) -> None:
        """Make the next ``times`` calls of an AWS operation fail, with nothing done."""
        error = BackendError(operation, "InternalServerError", "planned", retryable=retryable)
        self.planned.setdefault(operation, []).extend([error] * times)

    def check(self, operation: str, key: str = "") -> None:
        """Raise the next planned error of this operation, if there is one."""
        self.before(operation, key)
        if self.planned.get(operation):
            raise self.planned[operation].pop(0)


@dataclass(slots=True)
class _Record:
    connection: Connection
    claim_expires_ms: EpochMs | None = None


class InMemoryConnections:
    """``ConnectionsRepository`` in a dictionary; ``page_size`` is records read per scan page."""

    def __init__(self, faults: Faults | None = None, *, page_size: int = 100) -> None:
        self.records: dict[str, _Record] = {}
        self._faults = faults or Faults()
        self._page_size = page_size

    def put(self, connection: Connection) -> None:
        """Write a record as it is, of whatever shape."""
        self.records[connection.connection_id] = _Record(connection)

    def get(self, connection_id: str) -> Connection | None:
        """Return the record, ``None`` if there is none."""
        self._faults.check("GetItem", connection_id)
        record = self.records.get(connection_id)
        return None if record is None else record.connection

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record."""
        self._faults.check("Scan")
        yield from [record.connection for record in self.records.values()]

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment; a record is in the same segment in every scan."""
        ids = sorted(self.records)[segment::total_segments]
        for start in range(0, max(len(ids), 1), self._page_size):
            self._faults.check("Scan", str(segment))
            page = [
                self.records[i].connection
                for i in ids[start : start + self._page_size]
                if i in self.records
            ]
            yield ScanPage(
                candidates=[c for c in page if _is_candidate(c, cutoff_ms)],
                scanned_count=len(page),
            )

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim unless there was activity since, or another claim holds."""
        self._faults.check("UpdateItem", connection.connection_id)
        record = self.records.get(connection.connection_id)
        if record is None or connection.last_seen_ms is None:
            return False
        now = record.connection
        if (now.last_activity_ms is None) != (connection.last_activity_ms is None):
            return False
        if now.last_activity_ms is None and "lastActivityTime" in now.malformed:
            return False
        if now.last_seen_ms is None or now.last_seen_ms > connection.last_seen_ms:
            return False
        if record.claim_expires_ms is not None and record.claim_expires_ms > now_ms:
            return False
        record.claim_expires_ms = claim_expires_ms
        return True

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give the claim back."""
        self._faults.check("UpdateItem", connection.connection_id)
        record = self.records.get(connection.connection_id)
        if record is not None:
            record.claim_expires_ms = None
            if noticed_at_ms is not None:
                record.connection = replace(record.connection, noticed_at_ms=noticed_at_ms)

    def adopt(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times."""
        self._faults.check("UpdateItem", connection_id)
        record = self.records.get(connection_id)
        if record is None or record.connection.malformed:
            return False
        if record.connection.last_seen_ms is not None:
            return False
        record.connection = replace(record.connection, last_activity_ms=now_ms)
        return True

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward."""
        self._faults.check("UpdateItem", connection_id)
        record = self.records.get(connection_id)
        if record is None:
            return ActivityOutcome.NO_RECORD
        last_ms = record.connection.last_activity_ms
        if last_ms is not None and now_ms - last_ms < max(resolution_ms, 1):
            return ActivityOutcome.ALREADY_RECORDED
        malformed = tuple(n for n in record.connection.malformed if n != "lastActivityTime")
        record.connection = replace(record.connection, last_activity_ms=now_ms, malformed=malformed)
        return ActivityOutcome.RECORDED


def _is_candidate(connection: Connection, cutoff_ms: EpochMs) -> bool:
    if connection.last_activity_ms is None and connection.malformed:
        return True
    last_seen_ms = connection.last_seen_ms
    return last_seen_ms is None or last_seen_ms < cutoff_ms


class InMemorySessions:
    """``SessionsRepository`` beside the connections of the same world."""

    def __init__(self, connections: InMemoryConnections, faults: Faults | None = None) -> None:
        self.sessions: dict[str, Session] = {}
        self._connections = connections
        self._faults = faults or Faults()

    def get(self, session_id: str) -> Session | None:
        """Return the session, ``None`` if there is none."""
        self._faults.check("GetItem", session_id)
        return self.sessions.get(session_id)

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners."""
        self._faults.check("Query", session_id)
        yield from [
            record.connection
            for record in self._connections.records.values()
            if record.connection.session_id == session_id
            and record.connection.role is Role.LISTENER
        ]

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and the session's part of it."""
        self._faults.check("TransactWriteItems", connection.connection_id)
        if connection.connection_id in self._connections.records:
            return JoinOutcome.JOINED
        session_id = connection.session_id or ""
        session = self.sessions.get(session_id)
        if connection.role is Role.LISTENER:
            if session is None or not session.is_active:
                return JoinOutcome.SESSION_NOT_ACTIVE
            session = replace(session, listener_count=session.listener_count + 1)
        else:
            if session is not None and session.is_active:
                return JoinOutcome.SPEAKER_PRESENT
            session = Session(
                session_id=session_id,
                is_active=True,
                speaker_connection_id=connection.connection_id,
                listener_count=session.listener_count if session else 0,
                started_at_ms=connection.connected_at_ms or EpochMs(0),
            )
        self.sessions[session_id] = session
        self._connections.put(connection)
        return JoinOutcome.JOINED

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and settle the session."""
        self._faults.check("TransactWriteItems", connection.connection_id)
        if self._connections.records.pop(connection.connection_id, None) is None:
            return LeaveOutcome.ALREADY_LEFT
        session = self.sessions.get(connection.session_id or "")
        if session is not None:
            if connection.role is Role.LISTENER and session.listener_count > 0:
                self.sessions[session.session_id] = replace(
                    session, listener_count=session.listener_count - 1
                )
                return LeaveOutcome.LISTENER_LEFT
            speaks = session.speaker_connection_id == connection.connection_id
            if connection.role is Role.SPEAKER and session.is_active and speaks:
                self.sessions[session.session_id] = replace(
                    session, is_active=False, ended_at_ms=now_ms
                )
                return LeaveOutcome.SESSION_ENDED
        return LeaveOutcome.SESSION_UNTOUCHED


class InMemoryGateway:
    """``Gateway`` over sockets that are only their ids, and what each was sent."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.open_ids: set[str] = set()
        self.sent: dict[str, list[JsonObject]] = {}
        self._faults = faults or Faults()

    def open(self, connection_id: str) -> None:
        """Open a socket."""
        self.open_ids.add(connection_id)

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Deliver a message if the socket is open."""
        self._faults.check("PostToConnection", connection_id)
        if connection_id not in self.open_ids:
            return PostOutcome.GONE
        self.sent.setdefault(connection_id, []).append(message)
        return PostOutcome.POSTED

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close the socket if it is open."""
        self._faults.check("DeleteConnection", connection_id)
        if connection_id not in self.open_ids:
            return CloseOutcome.ALREADY_GONE
        self.open_ids.remove(connection_id)
        return CloseOutcome.CLOSED


class InMemoryFunctions:
    """``Functions`` that keep the events for the test to deliver, late, twice or never."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.events: list[JsonObject] = []
        self._faults = faults or Faults()

    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Queue an event."""
        self._faults.check("Invoke")
        self.events.append(event)


@dataclass(slots=True)
class RecordingMetrics:
    """``Metrics`` that remember every count."""

    counts: list[Count] = field(default_factory=list)

    def emit(self, counts: Sequence[Count]) -> None:
        """Remember the counts."""
        self.counts.extend(counts)

    def total(self, name: str, **dimensions: str) -> int:
        """Return the sum of a metric with exactly these dimensions."""
        return sum(c.value for c in self.counts if (c.name, c.dimensions) == (name, dimensions))


@dataclass(slots=True)
class RecordingLog:
    """``Log`` that remembers every line: level, event and fields."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("error", event, fields))

    def events(self, level: str) -> list[str]:
        """Return what was logged at this level."""
        return [event for logged, event, _ in self.lines if logged == level]


@dataclass(slots=True)
class InMemoryWorld:
    """All fakes, wired to one another and to one set of faults."""

    faults: Faults = field(default_factory=Faults)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)
    log: RecordingLog = field(default_factory=RecordingLog)
    connections: InMemoryConnections = field(init=False)
    sessions: InMemorySessions = field(init=False)
    gateway: InMemoryGateway = field(init=False)
    functions: InMemoryFunctions = field(init=False)

    def __post_init__(self) -> None:
        self.connections = InMemoryConnections(self.faults)
        self.sessions = InMemorySessions(self.connections, self.faults)
        self.gateway = InMemoryGateway(self.faults)
        self.functions = InMemoryFunctions(self.faults)
