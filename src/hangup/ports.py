"""What the use cases need from the world, as protocols.

Adapters in ``hangup.aws`` speak to AWS, the fakes in ``hangup.testing`` keep everything in memory.
Every method raises ``BackendError`` for an answer that is no normal outcome of the operation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeVar

from hangup.core.due import Due
from hangup.core.model import (
    Connection,
    DurationMs,
    EpochMs,
    JsonObject,
    Session,
)
from hangup.core.report import Metric
from hangup.errors import BackendError

if TYPE_CHECKING:
    # For the audit alone; no handler should load the rules that it checks.
    from hangup.core.invariants import AuditedConnection, UnreadableSession

__all__ = [
    "ActivityOutcome",
    "Audit",
    "Clock",
    "CloseOutcome",
    "ConnectionsRepository",
    "DueQueue",
    "EndRefusal",
    "Functions",
    "Gateway",
    "JoinOutcome",
    "LeaveOutcome",
    "Log",
    "Metrics",
    "NotQueued",
    "ParallelMap",
    "PostOutcome",
    "ScanPage",
    "SessionsRepository",
]


class ActivityOutcome(Enum):
    """What became of one recorded activity."""

    RECORDED = auto()
    ALREADY_RECORDED = auto()
    """The stored time is as new, or newer than one resolution ago: nothing to write."""
    NO_RECORD = auto()
    """The connection is an orphan: it has no record, and none was made."""


class PostOutcome(Enum):
    """What became of a message to a connection. ``POSTED`` is no proof that the peer is there."""

    POSTED = auto()
    GONE = auto()


class CloseOutcome(Enum):
    """What became of a close."""

    CLOSED = auto()
    ALREADY_GONE = auto()


class JoinOutcome(Enum):
    """What became of a join. Only ``JOINED`` wrote anything."""

    JOINED = auto()
    SESSION_NOT_ACTIVE = auto()
    SPEAKER_PRESENT = auto()


class EndRefusal(Enum):
    """Why a session was not ended by a call that asked for it."""

    NOT_ITS_SPEAKER = auto()
    """The session is missing, or has another speaker."""
    BEING_ENDED = auto()
    """Another invocation is seeing to its listeners right now."""


class LeaveOutcome(Enum):
    """What became of a cleanup: who removed the record, and what that did to the session."""

    LISTENER_LEFT = auto()
    SESSION_ENDED = auto()
    SESSION_UNTOUCHED = auto()
    """The record is removed; its session is missing, or has another speaker, or counts no one."""
    ALREADY_LEFT = auto()
    """Somebody else removed the record: nothing was done."""
    LEFT_TO_ANOTHER = auto()
    """Another invocation is ending the session, and will remove the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPage:
    """One page of a sweep's scan: the candidates in it, and how many records DynamoDB read."""

    candidates: Sequence[Connection]
    scanned_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What became of an asynchronous invocation that failed for good, as JSON in ``body``.

    ``receipt`` is good for this receipt of the message alone.
    """

    message_id: str
    receipt: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotQueued:
    """What could not be queued, and why."""

    dues: Sequence[Due]
    error: BackendError


Item = TypeVar("Item")
Result = TypeVar("Result")


class ParallelMap(Protocol):
    """``map``, that of a thread pool, or ``aws.interleaving``: results in the order of the items.

    Where ``items`` is an iterator that waits (a sweep's closes do, for their turn), the map must
    take an item when it can begin it, and not before: a thread pool's takes them all.
    """

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterable[Result]:
        """Apply ``function`` to each item."""
        ...


class Clock(Protocol):
    """The time, and the one way to let some of it pass."""

    def now_ms(self) -> EpochMs:
        """Return the current time."""
        ...

    def sleep(self, duration_ms: DurationMs) -> None:
        """Return after about ``duration_ms`` milliseconds."""
        ...


class ConnectionsRepository(Protocol):
    """The connections table."""

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written (a consistent read), ``None`` if there is none."""
        ...

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, page by page, in no particular order."""
        ...

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment, each with only those records that may be idle.

        A candidate's last activity is before ``cutoff_ms`` (exclusive); or it has none and was
        connected before that; or it has neither; or the deciding attribute is no number.
        """
        ...

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the exclusive right to close the connection until ``claim_expires_ms``.

        Return False, having written nothing, if the client became active after ``connection`` was
        read, if somebody sent the notice for this silence since then, if the record is gone, or if
        another claim has not expired at ``now_ms``.
        """
        ...

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give a claim back, so that the next sweep may claim at once.

        ``noticed_at_ms`` (``None``: leave it as it is) keeps that sweep from a second notice. Do
        nothing if the record is gone.
        """
        ...

    def adopt(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times; return False if it has one by now."""
        ...

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the connection's last activity forward to ``now_ms``, never back.

        With a resolution, write only if the stored time is at least that old. Never create a
        record.
        """
        ...


class SessionsRepository(Protocol):
    """The sessions table, and what must change in it together with a connection record."""

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written (a consistent read), ``None`` if there is none."""
        ...

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners; one that joined a moment ago may still be missing."""
        ...

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and, in the same transaction, the session.

        A speaker starts the session, or starts it again after it ended; a listener is counted in
        a session that is active. Repeating a join that took effect is ``JOINED`` again.
        """
        ...

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Let nobody join the speaker's session any more, and return the session as it is now.

        The caller alone may see to the session's listeners until ``claim_expires_ms``. With a
        refusal nothing was written. The first time that a session ended stays its time.
        """
        ...

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and, in the same transaction, settle the session.

        A listener is subtracted from the count; a speaker ends the session if it is still the
        session's speaker. Takes effect once, however often and by whomever it is called.
        """
        ...


class Audit(Protocol):
    """Both tables, read in full and consistently, and the writes that only mend them.

    A write takes effect only if what it changes is what was seen. False means that it did not.
    """

    def connection_pages(self) -> "Iterator[Sequence[AuditedConnection]]":
        """Yield every connection record, page by page, in no particular order."""
        ...

    def session_pages(self) -> "Iterator[Sequence[Session | UnreadableSession]]":
        """Yield every session record, likewise."""
        ...

    def connection(self, connection_id: str) -> "AuditedConnection | None":
        """Return a record as last written, ``None`` if there is none."""
        ...

    def session(self, session_id: str) -> "Session | UnreadableSession | None":
        """Return a session as last written, ``None`` if there is none."""
        ...

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the session's listener count to ``correct`` if it still is ``seen``."""
        ...

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still expires when it was seen to."""
        ...


class DueQueue(Protocol):
    """The queue of connections that fall due, each delivered about when it is idle."""

    def send(self, dues: Sequence[Due]) -> NotQueued | None:
        """Queue up to ten; return what could not be queued, None if all are.

        Each is delivered at least once, and less than a second before it is idle at the earliest.
        What could not be queued may be delivered all the same, if only the answer was lost.
        """
        ...

    def postpone(self, receipt: str, *, delay_s: int) -> None:
        """Let a message that was received be delivered again, after so many seconds (0 to 900)."""
        ...


class DeadLetters(Protocol):
    """The queue of cleanups that failed for good."""

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages, hidden from others for now; none if the queue is empty."""
        ...

    def delete(self, letter: DeadLetter) -> None:
        """Take a message out of the queue for good."""
        ...

    def give_back(self, letter: DeadLetter) -> None:
        """Let a message be received again at once."""
        ...


class Gateway(Protocol):
    """The API Gateway Management API of one stage."""

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send a message, as JSON, to a connection."""
        ...

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection."""
        ...

    def last_active_ms(self, connection_id: str) -> EpochMs | None:
        """Return the last activity by API Gateway's own account; None if the connection is gone."""
        ...


class Functions(Protocol):
    """The disconnect handler, to be invoked."""

    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Queue one asynchronous invocation (``InvocationType=Event``)."""
        ...


class Metrics(Protocol):
    """CloudWatch metrics."""

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Put every count and every duration, in one go."""
        ...


class Log(Protocol):
    """Structured log lines: an event in words, and fields that say about what."""

    def info(self, event: str, **fields: object) -> None:
        """Log a normal outcome."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """Log something that went wrong and does not stop the work."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """Log something that failed and that somebody must look at, or that is tried again."""
        ...
