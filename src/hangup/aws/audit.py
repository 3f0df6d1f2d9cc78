"""Both tables as ``hangup check`` reads them: all of it, consistently, with the claims.

Apart from the repositories of the handlers, whose calls and grants stay what they are: this reads
and writes with the credentials of whoever runs the check.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from hangup.aws.calls import AnsweredError, Calls
from hangup.aws.errors import Table
from hangup.aws.items import (
    CONNECTION_PROJECTION,
    PROJECTION_NAMES,
    connection_from_item,
    number,
    session_from_item,
    string,
)
from hangup.core.invariants import AuditedConnection, UnreadableSession
from hangup.core.model import EpochMs, Session
from hangup.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        ScanInputTypeDef,
        UpdateItemInputTypeDef,
    )

__all__ = ["DynamoDbAudit"]


class DynamoDbAudit:
    """``Audit`` of two DynamoDB tables; ``client`` is used from several threads."""

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
        self._connections_table = connections_table
        self._sessions_table = sessions_table
        self._named = {
            connections_table: Table(connections_table, "connectionId"),
            sessions_table: Table(sessions_table, "sessionId"),
        }

    def connection_pages(self) -> Iterator[Sequence[AuditedConnection]]:
        """Yield every connection record, page by page, up to 1 MB each."""
        pages = self._scan(
            {
                "TableName": self._connections_table,
                "ConsistentRead": True,
                "ProjectionExpression": f"{CONNECTION_PROJECTION}, claimExpiresAt",
                "ExpressionAttributeNames": PROJECTION_NAMES,
            }
        )
        return ([_audited(item) for item in page] for page in pages)

    def session_pages(self) -> Iterator[Sequence[Session | UnreadableSession]]:
        """Yield every session record, likewise."""
        pages = self._scan({"TableName": self._sessions_table, "ConsistentRead": True})
        return ([_session(item) for item in page] for page in pages)

    def connection(self, connection_id: str) -> AuditedConnection | None:
        """Return a record as last written, ``None`` if there is none."""
        item = self._get(self._connections_table, "connectionId", connection_id)
        return None if item is None else _audited(item)

    def session(self, session_id: str) -> Session | UnreadableSession | None:
        """Return a session as last written, ``None`` if there is none."""
        item = self._get(self._sessions_table, "sessionId", session_id)
        return None if item is None else _session(item)

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the listener count to ``correct`` if it still is ``seen``; return whether it was.

        Tried again after an answer that was lost, it finds its own work and returns False.
        """
        return self._update(
            {
                "TableName": self._sessions_table,
                "Key": {"sessionId": string(session_id)},
                "UpdateExpression": "SET listenerCount = :correct",
                "ConditionExpression": "listenerCount = :seen",
                "ExpressionAttributeValues": {":seen": number(seen), ":correct": number(correct)},
            }
        )

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still is the one that was seen; the same holds for it."""
        return self._update(
            {
                "TableName": self._connections_table,
                "Key": {"connectionId": string(connection_id)},
                "UpdateExpression": "REMOVE claimExpiresAt",
                "ConditionExpression": "claimExpiresAt = :seen",
                "ExpressionAttributeValues": {":seen": number(seen_ms)},
            }
        )

    def _scan(
        self, request: "ScanInputTypeDef"
    ) -> "Iterator[Sequence[Mapping[str, AttributeValueTypeDef]]]":
        table = self._named[request["TableName"]]
        while True:
            page = self._calls("Scan", partial(self._client.scan, **request), table=table)
            if any("S" not in item.get(table.key, {}) for item in page["Items"]):
                raise BackendError("Scan", "OtherKey", table.must_have_its_key, retryable=False)
            yield page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _get(
        self, table: str, key: str, value: str
    ) -> "Mapping[str, AttributeValueTypeDef] | None":
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=table, Key={key: string(value)}, ConsistentRead=True
            ),
            table=self._named[table],
        )
        return answer.get("Item")

    def _update(self, request: "UpdateItemInputTypeDef") -> bool:
        try:
            self._calls(
                "UpdateItem",
                lambda: self._client.update_item(**request),
                table=self._named[request["TableName"]],
            )
        except AnsweredError as error:
            if error.code == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _audited(item: "Mapping[str, AttributeValueTypeDef]") -> AuditedConnection:
    claim = item.get("claimExpiresAt", {}).get("N")
    return AuditedConnection(
        connection=connection_from_item(item),
        claim_expires_ms=None if claim is None else EpochMs(int(Decimal(claim))),
    )


def _session(item: "Mapping[str, AttributeValueTypeDef]") -> Session | UnreadableSession:
    try:
        return session_from_item(item)
    except (KeyError, ValueError):
        return UnreadableSession(item["sessionId"]["S"])
