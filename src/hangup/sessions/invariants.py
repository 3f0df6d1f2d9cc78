"""What must hold between connections, their records and sessions, and how it can be violated.

1. Each record has a connection. A record that API Gateway does not know is a *ghost*.
2. No expired claim stays for long: the next sweep replaces it, or a cleanup removes the record.
3. Each listener's session exists.
4. An active session's speaker has a record. An ended session has no listeners on record.
5. A session's ``listenerCount`` is the number of its listeners on record.

All of this holds between transactions, but some of it takes a moment: a cleanup closes one listener
after the other. The functions here judge what was read, and allow for that moment where a
timestamp shows it. On a live system, look twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.timing import CLAIM_MS, SWEEP_INTERVAL_S
from hangup.sessions.model import Session

_EXPIRED_AFTER_MS: Final = DurationMs(CLAIM_MS + SWEEP_INTERVAL_S * 1000)
"""Every sweep replaces the expired claims that it meets. An older one has been forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConnection:
    """A connection record and when its claim expires, ``None`` if it has no claim."""

    connection: Connection
    claim_expires_ms: EpochMs | None


@dataclass(frozen=True, slots=True)
class Ghost:
    """A record whose connection is gone."""

    connection: Connection
    kind = "ghost"

    @property
    def session_id(self) -> str | None:
        """The session that the record names."""
        return self.connection.session_id

    def __str__(self) -> str:
        ghost = self.connection
        return (
            f"connection {ghost.connection_id} is gone, but has a record"
            f" (role {ghost.role}, session {ghost.session_id})"
        )


@dataclass(frozen=True, slots=True)
class ExpiredClaim:
    """A claim so old that nobody acts on it any more, on a connection that still exists."""

    connection_id: str
    claim_expires_ms: EpochMs
    overdue_ms: DurationMs
    kind = "expired claim"
    session_id = None
    """The repair of a claim changes no session."""

    def __str__(self) -> str:
        return (
            f"connection {self.connection_id} has a claim"
            f" that expired {self.overdue_ms // 1000} s ago"
        )


@dataclass(frozen=True, slots=True)
class LostListeners:
    """Listeners on record whose session does not exist."""

    session_id: str
    kind = "lost listeners"

    def __str__(self) -> str:
        return f"session {self.session_id} does not exist, but has listeners on record"


@dataclass(frozen=True, slots=True)
class OrphanedSession:
    """An active session without its speaker's record, or an ended one with listeners on record."""

    session: Session
    kind = "orphaned session"

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.session.session_id

    def __str__(self) -> str:
        if self.session.is_active:
            speaker_id = self.session.speaker_connection_id
            return (
                f"session {self.session_id} is active, but its speaker {speaker_id} has no record"
            )
        return f"session {self.session_id} has ended, but has listeners on record"


@dataclass(frozen=True, slots=True)
class WrongCount:
    """A session whose ``listenerCount`` is not the number of its listeners on record."""

    session_id: str
    counted: int
    on_record: int
    kind = "wrong count"

    def __str__(self) -> str:
        return (
            f"session {self.session_id} has a listenerCount of {self.counted},"
            f" expected {self.on_record}"
        )


@dataclass(frozen=True, slots=True)
class UnreadableSession:
    """A record in the sessions table that is not a session. Nobody can join or repair it."""

    session_id: str
    kind = "unreadable session"

    def __str__(self) -> str:
        return f"the record of session {self.session_id} has a missing or invalid attribute"


SuspectedViolation = Ghost | ExpiredClaim | LostListeners | OrphanedSession | UnreadableSession
"""What one look can show, and a second look confirm."""

Violation = SuspectedViolation | WrongCount
"""One violation. ``kind`` names it, and ``str()`` says what is wrong, without a full stop."""


def violations_of(
    stored: StoredConnection, *, is_gone: bool, now_ms: EpochMs
) -> Iterator[Ghost | ExpiredClaim]:
    """Yield what one record violates. A claim that ended over two minutes ago is expired."""
    expires_ms = stored.claim_expires_ms
    if is_gone:
        # Nothing else matters: the repair of a ghost removes the whole record.
        yield Ghost(stored.connection)
    elif expires_ms is not None and now_ms - expires_ms > _EXPIRED_AFTER_MS:
        overdue_ms = DurationMs(now_ms - expires_ms)
        yield ExpiredClaim(stored.connection.connection_id, expires_ms, overdue_ms)


def is_orphaned(
    session: Session, *, speaker_on_record: bool, has_listeners: bool, now_ms: EpochMs
) -> bool:
    """Say whether an active session has no speaker, or an ended one still has listeners.

    While the speaker's record exists, a cleanup is running or will be repeated. So an ended session
    may have listeners for as long as one cleanup takes at most.
    """
    if session.is_active:
        return not speaker_on_record
    return has_listeners and not (speaker_on_record and is_cleaning_up(session, now_ms))


def is_cleaning_up(session: Session, now_ms: EpochMs) -> bool:
    """Say whether a session ended so recently that its cleanup may still be running."""
    return (
        not session.is_active
        and session.ended_at_ms is not None
        and now_ms - session.ended_at_ms <= CLAIM_MS
    )
