"""The connections table, in memory."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.values import Item
from hangup.core.connection import (
    Connection,
    DurationMs,
    EpochMs,
    RecordedTime,
    is_claimed,
    may_be_idle,
    was_active_since,
)
from hangup.core.guard import Sample
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_HANDOVERS
from hangup.core.outcomes import NotRecorded
from hangup.ports import ScanPage
from hangup.testing.faults import Faults, aws_call


@dataclass(slots=True)
class Record:
    """A record, and when the claim on it expires; None if there is none."""

    connection: Connection
    claim_expires_ms: EpochMs | None = None

    def is_claimed(self, now_ms: EpochMs) -> bool:
        """Return whether a claim holds."""
        return is_claimed(self.claim_expires_ms, now_ms=now_ms)


class InMemoryConnections:
    """``ConnectionsRepository`` in a dictionary; ``page_size`` is records read per scan page.

    ``schema`` says what the attributes of items are called, and which items are connections.
    ``records`` has those by their ids, or by the whole key where the id alone does not say it;
    ``others`` has the items that are not, by their keys. With ``has_state`` False, Hangup's own
    state is not in the items: see ``aws.state_table``.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        page_size: int = 100,
        schema: TableSchema = DEFAULT_SCHEMA,
        has_state: bool = True,
    ) -> None:
        self.records: dict[str, Record] = {}
        self.others: dict[str, Item] = {}
        self._places: dict[str, str] = {}
        """Where the record of each key is, of those that were put as items."""
        self.answered_at_ms: EpochMs | None = None
        """DynamoDB's time, as its answers tell it; None does not tell it."""
        self._faults = faults or Faults()
        self._page_size = page_size
        self._schema = schema
        self._has_state = has_state

    def put(self, connection: Connection) -> None:
        """Write a record as it is, of whatever shape."""
        self.records[self._place(connection)] = Record(connection)

    def put_item(self, item: Item) -> None:
        """Write an item as it is in the table, in DynamoDB's JSON."""
        schema = self._schema
        key = repr({name: item[name] for name in schema.table_key.names})
        self.others.pop(key, None)
        if key in self._places:
            self.records.pop(self._places.pop(key), None)
        if not schema.matches(item):
            self.others[key] = item
            return
        connection = schema.decode(item)
        place = self._places[key] = self._place(connection)
        self.records[place] = Record(connection, schema.decode_claim(item))

    @aws_call("GetItem")
    def get(self, connection_id: str) -> Connection | None:
        """Return the record, ``None`` if there is none."""
        record = self.records.get(self._place_of_id(connection_id))
        return None if record is None else record.connection

    @aws_call("GetItem")
    def reread(self, connection: Connection) -> Connection | None:
        """Return the record of a connection that was read before, by its key."""
        record = self._record_of(connection)
        return None if record is None else record.connection

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record."""
        with self._faults.call("Scan"):
            everything = [record.connection for record in self.records.values()]
        yield from everything

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment; a record is in the same segment in every scan."""
        ids = [i for i in sorted(self.records) if _hash(i) * total_segments >> 32 == segment]
        for start in range(0, max(len(ids), 1), self._page_size):
            with self._faults.call("Scan", str(segment)):
                page = [
                    self.records[i]
                    for i in ids[start : start + self._page_size]
                    if i in self.records
                ]
            yield ScanPage(
                candidates=[r.connection for r in page if self._is_found(r, cutoff_ms, now_ms)],
                scanned_count=len(page) + (0 if segment or start else len(self._others_read())),
                is_last=start + self._page_size >= len(ids),
            )

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records, in an order that depends on their ids alone."""
        with self._faults.call("Scan", "sample"):
            ids = sorted(self.records, key=_hash)[:size]
        return Sample(
            records=[self.records[i].connection for i in ids],
            others=min(len(self._others_read()), size),
            answered_at_ms=self.answered_at_ms,
        )

    @aws_call("UpdateItem")
    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim unless there was activity or a notice since, or another claim holds."""
        record = self._record_of(connection)
        if record is None or connection.last_seen_ms is None:
            return False
        now = record.connection
        noticed_since = now.is_noticed and not connection.is_noticed
        was_active = was_active_since(connection, now, connection.last_seen_ms)
        handed_over_since = now.handovers > connection.handovers
        if was_active or noticed_since or handed_over_since or record.is_claimed(now_ms):
            return False
        record.claim_expires_ms = claim_expires_ms
        record.connection = replace(now, handovers=min(connection.handovers + 1, MAX_HANDOVERS))
        return True

    @aws_call("UpdateItem")
    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        """Give the claim back."""
        record = self._record_of(connection)
        if record is not None:
            record.claim_expires_ms = None
            record.connection = replace(
                record.connection,
                handovers=min(connection.handovers + is_handed_over, MAX_HANDOVERS),
                noticed_at_ms=noticed_at_ms or record.connection.noticed_at_ms,
            )

    @aws_call("DeleteItem")
    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Delete the record if it is under this claim, and as it was seen."""
        record = self._record_of(connection)
        is_under_it = record is not None and record.claim_expires_ms == claim_expires_ms
        return is_under_it and self._delete(connection)

    @aws_call("DeleteItem")
    def delete_unchanged(self, connection: Connection) -> bool:
        """Delete the record if it is as it was seen, claimed or not."""
        return self._delete(connection)

    def _delete(self, connection: Connection) -> bool:
        now = self._record_of(connection)
        if now is None or was_active_since(connection, now.connection, connection.recorded_ms):
            return False
        del self.records[self._place(connection)]
        return True

    @aws_call("UpdateItem")
    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the connection active."""
        record = self._record_of(connection)
        if record is None:
            return False
        now = record.connection
        noted_ms = now.gateway_active_ms
        is_noted = noted_ms is not None and active_ms <= noted_ms <= _newest_ms(now_ms)
        if is_noted or was_active_since(connection, now, connection.recorded_ms):
            return False
        record.connection = replace(now, gateway_active_ms=active_ms, handovers=0)
        return True

    @aws_call("UpdateItem")
    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the last activity forward."""
        recorded_ms = self._schema.times.as_recorded(now_ms)
        record = self.records.get(self._place_of_id(connection_id))
        if record is None:
            return NotRecorded.NO_RECORD
        before = record.connection
        last_ms = before.last_activity_ms
        oldest_ms = now_ms - max(resolution_ms, 1)
        if last_ms is not None and oldest_ms < last_ms <= _newest_ms(now_ms):
            return NotRecorded.ALREADY_RECORDED
        malformed = tuple(
            invalid
            for invalid in before.malformed
            if invalid.time is not RecordedTime.LAST_ACTIVITY
        )
        record.connection = replace(
            before,
            last_activity_ms=recorded_ms,
            recorded_as=None,
            handovers=0,
            malformed=malformed,
        )
        return before

    def _is_found(self, record: Record, cutoff_ms: EpochMs, now_ms: EpochMs) -> bool:
        connection = record.connection
        if not self._has_state:
            connection = replace(connection, gateway_active_ms=None)
        elif record.is_claimed(now_ms):
            return False
        return may_be_idle(connection, cutoff_ms=cutoff_ms, now_ms=now_ms)

    def _others_read(self) -> Sequence[Item]:
        """Return the items that are not connections, and are read with them."""
        partition = self._schema.partition
        return [one for one in self.others.values() if not partition or partition.holds_for(one)]

    def _place_of_id(self, connection_id: str) -> str:
        self._schema.key(connection_id)  # as the table does: it raises where that says no key
        return connection_id

    def _record_of(self, connection: Connection) -> Record | None:
        """Return a connection's record, unless it is another connection's by now."""
        record = self.records.get(self._place(connection))
        is_its = record and record.connection.connection_id == connection.connection_id
        return record if is_its else None

    def _place(self, connection: Connection) -> str:
        if self._schema.table_key.follows_from_id:
            return connection.connection_id
        self._schema.table_key.of(connection)  # as the table does: it raises without a key
        return json.dumps([part.value for part in connection.key])


def _hash(connection_id: str) -> int:
    """Return 32 bits that depend on nothing but the id."""
    return crc32(connection_id.encode("utf-8", "surrogatepass"))


def _newest_ms(now_ms: EpochMs) -> EpochMs:
    """Return the latest time that is one of ours."""
    return EpochMs(now_ms + MAX_CLOCK_LEAD_MS)
