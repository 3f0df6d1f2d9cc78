"""Repair what a check found.

1. Ghosts and lost listeners go through the one cleanup (``lifecycle.Cleanup``), which takes effect
   once.
2. A claim is removed only if it is still what the check saw.
3. Listeners whose run has ended are notified, closed and removed, in that order.
"""

from collections.abc import Iterator, Sequence
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
    UnreadableTime,
    Violation,
)
from hangup.sessions.lifecycle import Cleanup
from hangup.sessions.model import LeaveOutcome, Role, Session, has_ended
from hangup.sessions.ports import ConsistencyStore


@dataclass(frozen=True, slots=True)
class RepairResult:
    """One attempt to repair; ``failure`` is why it failed, ``None`` if it succeeded."""

    violation: Violation
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairer:
    """Repairs violations of every kind."""

    store: ConsistencyStore
    gateway: Gateway
    cleanup: Cleanup
    clock: Clock

    def repair(self, violations: Sequence[Violation]) -> Iterator[RepairResult]:
        """Try to repair each once, and yield the results."""
        return map(self._try, violations)

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
                done = self._close_lost(session_id)
            case UnreadableSession() | UnreadableTime():
                return "its correct value is unknown: remove the record, or repair it by hand"
            case unexpected:
                assert_never(unexpected)
        return None if done else "changed since the check"

    def _clean_up(self, connection_id: str) -> bool:
        return self.cleanup.disconnect(connection_id) is not LeaveOutcome.LEFT_TO_ANOTHER

    def _end(self, session: Session) -> bool:
        speaker_id = session.speaker_connection_id
        speaker = Connection(
            connection_id=speaker_id, session_id=session.session_id, role=Role.SPEAKER
        )
        if self.store.connection(speaker_id) is not None:
            return False
        if self.cleanup.end(speaker, now_ms=self.clock.now_ms()) is not None:
            return False
        # If the speaker is still connected, it is an orphan: it reconnects and gets a record.
        self.gateway.delete_connection(speaker_id)
        self._close_lost(session.session_id)
        return True

    def _close_lost(self, session_id: str) -> bool:
        """Notify, close and remove the listeners whose run has ended; return whether any had."""
        listeners = self.cleanup.listeners(session_id)
        # Read after the listing: each of them joined its run before.
        session = self.store.session(session_id)
        if isinstance(session, UnreadableSession):
            return False
        lost = [listener for listener in listeners if has_ended(session, listener.session_run)]
        errors = self.cleanup.close_listeners(lost)
        if errors:
            raise errors[0]
        return bool(lost)
