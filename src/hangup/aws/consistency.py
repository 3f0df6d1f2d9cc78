"""Both tables as ``hangup check`` reads them: all of it, consistently, with the claims.

Apart from the repositories of the handlers, whose calls and grants stay what they are: this reads
and writes with the credentials of whoever runs the check.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from hangup.aws.errors import Table
from hangup.aws.retries import AnsweredError, Calls
from hangup.aws.schema import (
    CONNECTION_PROJECTION,
    PROJECTION_NAMES,
    connection_from_item,
    number,
    session_from_item,
    string,
)
from hangup.core.connection import EpochMs
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        ScanInputTypeDef,
        UpdateItemInputTypeDef,
    )

__all__ = ["DynamoDbConsistencyStore"]


class DynamoDbConsistencyStore:
    """``ConsistencyStore`` of two DynamoDB tables; ``client`` is used from several threads."""

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: Calls,
        *,
        connections_table: str,
        sessions_table: str,
    ) -> None:
        self._client = client
        self._calls = calls
        self._connections = Table(connections_table, "connectionId")
        self._sessions = Table(sessions_table, "sessionId")

    def connection_pages(self) -> Iterator[Sequence[StoredConnection]]:
        """Yield every connection record, page by page, up to 1 MB each."""
        pages = self._scan(
            self._connections,
            {
                "TableName": self._connections.name,
                "ConsistentRead": True,
                "ProjectionExpression": f"{CONNECTION_PROJECTION}, claimExpiresAt",
                "ExpressionAttributeNames": PROJECTION_NAMES,
            },
        )
        return ([_audited(item) for item in page] for page in pages)

    def session_pages(self) -> Iterator[Sequence[Session | UnreadableSession]]:
        """Yield every session record, likewise."""
        request: ScanInputTypeDef = {"TableName": self._sessions.name, "ConsistentRead": True}
        pages = self._scan(self._sessions, request)
        return ([_session(item) for item in page] for page in pages)

    def connection(self, connection_id: str) -> StoredConnection | None:
        """Return a record as last written, ``None`` if there is none."""
        item = self._get(self._connections, connection_id)
        return None if item is None else _audited(item)

    def session(self, session_id: str) -> Session | UnreadableSession | None:
        """Return a session as last written, ``None`` if there is none."""
        item = self._get(self._sessions, session_id)
        return None if item is None else _session(item)

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the listener count to ``correct`` if it still is ``seen``; return whether it was.

        Tried again after an answer that was lost, it finds its own work and returns False.
        """
        return self._update(
            self._sessions,
            {
                "TableName": self._sessions.name,
                "Key": {"sessionId": string(session_id)},
                "UpdateExpression": "SET listenerCount = :correct",
                "ConditionExpression": "listenerCount = :seen",
                "ExpressionAttributeValues": {":seen": number(seen), ":correct": number(correct)},
            },
        )

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still is the one that was seen; the same holds for it."""
        return self._update(
            self._connections,
            {
                "TableName": self._connections.name,
                "Key": {"connectionId": string(connection_id)},
                "UpdateExpression": "REMOVE claimExpiresAt",
                "ConditionExpression": "claimExpiresAt = :seen",
                "ExpressionAttributeValues": {":seen": number(seen_ms)},
            },
        )

    def _scan(
        self, table: Table, request: "ScanInputTypeDef"
    ) -> "Iterator[Sequence[Mapping[str, AttributeValueTypeDef]]]":
        while True:
            page = self._calls("Scan", partial(self._client.scan, **request), table=table)
            if any("S" not in item.get(table.key, {}) for item in page["Items"]):
                raise table.has_another_key("Scan")
            yield page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _get(self, table: Table, value: str) -> "Mapping[str, AttributeValueTypeDef] | None":
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=table.name, Key={table.key: string(value)}, ConsistentRead=True
            ),
            table=table,
        )
        return answer.get("Item")

    def _update(self, table: Table, request: "UpdateItemInputTypeDef") -> bool:
        try:
            self._calls("UpdateItem", lambda: self._client.update_item(**request), table=table)
        except AnsweredError as error:
            if error.code == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _audited(item: "Mapping[str, AttributeValueTypeDef]") -> StoredConnection:
    claim = item.get("claimExpiresAt", {}).get("N")
    return StoredConnection(
        connection=connection_from_item(item),
        claim_expires_ms=None if claim is None else EpochMs(int(Decimal(claim))),
    )


def _session(item: "Mapping[str, AttributeValueTypeDef]") -> Session | UnreadableSession:
    try:
        return session_from_item(item)
    except (KeyError, ValueError):
        return UnreadableSession(item["sessionId"]["S"])
