"""The connections table in DynamoDB."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from os import urandom
from typing import Any

from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA, Request, TableSchema
from hangup.aws.table import DynamoDb, DynamoDbTable
from hangup.aws.values import Item, string
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import MONTHS
from hangup.core.guard import Sample
from hangup.core.outcomes import NotRecorded
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
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment with those records that may be idle."""
        return self._scan(
            {
                "Segment": segment,
                "TotalSegments": total_segments,
                **self._schema.candidates(cutoff_ms, now_ms),
            }
        )

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records, from a random place of the table on."""
        # A start need not exist: DynamoDB goes on from where its hash would be.
        start = {"ExclusiveStartKey": self._schema.key(urandom(8).hex())}
        swept = {**self._schema.swept(), "Limit": size}
        page: Any = next(self._table.pages("Scan", swept | start))
        items = page["Items"]
        if len(items) < size:
            # The end of the table. What is read twice counts once.
            items = (items + next(self._table.pages("Scan", swept))["Items"])[:size]
        records = {one.connection_id: one for one in map(self._decode, items)}
        return Sample(records=list(records.values()), answered_at_ms=_date_of(page))

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

    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        """Give a claim back, and remember when the notice was sent."""
        handovers = connection.handovers + is_handed_over
        self._table.update(
            self._schema.release(
                connection.connection_id, noticed_at_ms=noticed_at_ms, handovers=handovers
            )
        )

    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Delete the record of a connection that was claimed; return whether it was there."""
        deletion = self._schema.deletion(connection, claim_expires_ms=claim_expires_ms)
        return self._table.delete(deletion).is_written

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the connection active; return whether it was written."""
        note = self._schema.record_gateway_activity(connection, active_ms=active_ms, now_ms=now_ms)
        return self._table.update(note).is_written

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        is_written, before = self._table.update(
            self._schema.record_activity(connection_id, now_ms=now_ms, resolution_ms=resolution_ms)
        )
        if is_written:
            return self._schema.decode(before)
        return NotRecorded.ALREADY_RECORDED if before else NotRecorded.NO_RECORD

    def _scan(self, request: Request) -> Iterator[ScanPage]:
        # Not tried again when it is too late for a page: what was found is still to be closed.
        for page in self._table.pages("Scan", request, repeat_until_ms=SCAN_MARGIN_MS):
            yield ScanPage(
                candidates=[self._decode(item) for item in page["Items"]],
                scanned_count=page["ScannedCount"],
                is_last="LastEvaluatedKey" not in page,
            )

    def _decode(self, item: Item) -> Connection:
        try:
            return self._schema.decode(item)
        except KeyError:
            raise self._table.spec.has_another_key("Scan") from None


def _date_of(answer: Mapping[str, Any]) -> EpochMs | None:
    """Return AWS's time in an answer, to a second; None where it has none."""
    date = str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
    try:
        # "Tue, 15 Nov 1994 08:12:31 GMT". Not strptime, which takes long to load.
        _, day, month, year, time, _ = date.split()
        number = MONTHS.index(month) + 1
        return EpochMs(
            round(datetime.fromisoformat(f"{year}-{number:02}-{day}T{time}Z").timestamp() * 1000)
        )
    except ValueError:
        return None
