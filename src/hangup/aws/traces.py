"""What Hangup has written into somebody's table, found and removed when it is no longer used."""

from collections.abc import Iterator
from typing import Final

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls
from hangup.aws.schema import TableSchema
from hangup.aws.table import DynamoDb
from hangup.core.connection import Connection, EpochMs
from hangup.ports import ScanPage


class Traces(DynamoDbConnections):
    """A connections table that Hangup leaves. Every method raises ``BackendError``."""

    def __init__(self, client: DynamoDb, calls: Calls, table: str, schema: TableSchema) -> None:
        super().__init__(client, calls, table, schema)
        self.attributes: Final = schema.own_attributes

    def pages(self) -> Iterator[ScanPage]:
        """Yield the records that have an attribute of Hangup's own, page by page."""
        return self._scan(self._requests.records_with_traces())

    def remove(self, connection: Connection, *, now_ms: EpochMs) -> bool:
        """Remove Hangup's own attributes from a record, and nothing else.

        Return False, having written nothing, if the record is gone or not this connection's any
        more, or while a claim holds at ``now_ms``: then a function is still at work on it.
        """
        removal = self._requests.removal_of_traces(connection, now_ms=now_ms)
        return self._table.update(removal).is_written
