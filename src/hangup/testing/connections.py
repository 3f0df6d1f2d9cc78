"""The connections table, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

from hangup.aws.schema import DEFAULT_SCHEMA, Item, TableSchema
from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.outcomes import ActivityOutcome
from hangup.ports import ScanPage
from hangup.testing.faults import Faults, aws_call


@dataclass(slots=True)
class Record:
    """A record, and when the claim on it expires; None if there is none."""

    connection: Connection
    claim_expires_ms: EpochMs | None = None


class InMemoryConnections:
    """``ConnectionsRepository`` in a dictionary; ``page_size`` is records read per scan page.

    ``schema`` says what the attributes of items are called.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        page_size: int = 100,
        schema: TableSchema = DEFAULT_SCHEMA,
    ) -> None:
        self.records: dict[str, Record] = {}
        self._faults = faults or Faults()
        self._page_size = page_size
        self._schema = schema

    def put(self, connection: Connection) -> None:
        """Write a record as it is, of whatever shape."""
        self.records[connection.connection_id] = Record(connection)

    def put_item(self, item: Item) -> None:
        """Write a record as the table would have it: an item in DynamoDB's JSON."""
        self.put(self._schema.decode(item))

    @aws_call("GetItem")
    def get(self, connection_id: str) -> Connection | None:
        """Return the record, ``None`` if there is none."""
        record = self.records.get(connection_id)
        return None if record is None else record.connection

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record."""
        with self._faults.call("Scan"):
            everything = [record.connection for record in self.records.values()]
        yield from everything

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment; a record is in the same segment in every scan."""
        ids = [i for i in sorted(self.records) if _hash(i) * total_segments >> 32 == segment]
        for start in range(0, max(len(ids), 1), self._page_size):
            with self._faults.call("Scan", str(segment)):
                page = [
                    self.records[i].connection
                    for i in ids[start : start + self._page_size]
                    if i in self.records
                ]
            yield ScanPage(
                candidates=[c for c in page if _is_candidate(c, cutoff_ms)],
                scanned_count=len(page),
                is_last=start + self._page_size >= len(ids),
            )

    @aws_call("UpdateItem")
    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim unless there was activity or a notice since, or another claim holds."""
        record = self.records.get(connection.connection_id)
        if record is None or connection.last_seen_ms is None:
            return False
        now = record.connection
        active_since = (
            now.last_seen_ms is None
            or now.last_seen_ms > connection.last_seen_ms
            or (now.last_activity_ms is None) != (connection.last_activity_ms is None)
            or RecordedTime.LAST_ACTIVITY in now.malformed
        )
        noticed_since = now.is_noticed and not connection.is_noticed
        claimed = record.claim_expires_ms is not None and record.claim_expires_ms > now_ms
        if active_since or noticed_since or claimed:
            return False
        record.claim_expires_ms = claim_expires_ms
        return True

    @aws_call("UpdateItem")
    def release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        """Give the claim back."""
        record = self.records.get(connection.connection_id)
        if record is not None:
            record.claim_expires_ms = None
            if noticed_at_ms is not None:
                record.connection = replace(record.connection, noticed_at_ms=noticed_at_ms)

    @aws_call("UpdateItem")
    def start_clock(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Start the clock of a record without times."""
        record = self.records.get(connection_id)
        if record is None or record.connection.malformed or record.connection.last_seen_ms:
            return False
        record.connection = replace(record.connection, last_activity_ms=now_ms)
        return True

    @aws_call("UpdateItem")
    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        """Move the last activity forward."""
        record = self.records.get(connection_id)
        if record is None:
            return ActivityOutcome.NO_RECORD
        last_ms = record.connection.last_activity_ms
        newest_ms = now_ms + MAX_CLOCK_LEAD_MS
        if last_ms is not None and now_ms - max(resolution_ms, 1) < last_ms <= newest_ms:
            return ActivityOutcome.ALREADY_RECORDED
        malformed = set(record.connection.malformed) - {RecordedTime.LAST_ACTIVITY}
        record.connection = replace(
            record.connection, last_activity_ms=now_ms, malformed=tuple(malformed)
        )
        return ActivityOutcome.RECORDED


def _hash(connection_id: str) -> int:
    """Return 32 bits that depend on nothing but the id."""
    return crc32(connection_id.encode("utf-8", "surrogatepass"))


def _is_candidate(connection: Connection, cutoff_ms: EpochMs) -> bool:
    last_ms = connection.last_seen_ms
    if last_ms is None or (connection.last_activity_ms is None and connection.malformed):
        return True
    return not cutoff_ms <= last_ms <= cutoff_ms + MAX_CLOCK_LEAD_MS
