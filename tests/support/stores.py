"""What the contract suite needs of an engine, for the fakes and for DynamoDB tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, SessionSchema
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection
from hangup.ports import ConnectionsRepository
from hangup.sessions.model import Session
from hangup.sessions.ports import ConsistencyStore, SessionsRepository
from hangup.testing import FakeAws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "OTHER_SCHEMA",
    "DynamoDbStore",
    "InMemoryStore",
    "Item",
    "Store",
    "at_once",
    "item_of",
    "table_definition",
]

Result = TypeVar("Result")
Item = dict[str, Any]

OTHER_SCHEMA: Final = SessionSchema(
    connections=TableSchema(
        connection_id="key",
        session_id="session",
        role="name",
        session_run="run",
        connected_at="timestamp",
        last_activity="last.active-at",
        gateway_active="current",
        noticed_at="status",
        handovers="counter",
        claim_expires_at="lock",
        claim_token="token",
        expires_at="ttl",
        target_language="language",
    ),
    session_id="name",
    is_active="status",
    speaker_connection_id="user",
    listener_count="count",
    started_at="start",
    ended_at="end",
    expires_at="ttl",
    claim_expires_at="lock",
    claim_token="token",
)
"""No name is as in the default schema. Most are words that DynamoDB reserves; one has a dot."""

_numbers = count(1)


class Store(Protocol):
    """The two repositories of one engine, empty at first, and a way around them."""

    @property
    def schema(self) -> SessionSchema:
        """What the attributes of both tables are called."""
        ...

    @property
    def connections(self) -> ConnectionsRepository:
        """The connections table."""
        ...

    @property
    def sessions(self) -> SessionsRepository:
        """The sessions table."""
        ...

    @property
    def consistency(self) -> ConsistencyStore:
        """Both tables, as a check sees them."""
        ...

    def put(self, *connections: Connection) -> None:
        """Write records of whatever shape; the times in ``malformed`` are the texts that it has."""
        ...

    def put_items(self, *items: Item) -> None:
        """Write connection records as items in DynamoDB's JSON."""
        ...

    def put_session(self, session: Session) -> None:
        """Write a session as it is."""
        ...


class InMemoryStore:
    """The fakes."""

    def __init__(self, schema: SessionSchema = DEFAULT_SESSION_SCHEMA) -> None:
        self._world = FakeAws(schema=schema.connections)
        self.schema = schema
        self.connections = self._world.connections
        self.sessions = self._world.sessions
        self.consistency = self._world.store

    def put(self, *connections: Connection) -> None:
        self.put_items(
            *(item_of(connection, self.schema.connections) for connection in connections)
        )

    def put_items(self, *items: Item) -> None:
        for item in items:
            self._world.connections.put_item(item)

    def put_session(self, session: Session) -> None:
        self._world.sessions.sessions[session.session_id] = session


class DynamoDbStore:
    """Two new tables on an engine that speaks DynamoDB, made as the stack's template says."""

    def __init__(
        self,
        client: "DynamoDBClient",
        direct: DirectDynamoDb | None = None,
        schema: SessionSchema = DEFAULT_SESSION_SCHEMA,
    ) -> None:
        self.client = client
        self.schema = schema
        number = next(_numbers)
        self.connections_table = f"connections-{number}"
        self.sessions_table = f"sessions-{number}"
        tables = {
            "connections_table": self.connections_table,
            "sessions_table": self.sessions_table,
        }
        for key, table, names in (
            (DEFAULT_SCHEMA.connection_id, self.connections_table, schema.connections),
            (DEFAULT_SESSION_SCHEMA.session_id, self.sessions_table, schema),
        ):
            client.create_table(TableName=table, **table_definition(key, names))
        clock = SystemClock()
        calls = Calls(clock, Deadline(clock))
        self.connections = DynamoDbConnections(
            direct or client, calls, self.connections_table, schema.connections
        )
        self.sessions = DynamoDbSessions(direct or client, calls, schema=schema, **tables)
        self.consistency = DynamoDbConsistencyStore(client, calls, schema=schema, **tables)

    def drop(self) -> None:
        for table in (self.connections_table, self.sessions_table):
            self.client.delete_table(TableName=table)

    def put(self, *connections: Connection) -> None:
        self.put_items(
            *(item_of(connection, self.schema.connections) for connection in connections)
        )

    def put_items(self, *items: Item) -> None:
        """Write connection records as items."""
        for start in range(0, len(items), _MAX_BATCH):
            answer = self.client.batch_write_item(
                RequestItems={
                    self.connections_table: [
                        {"PutRequest": {"Item": item}} for item in items[start : start + _MAX_BATCH]
                    ]
                }
            )
            assert not answer.get("UnprocessedItems")

    def item(self, connection_id: str) -> Item:
        """Return a connection record as it is in the table, ``{}`` if there is none."""
        return self._get(self.connections_table, self.schema.connections.key(connection_id))

    def session_item(self, session_id: str) -> Item:
        """Return a session as it is in the table, likewise."""
        return self._get(self.sessions_table, self.schema.key(session_id))

    def _get(self, table: str, key: Item) -> Item:
        answer = self.client.get_item(TableName=table, Key=key, ConsistentRead=True)
        return dict(answer.get("Item", {}))

    def put_session(self, session: Session) -> None:
        names = self.schema
        item: Item = {
            names.session_id: {"S": session.session_id},
            names.is_active: {"BOOL": session.is_active},
            names.speaker_connection_id: {"S": session.speaker_connection_id},
            names.started_at: {"N": str(session.started_at_ms)},
        }
        if session.ended_at_ms is not None:
            item[names.ended_at] = {"N": str(session.ended_at_ms)}
        self.client.put_item(TableName=self.sessions_table, Item=item)


_MAX_BATCH: Final = 25


def item_of(connection: Connection, names: TableSchema = DEFAULT_SCHEMA) -> Item:
    """Return the item of a record of whatever shape, in DynamoDB's JSON."""
    texts = {
        names.connection_id: connection.connection_id,
        names.session_id: connection.session_id,
        names.role: connection.role,
        names.session_run: connection.session_run,
        names.target_language: connection.target_language,
    }
    numbers = {
        names.connected_at: connection.connected_at_ms,
        names.last_activity: connection.last_activity_ms,
        names.gateway_active: connection.gateway_active_ms,
        names.noticed_at: connection.noticed_at_ms,
        names.handovers: connection.handovers or None,
    }
    return (
        {name: {"S": str(text)} for name, text in texts.items() if text is not None}
        | {name: {"N": str(number)} for name, number in numbers.items() if number is not None}
        | {names.time_name(time): {"S": value} for time, value in connection.malformed}
    )


def table_definition(key: str, schema: TableSchema | SessionSchema = DEFAULT_SCHEMA) -> Any:
    """Return the definition of the table with this key in the synthesised template.

    Its attributes are then called as ``schema`` says.
    """
    template = json.loads(files("hangup.local").joinpath("template.json").read_text())
    resources: Mapping[str, Any] = template["Resources"]
    (properties,) = (
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::DynamoDB::Table"
        and resource["Properties"]["KeySchema"][0]["AttributeName"] == key
    )
    names = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    definition = {name: properties[name] for name in names if name in properties}
    default = type(schema)()
    renamed = {
        getattr(default, field.name): getattr(schema, field.name) for field in fields(schema)
    }
    return _renamed(definition, renamed)


def _renamed(value: Any, names: Mapping[Any, Any]) -> Any:
    """Return a JSON value with other texts for those that are in ``names``."""
    match value:
        case dict():
            return {key: _renamed(inner, names) for key, inner in value.items()}
        case list():
            return [_renamed(inner, names) for inner in value]
        case _:
            return names.get(value, value)


def at_once(actions: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return what the actions return, each on a thread of its own."""
    with ThreadPoolExecutor(len(actions)) as threads:
        return [future.result() for future in [threads.submit(action) for action in actions]]
