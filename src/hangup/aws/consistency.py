"""Both tables as ``hangup check`` reads them: all of it, consistently, with the claims.

Apart from the repositories of the handlers, whose calls and grants stay what they are: this reads
and writes with the credentials of whoever runs the check.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hangup.aws.errors import Table
from hangup.aws.retries import AnsweredError, Calls
from hangup.aws.schema import Item, Request, Values, number, update_of
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, SessionSchema
from hangup.core.connection import EpochMs
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import Session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDbConsistencyStore:
    """``ConsistencyStore`` of two DynamoDB tables; ``client`` is used from several threads."""

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: Calls,
        *,
        connections_table: str,
        sessions_table: str,
        schema: SessionSchema = DEFAULT_SESSION_SCHEMA,
    ) -> None:
        self._client = client
        self._calls = calls
        self._schema = schema
        self._connections = Table(connections_table, schema.connections.connection_id)
        self._sessions = Table(sessions_table, schema.session_id)

    def connection_pages(self) -> Iterator[Sequence[StoredConnection]]:
        """Yield every connection record, page by page, up to 1 MB each."""
        pages = self._scan(
            self._connections,
            {
                "TableName": self._connections.name,
                "ConsistentRead": True,
                **self._schema.connections.records_with_claims(),
            },
        )
        return ([self._stored(item) for item in page] for page in pages)

    def session_pages(self) -> Iterator[Sequence[Session | UnreadableSession]]:
        """Yield every session record, likewise."""
        request = {"TableName": self._sessions.name, "ConsistentRead": True}
        pages = self._scan(self._sessions, request)
        return ([self._session(item) for item in page] for page in pages)

    def connection(self, connection_id: str) -> StoredConnection | None:
        """Return a record as last written, ``None`` if there is none."""
        item = self._get(self._connections, self._schema.connections.key(connection_id))
        return None if item is None else self._stored(item)

    def session(self, session_id: str) -> Session | UnreadableSession | None:
        """Return a session as last written, ``None`` if there is none."""
        item = self._get(self._sessions, self._schema.key(session_id))
        return None if item is None else self._session(item)

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the listener count to ``correct`` if it still is ``seen``; return whether it was.

        Tried again after an answer that was lost, it finds its own work and returns False.
        """
        update = update_of(
            self._schema,
            self._schema.key(session_id),
            update="SET #listener_count = :correct",
            condition="#listener_count = :seen",
            values={":seen": number(seen), ":correct": number(correct)},
        )
        return self._update(self._sessions, update)

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still is the one that was seen; the same holds for it."""
        update = self._schema.connections.drop_claim(connection_id, seen_ms=seen_ms)
        return self._update(self._connections, update)

    def _scan(self, table: Table, request: Request) -> Iterator[Sequence[Item]]:
        while True:
            page = self._calls("Scan", partial(self._client.scan, **request), table=table)
            if any("S" not in item.get(table.key, {}) for item in page["Items"]):
                raise table.has_another_key("Scan")
            yield page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _get(self, table: Table, key: Values) -> Item | None:
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(TableName=table.name, Key=key, ConsistentRead=True),
            table=table,
        )
        return answer.get("Item")

    def _update(self, table: Table, update: Request) -> bool:
        try:
            self._calls(
                "UpdateItem",
                lambda: self._client.update_item(TableName=table.name, **update),
                table=table,
            )
        except AnsweredError as error:
            if error.code == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _stored(self, item: Item) -> StoredConnection:
        connections = self._schema.connections
        return StoredConnection(
            connection=connections.decode(item), claim_expires_ms=connections.decode_claim(item)
        )

    def _session(self, item: Item) -> Session | UnreadableSession:
        try:
            return self._schema.decode(item)
        except (KeyError, ValueError):
            return UnreadableSession(item[self._sessions.key]["S"])
