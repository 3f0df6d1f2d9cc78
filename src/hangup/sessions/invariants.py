"""What must hold between connections, their records and sessions, and how it can be violated.

1. Each record has a connection. A record that API Gateway does not know is a *ghost*.
2. No expired claim stays for long: the next sweep replaces it, or a cleanup removes the record.
3. The run that a listener joined has not ended.
4. An active session's speaker has a record.
5. The times of a record are epoch milliseconds.

Some of it takes a moment: a cleanup closes one listener after the other, and a join that meets the
end of its session takes its record back. The functions here judge what was read, and allow for that
moment where a timestamp shows it. On a live system, look twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.policy import IdlePolicy, Unreadable, decide, looks_like
from hangup.core.timing import CLAIM_MS, SWEEP_INTERVAL_S
from hangup.sessions.model import Session, has_ended

_ANY_POLICY: Final = IdlePolicy(idle_timeout_ms=DurationMs(0), activity_resolution_ms=DurationMs(0))

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

    def __str__(self) -> str:
        return (
            f"connection {self.connection_id} has a claim"
            f" that expired {self.overdue_ms // 1000} s ago"
        )


@dataclass(frozen=True, slots=True)
class LostListeners:
    """Listeners on record whose run has ended, or whose session does not exist."""

    session_id: str
    kind = "lost listeners"

    def __str__(self) -> str:
        return (
            f"session {self.session_id} has listeners on record,"
            " but the run that they joined has ended"
        )


@dataclass(frozen=True, slots=True)
class OrphanedSession:
    """An active session without its speaker's record."""

    session: Session
    kind = "orphaned session"

    def __str__(self) -> str:
        session_id, speaker_id = self.session.session_id, self.session.speaker_connection_id
        return f"session {session_id} is active, but its speaker {speaker_id} has no record"


@dataclass(frozen=True, slots=True)
class UnreadableTime:
    """A record whose deciding time is invalid. No sweep closes its connection."""

    connection_id: str
    time: RecordedTime
    value: str
    kind = "unreadable time"

    def __str__(self) -> str:
        return (
            f"connection {self.connection_id} has a {self.time.value} of {self.value!r}"
            f" (expected epoch ms; it looks like {looks_like(self.value)})"
        )


@dataclass(frozen=True, slots=True)
class UnreadableSession:
    """A record in the sessions table that is not a session. Nobody can join or repair it."""

    session_id: str
    kind = "unreadable session"

    def __str__(self) -> str:
        return f"the record of session {self.session_id} has a missing or invalid attribute"


Violation = (
    Ghost | ExpiredClaim | LostListeners | OrphanedSession | UnreadableTime | UnreadableSession
)
"""One violation: what one look suspects, and a second look confirms.

``kind`` names it, and ``str()`` says what is wrong, without a full stop.
"""


def violations_of(
    stored: StoredConnection, *, is_gone: bool, now_ms: EpochMs
) -> Iterator[Ghost | ExpiredClaim | UnreadableTime]:
    """Yield what one record violates. A claim that ended over two minutes ago is expired."""
    expires_ms = stored.claim_expires_ms
    decision = decide(stored.connection, _ANY_POLICY, now_ms)
    if isinstance(decision, Unreadable):
        yield UnreadableTime(stored.connection.connection_id, *decision.time)
    # Without a time it may be no connection at all: nobody ever saw it as one.
    if is_gone and stored.connection.last_seen_ms is not None:
        # Nothing else matters: the repair of a ghost removes the whole record.
        yield Ghost(stored.connection)
    elif expires_ms is not None and now_ms - expires_ms > _EXPIRED_AFTER_MS:
        overdue_ms = DurationMs(now_ms - expires_ms)
        yield ExpiredClaim(stored.connection.connection_id, expires_ms, overdue_ms)


def is_lost(
    session: Session | None, run: str | None, *, speaker_on_record: bool, now_ms: EpochMs
) -> bool:
    """Say whether listeners of this run are left although it has ended.

    While the record of the run's speaker exists, a cleanup is running or will be repeated. So they
    may stay for as long as one cleanup takes at most.
    """
    if session is None:
        return True
    is_leaving = speaker_on_record and may_be_cleaning_up(session, now_ms)
    return has_ended(session, run) and not is_leaving


def may_be_cleaning_up(session: Session, now_ms: EpochMs) -> bool:
    """Say whether a run of the session ended so recently that its cleanup may still be running."""
    # An earlier run has ended before this one started.
    changed_ms = session.started_at_ms if session.is_active else session.ended_at_ms
    return changed_ms is not None and now_ms - changed_ms <= CLAIM_MS
