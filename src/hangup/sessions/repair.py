"""Mend what a check found broken.

1. What is gone or lost goes through the one cleanup (``lifecycle.Cleanup``), and takes effect once.
2. A count or a claim is written only if it is still what was seen.
3. Listeners of a session that is over are told, closed and removed, in that order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError, CleanupIncomplete
from hangup.ports import Clock, ConcurrentMap, Gateway, Log
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    UnreadableSession,
    Violation,
    WrongCount,
)
from hangup.sessions.lifecycle import Cleanup
from hangup.sessions.messages import session_ended
from hangup.sessions.model import EndRefusal, LeaveOutcome, Role, Session
from hangup.sessions.ports import ConsistencyStore, SessionsRepository

__all__ = ["Repair", "RepairResult", "listeners_on_record"]


@dataclass(frozen=True, slots=True)
class RepairResult:
    """One attempt to mend; ``failure`` is why it did not work, ``None`` if it did."""

    broken: Violation
    failure: str | None = None


def listeners_on_record(
    session_id: str, *, sessions: SessionsRepository, store: ConsistencyStore
) -> Iterator[Connection]:
    """Yield the listeners that the index lists, and that are on record indeed."""
    for listener in sessions.listeners(session_id):
        if store.connection(listener.connection_id) is not None:
            yield listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The ways to mend each kind of breakage."""

    store: ConsistencyStore
    sessions: SessionsRepository
    gateway: Gateway
    cleanup: Cleanup
    clock: Clock
    log: Log
    concurrent_map: ConcurrentMap

    def mend(self, broken: Sequence[Violation]) -> Iterator[RepairResult]:
        """Try to mend each once, and yield what came of it."""
        return map(self._mended, _in_order(broken))

    def _mended(self, broken: Violation) -> RepairResult:
        try:
            return RepairResult(broken, self._repair(broken))
        except (BackendError, CleanupIncomplete) as error:
            return RepairResult(broken, str(error))

    def _repair(self, broken: Violation) -> str | None:
        """Return why it is not mended, ``None`` if it is."""
        done = True
        match broken:
            case Ghost(connection):
                done = self._clean_up(connection.connection_id)
            case ExpiredClaim(connection_id, claim_expires_ms):
                # Not closed: the client is there, and may be talking.
                done = self.store.drop_claim(connection_id, seen_ms=claim_expires_ms)
            case OrphanedSession(session):
                done = self._end(session)
            case LostListeners(session_id):
                done = self._close_listeners(
                    session_id, still_lost=lambda: self.store.session(session_id) is None
                )
            case WrongCount(session_id, counted, on_record):
                done = self.store.correct_count(session_id, seen=counted, correct=on_record)
            case UnreadableSession():
                return "what it should be is not known: remove the record, or mend it by hand"
            case unexpected:
                assert_never(unexpected)
        return None if done else "it has changed since, or somebody else is at it: left alone"

    def _clean_up(self, connection_id: str) -> bool:
        return self.cleanup.disconnect(connection_id) is not LeaveOutcome.LEFT_TO_ANOTHER

    def _end(self, session: Session) -> bool:
        speaker_id = session.speaker_connection_id
        if self.store.connection(speaker_id) is not None:
            # A cleanup stopped half-way, and its record is still there to start from.
            self.gateway.delete_connection(speaker_id)
            return self._clean_up(speaker_id)
        speaker = Connection(
            connection_id=speaker_id, session_id=session.session_id, role=Role.SPEAKER
        )
        now_ms = self.clock.now_ms()
        claim_expires_ms = EpochMs(now_ms + self.cleanup.claim_ms)
        ended = self.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=claim_expires_ms)
        if isinstance(ended, EndRefusal):
            return False
        # An orphan, if it is there at all: closed, it comes back and is recorded.
        self.gateway.delete_connection(speaker_id)

        def still_lost() -> bool:
            now = self.store.session(session.session_id)
            return (
                isinstance(now, Session)
                and not now.is_active
                and now.speaker_connection_id == speaker_id
            )

        return self._close_listeners(session.session_id, still_lost=still_lost)

    def _close_listeners(self, session_id: str, *, still_lost: Callable[[], bool]) -> bool:
        """Tell, close and clean up a session's listeners; return False if it has one again."""
        listeners = list(listeners_on_record(session_id, sessions=self.sessions, store=self.store))
        # Asked after the listing: whoever joins from here on is not on the list.
        if not still_lost():
            return False
        errors = list(self.concurrent_map(self._close_listener, listeners))
        for error in errors:
            if error is not None:
                raise error
        return True

    def _close_listener(self, listener: Connection) -> BackendError | None:
        message = session_ended(session_id=listener.session_id or "", now_ms=self.clock.now_ms())
        try:
            self.gateway.post_to_connection(listener.connection_id, message)
        except BackendError as error:
            self.log.warning("notice failed", connectionId=listener.connection_id, error=str(error))
        try:
            # Closed first: a socket without a record would be lost for good.
            self.gateway.delete_connection(listener.connection_id)
            self.cleanup.disconnect(listener.connection_id)
        except BackendError as error:
            return error
        return None


def _in_order(broken: Sequence[Violation]) -> Iterator[Violation]:
    """Yield the counts last, and not those that another mend will change.

    Nothing about a session that cannot be read but the session itself: no cleanup could settle it.
    """
    unreadable = {one.session_id for one in broken if isinstance(one, UnreadableSession)}
    others = [
        one
        for one in broken
        if isinstance(one, UnreadableSession)
        or (not isinstance(one, WrongCount) and _session_of(one) not in unreadable)
    ]
    yield from others
    changed = {_session_of(one) for one in others}
    yield from (
        one for one in broken if isinstance(one, WrongCount) and one.session_id not in changed
    )


def _session_of(broken: Violation) -> str | None:
    match broken:
        case Ghost(connection):
            return connection.session_id
        case OrphanedSession(session):
            return session.session_id
        case LostListeners(session_id) | UnreadableSession(session_id) | WrongCount(session_id):
            return session_id
        case ExpiredClaim():
            return None
        case unexpected:
            assert_never(unexpected)
