"""The connections table in DynamoDB."""

from collections.abc import Iterator
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from hangup.aws.calls import AnsweredError, Calls
from hangup.aws.items import CONNECTION_ATTRIBUTES, connection_from_item, number, string
from hangup.core.model import Connection, DurationMs, EpochMs
from hangup.ports import ActivityOutcome, ScanPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        ScanInputTypeDef,
        UniversalAttributeValueTypeDef,
        UpdateItemInputTypeDef,
    )

__all__ = ["DynamoDbConnections"]

# Conditions, from named parts. Names with "#" stand for attributes: some are reserved words.
_MAY_BE_IDLE: Final = "#lastActivityTime < :cutoff"
_HAS_NO_ACTIVITY: Final = "attribute_not_exists(#lastActivityTime)"
_CONNECT_TELLS: Final = (
    "(attribute_not_exists(#connectedAt) OR #connectedAt < :cutoff"
    " OR NOT attribute_type(#connectedAt, :number))"
)
_ACTIVITY_IS_NO_NUMBER: Final = (
    "(attribute_exists(#lastActivityTime) AND NOT attribute_type(#lastActivityTime, :number))"
)
_IS_CANDIDATE: Final = (
    f"{_MAY_BE_IDLE} OR ({_HAS_NO_ACTIVITY} AND {_CONNECT_TELLS}) OR {_ACTIVITY_IS_NO_NUMBER}"
)
_EXISTS: Final = "attribute_exists(#connectionId)"
_IS_UNCLAIMED: Final = "(attribute_not_exists(#claimExpiresAt) OR #claimExpiresAt <= :now)"

_NAMES: Final = {
    f"#{name}": name for name in (*CONNECTION_ATTRIBUTES, "claimExpiresAt", "targetLanguage")
}

_NUMBER: Final = {":number": string("N")}


class _Write(Enum):
    DONE = auto()
    REFUSED = auto()
    NO_RECORD = auto()


class DynamoDbConnections:
    """``ConnectionsRepository`` on a DynamoDB table; ``client`` is used from several threads."""

    def __init__(self, client: "DynamoDBClient", calls: Calls, table: str) -> None:
        self._client = client
        self._calls = calls
        self._table = table

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=self._table,
                Key={"connectionId": string(connection_id)},
                ConsistentRead=True,
            ),
        )
        item = answer.get("Item")
        return None if item is None else connection_from_item(item)

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, all pages of it."""
        for page in self._scan({"TableName": self._table}):
            yield from page.candidates

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment with those records that may be idle."""
        projection = [f"#{name}" for name in CONNECTION_ATTRIBUTES]
        return self._scan(
            {
                "TableName": self._table,
                "Segment": segment,
                "TotalSegments": total_segments,
                "FilterExpression": _IS_CANDIDATE,
                "ProjectionExpression": ", ".join(projection),
                "ExpressionAttributeNames": {name: _NAMES[name] for name in projection},
                "ExpressionAttributeValues": {
                    ":cutoff": number(cutoff_ms),
                    **_NUMBER,
                },
            }
        )

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim; return False if the client became active first, or another holds it."""
        # "<=" where "=" is meant: the model rounds fractions up, and activity never moves back.
        if connection.last_activity_ms is not None:
            unchanged, seen_ms = "#lastActivityTime <= :seen", connection.last_activity_ms
        elif connection.connected_at_ms is not None:
            unchanged = f"{_HAS_NO_ACTIVITY} AND #connectedAt <= :seen"
            seen_ms = connection.connected_at_ms
        else:
            return False
        write = self._update(
            connection.connection_id,
            update="SET #claimExpiresAt = :claim",
            condition=f"{unchanged} AND {_IS_UNCLAIMED}",
            values={
                ":claim": number(claim_expires_ms),
                ":seen": number(seen_ms),
                ":now": number(now_ms),
            },
        )
        return write is _Write.DONE

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give a claim back, and remember when the notice was sent."""
        update, values = "REMOVE #claimExpiresAt", {}
        if noticed_at_ms is not None:
            update = f"SET #noticedAt = :noticed {update}"
            values = {":noticed": number(noticed_at_ms)}
        self._update(connection.connection_id, update=update, condition=_EXISTS, values=values)

    def adopt(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times; return False if it has one by now."""
        write = self._update(
            connection_id,
            update="SET #lastActivityTime = :now",
            condition=f"{_EXISTS} AND {_HAS_NO_ACTIVITY} AND attribute_not_exists(#connectedAt)",
            values={":now": number(now_ms)},
        )
        return write is _Write.DONE

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        # With a resolution, exactly one resolution old is old enough to be written again.
        moves = "#lastActivityTime <= :old" if resolution_ms else "#lastActivityTime < :old"
        write = self._update(
            connection_id,
            update="SET #lastActivityTime = :now",
            condition=f"{_EXISTS} AND ({_HAS_NO_ACTIVITY} OR {moves} OR {_ACTIVITY_IS_NO_NUMBER})",
            values={":now": number(now_ms), ":old": number(now_ms - resolution_ms), **_NUMBER},
        )
        match write:
            case _Write.DONE:
                return ActivityOutcome.RECORDED
            case _Write.REFUSED:
                return ActivityOutcome.ALREADY_RECORDED
            case _Write.NO_RECORD:
                return ActivityOutcome.NO_RECORD
            case unexpected:
                assert_never(unexpected)

    def _scan(self, request: "ScanInputTypeDef") -> Iterator[ScanPage]:
        # Page by page here, not by boto3's paginator, which could not go on after a failed page.
        while True:
            page = self._calls("Scan", partial(self._client.scan, **request))
            yield ScanPage(
                candidates=[connection_from_item(item) for item in page["Items"]],
                scanned_count=page["ScannedCount"],
            )
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
    ) -> _Write:
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": {"connectionId": string(connection_id)},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            # DynamoDB refuses names that no expression uses.
            "ExpressionAttributeNames": {
                name: attribute
                for name, attribute in _NAMES.items()
                if name in f"{update} {condition}"
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:
            request["ExpressionAttributeValues"] = values
        try:
            self._calls("UpdateItem", lambda: self._client.update_item(**request))
        except AnsweredError as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            # The failure brings the record along, if there is one.
            return _Write.REFUSED if error.answer.response.get("Item") else _Write.NO_RECORD
        return _Write.DONE
