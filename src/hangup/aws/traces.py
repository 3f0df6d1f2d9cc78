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

    def pages(self) -> Iterator[TracesPage]:
        """Yield the items that have an attribute of Hangup's own, page by page."""
        schema = self._schema
        for page in self._pages(self._requests.records_with_traces()):
            items = page["Items"]
            if not schema.selection.needs_id:
                items = self._named(items)
            names = schema.table_key.names
            keys = [{name: item[name] for name in names} for item in items]
            yield TracesPage(keys, page["ScannedCount"])

    def remove(self, key: Values, *, now_ms: EpochMs) -> bool:
        """Remove Hangup's own attributes from an item, and nothing else.

        Return False, having written nothing, while a claim holds at ``now_ms``: then a function is
        still at work on it.
        """
        removal = self._requests.removal_of_traces(key, now_ms=now_ms)
        is_written, refused = self._table.update(removal)
        # Without a claim it is gone, or another item now: there is nothing to remove.
        return is_written or self._schema.claim_expires_at not in refused
