"""What Hangup has written into somebody's table, found and removed when it is no longer used."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.values import Values
from hangup.core.connection import EpochMs


class TracesPage(NamedTuple):
    """The keys of the items with an attribute of Hangup's own, among ``scanned_count`` items."""

    keys: Sequence[Values]
    scanned_count: int


class Traces(DynamoDbConnections):
    """A connections table that Hangup leaves. Every method raises ``BackendError``."""

    def pages(self, *, index_keys: Sequence[str] = ()) -> Iterator[TracesPage]:
        """Yield the items that have an attribute of Hangup's own, page by page.

        They are read from the table, also where sweeps read its index: an item may have dropped out
        of that. ``index_keys`` are the attributes of its key; with a partition they do not matter.
        """
        schema = self._schema
        if schema.index is None:
            pages = self._pages(self._requests.records_with_traces())
        else:
            pages = self._table.pages("Scan", self._requests.records_with_traces_beside(index_keys))
        for page in pages:
            items = page["Items"]
            if not schema.selection.needs_id:
                items = self._named(items)
            names = schema.table_key.names
            keys = [{name: item[name] for name in names} for item in items]
            yield TracesPage(keys, page["ScannedCount"])

    def remove(self, key: Values, *, now_ms: EpochMs) -> EpochMs | None:
        """Remove Hangup's own attributes from an item, and nothing else.

        Return None, or when the claim expires that holds at ``now_ms``: then a function may still
        be at work on it, and nothing is written.
        """
        is_written, refused = self._table.update(
            self._requests.removal_of_traces(key, now_ms=now_ms)
        )
        expires_ms = None if is_written else self._schema.decode_claim(refused)
        # Without a claim it is gone, or another item now: there is nothing to remove.
        return expires_ms if expires_ms is not None and expires_ms > now_ms else None
