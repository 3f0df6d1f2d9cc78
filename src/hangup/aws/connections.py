"""The connections table in DynamoDB."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from os import urandom
from typing import Any, Final

from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.table import DynamoDb, DynamoDbTable
from hangup.aws.table_requests import Request, TableRequests
from hangup.aws.values import Item, Values, string
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import MONTHS
from hangup.core.guard import Sample
from hangup.core.outcomes import NotRecorded
from hangup.core.timing import ATTEMPT_MS, SCAN_MARGIN_MS
from hangup.ports import ScanPage

_MORE_TO_FILTER: Final = 4
"""How many times as many items a sample reads where some of them are not connections."""


class DynamoDbConnections:
    """``ConnectionsRepository`` on a DynamoDB table; ``client`` is used from several threads.

    With ``has_state`` False, the table is one that Hangup only reads: see ``aws.state_table``.
    """

    def __init__(
        self,
        client: DynamoDb,
        calls: Calls,
        table: str,
        schema: TableSchema = DEFAULT_SCHEMA,
        *,
        has_state: bool = True,
    ) -> None:
        self._table = DynamoDbTable(
            client, calls, table, key=schema.connection_id, whole_key=str(schema.table_key)
        )
        self._schema = schema
        self._requests = TableRequests(schema, has_state=has_state)

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        return self._read(self._schema.key(connection_id))

    def reread(self, connection: Connection) -> Connection | None:
        """Return a record as last written, ``None`` if it is this connection's no more."""
        now = self._read(self._schema.table_key.of(connection))
        return now if now and now.connection_id == connection.connection_id else None

    def _read(self, key: Values) -> Connection | None:
        item = self._table.get(key)
        return self._schema.decode(item) if item and self._schema.matches(item) else None

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, all pages of it."""
        for page in self._scan(self._requests.all_records()):
            yield from page.candidates

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment with those records that may be idle.

        A partition has no segments: all of it is in the first.
        """
        request = self._requests.candidates(cutoff_ms, now_ms)
        if not self._requests.is_query:
            request |= {"Segment": segment, "TotalSegments": total_segments}
        elif segment:
            return iter([ScanPage(candidates=[], scanned_count=0, is_last=True)])
        return self._scan(request)

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records, from a random place of the table on."""
        swept = self._requests.swept()
        is_filtered = "FilterExpression" in swept
        limit = size * _MORE_TO_FILTER if is_filtered else size
        swept["Limit"] = limit
        # A start need not exist: DynamoDB goes on from where its hash would be. That of an index
        # would have to have the index's key as well.
        start = {"ExclusiveStartKey": self._schema.table_key.anywhere()}
        # A query refuses a start that does not meet what it says of the sort key.
        is_anywhere = self._schema.index is None and not self._schema.selection.has_sort_term
        first = swept | start if is_anywhere else swept
        page: Any = next(self._pages(first))
        pages = [page]
        if page["ScannedCount"] < limit and first is not swept:
            # The end of the table. What is read twice counts once.
            pages.append(next(self._pages(swept)))
        named = self._named([item for one in pages for item in one["Items"]])
        # Enough for the size, as no page has one twice. Where all items are connections, there are
        # four times as many.
        read = self._decoded(named[: size * len(pages)])
        records = {(one.connection_id, one.key): one for one in read}
        return Sample(
            records=list(records.values())[:size],
            others=sum(one["ScannedCount"] for one in pages) - len(named) if is_filtered else 0,
            answered_at_ms=date_of(page),
        )

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim; return False if the client became active first, or another acts on it."""
        token = string(urandom(16).hex())
        claim = self._requests.claim(
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
            self._requests.release(connection, noticed_at_ms=noticed_at_ms, handovers=handovers)
        )

    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Delete the record of a connection that was claimed; return whether it was there."""
        deletion = self._requests.deletion(connection, claim_expires_ms=claim_expires_ms)
        return self._table.delete(deletion).is_written

    def delete_unchanged(self, connection: Connection) -> bool:
        """Delete the record of a connection if it is as it was seen, claimed or not."""
        deletion = self._requests.deletion(connection, claim_expires_ms=None)
        return self._table.delete(deletion).is_written

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the connection active; return whether it was written."""
        note = self._requests.record_gateway_activity(
            connection, active_ms=active_ms, now_ms=now_ms
        )
        return self._table.update(note).is_written

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the last activity forward to ``now_ms`` if it is at least one resolution old."""
        is_written, before = self._table.update(
            self._requests.record_activity(
                connection_id, now_ms=now_ms, resolution_ms=resolution_ms
            )
        )
        if is_written:
            return self._schema.decode(before)
        return NotRecorded.ALREADY_RECORDED if before else NotRecorded.NO_RECORD

    def _scan(self, request: Request) -> Iterator[ScanPage]:
        # Not tried again when it is too late for a page: what was found is still to be closed.
        for page in self._pages(request, repeat_until_ms=SCAN_MARGIN_MS):
            candidates = self._decoded(self._named(page["Items"]))
            yield ScanPage(
                candidates=candidates,
                scanned_count=page["ScannedCount"],
                is_last="LastEvaluatedKey" not in page,
                others=len(page["Items"]) - len(candidates),
            )

    def _pages(
        self, request: Request, *, repeat_until_ms: DurationMs = ATTEMPT_MS
    ) -> Iterator[Any]:
        return self._table.pages(
            "Query" if self._requests.is_query else "Scan",
            request,
            repeat_until_ms=repeat_until_ms,
        )

    def _named(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the items that name a connection."""
        schema = self._schema
        if schema.table_key.is_carried or schema.index:
            return [item for item in items if schema.names_id(item)]
        return items

    def _decoded(self, items: Sequence[Item]) -> list[Connection]:
        """Return the connections in items that each name one."""
        try:
            return [self._schema.decode(item) for item in items]
        except KeyError:
            raise self._table.spec.has_another_key("Scan") from None


def date_of(answer: Mapping[str, Any]) -> EpochMs | None:
    """Return AWS's time in an answer, to a second; None where it has none."""
    date = str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
    try:
        # "Tue, 15 Nov 1994 08:12:31 GMT". Where a proxy added another, the first is the service's
        # own. Not strptime, which takes long to load.
        _, day, month, year, time, _ = date.split()[:6]
        number = MONTHS.index(month) + 1
        return EpochMs(
            round(datetime.fromisoformat(f"{year}-{number:02}-{day}T{time}Z").timestamp() * 1000)
        )
    except ValueError:
        return None
