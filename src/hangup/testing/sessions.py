"""The sessions table and the records of those who are in a session, in memory; and their check."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Lock

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import EndRefusal, JoinOutcome, Role, Session, role_of
from hangup.testing.connections import InMemoryConnections
from hangup.testing.faults import Faults, aws_call


class InMemorySessions:
    """``SessionsRepository`` of the sessions of these connections.

    ``unlisted`` are ids of listeners that the index does not list yet.
    """

    def __init__(self, connections: InMemoryConnections, faults: Faults | None = None) -> None:
        self.sessions: dict[str, Session] = {}
        self.unlisted: set[str] = set()
        self._claims: dict[str, EpochMs] = {}
        self._connections = connections
        self._faults = faults or Faults()
        self._transaction = Lock()

    @aws_call("GetItem")
    def get(self, session_id: str) -> Session | None:
        """Return the session, ``None`` if there is none."""
        return self.sessions.get(session_id)

    def listener_ids(self, session_id: str) -> Iterator[str]:
        """Yield the ids of the session's listeners."""
        with self._faults.call("Query", session_id):
            found = self._listed(session_id)
        yield from found

    @aws_call("Query")
    def count_listeners(self, session_id: str) -> int:
        """Return how many listeners the index lists."""
        return len(self._listed(session_id))

    @aws_call("TransactWriteItems")
    def start(self, speaker: Connection) -> JoinOutcome:
        """Write the record and start the session."""
        session_id = speaker.session_id or ""
        with self._transaction:
            record = self._connections.records.get(speaker.connection_id)
            if record is not None:
                before = record.connection
                is_this = (before.session_id, before.role) == (session_id, speaker.role)
                return JoinOutcome.JOINED if is_this else JoinOutcome.ID_TAKEN
            session = self.sessions.get(session_id)
            if session is not None and session.is_active:
                return JoinOutcome.SPEAKER_PRESENT
            self._claims.pop(session_id, None)
            self.sessions[session_id] = Session(
                session_id=session_id,
                is_active=True,
                speaker_connection_id=speaker.connection_id,
                started_at_ms=speaker.connected_at_ms or EpochMs(0),
            )
            self._connections.put(speaker)
            return JoinOutcome.JOINED

    @aws_call("PutItem")
    def add(self, listener: Connection) -> Connection:
        """Write the record if its id is new."""
        with self._transaction:
            if listener.connection_id not in self._connections.records:
                self._connections.put(listener)
            return self._connections.records[listener.connection_id].connection

    @aws_call("UpdateItem")
    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> EndRefusal | None:
        """Refuse any further join, and claim the session for the caller."""
        with self._transaction:
            session = self.sessions.get(speaker.session_id or "")
            if session is None or session.speaker_connection_id != speaker.connection_id:
                return EndRefusal.NOT_ITS_SPEAKER
            if self._claims.get(session.session_id, 0) > now_ms:
                return EndRefusal.BEING_ENDED
            self._claims[session.session_id] = claim_expires_ms
            ended_at_ms = now_ms if session.ended_at_ms is None else session.ended_at_ms
            self.sessions[session.session_id] = replace(
                session, is_active=False, ended_at_ms=ended_at_ms
            )
            return None

    @aws_call("DeleteItem")
    def remove(self, connection_id: str) -> bool:
        """Remove the record."""
        with self._transaction:
            return self._connections.records.pop(connection_id, None) is not None

    def _listed(self, session_id: str) -> list[str]:
        return [
            connection_id
            for connection_id, record in self._connections.records.items()
            if record.connection.session_id == session_id
            and role_of(record.connection) is Role.LISTENER
            and connection_id not in self.unlisted
        ]


class InMemoryConsistencyStore:
    """``ConsistencyStore`` of these tables. ``unreadable`` are ids of invalid sessions."""

    def __init__(
        self,
        connections: InMemoryConnections,
        sessions: InMemorySessions,
        faults: Faults | None = None,
        *,
        page_size: int = 100,
    ) -> None:
        self.unreadable: set[str] = set()
        self._connections = connections
        self._sessions = sessions
        self._faults = faults or Faults()
        self._page_size = page_size

    def connection_pages(self) -> Iterator[Sequence[StoredConnection]]:
        """Yield every connection record."""
        ids = list(self._connections.records)
        for start in range(0, max(len(ids), 1), self._page_size):
            with self._faults.call("Scan", "connections"):
                read = [self._stored(i) for i in ids[start : start + self._page_size]]
            yield [stored for stored in read if stored is not None]

    def session_pages(self) -> Iterator[Sequence[Session | UnreadableSession]]:
        """Yield every session."""
        with self._faults.call("Scan", "sessions"):
            everything = [self._session(i) for i in [*self._sessions.sessions, *self.unreadable]]
        yield [session for session in everything if session is not None]

    @aws_call("GetItem")
    def connection(self, connection_id: str) -> StoredConnection | None:
        """Return a record, ``None`` if there is none."""
        return self._stored(connection_id)

    @aws_call("GetItem")
    def session(self, session_id: str) -> Session | UnreadableSession | None:
        """Return a session, ``None`` if there is none."""
        return self._session(session_id)

    @aws_call("UpdateItem")
    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still expires at ``seen_ms``."""
        record = self._connections.records.get(connection_id)
        if record is None or record.claim_expires_ms != seen_ms:
            return False
        record.claim_expires_ms = None
        record.connection = replace(record.connection, handovers=0)
        return True

    def _stored(self, connection_id: str) -> StoredConnection | None:
        record = self._connections.records.get(connection_id)
        if record is None:
            return None
        return StoredConnection(
            connection=record.connection, claim_expires_ms=record.claim_expires_ms
        )

    def _session(self, session_id: str) -> Session | UnreadableSession | None:
        if session_id in self.unreadable:
            return UnreadableSession(session_id)
        return self._sessions.sessions.get(session_id)
