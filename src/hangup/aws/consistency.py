"""Both tables as ``hangup check`` reads them: all of it, consistently, with the claims.

Apart from the repository of the handlers, whose grants stay what they are: this reads and writes
with the credentials of whoever runs the check.
"""

from collections.abc import Iterator, Sequence

from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.table import DynamoDbTable
from hangup.aws.table_requests import Request
from hangup.aws.values import Item
from hangup.core.connection import EpochMs
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import Session


class DynamoDbConsistencyStore(DynamoDbSessions):
    """``ConsistencyStore`` of two DynamoDB tables; ``client`` is used from several threads."""

    def connection_pages(self) -> Iterator[Sequence[StoredConnection]]:
        """Yield every connection record, page by page, up to 1 MB each."""
        pages = self._scan(self._connections, self._requests.records_with_claims())
        return ([self._stored(item) for item in page] for page in pages)

    def session_pages(self) -> Iterator[Sequence[Session | UnreadableSession]]:
        """Yield every session record, likewise."""
        return ([self._session(item) for item in page] for page in self._scan(self._sessions, {}))

    def connection(self, connection_id: str) -> StoredConnection | None:
        """Return a record as last written, ``None`` if there is none."""
        item = self._connections.get(self._schema.connections.key(connection_id))
        return None if item is None else self._stored(item)

    def session(self, session_id: str) -> Session | UnreadableSession | None:
        """Return a session as last written, ``None`` if there is none."""
        item = self._sessions.get(self._schema.key(session_id))
        return None if item is None else self._session(item)

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still is the one that was seen; return whether it was.

        Tried again after an answer that was lost, it finds its own work and returns False.
        """
        drop = self._requests.drop_claim(connection_id, seen_ms=seen_ms)
        return self._connections.update(drop).is_written

    def _scan(self, table: DynamoDbTable, request: Request) -> Iterator[Sequence[Item]]:
        for page in table.pages("Scan", {"ConsistentRead": True, **request}):
            if any("S" not in item.get(table.spec.key, {}) for item in page["Items"]):
                raise table.spec.has_another_key("Scan")
            yield page["Items"]

    def _stored(self, item: Item) -> StoredConnection:
        connections = self._schema.connections
        return StoredConnection(
            connection=connections.decode(item), claim_expires_ms=connections.decode_claim(item)
        )

    def _session(self, item: Item) -> Session | UnreadableSession:
        try:
            return self._schema.decode(item)
        except (KeyError, ValueError):
            return UnreadableSession(item[self._schema.session_id]["S"])
