"""The example: it synthesises, its routes exist, do what they say and may do it."""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

from examples.chat import routes
from examples.chat.app import ChatStack
from hangup.core.connection import Connection, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event
from tests.support.aws_stub import AwsStub
from tests.support.templates import Resources, as_list, readable

pytestmark = pytest.mark.infra

ROOT = Path(__file__).parents[2]
ID = "L0SM9cOFvHcCIhw="
ADDRESS = GatewayAddress(
    domain_name="a1.execute-api.eu-west-1.amazonaws.com", stage="live", api_id="a1"
)


@pytest.fixture(scope="module")
def chat(lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    with pytest.MonkeyPatch.context() as patch:
        # The construct builds its zip in the working directory: let it find the one that is built.
        patch.chdir(lambda_zip.parents[1])
        app = cdk.App(outdir=str(tmp_path_factory.mktemp("cdk")))
        code = lambda_.Code.from_asset(str(ROOT / "examples" / "chat"))
        return Resources(
            template=dict(Template.from_stack(ChatStack(app, "Chat", code=code)).to_json())
        )


def function(chat: Resources, handler: str) -> dict[str, Any]:
    functions = chat.of_type("AWS::Lambda::Function").values()
    return next(properties for properties in functions if properties["Handler"] == handler)


@pytest.fixture(autouse=True)
def _cold_start(aws: AwsStub) -> None:  # the client of the routes is that of this test's stub
    routes._dynamodb.cache_clear()


def event(route_key: str, **members: object) -> dict[str, Any]:
    event_type = {"$connect": "CONNECT", "$disconnect": "DISCONNECT"}.get(route_key, "MESSAGE")
    context = {"connectionId": ID, "routeKey": route_key, "eventType": event_type}
    return {"requestContext": context, **members}


@pytest.mark.parametrize(
    ("route", "action"),
    [
        ("connect", "dynamodb:PutItem"),
        ("message", "dynamodb:UpdateItem"),
        ("disconnect", "dynamodb:DeleteItem"),
    ],
)
def test_each_route_exists_and_may_do_what_it_does(
    chat: Resources, route: str, action: str
) -> None:
    properties = function(chat, f"routes.{route}")
    assert callable(getattr(routes, route))
    table = properties["Environment"]["Variables"]["CONNECTIONS_TABLE"]
    assert readable(table) == "${Connections}"
    role = properties["Role"]["Fn::GetAtt"][0]
    (policy,) = (
        policy
        for policy in chat.of_type("AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Roles"]
    )
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert as_list(statement["Action"]) == [action]


def test_takes_the_timeout_with_its_own_table_and_disconnect_handler(chat: Resources) -> None:
    environment = chat.function("timeout_handler")["Environment"]["Variables"]
    assert environment["CONNECTION_IDLE_TIMEOUT_SECONDS"] == "90"
    assert readable(environment["CONNECTIONS_TABLE"]) == "${Connections}"
    assert readable(environment["DISCONNECT_HANDLER_FUNCTION"]) == "${Disconnect.Arn}"


def test_a_connect_writes_what_the_sweep_reads(aws: AwsStub) -> None:
    assert routes.connect(event("$connect"), None) == {"statusCode": 200}
    (call,) = aws.calls("PutItem")
    assert call["TableName"] == "connections"
    assert call["Item"]["connectionId"] == {"S": ID}
    assert len(call["Item"]["connectedAt"]["N"]) == len("1699500000000")


def test_a_message_is_activity_and_is_answered(aws: AwsStub) -> None:
    body = json.dumps({"text": "hello"})
    assert routes.message(event("$default", body=body), None) == {"statusCode": 200, "body": body}
    (call,) = aws.calls("UpdateItem")
    assert call["Key"] == {"connectionId": {"S": ID}}
    assert call["UpdateExpression"] == "SET #last_activity = :now REMOVE #handovers"
    assert call["ExpressionAttributeNames"]["#last_activity"] == "lastActivityTime"


def test_a_hand_over_looks_like_a_disconnect_and_may_come_twice(aws: AwsStub) -> None:
    handed_over = disconnect_event(
        Connection(connection_id=ID),
        None,
        ADDRESS,
        now_ms=EpochMs(1_699_500_000_000),
        correlation_id="1",
    )
    for this in (event("$disconnect"), handed_over):
        assert routes.disconnect(this, None) == {"statusCode": 200}
    assert [call["Key"] for call in aws.calls("DeleteItem")] == [{"connectionId": {"S": ID}}] * 2


def test_a_message_whose_action_is_disconnect_removes_nothing(aws: AwsStub) -> None:
    message = event("$disconnect")
    message["requestContext"]["eventType"] = "MESSAGE"
    assert routes.disconnect(message, None) == {"statusCode": 400}
    assert aws.calls("DeleteItem") == []
