"""What check and redrive read, in memory: both tables in full, and the queue of failed cleanups."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from hangup.core.connection import EpochMs, JsonObject
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import Session
from hangup.sessions.ports import DeadLetter
from hangup.testing.connections import InMemoryConnections
from hangup.testing.faults import Faults, aws_call
from hangup.testing.sessions import InMemorySessions


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


class InMemoryDeadLetters:
    """``DeadLetters`` with bodies by message id; ``hidden`` are the ids that were received."""

    def __init__(self, faults: Faults | None = None, *, batch_size: int = 10) -> None:
        self.bodies: dict[str, str] = {}
        self.hidden: set[str] = set()
        self._faults = faults or Faults()
        self._batch_size = batch_size
        self._numbers = count(1)

    def add(self, event: JsonObject) -> str:
        """Add Lambda's record of a failed invocation with this event; return its message id."""
        return self.put(
            json.dumps(
                {
                    "version": "1.0",
                    "timestamp": "2023-11-14T22:13:20.000Z",
                    "requestContext": {
                        "requestId": "00000000-0000-0000-0000-000000000000",
                        "condition": "RetriesExhausted",
                        "approximateInvokeCount": 3,
                    },
                    "requestPayload": event,
                    "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
                    "responsePayload": {"errorType": "BackendError", "errorMessage": "planned"},
                }
            )
        )

    def put(self, body: str) -> str:
        """Add a message of any kind; return its id."""
        message_id = f"m{next(self._numbers)}"
        self.bodies[message_id] = body
        return message_id

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages that are visible, and hide them."""
        with self._faults.call("ReceiveMessage"):
            ids = [i for i in self.bodies if i not in self.hidden][: self._batch_size]
            self.hidden.update(ids)
        return [DeadLetter(message_id=i, receipt=i, body=self.bodies[i]) for i in ids]

    def delete(self, letter: DeadLetter) -> None:
        """Remove a message."""
        with self._faults.call("DeleteMessage", letter.message_id):
            del self.bodies[letter.message_id]
            self.hidden.discard(letter.message_id)

    def give_back(self, letter: DeadLetter) -> None:
        """Make a message visible again."""
        with self._faults.call("ChangeMessageVisibility", letter.message_id):
            self.hidden.discard(letter.message_id)
