"""What the local engine's API Gateway does with messages and connection ids, on real sockets."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as ws_connect

from hangup.local.deploy import Deployment, deploy
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.last_active import LastActive
from tests.support.engine_stack import close_code, code, template_without_alarms, until

pytestmark = pytest.mark.integration

FRAME = 32_768
"""Bytes that a frame may have."""
MESSAGE = 131_072
"""Bytes that a message may have."""
HANDSHAKE_S = 0.3
"""What the function of ``$connect`` takes here, so that events have times of their own."""

HANDLER = f"""
import boto3, json, os, time

def handler(event, context):
    context = event["requestContext"]
    table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])
    table.put_item(Item={{
        "connectionId": context["eventType"], "id": context["connectionId"],
        "event": json.dumps(event),
    }})
    if context["eventType"] == "CONNECT":
        time.sleep({HANDSHAKE_S})
    answer = {{"context": context, "characters": len(event["body"])}}
    return {{"statusCode": 200, "body": json.dumps(answer)}}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as running:
        yield running


@pytest.fixture(scope="module")
def deployment(engine: Engine) -> Deployment:
    return deploy(engine, template=template_without_alarms(), code=code(HANDLER))


@pytest.fixture
def client(deployment: Deployment) -> Iterator[ClientConnection]:
    with connected(deployment) as connection:
        yield connection


def connected(deployment: Deployment) -> ClientConnection:
    return ws_connect(deployment.web_socket_url, proxy=None, user_agent_header="somebody/7")


def asked(client: ClientConnection, message: str | list[str]) -> dict[str, Any]:
    """Send a message, in frames if it is a list, and return what the function answers."""
    client.send(message)
    answer: dict[str, Any] = json.loads(client.recv(timeout=10))
    return answer


def event_of(engine: Engine, deployment: Deployment, kind: str, connection_id: str) -> Any:
    """Return the last event of a kind, once it is that of the connection."""
    found = {}

    def is_there() -> bool:
        item = engine.client("dynamodb").get_item(
            TableName=deployment.outputs["ConnectionsTable"], Key={"connectionId": {"S": kind}}
        )
        found.update(item.get("Item", {}))
        return bool(found) and found["id"]["S"] == connection_id

    until(is_there)
    return json.loads(found["event"]["S"])


def gateway_of(engine: Engine, deployment: Deployment) -> Any:
    return engine.client("apigatewaymanagementapi", endpoint_url=deployment.management_endpoint)


# Frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\x00", b"{}", b"x" * (MESSAGE + 1)], ids=["one", "text", "all"])
def test_binary_frame_is_refused(client: ClientConnection, data: bytes) -> None:
    client.send(data)
    assert close_code(client) == 1003


@pytest.mark.parametrize(
    "frames",
    [
        ["x" * (FRAME + 1)],
        ["é" * (FRAME // 2) + "x"],  # counted in bytes
        ["x" * MESSAGE],
        ["x", "x" * (FRAME + 1)],
        ["x" * 1_000_000],
    ],
    ids=[
        "by one byte",
        "bytes, not characters",
        "a whole message",
        "second frame",
        "far too large",
    ],
)
def test_large_frame_is_refused(client: ClientConnection, frames: list[str]) -> None:
    with suppress(ConnectionClosed):  # it may be refused before all of it was sent
        client.send(frames)
    assert close_code(client) == 1009


def test_large_message_is_refused_whatever_its_frames(client: ClientConnection) -> None:
    client.send(["x" * FRAME] * 4 + ["x"])
    assert close_code(client) == 1009


def test_largest_frame_and_largest_message_arrive(client: ClientConnection) -> None:
    assert asked(client, ["x" * FRAME])["characters"] == FRAME
    assert asked(client, ["é" * (FRAME // 2)] * 4)["characters"] == MESSAGE // 2


def test_close_code_of_a_refused_frame_reaches_the_disconnect_event(
    engine: Engine, deployment: Deployment, client: ClientConnection
) -> None:
    connection_id = asked(client, "{}")["context"]["connectionId"]
    client.send(b"binary")
    event = event_of(engine, deployment, "DISCONNECT", connection_id)
    assert event["requestContext"]["disconnectStatusCode"] == 1003


# Routes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["$connect", "$disconnect", "anything"])
def test_action_cannot_select_a_route_of_the_connection(
    client: ClientConnection, action: str
) -> None:
    context = asked(client, json.dumps({"action": action}))["context"]
    assert (context["routeKey"], context["eventType"]) == ("$default", "MESSAGE")
    assert asked(client, "{}")["context"]["connectionId"] == context["connectionId"]


def test_deep_json_is_a_message_without_an_action(client: ClientConnection) -> None:
    levels = 100_000
    frames = ["[" * FRAME] * (levels // FRAME) + ["[" * (levels % FRAME)]
    answer = asked(client, frames)
    assert answer["characters"] == levels
    assert answer["context"]["routeKey"] == "$default"
    assert asked(client, "{}")["characters"] == 2


def test_default_route_gets_messages_alone(engine: Engine) -> None:
    template = template_without_alarms()
    for route in ("ConnectRoute", "LeaveRoute"):
        del template["Resources"][route]
    deployment = deploy(engine, template=template, code=code(HANDLER), stack_name="Messages")
    with connected(deployment) as client:
        connection_id = asked(client, '{"action": "$disconnect"}')["context"]["connectionId"]
        gateway_of(engine, deployment).delete_connection(ConnectionId=connection_id)
        assert close_code(client) == 1000
    items = engine.client("dynamodb").scan(TableName=deployment.outputs["ConnectionsTable"])
    assert [item["connectionId"]["S"] for item in items["Items"]] == ["MESSAGE"]


# Connection ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "connection_id",
    ["nobody", "room#lobby", "L0SM9cOFvHcCIhw", "=", "0123456789ABCDEF", "0123456789abcde", "é="],
)
@pytest.mark.parametrize("operation", ["get_connection", "delete_connection", "post_to_connection"])
def test_malformed_id_is_a_bad_request(
    engine: Engine, deployment: Deployment, operation: str, connection_id: str
) -> None:
    call = getattr(gateway_of(engine, deployment), operation)
    data = {"Data": b"x"} if operation == "post_to_connection" else {}
    with pytest.raises(ClientError) as refused:
        call(ConnectionId=connection_id, **data)
    answer = refused.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "BadRequestException"
    assert answer["Error"]["Message"] == "Invalid connectionId"


@pytest.mark.parametrize(
    "connection_id", ["L0SM9cOFvHcCIhw=", "XgZVuFf6SwMCIQ=", "0123456789abcdef"]
)
def test_well_formed_id_that_is_unknown_is_gone(
    engine: Engine, deployment: Deployment, connection_id: str
) -> None:
    gateway = gateway_of(engine, deployment)
    with pytest.raises(gateway.exceptions.GoneException):
        gateway.get_connection(ConnectionId=connection_id)


# Times ------------------------------------------------------------------------------------------


def test_events_and_get_connection_tell_the_time_of_the_connect_and_who_it_is(
    engine: Engine, deployment: Deployment
) -> None:
    before_ms = time.time_ns() // 1_000_000
    with connected(deployment) as client:
        message = asked(client, "{}")["context"]
        connection_id = message["connectionId"]
        found = gateway_of(engine, deployment).get_connection(ConnectionId=connection_id)
    connect, disconnect = (
        event_of(engine, deployment, kind, connection_id)["requestContext"]
        for kind in ("CONNECT", "DISCONNECT")
    )
    connected_ms = connect["connectedAt"]
    assert before_ms <= connected_ms < before_ms + 1_000 * HANDSHAKE_S
    assert message["connectedAt"] == disconnect["connectedAt"] == connected_ms
    assert message["requestTimeEpoch"] >= connected_ms + 1_000 * HANDSHAKE_S
    # What boto3 has parsed from ISO 8601 has the milliseconds.
    assert found["ConnectedAt"] == datetime.fromtimestamp(connected_ms / 1_000, UTC)
    who = {"sourceIp": "127.0.0.1", "userAgent": "somebody/7"}
    assert [context["identity"] for context in (connect, message, disconnect)] == [who] * 3
    assert found["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "somebody/7"}
    assert {context["messageDirection"] for context in (connect, message, disconnect)} == {"IN"}


def test_answer_to_get_connection_has_the_names_and_the_form_of_api_gateway(
    engine: Engine, deployment: Deployment, client: ClientConnection
) -> None:
    connection_id = asked(client, "{}")["context"]["connectionId"]
    gateway = gateway_of(engine, deployment)
    bodies: list[bytes] = []
    gateway.meta.events.register(
        "response-received.*", lambda response_dict, **_: bodies.append(response_dict["body"])
    )
    gateway.get_connection(ConnectionId=connection_id)
    answer = json.loads(bodies[0])
    assert set(answer) == {"connectedAt", "lastActiveAt", "identity"}
    assert set(answer["identity"]) == {"sourceIp", "userAgent"}
    for when in (answer["connectedAt"], answer["lastActiveAt"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)


def last_active_ms(engine: Engine, deployment: Deployment, connection_id: str) -> float:
    found = gateway_of(engine, deployment).get_connection(ConnectionId=connection_id)
    return float(found["LastActiveAt"].timestamp() * 1_000)


def test_last_active_moves_with_a_message_and_not_with_a_post(
    engine: Engine, deployment: Deployment, client: ClientConnection
) -> None:
    sent_ms = time.time_ns() // 1_000_000
    connection_id = asked(client, "{}")["context"]["connectionId"]
    first_ms = last_active_ms(engine, deployment, connection_id)
    assert sent_ms <= first_ms <= time.time_ns() // 1_000_000
    time.sleep(0.05)
    gateway_of(engine, deployment).post_to_connection(ConnectionId=connection_id, Data=b"push")
    assert client.recv(timeout=10) == "push"
    assert last_active_ms(engine, deployment, connection_id) == first_ms
    asked(client, "{}")
    assert last_active_ms(engine, deployment, connection_id) >= first_ms + 50


def test_last_active_moves_with_a_post_too_where_both_count() -> None:
    with Engine.start(last_active=LastActive.BOTH) as engine:
        deployment = deploy(engine, template=template_without_alarms(), code=code(HANDLER))
        with connected(deployment) as client:
            connection_id = asked(client, "{}")["context"]["connectionId"]
            first_ms = last_active_ms(engine, deployment, connection_id)
            time.sleep(0.05)
            gateway = gateway_of(engine, deployment)
            gateway.post_to_connection(ConnectionId=connection_id, Data=b"push")
            assert client.recv(timeout=10) == "push"
            posted_ms = last_active_ms(engine, deployment, connection_id)
            assert posted_ms >= first_ms + 50
            # Asking is no activity, and a post to another connection is none of this one.
            with pytest.raises(gateway.exceptions.GoneException):
                gateway.post_to_connection(ConnectionId="0123456789abcdef", Data=b"push")
            assert last_active_ms(engine, deployment, connection_id) == posted_ms
            asked(client, "{}")
            assert last_active_ms(engine, deployment, connection_id) > posted_ms
