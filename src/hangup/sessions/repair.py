"""Repair what a check found.

1. Ghosts and lost listeners go through the one cleanup (``lifecycle.Cleanup``), which takes effect
   once.
2. A count or a claim is written only if it is still what the check saw.
3. Listeners of a session that is over are notified, closed and removed, in that order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from hangup.core.connection import Connection
from hangup.errors import BackendError, CleanupIncomplete
from hangup.ports import Clock, Gateway
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
from hangup.sessions.model import EndRefusal, LeaveOutcome, Role, Session
from hangup.sessions.ports import ConsistencyStore, SessionsRepository


@dataclass(frozen=True, slots=True)
class RepairResult:
    """One attempt to repair; ``failure`` is why it failed, ``None`` if it succeeded."""

    violation: Violation
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairer:
    """Repairs violations of every kind."""

    store: ConsistencyStore
    sessions: SessionsRepository
    gateway: Gateway
    cleanup: Cleanup
    clock: Clock

    def repair(self, violations: Sequence[Violation]) -> Iterator[RepairResult]:
        """Try to repair each once, and yield the results."""
        return map(self._try, _in_order(violations))

    def listeners_on_record(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners in the index that still have a record."""
        for listener in self.sessions.listeners(session_id):
            if self.store.connection(listener.connection_id) is not None:
                yield listener

    def _try(self, violation: Violation) -> RepairResult:
        try:
            return RepairResult(violation, self._repair(violation))
        except (BackendError, CleanupIncomplete) as error:
            return RepairResult(violation, str(error))

    def _repair(self, violation: Violation) -> str | None:
        """Return why the violation was not repaired, ``None`` if it was."""
        match violation:
            case Ghost(connection):
                done = self._clean_up(connection.connection_id)
            case ExpiredClaim(connection_id, claim_expires_ms):
                # The connection stays open: its client is there and may be active.
                done = self.store.drop_claim(connection_id, seen_ms=claim_expires_ms)
            case OrphanedSession(session):
                done = self._end(session)
            case LostListeners(session_id):
                done = self._close_listeners(session_id, still_lost=lambda now: now is None)
            case WrongCount(session_id, counted, on_record):
                done = self.store.correct_count(session_id, seen=counted, correct=on_record)
            case UnreadableSession():
                return "its correct value is unknown: remove the record, or repair it by hand"
            case unexpected:
                assert_never(unexpected)
        return None if done else "changed since the check"

    def _clean_up(self, connection_id: str) -> bool:
        return self.cleanup.disconnect(connection_id) is not LeaveOutcome.LEFT_TO_ANOTHER

    def _end(self, session: Session) -> bool:
        speaker_id = session.speaker_connection_id
        if self.store.connection(speaker_id) is not None:
            # A cleanup stopped half-way. It can start again from the record.
            self.gateway.delete_connection(speaker_id)
            return self._clean_up(speaker_id)
        speaker = Connection(
            connection_id=speaker_id, session_id=session.session_id, role=Role.SPEAKER
        )
        if isinstance(self.cleanup.end(speaker, now_ms=self.clock.now_ms()), EndRefusal):
            return False
        # If the speaker is still connected, it is an orphan: it reconnects and gets a record.
        self.gateway.delete_connection(speaker_id)
        return self._close_listeners(
            session.session_id,
            still_lost=lambda now: (
                isinstance(now, Session)
                and not now.is_active
                and now.speaker_connection_id == speaker_id
            ),
        )

    def _close_listeners(
        self,
        session_id: str,
        *,
        still_lost: Callable[[Session | UnreadableSession | None], bool],
    ) -> bool:
        """Notify, close and remove a session's listeners; return False if it has started again."""
        listeners = list(self.listeners_on_record(session_id))
        # Read after the listing: a listener that joins from here on is not in the list.
        if not still_lost(self.store.session(session_id)):
            return False
        errors = self.cleanup.close_listeners(listeners, session_id=session_id)
        if errors:
            raise errors[0]
        return True


def _in_order(violations: Sequence[Violation]) -> list[Violation]:
    """Return what to repair: wrong counts last, without those that another repair changes.

    Of an unreadable session only the session itself: no cleanup could change its count.
    """
    unreadable = {v.session_id for v in violations if isinstance(v, UnreadableSession)}
    others = [
        violation
        for violation in violations
        if isinstance(violation, UnreadableSession)
        or not (isinstance(violation, WrongCount) or violation.session_id in unreadable)
    ]
    changed = {violation.session_id for violation in others}
    counts = [v for v in violations if isinstance(v, WrongCount) and v.session_id not in changed]
    return others + counts
