"""The examples' routes in Node, on DynamoDB Local: what they write, and what they never write."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event
from tests.support.documents import ROOT
from tests.support.engines import direct_to
from tests.support.node import node_folder, packages_of
from tests.support.serverless import rooms_schema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

pytestmark = [pytest.mark.integration, pytest.mark.install]

ID = "L0SM9cOFvHcCIhw="
KEY = {"connectionId": {"S": ID}}
T = EpochMs(1_699_500_000_000)
RECIPE = ROOT / "examples" / "node" / "record-activity.mjs"
CALL = """
const [module, name, ...given] = JSON.parse(process.argv[1]);
const answer = (await import(`./${module}.mjs`))[name](...given);
console.log(JSON.stringify((await answer) ?? null));
"""
Item = dict[str, Any]


class Routes:
    """The functions of the examples, each called in a process of its own, and their table."""

    def __init__(self, folder: Path, client: "DynamoDBClient", table: str) -> None:
        self._folder = folder
        self._client = client
        self.table = table

    def call(self, module: str, name: str, *given: object, table: str = "") -> tuple[Any, str]:
        """Return the answer, and what was written to the log."""
        node = node_folder() / "node"
        ended = subprocess.run(
            [node, "--input-type=module", "-e", CALL, json.dumps([module, name, *given])],
            cwd=self._folder,
            env={
                "AWS_ENDPOINT_URL_DYNAMODB": self._client.meta.endpoint_url,
                "AWS_REGION": self._client.meta.region_name,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "CONNECTIONS_TABLE": table or self.table,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1]), ended.stderr

    def record(self, now_ms: int, *, table: str = "") -> str:
        _, log = self.call("record-activity", "recordActivity", event(), now_ms, table=table)
        return log

    def put(self, **members: Any) -> None:
        self._client.put_item(TableName=self.table, Item={**KEY, **members})

    def items(self) -> list[Item]:
        return self._client.scan(TableName=self.table, ConsistentRead=True)["Items"]


def event(event_type: str = "MESSAGE") -> Item:
    return {"requestContext": {"connectionId": ID, "eventType": event_type}, "body": "hello"}


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = packages_of(ROOT / "examples" / "node")
    for file in (ROOT / "examples" / "node").glob("*.mjs"):
        shutil.copy(file, folder)
    shutil.copy(ROOT / "examples" / "serverless" / "routes.mjs", folder / "rooms.mjs")
    return folder


def tables(
    client: "DynamoDBClient", folder: Path, *attributes: tuple[str, str]
) -> Iterator[Routes]:
    client.create_table(
        TableName="node",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name, _ in attributes
        ],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in attributes],  # type: ignore[typeddict-item]
    )
    yield Routes(folder, client, "node")
    client.delete_table(TableName="node")


@pytest.fixture
def chat(dynamodb_local: "DynamoDBClient", folder: Path) -> Iterator[Routes]:
    yield from tables(dynamodb_local, folder, ("connectionId", "HASH"))


@pytest.fixture
def rooms(dynamodb_local: "DynamoDBClient", folder: Path) -> Iterator[Routes]:
    yield from tables(dynamodb_local, folder, ("pk", "HASH"), ("sk", "RANGE"))


def test_the_recipe_is_short() -> None:
    code = RECIPE.read_text().partition("export ")[2]
    assert len(code.splitlines()) <= 10


def test_records_activity_beside_what_is_there_and_forgets_old_hand_overs(chat: Routes) -> None:
    chat.put(connectedAt={"N": str(T)}, name={"S": "Ada"}, handovers={"N": "2"})
    assert chat.record(T + 1) == ""
    times = {"connectedAt": {"N": str(T)}, "lastActivityTime": {"N": str(T + 1)}}
    assert chat.items() == [{**KEY, "name": {"S": "Ada"}, **times}]


def test_leaves_the_item_that_the_decorator_leaves(
    chat: Routes, dynamodb_local: "DynamoDBClient"
) -> None:
    connections = DynamoDbConnections(
        direct_to(dynamodb_local), Calls(SystemClock(), Deadline(SystemClock())), chat.table
    )
    left = []
    for by_decorator in (True, False):
        chat.put(lastActivityTime={"N": str(T)}, handovers={"N": "2"})
        if by_decorator:
            connections.record_activity(ID, now_ms=EpochMs(T + 1), resolution_ms=DurationMs(0))
        else:
            chat.record(T + 1)
        left.append(chat.items())
    assert left[0] == left[1]


def test_never_creates_a_record(chat: Routes) -> None:
    assert chat.record(T) == ""
    assert chat.items() == []


@pytest.mark.parametrize("now_ms", [T - 1, T])
def test_never_moves_time_backwards(chat: Routes, now_ms: int) -> None:
    chat.put(lastActivityTime={"N": str(T)}, handovers={"N": "2"})
    before = chat.items()
    assert chat.record(now_ms) == ""
    assert chat.items() == before


def test_writes_over_what_is_not_a_time(chat: Routes) -> None:
    chat.put(lastActivityTime={"S": "yesterday"})
    chat.record(T)
    assert chat.items() == [{**KEY, "lastActivityTime": {"N": str(T)}}]


def test_a_write_that_fails_is_logged_for_the_alarm_and_the_message_is_handled(
    chat: Routes,
) -> None:
    answer, log = chat.call("routes", "message", event(), table="there-is-none")
    assert answer == {"statusCode": 200, "body": "hello"}
    assert "activity not recorded" in log
    assert "ResourceNotFoundException" in log


def test_the_routes_write_what_sweeps_read_and_take_it_away_again(chat: Routes) -> None:
    assert chat.call("routes", "connect", event("CONNECT"))[0] == {"statusCode": 200}
    connected = DEFAULT_SCHEMA.decode(chat.items()[0])
    assert connected.connection_id == ID
    assert connected.connected_at_ms is not None
    assert connected.last_activity_ms is None
    answer, log = chat.call("routes", "message", event())
    assert (answer, log) == ({"statusCode": 200, "body": "hello"}, "")
    active_ms = DEFAULT_SCHEMA.decode(chat.items()[0]).last_activity_ms
    assert active_ms is not None
    assert active_ms > connected.connected_at_ms
    # A client may send a message whose action is $disconnect.
    assert chat.call("routes", "disconnect", event())[0] == {"statusCode": 400}
    assert len(chat.items()) == 1
    for this in (event("DISCONNECT"), handed_over()):
        assert chat.call("routes", "disconnect", this)[0] == {"statusCode": 200}
        assert chat.items() == []


def test_the_routes_of_the_rooms_write_what_their_schema_says(rooms: Routes) -> None:
    schema: TableSchema = rooms_schema()
    assert rooms.call("rooms", "connect", event("CONNECT"))[0] == {"statusCode": 200}
    (item,) = rooms.items()
    assert schema.matches(item)
    connected = schema.decode(item)
    assert connected.connection_id == ID
    assert connected.connected_at_ms is not None
    assert connected.malformed == ()
    rooms.call("rooms", "message", event())
    assert rooms.items() == [item]
    # A message of a client whose action is "$disconnect".
    assert rooms.call("rooms", "disconnect", event()) == ({"statusCode": 400}, "")
    assert rooms.items() == [item]
    rooms.call("rooms", "disconnect", handed_over())
    assert rooms.items() == []


def handed_over() -> Any:
    address = GatewayAddress(
        domain_name="a1.execute-api.eu-west-1.amazonaws.com", stage="live", api_id="a1"
    )
    return disconnect_event(
        Connection(connection_id=ID), None, address, now_ms=T, correlation_id="1"
    )
