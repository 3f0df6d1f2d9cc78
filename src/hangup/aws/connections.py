"""The connections table in DynamoDB."""

from collections.abc import Iterator
from os import urandom

from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA, Request, TableSchema, string
from hangup.aws.table import DynamoDb, DynamoDbTable
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import ActivityOutcome
from hangup.core.timing import SCAN_MARGIN_MS
from hangup.ports import ScanPage


class DynamoDbConnections:
    """``ConnectionsRepository`` on a DynamoDB table; ``client`` is used from several threads."""

    def __init__(
        self,
        client: DynamoDb,
        calls: Calls,
        table: str,
        schema: TableSchema = DEFAULT_SCHEMA,
    ) -> None:
        self._table = DynamoDbTable(client, calls, table, key=schema.connection_id)
        self._schema = schema

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        item = self._table.get(self._schema.key(connection_id))
        return None if item is None else self._schema.decode(item)

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, all pages of it."""
        for page in self._scan({}):
            yield from page.candidates

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment with those records that may be idle."""
        return self._scan(
            {
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
        is_written, refused = self._table.update(claim)
        # Refused by our own claim: an attempt took effect, and its answer was lost.
        return is_written or refused.get(self._schema.claim_token) == token

    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give a claim back, and remember when the notice was sent."""
        self._table.update(
            self._schema.release(connection.connection_id, noticed_at_ms=noticed_at_ms)
        )

    def start_clock(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times; return False if it has one by now."""
        start = self._schema.start_clock(connection_id, now_ms=now_ms)
        return self._table.update(start).is_written

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        is_written, refused = self._table.update(
            self._schema.record_activity(connection_id, now_ms=now_ms, resolution_ms=resolution_ms)
        )
        if is_written:
            return ActivityOutcome.RECORDED
        return ActivityOutcome.ALREADY_RECORDED if refused else ActivityOutcome.NO_RECORD

    def _scan(self, request: Request) -> Iterator[ScanPage]:
        # Not tried again when it is too late for a page: what was found is still to be closed.
        for page in self._table.pages("Scan", request, repeat_until_ms=SCAN_MARGIN_MS):
            try:
                candidates = [self._schema.decode(item) for item in page["Items"]]
            except KeyError:
                raise self._table.spec.has_another_key("Scan") from None
            yield ScanPage(
                candidates=candidates,
                scanned_count=page["ScannedCount"],
                is_last="LastEvaluatedKey" not in page,
            )
