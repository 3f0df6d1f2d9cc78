"""How a connection joins a session and leaves it.

1. Nobody is in a session without a record.
2. A listener's join writes its record, then reads the session: it takes the record back if the run
   that it joined has ended. So nobody joins a session that has ended.
3. Leaving is one conditional delete. It takes effect once, whoever asks for it and how often.
4. When a session ends, each listener that the index lists is notified, closed and removed. The
   index lags without a bound. So the first message of a listener in a minute looks whether its run
   has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    has_ended,
    role_of,
)
from hangup.sessions.ports import SessionsRepository

_NOTHING_DONE: Final = {
    LeaveOutcome.ALREADY_LEFT: "connection was cleaned up before",
    LeaveOutcome.LEFT_TO_ANOTHER: "cleanup left to another invocation",
}
"""Log events of an invocation that did not clean up."""

_DRAIN_PAUSE_MS: Final = DurationMs(200)
"""Between two looks at the index. It typically lags by less than a second (DynamoDB developer
guide, global secondary indexes), and a listener may have joined right before the end."""

_LOOK_EVERY_MS: Final = DurationMs(60_000)


def join(
    request: JoinRequest, connection_id: str, *, sessions: SessionsRepository, now_ms: EpochMs
) -> JoinOutcome:
    """Record a new connection: a speaker starts the session, a listener joins an active one."""
    connection = Connection(
        connection_id=connection_id,
        session_id=request.session_id,
        role=request.role,
        target_language=request.target_language,
        connected_at_ms=now_ms,
        last_activity_ms=now_ms,
    )
    match request.role:
        case Role.SPEAKER:
            return sessions.start(connection)
        case Role.LISTENER:
            return _join_as_listener(connection, request.session_id, sessions)
        case unexpected:
            assert_never(unexpected)


def _join_as_listener(
    connection: Connection, session_id: str, sessions: SessionsRepository
) -> JoinOutcome:
    session = sessions.get(session_id)
    if session is None or not session.is_active:
        return JoinOutcome.SESSION_NOT_ACTIVE
    listener = replace(connection, session_run=session.run)
    # Repeated after an answer that was lost, it finds its own record.
    record = sessions.add(listener)
    if _membership(record) != _membership(listener):
        return JoinOutcome.ID_TAKEN
    # Read after the write: who ends the session after this read may find the record.
    if has_ended(sessions.get(session_id), session.run):
        # If this fails, the client is refused all the same, and the next sweep finds the record.
        sessions.remove(listener.connection_id)
        return JoinOutcome.SESSION_NOT_ACTIVE
    return JoinOutcome.JOINED


def _membership(connection: Connection) -> tuple[str | None, ...]:
    return connection.session_id, connection.role, connection.session_run


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

        The listeners of a speaker are removed before the speaker's own record. So if this stops
        half-way, the next sweep still finds the record. Raises ``CleanupIncomplete`` if
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
                outcome = self._remove(connection, LeaveOutcome.LEFT)
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

    def end(self, speaker: Connection, *, now_ms: EpochMs) -> EndRefusal | None:
        """End the speaker's session, and claim its listeners for ``claim_ms``."""
        claim_expires_ms = EpochMs(now_ms + self.claim_ms)
        return self.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=claim_expires_ms)

    def listeners(self, session_id: str) -> list[Connection]:
        """Return the records, as last written, of the listeners that the index lists."""
        ids = list(self.sessions.listener_ids(session_id))
        records = self.concurrent_map(self.connections.get, ids)
        return [record for record in records if record is not None]

    def close_listeners(self, listeners: Sequence[Connection]) -> list[BackendError]:
        """Notify, close and remove listeners; return an error for each that is not removed."""
        errors = self.concurrent_map(self._close_listener, listeners)
        return [error for error in errors if error is not None]

    def close_if_ended(self, before: Connection, *, now_ms: EpochMs) -> bool:
        """Close a listener whose run has ended; return whether it did.

        ``before`` is the record before the activity of ``now_ms``. Only the first activity in a
        minute of the clock looks, so that a listener costs at most one read a minute. A failure is
        logged: the activity is recorded, and the first one in another minute looks again.
        """
        if role_of(before) is not Role.LISTENER or not _is_first_in_its_minute(before, now_ms):
            return False
        try:
            session = self.sessions.get(before.session_id or "")
        except BackendError as error:
            self.log.error(
                "session of a listener not read",
                connectionId=before.connection_id,
                sessionId=before.session_id,
                error=str(error),
            )
            return False
        return has_ended(session, before.session_run) and self._close_listener(before) is None

    def _end_session(self, speaker: Connection, now_ms: EpochMs) -> LeaveOutcome:
        run = speaker.connection_id
        refusal = self.end(speaker, now_ms=now_ms)
        if refusal is EndRefusal.BEING_ENDED:
            # API Gateway's event and the sweep's often come together. Notify each listener once.
            return LeaveOutcome.LEFT_TO_ANOTHER
        # Another speaker has started the session again, or nobody has it any more: this run is
        # over all the same, and a cleanup that stopped half-way may have left listeners of it.
        self._drain(speaker.session_id or "", runs=(run,) if refusal else (run, None))
        return self._remove(speaker, LeaveOutcome.LEFT if refusal else LeaveOutcome.SESSION_ENDED)

    def _remove(self, connection: Connection, done: LeaveOutcome) -> LeaveOutcome:
        is_removed = self.sessions.remove(connection.connection_id)
        return done if is_removed else LeaveOutcome.ALREADY_LEFT

    def _drain(self, session_id: str, *, runs: Sequence[str | None]) -> None:
        """Notify, close and remove the listeners of runs that have ended.

        Look twice at least, and until the index lists none of them. Whom it lists later, the
        listener's next message finds (``close_if_ended``). Raises ``CleanupIncomplete``.
        """
        self._close_listed(session_id, runs)
        self.clock.sleep(_DRAIN_PAUSE_MS)
        while self._close_listed(session_id, runs):
            self.clock.sleep(_DRAIN_PAUSE_MS)

    def _close_listed(self, session_id: str, runs: Sequence[str | None]) -> bool:
        """Close those that the index lists now; return False if it lists none."""
        # The session may have been started again: its new run has listeners of its own.
        listeners = [one for one in self.listeners(session_id) if one.session_run in runs]
        errors = self.close_listeners(listeners)
        if errors:
            raise CleanupIncomplete(
                f"session {session_id} has ended, but {len(errors)} of its listeners could not "
                f"be closed yet; first error: {errors[0]}"
            ) from errors[0]
        return bool(listeners)

    def _close_listener(self, listener: Connection) -> BackendError | None:
        """Return None once the listener is notified, closed and removed; the error otherwise."""
        connection_id = listener.connection_id
        message = session_ended(session_id=listener.session_id or "", now_ms=self.clock.now_ms())
        try:
            self.gateway.post_to_connection(connection_id, message)
        except BackendError as error:
            self.log.warning("message failed", connectionId=connection_id, error=str(error))
        try:
            # Close first, remove second: nothing finds a connection without a record, but the next
            # sweep finds a record without a connection.
            self.gateway.delete_connection(connection_id)
            self.sessions.remove(connection_id)
        except BackendError as error:
            self.log.error("listener not closed", connectionId=connection_id, error=str(error))
            return error
        return None


def _is_first_in_its_minute(before: Connection, now_ms: EpochMs) -> bool:
    last_ms = before.last_activity_ms
    return last_ms is None or last_ms // _LOOK_EVERY_MS != now_ms // _LOOK_EVERY_MS
