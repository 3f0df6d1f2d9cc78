"""A connection's life beside the sweep: it joins, it is active, it leaves.

1. Nobody joins without a record, and no listener joins a session that is not active.
2. Activity moves a connection's last activity forward. An orphan is closed, so that its client
   comes back and is recorded.
3. Leaving is one transaction, and takes effect once, whoever asks and however often.
4. When a session ends, each listener is told, closed, and leaves through that transaction.
"""

from dataclasses import dataclass
from typing import Final

from hangup.core.messages import session_ended
from hangup.core.model import Connection, DurationMs, EpochMs, JoinRequest
from hangup.errors import BackendError, CleanupIncomplete
from hangup.ports import (
    ActivityOutcome,
    Clock,
    ConnectionsRepository,
    Gateway,
    JoinOutcome,
    LeaveOutcome,
    Log,
    SessionsRepository,
)

__all__ = ["Activity", "Cleanup", "join"]

_DRAIN_PASSES: Final = 5
_DRAIN_PAUSE_MS: Final = DurationMs(200)
"""Listeners are found through an index that lags behind by typically less than a second (DynamoDB
developer guide, eventual consistency of global secondary indexes): look again, not for ever."""


def join(
    request: JoinRequest, connection_id: str, *, sessions: SessionsRepository, now_ms: EpochMs
) -> JoinOutcome:
    """Record a new connection and its part in the session."""
    return sessions.join(
        Connection(
            connection_id=connection_id,
            session_id=request.session_id,
            role=request.role,
            target_language=request.target_language,
            connected_at_ms=now_ms,
            last_activity_ms=now_ms,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Records that clients are there. ``resolution_ms`` 0 writes on every message."""

    connections: ConnectionsRepository
    gateway: Gateway
    log: Log
    resolution_ms: DurationMs

    def record(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Record one activity; return False, having closed the connection, for an orphan."""
        outcome = self.connections.record_activity(
            connection_id, now_ms=now_ms, resolution_ms=self.resolution_ms
        )
        if outcome is not ActivityOutcome.NO_RECORD:
            return True
        self.log.warning("orphan closed: it has no record", connectionId=connection_id)
        self.gateway.delete_connection(connection_id)
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """Removes connections and settles their sessions."""

    connections: ConnectionsRepository
    sessions: SessionsRepository
    gateway: Gateway
    clock: Clock
    log: Log

    def disconnect(self, connection_id: str, *, session_id: str | None = None) -> LeaveOutcome:
        """Clean up after a connection that is closed.

        ``session_id`` is what the caller knows of it; it lets an invocation that is repeated
        because the one before ended in the middle go on with the listeners of an ended session.
        Raises ``CleanupIncomplete`` if a listener could not be closed yet: call again.
        """
        now_ms = self.clock.now_ms()
        connection = self.connections.get(connection_id)
        if connection is None:
            outcome = LeaveOutcome.ALREADY_LEFT
        else:
            session_id = connection.session_id
            outcome = self.sessions.leave(connection, now_ms=now_ms)
        self.log.info(
            "connection cleaned up",
            connectionId=connection_id,
            sessionId=session_id,
            role=connection.role if connection else None,
            outcome=outcome.name,
        )
        may_have_listeners = outcome in (LeaveOutcome.SESSION_ENDED, LeaveOutcome.ALREADY_LEFT)
        if session_id is not None and may_have_listeners:
            self._drain(session_id, speaker_connection_id=connection_id)
        return outcome

    def _drain(self, session_id: str, *, speaker_connection_id: str) -> None:
        """Tell, close and remove the listeners of the session that this speaker's leaving ended.

        Do nothing if the session is active (again), or if another speaker's leaving ended it.
        """
        first_error: BackendError | None = None
        for attempt in range(_DRAIN_PASSES):
            if attempt:
                self.clock.sleep(_DRAIN_PAUSE_MS)
            listeners = list(self.sessions.listeners(session_id))
            # Read after the listing: who is listed joined before, so if the session is not active
            # now, it has ended for each of them. And the count is exact where the index lags.
            session = self.sessions.get(session_id)
            if (
                session is None
                or session.is_active
                or session.speaker_connection_id != speaker_connection_id
                or session.listener_count == 0
            ):
                return
            for listener in listeners:
                error = self._close_listener(listener, session_id)
                first_error = first_error or error
        session = self.sessions.get(session_id)
        if session is None or session.is_active or session.listener_count == 0:
            return
        raise CleanupIncomplete(
            f"session {session_id} has ended, and {session.listener_count} of its listeners are "
            f"not closed yet; first error: {first_error or 'none, the index does not list them'}"
        )

    def _close_listener(self, listener: Connection, session_id: str) -> BackendError | None:
        """Return None once the listener is told, closed and removed; the error otherwise."""
        now_ms = self.clock.now_ms()
        message = session_ended(session_id=session_id, now_ms=now_ms)
        try:
            self.gateway.post_to_connection(listener.connection_id, message)
        except BackendError as error:
            self.log.warning("notice failed", connectionId=listener.connection_id, error=str(error))
        try:
            # Closed first, removed second: a socket without a record would be lost for good,
            # a record without a socket is found by the next sweep.
            self.gateway.delete_connection(listener.connection_id)
            self.sessions.leave(listener, now_ms=now_ms)
        except BackendError as error:
            self.log.error(
                "listener not closed", connectionId=listener.connection_id, error=str(error)
            )
            return error
        return None
