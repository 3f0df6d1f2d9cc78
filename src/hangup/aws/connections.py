"""The connections table in DynamoDB."""

from collections.abc import Iterator, Mapping
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, Final, cast

from hangup.aws.errors import Table
from hangup.aws.retries import AnsweredError, Calls
from hangup.aws.schema import (
    CONNECTION_PROJECTION,
    PROJECTION_NAMES,
    connection_from_item,
    number,
    string,
)
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.outcomes import ActivityOutcome
from hangup.core.timing import SCAN_MARGIN_MS
from hangup.ports import ScanPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        ScanInputTypeDef,
        UniversalAttributeValueTypeDef,
        UpdateItemInputTypeDef,
    )

    from hangup.aws.http.services import DirectDynamoDb

__all__ = ["DynamoDbConnections"]

_MAY_BE_IDLE: Final = "lastActivityTime < :cutoff"
_HAS_NO_ACTIVITY: Final = "attribute_not_exists(lastActivityTime)"
_CONNECT_TELLS: Final = (
    "(attribute_not_exists(connectedAt) OR connectedAt < :cutoff"
    " OR NOT attribute_type(connectedAt, :number))"
)
_ACTIVITY_IS_NO_NUMBER: Final = (
    "(attribute_exists(lastActivityTime) AND NOT attribute_type(lastActivityTime, :number))"
)
_ACTIVITY_IS_IN_THE_FUTURE: Final = "lastActivityTime > :future"
_IS_CANDIDATE: Final = (
    f"{_MAY_BE_IDLE} OR ({_HAS_NO_ACTIVITY} AND {_CONNECT_TELLS}) OR {_ACTIVITY_IS_NO_NUMBER}"
    f" OR {_ACTIVITY_IS_IN_THE_FUTURE}"
)
_EXISTS: Final = "attribute_exists(connectionId)"
# True as well where there is none, or it is no number. A time to come is no notice of ours.
_HAS_NO_OTHER_NOTICE: Final = "NOT (noticedAt BETWEEN :seen AND :future)"
_IS_UNCLAIMED: Final = "(attribute_not_exists(claimExpiresAt) OR claimExpiresAt <= :now)"

_NUMBER: Final = {":number": string("N")}


class DynamoDbConnections:
    """``ConnectionsRepository`` on a DynamoDB table; ``client`` is used from several threads."""

    def __init__(self, client: "DynamoDBClient | DirectDynamoDb", calls: Calls, table: str) -> None:
        self._client = client
        self._calls = calls
        self._table = Table(table, "connectionId")

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=self._table.name,
                Key={"connectionId": string(connection_id)},
                ConsistentRead=True,
            ),
            table=self._table,
        )
        item = answer.get("Item")
        return None if item is None else connection_from_item(item)

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, all pages of it."""
        for page in self._scan({"TableName": self._table.name}):
            yield from page.candidates

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment with those records that may be idle."""
        return self._scan(
            {
                "TableName": self._table.name,
                "Segment": segment,
                "TotalSegments": total_segments,
                "FilterExpression": _IS_CANDIDATE,
                "ProjectionExpression": CONNECTION_PROJECTION,
                "ExpressionAttributeNames": PROJECTION_NAMES,
                "ExpressionAttributeValues": {
                    ":cutoff": number(cutoff_ms),
                    # At most a timeout earlier than a day from now: far from any clock's error.
                    ":future": number(cutoff_ms + MAX_CLOCK_LEAD_MS),
                    **_NUMBER,
                },
            }
        )

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim; return False if the client became active first, or another acts on it."""
        # "<=" where "=" is meant: the model rounds fractions up, and activity never moves back.
        if connection.last_activity_ms is not None:
            unchanged, seen_ms = "lastActivityTime <= :seen", connection.last_activity_ms
        elif connection.connected_at_ms is not None:
            unchanged = f"{_HAS_NO_ACTIVITY} AND connectedAt <= :seen"
            seen_ms = connection.connected_at_ms
        else:
            return False
        token = string(urandom(16).hex())
        condition = f"{unchanged} AND {_IS_UNCLAIMED}"
        values = {
            ":claim": number(claim_expires_ms),
            ":token": token,
            ":seen": number(seen_ms),
            ":now": number(now_ms),
        }
        if not connection.is_noticed:
            condition += f" AND {_HAS_NO_OTHER_NOTICE}"
            values[":future"] = number(now_ms + MAX_CLOCK_LEAD_MS)
        refused = self._update(
            connection.connection_id,
            update="SET claimExpiresAt = :claim, claimToken = :token",
            condition=condition,
            values=values,
        )
        # Refused by our own claim: an attempt took effect, and its answer was lost.
        return refused is None or refused.get("claimToken") == token

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give a claim back, and remember when the notice was sent."""
        update, values = "REMOVE claimExpiresAt, claimToken", {}
        if noticed_at_ms is not None:
            update = f"SET noticedAt = :noticed {update}"
            values = {":noticed": number(noticed_at_ms)}
        self._update(connection.connection_id, update=update, condition=_EXISTS, values=values)

    def start_clock(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times; return False if it has one by now."""
        refused = self._update(
            connection_id,
            update="SET lastActivityTime = :now",
            condition=f"{_EXISTS} AND {_HAS_NO_ACTIVITY} AND attribute_not_exists(connectedAt)",
            values={":now": number(now_ms)},
        )
        return refused is None

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        # With a resolution, exactly one resolution old is old enough to be written again.
        moves = "lastActivityTime <= :old" if resolution_ms else "lastActivityTime < :old"
        refused = self._update(
            connection_id,
            update="SET lastActivityTime = :now",
            condition=(
                f"{_EXISTS} AND ({_HAS_NO_ACTIVITY} OR {moves} OR {_ACTIVITY_IS_NO_NUMBER}"
                f" OR {_ACTIVITY_IS_IN_THE_FUTURE})"
            ),
            values={
                ":now": number(now_ms),
                ":old": number(now_ms - resolution_ms),
                ":future": number(now_ms + MAX_CLOCK_LEAD_MS),
                **_NUMBER,
            },
        )
        if refused is None:
            return ActivityOutcome.RECORDED
        return ActivityOutcome.ALREADY_RECORDED if refused else ActivityOutcome.NO_RECORD

    def _scan(self, request: "ScanInputTypeDef") -> Iterator[ScanPage]:
        # Page by page here, not by botocore's paginator, which could not go on after a failed page.
        while True:
            # Not tried again when it is too late for a page: what was found is still to be closed.
            page = self._calls(
                "Scan",
                partial(self._client.scan, **request),
                table=self._table,
                repeat_until_ms=SCAN_MARGIN_MS,
            )
            try:
                candidates = [connection_from_item(item) for item in page["Items"]]
            except KeyError:
                raise self._table.has_another_key("Scan") from None
            yield ScanPage(candidates=candidates, scanned_count=page["ScannedCount"])
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _update(
        self,
        connection_id: str,
        *,
        update: str,
        condition: str,
        values: dict[str, "UniversalAttributeValueTypeDef"],
    ) -> "Mapping[str, UniversalAttributeValueTypeDef] | None":
        """Return None if it was written, else the record that refused it (empty: there is none)."""
        request: UpdateItemInputTypeDef = {
            "TableName": self._table.name,
            "Key": {"connectionId": string(connection_id)},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:
            request["ExpressionAttributeValues"] = values
        try:
            self._calls(
                "UpdateItem", lambda: self._client.update_item(**request), table=self._table
            )
        except AnsweredError as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            item: Any = error.answer.response.get("Item", {})
            return cast("Mapping[str, UniversalAttributeValueTypeDef]", item)
        return None
