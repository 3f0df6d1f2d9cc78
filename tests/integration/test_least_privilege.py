"""Each function's role, tried for real: what it needs is allowed, anything else is denied.

What a role is allowed is shown by the tests of the flow, which run with IAM enforced. Here each
role is assumed, and tries what it must not do.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hangup.local.ministack.aws_client import Credentials
from tests.support.local_stack import Stack

pytestmark = pytest.mark.integration

Attempt = Callable[[Stack, Callable[..., Any]], object]


def scan(table: str) -> Attempt:
    return lambda stack, client: client("dynamodb").scan(
        TableName=stack.deployed.outputs[f"{table.title()}Table"]
    )


def put(table: str, key: str) -> Attempt:
    return lambda stack, client: client("dynamodb").put_item(
        TableName=stack.deployed.outputs[f"{table.title()}Table"], Item={key: {"S": "intruder"}}
    )


def update(table: str, key: str) -> Attempt:
    return lambda stack, client: client("dynamodb").update_item(
        TableName=stack.deployed.outputs[f"{table.title()}Table"], Key={key: {"S": "intruder"}}
    )


def delete(table: str, key: str) -> Attempt:
    return lambda stack, client: client("dynamodb").delete_item(
        TableName=stack.deployed.outputs[f"{table.title()}Table"], Key={key: {"S": "intruder"}}
    )


def read_secret(stack: Stack, client: Callable[..., Any]) -> object:
    return client("secretsmanager").get_secret_value(
        SecretId=stack.deployed.outputs["JoinSecretArn"]
    )


def invoke(function: str) -> Attempt:
    return lambda stack, client: client("lambda").invoke(
        FunctionName=stack.deployed.outputs[f"{function.title()}Function"], InvocationType="Event"
    )


NOBODY = "0123456789abcdef"
"""A well-formed id that no connection has."""


def post(stack: Stack, client: Callable[..., Any]) -> object:
    gateway = client("apigatewaymanagementapi", endpoint_url=stack.deployed.management_endpoint)
    return gateway.post_to_connection(ConnectionId=NOBODY, Data=b"x")


def close(stack: Stack, client: Callable[..., Any]) -> object:
    gateway = client("apigatewaymanagementapi", endpoint_url=stack.deployed.management_endpoint)
    return gateway.delete_connection(ConnectionId=NOBODY)


DENIED: dict[str, dict[str, Attempt]] = {
    "connect": {
        "scan the connections": scan("connections"),
        "change a connection": update("connections", "connectionId"),
        "overwrite a session": put("sessions", "sessionId"),
        "close a socket": close,
    },
    "message": {
        "scan the connections": scan("connections"),
        "make a connection": put("connections", "connectionId"),
        "change a session": update("sessions", "sessionId"),
        "read the join secret": read_secret,
    },
    "disconnect": {
        "scan the connections": scan("connections"),
        "make a connection": put("connections", "connectionId"),
        "remove a session": delete("sessions", "sessionId"),
        "read the join secret": read_secret,
    },
    "timeout": {
        "delete a connection": delete("connections", "connectionId"),
        "scan the sessions": scan("sessions"),
        "change a session": update("sessions", "sessionId"),
        "read the join secret": read_secret,
        "invoke another function": invoke("connect"),
    },
}
ALLOWED: dict[str, dict[str, Attempt]] = {
    "connect": {
        "read the join secret": read_secret,
        "take a record back": delete("connections", "connectionId"),
    },
    "message": {
        "send to a socket": post,
        "close a socket": close,
        "remove a connection": delete("connections", "connectionId"),
    },
    "disconnect": {"send to a socket": post, "close a socket": close},
    "timeout": {
        "scan the connections": scan("connections"),
        "send to a socket": post,
        "close a socket": close,
        "invoke the disconnect handler": invoke("disconnect"),
    },
}


def as_role_of(stack: Stack, function: str) -> Callable[..., Any]:
    """Return ``engine.client`` with the credentials of a function's role."""
    configuration = stack.engine.client("lambda").get_function_configuration(
        FunctionName=stack.deployed.outputs[f"{function.title()}Function"]
    )
    answer = stack.engine.client("sts").assume_role(
        RoleArn=configuration["Role"], RoleSessionName="least-privilege"
    )["Credentials"]
    credentials = Credentials(
        access_key_id=answer["AccessKeyId"],
        secret_access_key=answer["SecretAccessKey"],
        session_token=answer["SessionToken"],
    )

    def client(service: str, **options: str) -> Any:
        return stack.engine.client(service, credentials, **options)

    return client


def send(stack: Stack, client: Callable[..., Any]) -> object:
    # Delayed for longer than the stack is there: no test gets to see it.
    return client("sqs").send_message(
        QueueUrl=stack.deployed.outputs["CloseQueueUrl"], MessageBody="x", DelaySeconds=900
    )


def receive(stack: Stack, client: Callable[..., Any]) -> object:
    return client("sqs").receive_message(QueueUrl=stack.deployed.outputs["CloseQueueUrl"])


PRECISE_DENIED: dict[str, dict[str, Attempt]] = {
    "timeout": {
        "send to a socket": post,
        "close a socket": close,
        "invoke the disconnect handler": invoke("disconnect"),
        "receive what is due": receive,
        "delete a connection": delete("connections", "connectionId"),
    },
    "close": {
        "scan the connections": scan("connections"),
        "queue what is due": send,
        "delete a connection": delete("connections", "connectionId"),
        "change a session": update("sessions", "sessionId"),
        "read the join secret": read_secret,
        "invoke another function": invoke("connect"),
    },
}
PRECISE_ALLOWED: dict[str, dict[str, Attempt]] = {
    "timeout": {"scan the connections": scan("connections"), "queue what is due": send},
    "close": {
        "send to a socket": post,
        "close a socket": close,
        "invoke the disconnect handler": invoke("disconnect"),
        "receive what is due": receive,
    },
}


def outcome(attempt: Attempt, stack: Stack, function: str) -> str:
    try:
        attempt(stack, as_role_of(stack, function))
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done"


@pytest.mark.parametrize(
    ("function", "what"), [(f, what) for f, attempts in DENIED.items() for what in attempts]
)
def test_a_role_must_not(stack: Stack, function: str, what: str) -> None:
    assert "AccessDenied" in outcome(DENIED[function][what], stack, function)


@pytest.mark.parametrize(
    ("function", "what"), [(f, what) for f, attempts in ALLOWED.items() for what in attempts]
)
def test_a_role_may(stack: Stack, function: str, what: str) -> None:
    assert outcome(ALLOWED[function][what], stack, function) in ("done", "GoneException")


@pytest.mark.parametrize(
    ("function", "what"), [(f, what) for f, attempts in PRECISE_DENIED.items() for what in attempts]
)
def test_a_role_of_a_precise_stack_must_not(precise_stack: Stack, function: str, what: str) -> None:
    assert "AccessDenied" in outcome(PRECISE_DENIED[function][what], precise_stack, function)


@pytest.mark.parametrize(
    ("function", "what"),
    [(f, what) for f, attempts in PRECISE_ALLOWED.items() for what in attempts],
)
def test_a_role_of_a_precise_stack_may(precise_stack: Stack, function: str, what: str) -> None:
    done = outcome(PRECISE_ALLOWED[function][what], precise_stack, function)
    assert done in ("done", "GoneException")


def test_roles_are_one_per_function(stack: Stack) -> None:
    functions = stack.engine.client("lambda")
    roles = {
        functions.get_function_configuration(
            FunctionName=stack.deployed.outputs[f"{name.title()}Function"]
        )["Role"]
        for name in DENIED
    }
    assert len(roles) == len(DENIED), json.dumps(sorted(roles))
