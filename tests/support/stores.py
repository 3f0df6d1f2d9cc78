"""What the contract suite needs of an engine, for the fakes and for DynamoDB tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from hangup.aws.clock import SystemClock

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls, Deadline
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection
from hangup.ports import ConnectionsRepository
from hangup.sessions.model import Role, Session
from hangup.sessions.ports import SessionsRepository
from hangup.testing import FakeAws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["DynamoDbStore", "InMemoryStore", "Store", "at_once", "table_definition"]

Result = TypeVar("Result")
Item = dict[str, Any]

_numbers = count(1)


class Store(Protocol):
    """The two repositories of one engine, empty at first, and a way around them."""

    @property
    def connections(self) -> ConnectionsRepository:
        """The connections table."""
        ...

    @property
    def sessions(self) -> SessionsRepository:
        """The sessions table."""
        ...

    def put(self, *connections: Connection) -> None:
        """Write records of whatever shape; ``malformed`` names times that become a text."""
        ...

    def put_session(self, session: Session) -> None:
        """Write a session as it is."""
        ...


class InMemoryStore:
    """The fakes."""

    def __init__(self) -> None:
        self._world = FakeAws()
        self.connections = self._world.connections
        self.sessions = self._world.sessions

    def put(self, *connections: Connection) -> None:
        for connection in connections:
            self._world.connections.put(connection)

    def put_session(self, session: Session) -> None:
        self._world.sessions.sessions[session.session_id] = session


class DynamoDbStore:
    """Two new tables on an engine that speaks DynamoDB, made as the stack's template says."""

    def __init__(self, client: "DynamoDBClient", direct: DirectDynamoDb | None = None) -> None:
        self.client = client
        number = next(_numbers)
        self.connections_table = f"connections-{number}"
        self.sessions_table = f"sessions-{number}"
        for key, table in (
            ("connectionId", self.connections_table),
            ("sessionId", self.sessions_table),
        ):
            client.create_table(TableName=table, **table_definition(key))
        clock = SystemClock()
        calls = Calls(clock, Deadline(clock))
        self.connections = DynamoDbConnections(direct or client, calls, self.connections_table)
        self.sessions = DynamoDbSessions(
            client,
            calls,
            connections_table=self.connections_table,
            sessions_table=self.sessions_table,
        )

    def drop(self) -> None:
        for table in (self.connections_table, self.sessions_table):
            self.client.delete_table(TableName=table)

    def put(self, *connections: Connection) -> None:
        self.put_items(*map(_item, connections))

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
        return self._get(self.connections_table, {"connectionId": {"S": connection_id}})

    def session_item(self, session_id: str) -> Item:
        """Return a session as it is in the table, likewise."""
        return self._get(self.sessions_table, {"sessionId": {"S": session_id}})

    def _get(self, table: str, key: Item) -> Item:
        answer = self.client.get_item(TableName=table, Key=key, ConsistentRead=True)
        return dict(answer.get("Item", {}))

    def put_session(self, session: Session) -> None:
        item: Item = {
            "sessionId": {"S": session.session_id},
            "isActive": {"BOOL": session.is_active},
            "speakerConnectionId": {"S": session.speaker_connection_id},
            "listenerCount": {"N": str(session.listener_count)},
            "startedAt": {"N": str(session.started_at_ms)},
        }
        if session.ended_at_ms is not None:
            item["endedAt"] = {"N": str(session.ended_at_ms)}
        self.client.put_item(TableName=self.sessions_table, Item=item)


_MAX_BATCH: Final = 25


@dataclass(frozen=True)
class _Time:
    attribute: str
    ms: int | None


def _item(connection: Connection) -> Item:
    item: Item = {"connectionId": {"S": connection.connection_id}}
    if connection.session_id is not None:
        item["sessionId"] = {"S": connection.session_id}
    if connection.role is not Role.UNKNOWN:
        item["role"] = {"S": str(connection.role)}
    if connection.target_language is not None:
        item["targetLanguage"] = {"S": connection.target_language}
    for time in (
        _Time("connectedAt", connection.connected_at_ms),
        _Time("lastActivityTime", connection.last_activity_ms),
        _Time("noticedAt", connection.noticed_at_ms),
    ):
        if time.ms is not None:
            item[time.attribute] = {"N": str(time.ms)}
    return item | {name: {"S": "soon"} for name in connection.malformed}


def table_definition(key: str) -> Any:
    """Return the definition of the table with this key in the synthesised template."""
    template = json.loads(files("hangup.local").joinpath("template.json").read_text())
    resources: Mapping[str, Any] = template["Resources"]
    (properties,) = (
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::DynamoDB::Table"
        and resource["Properties"]["KeySchema"][0]["AttributeName"] == key
    )
    names = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return {name: properties[name] for name in names if name in properties}


def at_once(actions: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return what the actions return, each on a thread of its own."""
    with ThreadPoolExecutor(len(actions)) as threads:
        return [future.result() for future in [threads.submit(action) for action in actions]]
