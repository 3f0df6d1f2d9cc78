"""The sessions table and the transactions over both tables, in memory."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from typing import assert_never

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Role, Session, role_of
from hangup.testing.connections import InMemoryConnections
from hangup.testing.faults import Faults, aws_call


class InMemorySessions:
    """``SessionsRepository`` of the sessions of these connections."""

    def __init__(self, connections: InMemoryConnections, faults: Faults | None = None) -> None:
        self.sessions: dict[str, Session] = {}
        self._claims: dict[str, EpochMs] = {}
        self._connections = connections
        self._faults = faults or Faults()
        self._transaction = Lock()

    @aws_call("GetItem")
    def get(self, session_id: str) -> Session | None:
        """Return the session, ``None`` if there is none."""
        return self.sessions.get(session_id)

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners."""
        with self._faults.call("Query", session_id):
            found = [
                record.connection
                for record in self._connections.records.values()
                if record.connection.session_id == session_id
                and role_of(record.connection) is Role.LISTENER
            ]
        yield from found

    @aws_call("TransactWriteItems")
    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and update the session."""
        with self._transaction:
            return self._join(connection)

    @aws_call("UpdateItem")
    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Refuse any further join, and claim the session for the caller."""
        with self._transaction:
            session = self.sessions.get(speaker.session_id or "")
            if session is None or session.speaker_connection_id != speaker.connection_id:
                return EndRefusal.NOT_ITS_SPEAKER
            if self._claims.get(session.session_id, 0) > now_ms:
                return EndRefusal.BEING_ENDED
            self._claims[session.session_id] = claim_expires_ms
            return self._end(session, now_ms)

    @aws_call("TransactWriteItems")
    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and update the session."""
        with self._transaction:
            return self._leave(connection, now_ms)

    def _join(self, connection: Connection) -> JoinOutcome:
        if connection.connection_id in self._connections.records:
            return JoinOutcome.JOINED
        session_id = connection.session_id or ""
        session = self.sessions.get(session_id)
        match role_of(connection):
            case Role.LISTENER:
                if session is None or not session.is_active:
                    return JoinOutcome.SESSION_NOT_ACTIVE
                session = replace(session, listener_count=session.listener_count + 1)
            case Role.SPEAKER:
                if session is not None and session.is_active:
                    return JoinOutcome.SPEAKER_PRESENT
                self._claims.pop(session_id, None)
                session = Session(
                    session_id=session_id,
                    is_active=True,
                    speaker_connection_id=connection.connection_id,
                    listener_count=session.listener_count if session else 0,
                    started_at_ms=connection.connected_at_ms or EpochMs(0),
                )
            case None:
                raise ValueError(f"a connection with role {connection.role!r} is in no session")
            case unexpected:
                assert_never(unexpected)
        self.sessions[session_id] = session
        self._connections.put(connection)
        return JoinOutcome.JOINED

    def _leave(self, connection: Connection, now_ms: EpochMs) -> LeaveOutcome:
        if self._connections.records.pop(connection.connection_id, None) is None:
            return LeaveOutcome.ALREADY_LEFT
        session = self.sessions.get(connection.session_id or "")
        if session is None:
            return LeaveOutcome.SESSION_UNTOUCHED
        match role_of(connection):
            case Role.LISTENER:
                if session.listener_count > 0:
                    self.sessions[session.session_id] = replace(
                        session, listener_count=session.listener_count - 1
                    )
                    return LeaveOutcome.LISTENER_LEFT
            case Role.SPEAKER:
                if session.speaker_connection_id == connection.connection_id:
                    self._end(session, now_ms)
                    self._claims.pop(session.session_id, None)
                    return LeaveOutcome.SESSION_ENDED
            case None:
                pass  # in no session
            case unexpected:
                assert_never(unexpected)
        return LeaveOutcome.SESSION_UNTOUCHED

    def _end(self, session: Session, now_ms: EpochMs) -> Session:
        ended_at_ms = now_ms if session.ended_at_ms is None else session.ended_at_ms
        ended = replace(session, is_active=False, ended_at_ms=ended_at_ms)
        self.sessions[session.session_id] = ended
        return ended
