"""The records of a deployment, read for people: all of them, or those of one connection."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls
from hangup.aws.schema import TableSchema
from hangup.aws.state_table import with_states
from hangup.aws.states import DynamoDbStates
from hangup.aws.table_size import TableSize, size_of
from hangup.aws.values import Item, text_in
from hangup.core.connection import Connection, EpochMs
from hangup.ports import ScanPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Record(NamedTuple):
    """A record of a connection, and when the claim on it expires, None without one."""

    connection: Connection
    claim_expires_ms: EpochMs | None


class DeployedRecords(DynamoDbConnections):
    """The connections table of a deployment, with its state table where it has one.

    Every method raises ``BackendError``.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: Calls,
        table: str,
        schema: TableSchema,
        states: DynamoDbStates | None,
    ) -> None:
        super().__init__(client, calls, table, schema, has_state=states is None)
        self._dynamodb = client
        self._calls = calls
        self._states = states

    def size(self) -> TableSize:
        """Return how much a read of all of it reads; of a partition no more than that."""
        return size_of(self._dynamodb, self._calls, self._table.spec.name)

    def pages(self) -> Iterator[ScanPage]:
        """Yield what a sweep sees of every record, page by page."""
        for page in self._scan(self._requests.swept()):
            records = self._with_state([Record(one, None) for one in page.candidates])
            yield replace(page, candidates=[one.connection for one in records])

    @property
    def finds_by_id(self) -> bool:
        """Whether the key of a record follows from the id: else all have to be read."""
        return self._schema.table_key.follows_from_id

    def records_of(self, connection_id: str) -> Sequence[Record]:
        """Return the records of one connection; none for an id that no item can have."""
        return self._with_state(
            [
                Record(self._schema.decode(item), self._schema.decode_claim(item))
                for item in self._items_of(connection_id)
                if self._schema.matches(item)
            ]
        )

    def _items_of(self, connection_id: str) -> Iterable[Item]:
        if self.finds_by_id:
            item = self._table.get(self._schema.key(connection_id))
            return [] if item is None else [item]
        # Compared here: a query refuses a filter on the key of its index.
        whole_id = f"{self._schema.id_prefix}{connection_id}"
        return (
            item
            for page in self._pages(self._requests.all_records())
            for item in page["Items"]
            if text_in(item, self._schema.connection_id) == whole_id
        )

    def _with_state(self, records: Sequence[Record]) -> Sequence[Record]:
        if self._states is None:
            return records
        connections = [one.connection for one in records]
        read = with_states(connections, self._states, self._schema.table_key, consistent=True)
        return [Record(connection, state.claim_expires_ms) for connection, state in read]
