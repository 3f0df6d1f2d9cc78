"""What must hold between sockets, connection records and sessions, and what it means if not.

1. A record's connection is there; if API Gateway does not know it, the record is a *ghost*.
2. A claim that expired is gone soon after: the sweep that takes the next one replaces it, the
   cleanup removes the record.
3. A listener's session exists.
4. An active session's speaker is on record; a session that has ended has no listeners on record.
5. A session counts as many listeners as are on record.

All of it is true between transactions, and some of it takes a moment: a cleanup that is under way
closes one listener after the other. Functions here judge what was read, and allow for that moment
where a time tells it; whoever reads a live system has to look twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.sessions.model import Session

__all__ = [
    "ExpiredClaim",
    "Ghost",
    "Kind",
    "LostListeners",
    "OrphanedSession",
    "StoredConnection",
    "SuspectedViolation",
    "UnreadableSession",
    "Violation",
    "WrongCount",
    "broken_about_connection",
    "is_claim_expired",
    "is_cleaning_up",
    "is_orphaned",
]

CLEANUP_MS: Final = DurationMs(60_000)
"""Longest that one cleanup can be at work: the time limit of the disconnect function."""

_CLAIM_SLACK_MS: Final = DurationMs(60_000)
"""A sweep a minute takes an expired claim over, so that one that is older has been forgotten."""


class Kind(StrEnum):
    """The names of what can be broken."""

    GHOST = "ghost"
    EXPIRED_CLAIM = "expired claim"
    LOST_LISTENERS = "lost listeners"
    ORPHANED_SESSION = "orphaned session"
    WRONG_COUNT = "wrong count"
    UNREADABLE_SESSION = "unreadable session"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConnection:
    """A connection record with its claim, ``None`` if there is none."""

    connection: Connection
    claim_expires_ms: EpochMs | None


@dataclass(frozen=True, slots=True)
class Ghost:
    """A record whose connection is gone."""

    connection: Connection
    kind = Kind.GHOST

    def __str__(self) -> str:
        who = self.connection
        of_session = f" of session {who.session_id}" if who.session_id else ""
        return f"{who.connection_id}, {who.role}{of_session}, is on record, and is gone"


@dataclass(frozen=True, slots=True)
class ExpiredClaim:
    """A claim that nobody can be acting on, on a connection that is there."""

    connection_id: str
    claim_expires_ms: EpochMs
    overdue_ms: DurationMs
    kind = Kind.EXPIRED_CLAIM

    def __str__(self) -> str:
        return f"{self.connection_id} carries a claim that expired {self.overdue_ms // 1000} s ago"


@dataclass(frozen=True, slots=True)
class LostListeners:
    """Listeners on record whose session does not exist."""

    session_id: str
    kind = Kind.LOST_LISTENERS

    def __str__(self) -> str:
        return f"session {self.session_id} does not exist, and has listeners on record"


@dataclass(frozen=True, slots=True)
class OrphanedSession:
    """An active session without its speaker's record, or an ended one with listeners on record."""

    session: Session
    kind = Kind.ORPHANED_SESSION

    def __str__(self) -> str:
        session = self.session
        if session.is_active:
            return (
                f"session {session.session_id} is active, and its speaker "
                f"{session.speaker_connection_id} is not on record"
            )
        return f"session {session.session_id} has ended, and has listeners on record"


@dataclass(frozen=True, slots=True)
class WrongCount:
    """A session whose ``listenerCount`` is not the number of its listeners on record."""

    session_id: str
    counted: int
    on_record: int
    kind = Kind.WRONG_COUNT

    def __str__(self) -> str:
        return (
            f"session {self.session_id} has a listenerCount of {self.counted}, and "
            f"{self.on_record} on record"
        )


@dataclass(frozen=True, slots=True)
class UnreadableSession:
    """A record in the sessions table that is no session; nobody can join it, or mend it here."""

    session_id: str
    kind = Kind.UNREADABLE_SESSION

    def __str__(self) -> str:
        return f"the record of session {self.session_id} lacks an attribute, or has one of no sense"


SuspectedViolation = Ghost | ExpiredClaim | LostListeners | OrphanedSession | UnreadableSession
"""What one look can show, and another confirm."""

Violation = SuspectedViolation | WrongCount
"""One broken invariant. ``str()`` says what is wrong, without a capital and a full stop."""


def broken_about_connection(
    audited: StoredConnection, *, is_gone: bool, now_ms: EpochMs, claim_ms: DurationMs
) -> Iterator[Ghost | ExpiredClaim]:
    """Yield what is broken about a record alone; ``claim_ms`` is how long a claim holds."""
    if is_gone:
        # Whatever else is odd about a ghost goes with it.
        yield Ghost(audited.connection)
        return
    expires_ms = audited.claim_expires_ms
    if expires_ms is not None and is_claim_expired(expires_ms, now_ms=now_ms, claim_ms=claim_ms):
        yield ExpiredClaim(
            audited.connection.connection_id, expires_ms, DurationMs(now_ms - expires_ms)
        )


def is_claim_expired(expires_ms: EpochMs, *, now_ms: EpochMs, claim_ms: DurationMs) -> bool:
    """Say whether a claim expired more than its own length and a minute ago."""
    return now_ms - expires_ms > claim_ms + _CLAIM_SLACK_MS


def is_orphaned(
    session: Session, *, speaker_on_record: bool, has_listeners: bool, now_ms: EpochMs
) -> bool:
    """Say whether a session is active without a speaker, or has ended and not for its listeners.

    While the speaker's record is there, a cleanup is at work, or will be tried again: for as long
    as one cleanup takes at most, an ended session with listeners is nothing broken.
    """
    if session.is_active:
        return not speaker_on_record
    return has_listeners and not (speaker_on_record and is_cleaning_up(session, now_ms))


def is_cleaning_up(session: Session, now_ms: EpochMs) -> bool:
    """Say whether a session ended so lately that its cleanup may still be at work."""
    return (
        not session.is_active
        and session.ended_at_ms is not None
        and now_ms - session.ended_at_ms <= CLEANUP_MS
    )
