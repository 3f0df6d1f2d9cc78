"""The two tables that a world stands on: in memory, or in a real engine."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls, Deadline
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.state_table import StateTableConnections
from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError
from hangup.ports import ConnectionsRepository
from hangup.sessions.model import Session
from hangup.sessions.ports import SessionsRepository
from hangup.testing import (
    FakeClock,
    Faults,
    InMemoryConnections,
    InMemorySessions,
    InMemoryStates,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from hangup.aws.values import Values

_OPERATIONS = {
    "get_item": "GetItem",
    "put_item": "PutItem",
    "delete_item": "DeleteItem",
    "update_item": "UpdateItem",
    "transact_write_items": "TransactWriteItems",
    "scan": "Scan",
    "query": "Query",
}


class Stores(Protocol):
    """Two repositories, a look at everything in them, and the lag of their index."""

    @property
    def connections(self) -> ConnectionsRepository: ...

    @property
    def sessions(self) -> SessionsRepository: ...

    def all_sessions(self) -> Sequence[Session]: ...

    def list_in_index(self, connection_id: str, *, listed: bool) -> None: ...

    def put_stranger(self, item_id: str, connected_ms: int | None) -> None:
        """Write an item that is no connection, by its id, with or without a time."""
        ...

    def item(self, item_id: str) -> object:
        """Return everything that an item has, to be compared; None if there is none."""
        ...


class InMemoryStores:
    """The public fakes."""

    def __init__(self, faults: Faults) -> None:
        self.items = InMemoryConnections(faults, page_size=3)
        self.connections: ConnectionsRepository = self.items
        self.sessions = InMemorySessions(self.items, faults)

    def all_sessions(self) -> Sequence[Session]:
        return list(self.sessions.sessions.values())

    def list_in_index(self, connection_id: str, *, listed: bool) -> None:
        change = self.sessions.unlisted.discard if listed else self.sessions.unlisted.add
        change(connection_id)

    def put_stranger(self, item_id: str, connected_ms: int | None) -> None:
        time = None if connected_ms is None else EpochMs(connected_ms)
        self.items.put(Connection(connection_id=item_id, connected_at_ms=time))

    def item(self, item_id: str) -> object:
        record = self.items.records.get(item_id)
        return None if record is None else (record.connection, record.claim_expires_ms)


class StateTableStores(InMemoryStores):
    """The same with Hangup's own state in a table of its own."""

    repository = StateTableConnections

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.items = InMemoryConnections(faults, page_size=3, has_state=False)
        self.connections = self.repository(
            self.items, InMemoryStates(faults), DEFAULT_SCHEMA.table_key
        )
        self.sessions = InMemorySessions(self.items, faults)


class DynamoDbStores:
    """The adapters on two tables of a real engine, with faults around every request of theirs.

    They are below the adapters' own retries: an answer that is lost makes the adapter ask again.
    """

    def __init__(self, client: "DynamoDBClient", faults: Faults, tables: tuple[str, str]) -> None:
        self._client = client
        self._connections_table, self._sessions_table = tables
        faulty: Any = _FaultyClient(client, faults)
        clock = FakeClock()  # pauses between attempts take no time here
        calls = Calls(clock, Deadline(clock))
        self.connections = DynamoDbConnections(faulty, calls, self._connections_table)
        self.sessions = DynamoDbSessions(
            faulty,
            calls,
            connections_table=self._connections_table,
            sessions_table=self._sessions_table,
        )

    def all_sessions(self) -> Sequence[Session]:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._sessions_table, ConsistentRead=True
        )
        return [DEFAULT_SESSION_SCHEMA.decode(item) for page in pages for item in page["Items"]]

    def list_in_index(self, connection_id: str, *, listed: bool) -> None:
        """Do nothing: the index of these engines does not lag."""

    def put_stranger(self, item_id: str, connected_ms: int | None) -> None:
        key: Values = {"connectionId": {"S": item_id}, "topic": {"S": "precious"}}
        time: Values = {} if connected_ms is None else {"connectedAt": {"N": str(connected_ms)}}
        self._client.put_item(TableName=self._connections_table, Item={**key, **time})

    def item(self, item_id: str) -> object:
        answer = self._client.get_item(
            TableName=self._connections_table,
            Key={"connectionId": {"S": item_id}},
            ConsistentRead=True,
        )
        return answer.get("Item")

    def clear(self) -> None:
        """Remove every item of both tables."""
        for table, key in (
            (self._connections_table, "connectionId"),
            (self._sessions_table, "sessionId"),
        ):
            for page in self._client.get_paginator("scan").paginate(
                TableName=table, ConsistentRead=True
            ):
                for item in page["Items"]:
                    self._client.delete_item(TableName=table, Key={key: item[key]})


class _FaultyClient:
    """A DynamoDB client with ``Faults.call`` around each request, its errors as AWS's own."""

    def __init__(self, client: "DynamoDBClient", faults: Faults) -> None:
        self._client = client
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._client, name)
        operation = _OPERATIONS[name]

        def surrounded(**request: Any) -> Any:
            try:
                with self._faults.call(operation):
                    answer = method(**request)
                    # The engine's time is not the model's, and a sweep would see that.
                    return {name: answer[name] for name in answer if name != "ResponseMetadata"}
            except BackendError as planned:
                code = "InternalServerError" if planned.retryable else "AccessDeniedException"
                status = 500 if planned.retryable else 403
                raise ClientError(
                    {
                        "Error": {"Code": code, "Message": str(planned)},
                        "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
                    },
                    operation,
                ) from planned

        return surrounded
