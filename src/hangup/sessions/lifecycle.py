"""How a connection joins a session and leaves it.

1. Nobody joins without a record, and no listener joins a session that is not active.
2. Leaving is one transaction. It takes effect once, no matter who asks for it and how often.
3. When a session ends, each listener is notified, closed, and leaves through that transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.timing import CLAIM_MS
from hangup.errors import BackendError, CleanupIncomplete
from hangup.ports import Clock, ConcurrentMap, ConnectionsRepository, Gateway, Log
from hangup.sessions.messages import session_ended
from hangup.sessions.model import (
    EndRefusal,
    JoinOutcome,
    JoinRequest,
    LeaveOutcome,
    Role,
    Session,
    role_of,
)
from hangup.sessions.ports import SessionsRepository

_NOTHING_DONE: Final = {
    LeaveOutcome.ALREADY_LEFT: "connection was cleaned up before",
    LeaveOutcome.LEFT_TO_ANOTHER: "cleanup left to another invocation",
}
"""Log events of an invocation that did not clean up."""

_DRAIN_PASSES: Final = 5
_DRAIN_PAUSE_MS: Final = DurationMs(200)
_INDEX_LAG_MS: Final = DurationMs(600_000)
"""Listeners are found through an index that lags, typically by less than a second (DynamoDB
developer guide, global secondary indexes). So list them several times, then ask for another
invocation. Ten minutes after the end of the session, trust the index and not the count."""


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
class Cleanup:
    """Removes connections and updates their sessions.

    ``claim_ms`` is how long one invocation alone may close the listeners of an ended session: the
    time limit of the function. Lambda repeats a failed invocation a minute later, so after that.
    """

    connections: ConnectionsRepository
    sessions: SessionsRepository
    gateway: Gateway
    clock: Clock
    log: Log
    concurrent_map: ConcurrentMap
    claim_ms: DurationMs = CLAIM_MS

    def disconnect(self, connection_id: str) -> LeaveOutcome:
        """Clean up after a connection that is closed.

        The listeners of a speaker leave before the speaker's own record is removed. So if this
        stops half-way, the next sweep still finds the record. Raises ``CleanupIncomplete`` if
        some listeners could not be closed yet: call again.
        """
        now_ms = self.clock.now_ms()
        connection = self.connections.get(connection_id)
        if connection is None:
            self.log.info("connection was cleaned up before", connectionId=connection_id)
            return LeaveOutcome.ALREADY_LEFT
        match role_of(connection):
            case Role.SPEAKER:
                outcome = self._end_session(connection, now_ms)
            case Role.LISTENER | None:
                outcome = self.sessions.leave(connection, now_ms=now_ms)
            case unexpected:
                assert_never(unexpected)
        self.log.info(
            _NOTHING_DONE.get(outcome, "connection cleaned up"),
            connectionId=connection_id,
            sessionId=connection.session_id,
            role=connection.role,
            outcome=outcome.name,
        )
        return outcome

    def end(self, speaker: Connection, *, now_ms: EpochMs) -> Session | EndRefusal:
        """End the speaker's session, and claim its listeners for ``claim_ms``."""
        claim_expires_ms = EpochMs(now_ms + self.claim_ms)
        return self.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=claim_expires_ms)

    def close_listeners(
        self, listeners: Sequence[Connection], *, session_id: str
    ) -> list[BackendError]:
        """Notify, close and remove listeners; return an error for each that is not removed."""
        close = partial(self._close_listener, session_id=session_id)
        return [error for error in self.concurrent_map(close, listeners) if error is not None]

    def _end_session(self, speaker: Connection, now_ms: EpochMs) -> LeaveOutcome:
        ended = self.end(speaker, now_ms=now_ms)
        if ended is EndRefusal.BEING_ENDED:
            # API Gateway's event and the sweep's often come together. Notify each listener once.
            return LeaveOutcome.LEFT_TO_ANOTHER
        if isinstance(ended, Session):
            self._drain(ended, now_ms)
        return self.sessions.leave(speaker, now_ms=now_ms)

    def _drain(self, session: Session, now_ms: EpochMs) -> None:
        """Notify, close and remove the listeners of a session that its speaker has ended."""
        session_id, speaker_id = session.session_id, session.speaker_connection_id
        for _ in range(_DRAIN_PASSES):
            listeners = list(self.sessions.listeners(session_id))
            # Read after the listing: each listed listener joined before. So if the session is not
            # active now, it has ended for all of them.
            now = self.sessions.get(session_id)
            if now is None or now.is_active or now.speaker_connection_id != speaker_id:
                return
            errors = self.close_listeners(listeners, session_id=session_id)
            if errors:
                raise CleanupIncomplete(
                    f"session {session_id} has ended, but {len(errors)} of its listeners could not "
                    f"be closed yet; first error: {errors[0]}"
                ) from errors[0]
            # The index lags, the count does not: it says whether a listener was missed.
            now = self.sessions.get(session_id) if listeners else now
            if now is None or now.listener_count == 0:
                return
            self.clock.sleep(_DRAIN_PAUSE_MS)
        ended_at_ms = session.ended_at_ms or now_ms
        if now_ms - ended_at_ms <= _INDEX_LAG_MS:
            raise CleanupIncomplete(
                f"session {session_id} has ended, but the index does not list all its listeners yet"
            )
        self.log.error(
            "listenerCount is wrong: it counts listeners that are not on record",
            sessionId=session_id,
        )

    def _close_listener(self, listener: Connection, session_id: str) -> BackendError | None:
        """Return None once the listener is notified, closed and removed; the error otherwise."""
        now_ms = self.clock.now_ms()
        message = session_ended(session_id=session_id, now_ms=now_ms)
        try:
            self.gateway.post_to_connection(listener.connection_id, message)
        except BackendError as error:
            self.log.warning(
                "message failed", connectionId=listener.connection_id, error=str(error)
            )
        try:
            # Close first, remove second: nothing finds a connection without a record, but the next
            # sweep finds a record without a connection.
            self.gateway.delete_connection(listener.connection_id)
            self.sessions.leave(listener, now_ms=now_ms)
        except BackendError as error:
            self.log.error(
                "listener not closed", connectionId=listener.connection_id, error=str(error)
            )
            return error
        return None
