"""The message handler, for heartbeats and the ``$default`` route, on a stub of AWS."""

import json
import logging
import time
from typing import Any

import pytest

from hangup.errors import BackendError, ConfigurationError
from hangup.handlers import message_handler
from tests.support.aws_stub import ACTIVE_SESSION, AwsStub
from tests.support.recorded import CONNECTION_ID, recorded

REFUSED = "ConditionalCheckFailedException"
LISTENER = {
    "connectionId": {"S": CONNECTION_ID},
    "sessionId": {"S": "s1"},
    "role": {"S": "listener"},
    "sessionRun": {"S": "speaker="},
    "lastActivityTime": {"N": "1700000000000"},
}


def message(body: object = '{"action": "heartbeat"}', route: str = "heartbeat") -> dict[str, Any]:
    event = recorded("message")
    event["body"] = body
    event["requestContext"]["routeKey"] = route
    return event


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("action", "route", "ack"),
    [("heartbeat", "heartbeat", "heartbeatAck"), ("message", "$default", "messageAck")],
)
def test_records_activity_and_acknowledges_it(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    action: str,
    route: str,
    ack: str,
) -> None:
    caplog.set_level(logging.DEBUG, "message_handler")
    before_ms = time.time_ns() // 1_000_000
    answer = message_handler.lambda_handler(message(json.dumps({"action": action}), route), None)
    assert answer["statusCode"] == 200
    body = json.loads(str(answer["body"]))
    assert body == {"type": ack, "timestamp": body["timestamp"]}
    assert before_ms <= body["timestamp"] <= time.time_ns() // 1_000_000
    (request,) = aws.calls("UpdateItem")
    assert request["TableName"] == "connections"
    assert request["Key"] == {"connectionId": {"S": CONNECTION_ID}}
    assert request["ExpressionAttributeValues"][":now"] == {"N": str(body["timestamp"])}
    (line,) = logged(capsys)
    assert (line["message"], line["action"]) == ("activity recorded", action)
    assert line["correlation_id"] == recorded("message")["requestContext"]["requestId"]


@pytest.mark.parametrize("action", ["heartbeat", "message"])
def test_logs_nothing_of_what_goes_well(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    message_handler.lambda_handler(message(json.dumps({"action": action})))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("setting", "action", "ack"),
    [
        ("true", "heartbeat", "heartbeatAck"),
        ("false", "heartbeat", None),
        ("false", "message", "messageAck"),
    ],
)
def test_heartbeats_need_not_be_acknowledged(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, setting: str, action: str, ack: str | None
) -> None:
    monkeypatch.setenv("HEARTBEAT_ACK", setting)
    answer = message_handler.lambda_handler(message(json.dumps({"action": action})))
    assert answer["statusCode"] == 200
    assert ("body" in answer) == (ack is not None)
    assert json.loads(str(answer.get("body", "{}"))).get("type") == ack
    assert len(aws.calls("UpdateItem")) == 1


@pytest.mark.parametrize("setting", [" ", "no", "False", "1"])
def test_another_setting_for_them_fails_by_name(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("HEARTBEAT_ACK", setting)
    with pytest.raises(ConfigurationError, match="HEARTBEAT_ACK must be true or false"):
        message_handler.lambda_handler(message())


def test_activity_that_is_on_record_already_is_acknowledged_too(aws: AwsStub) -> None:
    aws.fail("UpdateItem", status=400, code=REFUSED, Item={"connectionId": {"S": CONNECTION_ID}})
    assert message_handler.lambda_handler(message())["statusCode"] == 200
    assert aws.calls("DeleteConnection") == []


def test_coalesces_writes_when_told_to(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_RESOLUTION_SECONDS", "30")
    message_handler.lambda_handler(message())
    values = aws.calls("UpdateItem")[0]["ExpressionAttributeValues"]
    assert int(values[":now"]["N"]) - int(values[":old"]["N"]) == 30_000


def test_closes_an_orphan_so_that_its_client_comes_back(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("UpdateItem", status=400, code=REFUSED)
    answer = message_handler.lambda_handler(message())
    assert answer["statusCode"] == 410
    assert aws.targets("DeleteConnection") == [CONNECTION_ID]
    lines = logged(capsys)
    assert [line["message"] for line in lines] == [
        "closed an orphan: the connection has no record",
        "refused",
    ]
    assert {line["connectionId"] for line in lines} == {CONNECTION_ID}


class TestListener:
    """Its first message in a minute looks whether its session has ended."""

    @pytest.fixture(autouse=True)
    def on_record(self, aws: AwsStub) -> None:
        """Let the last activity be of a minute ago."""
        aws.answer("UpdateItem", {"Attributes": LISTENER})

    def test_is_closed_and_removed_once_its_session_has_ended(
        self, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aws.answer("GetItem", {"Item": ACTIVE_SESSION | {"isActive": {"BOOL": False}}})
        assert message_handler.lambda_handler(message())["statusCode"] == 410
        assert aws.operations == [
            "UpdateItem",
            "GetItem",
            "PostToConnection",
            "DeleteConnection",
            "DeleteItem",
        ]
        assert aws.targets("DeleteConnection") == [CONNECTION_ID]
        assert aws.calls("DeleteItem")[0]["Key"] == {"connectionId": {"S": CONNECTION_ID}}
        (line,) = logged(capsys)
        assert (line["message"], line["reason"]) == ("refused", "the session has ended")

    def test_is_answered_while_its_session_is_active(self, aws: AwsStub) -> None:
        aws.answer("GetItem", {"Item": ACTIVE_SESSION})
        assert message_handler.lambda_handler(message())["statusCode"] == 200
        assert aws.operations == ["UpdateItem", "GetItem"]
        (read,) = aws.calls("GetItem")
        assert (read["TableName"], read["ConsistentRead"]) == ("sessions", True)

    def test_does_not_look_again_in_the_same_minute(self, aws: AwsStub) -> None:
        now_ms = time.time_ns() // 1_000_000
        recent = LISTENER | {"lastActivityTime": {"N": str(now_ms)}}
        aws.answer("UpdateItem", {"Attributes": recent})
        reads = 0
        for _ in range(2):  # a minute may begin in between
            message_handler.lambda_handler(message())
            reads += len(aws.calls("GetItem"))
            aws.reset()
            aws.answer("UpdateItem", {"Attributes": recent})
        assert reads == 0 or now_ms // 60_000 < time.time_ns() // 60_000_000_000

    def test_is_answered_all_the_same_if_the_session_cannot_be_read(
        self, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aws.fail("GetItem", status=400, code="AccessDeniedException")
        assert message_handler.lambda_handler(message())["statusCode"] == 200
        (line,) = logged(capsys)
        assert line["message"] == "session of a listener not read"


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        (message(None), 400, "must be a JSON object"),
        (message("hello"), 400, "must be a JSON object"),
        (message("[1]"), 400, "must be a JSON object"),
        (message({"action": "heartbeat"}), 400, "must be a JSON object"),
        (message("[" * 100_000), 400, "must be a JSON object"),
        (message("{}"), 400, "string member 'action'"),
        (message('{"action": 1}'), 400, "string member 'action'"),
        (message('{"action": "shutdown"}'), 400, "unknown action"),
        (message('{"action": "Heartbeat"}'), 400, "unknown action"),
        (message("x" * 131_073), 413, "bytes at most"),
        ({}, 400, "not a WebSocket event"),
        (None, 400, "not a WebSocket event"),
        (recorded("scheduled"), 400, "not a WebSocket event"),
        ({"requestContext": {"connectionId": "a b"}}, 400, "connectionId is missing or malformed"),
    ],
)
def test_refuses_with_one_line_and_writes_nothing(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    event: object,
    status: int,
    reason: str,
) -> None:
    answer = message_handler.lambda_handler(event)
    assert answer["statusCode"] == status
    assert reason in json.loads(str(answer["body"]))["message"]
    (line,) = logged(capsys)
    assert (line["message"], line["status"]) == ("refused", status)
    assert aws.log == []


def test_never_logs_what_the_client_said(aws: AwsStub, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("message", "unheard-of", 'forged\n{"level":"INFO"}'):
        body = json.dumps({"action": action, "text": "private words"})
        message_handler.lambda_handler(message(body))
    said = capsys.readouterr().out
    assert "private words" not in said
    assert "unheard-of" not in said
    assert "forged" not in said


def test_an_outage_is_an_error(aws: AwsStub) -> None:
    aws.fail("UpdateItem", status=400, code="AccessDeniedException")
    with pytest.raises(BackendError, match="UpdateItem failed"):
        message_handler.lambda_handler(message())
    assert aws.calls("DeleteConnection") == []


@pytest.mark.parametrize("name", ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "API_GATEWAY_ENDPOINT"])
def test_an_incomplete_environment_fails_by_name(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=f"{name} is not set"):
        message_handler.lambda_handler(message())
