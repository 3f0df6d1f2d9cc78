"""What the contract suite needs of an engine, for the fakes and for DynamoDB tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from hangup.aws.conditions import equals
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, SessionSchema
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.state_table import StateTableConnections, place_of
from hangup.aws.states import DynamoDbStates, state_in
from hangup.core.connection import Connection
from hangup.ports import ConnectionsRepository
from hangup.sessions.model import Session
from hangup.sessions.ports import ConsistencyStore, SessionsRepository
from hangup.testing import FakeAws, InMemoryStates
from tests.support.schemas import Item, attributes_of, item_of, table_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "OTHER_SCHEMA",
    "STRANGE_SCHEMA",
    "DynamoDbStore",
    "InMemoryStore",
    "Item",
    "Store",
    "at_once",
    "item_of",
    "parted",
    "put_state",
    "put_state_items",
    "table_definition",
]

Result = TypeVar("Result")

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

STRANGE_SCHEMA: Final = SessionSchema(
    connections=TableSchema(
        connection_id="pk",
        id_prefix="CONN#",
        key_attributes=(("pk", "S"), ("sk", "N")),
        connected_at="joined",
        last_activity="seen",
        only=(equals("sk", 0), equals("a kind", "web"), equals("live", value=True)),
    )
)
"""A table with a key and with conditions of its own."""

_numbers = count(1)


class Store(Protocol):
    """The two repositories of one engine, empty at first, and a way around them."""

    @property
    def schema(self) -> SessionSchema:
        """What the attributes of both tables are called."""
        ...

    @property
    def has_state_table(self) -> bool:
        """Whether Hangup's own state is in a table of its own."""
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

    def __init__(
        self, schema: SessionSchema = DEFAULT_SESSION_SCHEMA, *, state_table: bool = False
    ) -> None:
        self._world = FakeAws(schema=schema.connections, state_table=state_table)
        self.schema = schema
        self.has_state_table = state_table
        self.connections = self._world.repository
        self.sessions = self._world.sessions
        self.consistency = self._world.store

    def put(self, *connections: Connection) -> None:
        self.put_items(
            *(item_of(connection, self.schema.connections) for connection in connections)
        )

    def put_items(self, *items: Item) -> None:
        for item in items:
            if self.has_state_table:
                item, place, state = parted(item, self.schema.connections)  # noqa: PLW2901
                put_state(self._world.states, place, state)
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
        *,
        state_table: bool = False,
    ) -> None:
        self.client = client
        self.has_state_table = state_table
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
        items = DynamoDbConnections(
            direct or client,
            calls,
            self.connections_table,
            schema.connections,
            has_state=not state_table,
        )
        self.connections: ConnectionsRepository = items
        self.state_table = f"states-{number}"
        if state_table:
            client.create_table(TableName=self.state_table, **table_of(DEFAULT_SCHEMA))
            states = DynamoDbStates(direct or client, calls, self.state_table, clock)
            self.connections = StateTableConnections(items, states, schema.connections.table_key)
        self.sessions = DynamoDbSessions(direct or client, calls, schema=schema, **tables)
        self.consistency = DynamoDbConsistencyStore(client, calls, schema=schema, **tables)

    def drop(self) -> None:
        states = [self.state_table] if self.has_state_table else []
        for table in (self.connections_table, self.sessions_table, *states):
            self.client.delete_table(TableName=table)

    def put(self, *connections: Connection) -> None:
        self.put_items(
            *(item_of(connection, self.schema.connections) for connection in connections)
        )

    def put_items(self, *items: Item) -> None:
        """Write connection records as items, and what they say of Hangup's own where that is."""
        if self.has_state_table:
            parts = [parted(item, self.schema.connections) for item in items]
            items = tuple(item for item, _, _ in parts)
            put_state_items(self.client, self.state_table, parts)
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


_OWN: Final = ("gateway_active", "noticed_at", "handovers", "claim_expires_at", "claim_token")

Parted: TypeAlias = tuple[Item, str | None, Item]
"""An item without Hangup's own attributes, where those are in a state table, and they as an item
there, empty if there are none."""


def parted(item: Item, schema: TableSchema) -> Parted:
    """Part an item that one table would have."""
    if not schema.matches(item):
        return item, None, {}
    connection = schema.decode(item)
    place = place_of(connection, schema.table_key)
    names = {getattr(schema, own): getattr(DEFAULT_SCHEMA, own) for own in _OWN}
    state = {names[name]: value for name, value in item.items() if name in names}
    if state:
        state["lastActivityTime"] = {"N": str(connection.recorded_ms or 0)}
    return {name: value for name, value in item.items() if name not in names}, place, state


def put_state(states: InMemoryStates, place: str | None, state: Item) -> None:
    """Write the state of a place into the fake, and nothing else that it had."""
    if place is not None:
        states.states.pop(place, None)
        if state:
            states.states[place] = state_in(state)


def put_state_items(client: "DynamoDBClient", table: str, parts: Sequence[Parted]) -> None:
    """Write the state of each item, and nothing else that it had."""
    for _, place, state in parts:
        key = {"connectionId": {"S": place}}
        if place is not None and state:
            client.put_item(TableName=table, Item=state | key)
        elif place is not None:
            client.delete_item(TableName=table, Key=key)


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
    members = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    definition = {name: properties[name] for name in members if name in properties}
    default = type(schema)()
    names = attributes_of(schema)
    renamed = {name: names[field] for field, name in attributes_of(default).items()}
    return _with_key(_renamed(definition, renamed), schema)


def _with_key(definition: Any, schema: TableSchema | SessionSchema) -> Any:
    """Return the definition with the key of the schema, where that is more than the id."""
    if not isinstance(schema, TableSchema) or not schema.key_attributes:
        return definition
    other = table_of(schema)
    there = list(definition["AttributeDefinitions"])
    others = [one for one in other["AttributeDefinitions"] if one not in there]
    return definition | {
        "KeySchema": other["KeySchema"],
        "AttributeDefinitions": [*there, *others],
    }


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
