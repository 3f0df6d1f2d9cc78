"""The disconnect handler, called by API Gateway and by the sweep, on a stub of AWS."""

import json
from typing import Any

import pytest

from hangup.aws.gateway import gateway_address
from hangup.core.connection import Connection, EpochMs
from hangup.core.events import disconnect_event
from hangup.errors import BackendError, CleanupIncomplete, ConfigurationError
from hangup.handlers import disconnect_handler
from hangup.sessions.model import Role
from tests.support.aws_stub import AwsStub
from tests.support.recorded import CONNECTION_ID, recorded

LISTENER = {
    "connectionId": {"S": CONNECTION_ID},
    "sessionId": {"S": "s1"},
    "role": {"S": "listener"},
}
SPEAKER = LISTENER | {"role": {"S": "speaker"}}


def handed_over() -> dict[str, Any]:
    """Return the sweep's event, as Lambda delivers it."""
    event = disconnect_event(
        Connection(connection_id=CONNECTION_ID, session_id="s1", role=Role.SPEAKER),
        None,
        gateway_address("https://abc123.execute-api.eu-west-1.amazonaws.com/prod"),
        now_ms=EpochMs(1_700_000_000_000),
        correlation_id="tick-1",
    )
    delivered = json.loads(json.dumps(event))
    assert isinstance(delivered, dict)
    return delivered


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_cleans_up_a_listener(aws: AwsStub, capsys: pytest.CaptureFixture[str]) -> None:
    aws.answer("GetItem", {"Item": LISTENER})
    answer = disconnect_handler.lambda_handler(recorded("disconnect"), None)
    assert answer == {"statusCode": 200}
    (delete,) = aws.calls("DeleteItem")
    assert (delete["TableName"], delete["Key"]) == (
        "connections",
        {"connectionId": {"S": CONNECTION_ID}},
    )
    assert aws.writes == ["DeleteItem"]
    (line,) = logged(capsys)
    assert (line["message"], line["outcome"]) == ("connection cleaned up", "LEFT")
    assert (line["sessionId"], line["role"]) == ("s1", "listener")
    assert line["correlation_id"] == recorded("disconnect")["requestContext"]["requestId"]


def test_a_connection_without_a_record_is_done(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert disconnect_handler.lambda_handler(recorded("disconnect")) == {"statusCode": 200}
    assert aws.writes == []
    (line,) = logged(capsys)
    assert line["message"] == "connection was cleaned up before"


def test_ends_a_speakers_session_and_closes_its_listeners(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = LISTENER | {"connectionId": {"S": "l1="}, "sessionRun": {"S": CONNECTION_ID}}
    aws.answer("GetItem", {"Item": SPEAKER}, {"Item": listener}, {})
    aws.answer("Query", {"Items": [listener], "Count": 1})
    assert disconnect_handler.lambda_handler(handed_over()) == {"statusCode": 200}
    assert aws.operations == [
        "GetItem",
        "UpdateItem",
        "Query",
        "GetItem",
        "PostToConnection",
        "DeleteConnection",
        "DeleteItem",
        "Query",
        "GetItem",
        "DeleteItem",
    ]
    assert aws.targets("DeleteConnection") == ["l1="]
    (notice,) = aws.calls("PostToConnection")
    assert (notice["type"], notice["sessionId"]) == ("sessionEnded", "s1")
    assert {query["IndexName"] for query in aws.calls("Query")} == {"sessionId-role-index"}
    assert {line["correlation_id"] for line in logged(capsys)} == {"tick-1"}


def test_listeners_that_could_not_be_closed_are_an_error_so_that_lambda_repeats_the_call(
    aws: AwsStub,
) -> None:
    listener = LISTENER | {"connectionId": {"S": "l1="}}
    aws.answer("GetItem", {"Item": SPEAKER}, {"Item": listener})
    aws.answer("Query", {"Items": [listener], "Count": 1})
    aws.fail("DeleteConnection", status=403, code="ForbiddenException")
    with pytest.raises(CleanupIncomplete, match="1 of its listeners could not be closed"):
        disconnect_handler.lambda_handler(handed_over())
    assert aws.calls("DeleteItem") == []


def test_a_speaker_whose_successor_has_taken_over_ends_nothing(aws: AwsStub) -> None:
    aws.answer("GetItem", {"Item": SPEAKER})
    aws.fail("UpdateItem", status=400, code="ConditionalCheckFailedException")
    disconnect_handler.lambda_handler(handed_over())
    assert aws.operations == ["GetItem", "UpdateItem", "Query", "Query", "DeleteItem"]


@pytest.mark.parametrize(
    ("event", "correlation_id"),
    [
        (handed_over() | {"correlationId": 7}, "tick-1"),
        (handed_over() | {"correlationId": ""}, "tick-1"),
        (handed_over() | {"correlationId": "a\nb"}, "tick-1"),
        (handed_over() | {"correlationId": "\ud800"}, "tick-1"),
        (handed_over() | {"correlationId": "x" * 257}, "tick-1"),
        (handed_over() | {"correlationId": "other"}, "other"),
        ({"requestContext": {"requestId": ["x"]}}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_an_odd_correlation_id_is_not_logged(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], event: object, correlation_id: str
) -> None:
    disconnect_handler.lambda_handler(event)
    assert [line["correlation_id"] for line in logged(capsys)] == [correlation_id]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "not a WebSocket event"),
        ([], "not a WebSocket event"),
        ({}, "not a WebSocket event"),
        (recorded("scheduled"), "not a WebSocket event"),
        (recorded("connect"), "not $disconnect"),
        (recorded("message"), "not $disconnect"),
        ({"requestContext": {"routeKey": "$disconnect"}}, "connectionId is missing or malformed"),
    ],
)
def test_refuses_with_one_line_and_writes_nothing(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], event: object, reason: str
) -> None:
    answer = disconnect_handler.lambda_handler(event)
    assert answer["statusCode"] == 400
    assert reason in json.loads(str(answer["body"]))["message"]
    (line,) = logged(capsys)
    assert (line["message"], line["status"]) == ("refused", 400)
    assert aws.log == []


def test_an_outage_is_an_error_so_that_lambda_repeats_the_call(aws: AwsStub) -> None:
    aws.fail("GetItem", status=400, code="AccessDeniedException")
    with pytest.raises(BackendError, match="GetItem failed"):
        disconnect_handler.lambda_handler(handed_over())


@pytest.mark.parametrize("name", ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "API_GATEWAY_ENDPOINT"])
def test_an_incomplete_environment_fails_by_name(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=f"{name} is not set"):
        disconnect_handler.lambda_handler(handed_over())
