"""The connections table in DynamoDB."""

from collections.abc import Iterator
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, cast

from hangup.aws.errors import Table
from hangup.aws.retries import AnsweredError, Calls
from hangup.aws.schema import DEFAULT_SCHEMA, Item, Request, TableSchema, string
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import ActivityOutcome
from hangup.core.timing import SCAN_MARGIN_MS
from hangup.ports import ScanPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from hangup.aws.http.services import DirectDynamoDb


class DynamoDbConnections:
    """``ConnectionsRepository`` on a DynamoDB table; ``client`` is used from several threads."""

    def __init__(
        self,
        client: "DynamoDBClient | DirectDynamoDb",
        calls: Calls,
        table: str,
        schema: TableSchema = DEFAULT_SCHEMA,
    ) -> None:
        self._client = client
        self._calls = calls
        self._table = Table(table, schema.connection_id)
        self._schema = schema

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=self._table.name,
                Key=self._schema.key(connection_id),
                ConsistentRead=True,
            ),
            table=self._table,
        )
        item = answer.get("Item")
        return None if item is None else self._schema.decode(item)

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
                **self._schema.candidates(cutoff_ms),
            }
        )

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim; return False if the client became active first, or another acts on it."""
        token = string(urandom(16).hex())
        claim = self._schema.claim(
            connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms, token=token
        )
        if claim is None:
            return False
        refused = self._update(claim)
        # Refused by our own claim: an attempt took effect, and its answer was lost.
        return refused is None or refused.get(self._schema.claim_token) == token

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give a claim back, and remember when the notice was sent."""
        self._update(self._schema.release(connection.connection_id, noticed_at_ms=noticed_at_ms))

    def start_clock(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times; return False if it has one by now."""
        return self._update(self._schema.start_clock(connection_id, now_ms=now_ms)) is None

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        refused = self._update(
            self._schema.record_activity(connection_id, now_ms=now_ms, resolution_ms=resolution_ms)
        )
        if refused is None:
            return ActivityOutcome.RECORDED
        return ActivityOutcome.ALREADY_RECORDED if refused else ActivityOutcome.NO_RECORD

    def _scan(self, request: Request) -> Iterator[ScanPage]:
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
                candidates = [self._schema.decode(item) for item in page["Items"]]
            except KeyError:
                raise self._table.has_another_key("Scan") from None
            yield ScanPage(candidates=candidates, scanned_count=page["ScannedCount"])
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _update(self, update: Request) -> Item | None:
        """Return None if it was written, else the record that refused it (empty: there is none)."""
        try:
            self._calls(
                "UpdateItem",
                lambda: self._client.update_item(
                    TableName=self._table.name,
                    **update,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ),
                table=self._table,
            )
        except AnsweredError as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            item: Any = error.answer.members.get("Item", {})
            return cast("Item", item)
        return None
