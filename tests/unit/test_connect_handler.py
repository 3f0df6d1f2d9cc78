"""The connect handler, with botocore, on a stub of AWS."""

import json
import time
from typing import Any

import pytest

from hangup.core.connection import DurationMs, EpochMs
from hangup.errors import BackendError, ConfigurationError
from hangup.handlers import connect_handler
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from tests.support.aws_stub import ACTIVE_SESSION, JOIN_SECRET, AwsStub, Call, Failure
from tests.support.recorded import CONNECTION_ID, recorded

CANCELLED = "TransactionCanceledException"


def token_for(session_id: str, role: Role, *, minutes: int = 5) -> str:
    return mint_join_token(
        session_id=session_id,
        role=role,
        secret=JOIN_SECRET,
        now_ms=EpochMs(time.time_ns() // 1_000_000),
        lifetime_ms=DurationMs(minutes * 60_000),
    )


def joining(**query: object) -> dict[str, Any]:
    """Return a ``$connect`` event; ``None`` leaves a parameter out."""
    event = recorded("connect")
    wish = {"sessionId": "s1", "role": "listener", "token": token_for("s1", Role.LISTENER)} | query
    event["queryStringParameters"] = {k: v for k, v in wish.items() if v is not None}
    return event


def cancelled(*codes: str) -> Failure:
    reasons = [{"Code": code} for code in codes]
    return Failure(status=400, code=CANCELLED, members={"CancellationReasons": reasons})


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line that was logged."""
    (line,) = capsys.readouterr().out.splitlines()
    fields = json.loads(line)
    assert isinstance(fields, dict)
    return fields


def test_records_a_listener_with_the_run_of_its_session(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    assert connect_handler.lambda_handler(joining(targetLanguage="de"), None) == {"statusCode": 200}
    assert aws.operations == ["GetSecretValue", "GetItem", "PutItem", "GetItem"]
    (put,) = aws.calls("PutItem")
    assert put["TableName"] == "connections"
    assert put["Item"]["connectionId"] == {"S": CONNECTION_ID}
    assert put["Item"]["sessionRun"] == {"S": "speaker="}
    assert put["Item"]["targetLanguage"] == {"S": "de"}
    for read in aws.calls("GetItem"):
        assert (read["TableName"], read["Key"]) == ("sessions", {"sessionId": {"S": "s1"}})
        assert read["ConsistentRead"] is True
    line = logged(capsys)
    assert line["message"] == "connection joined"
    assert line["correlation_id"] == recorded("connect")["requestContext"]["requestId"]
    assert (line["connectionId"], line["sessionId"], line["role"]) == (
        CONNECTION_ID,
        "s1",
        "listener",
    )


def test_records_a_speaker(aws: AwsStub) -> None:
    event = joining(role="speaker", token=token_for("s1", Role.SPEAKER))
    assert connect_handler.lambda_handler(event)["statusCode"] == 200
    put, update = aws.calls("TransactWriteItems")[0]["TransactItems"]
    assert put["Put"]["Item"]["role"] == {"S": "speaker"}
    assert update["Update"]["TableName"] == "sessions"
    assert update["Update"]["Key"] == {"sessionId": {"S": "s1"}}
    assert ":speaker" in update["Update"]["ExpressionAttributeValues"]


def test_a_join_that_was_not_answered_is_accepted(aws: AwsStub) -> None:
    def is_there(_call: Call) -> Failure:
        item = aws.calls("PutItem")[0]["Item"]
        return Failure(status=400, code="ConditionalCheckFailedException", members={"Item": item})

    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    aws.answer("PutItem", Failure(status=503, code="ServiceUnavailable"), is_there)
    assert connect_handler.lambda_handler(joining())["statusCode"] == 200


def test_a_listener_whose_session_ends_meanwhile_is_refused_and_its_record_taken_back(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ACTIVE_SESSION | {"isActive": {"BOOL": False}}
    aws.answer("GetItem", {"Item": ACTIVE_SESSION}, {"Item": ended})
    assert connect_handler.lambda_handler(joining())["statusCode"] == 404
    assert aws.writes == ["PutItem", "DeleteItem"]
    (delete,) = aws.calls("DeleteItem")
    assert delete["Key"] == {"connectionId": {"S": CONNECTION_ID}}
    assert logged(capsys)["reason"] == "the session is not active"


def test_an_id_that_another_join_has_is_refused(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"connectionId": {"S": CONNECTION_ID}, "sessionId": {"S": "s2"}}
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    aws.fail("PutItem", status=400, code="ConditionalCheckFailedException", Item=other)
    assert connect_handler.lambda_handler(joining())["statusCode"] == 409
    assert aws.writes == ["PutItem"]
    assert logged(capsys)["reason"] == "this connection is on record for another join"


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        (joining(sessionId=None), 400, "sessionId must be"),
        (joining(sessionId="a b"), 400, "sessionId must be"),
        (joining(role=None), 400, "role must be"),
        (joining(role="admin"), 400, "role must be"),
        (joining(targetLanguage="?"), 400, "targetLanguage must be"),
        (joining(role="speaker", targetLanguage="de"), 400, "for listeners only"),
        (joining() | {"queryStringParameters": None}, 400, "sessionId must be"),
        (joining() | {"queryStringParameters": "sessionId=s1"}, 400, "sessionId must be"),
        (joining() | {"requestContext": {}}, 400, "connectionId is missing"),
        ({}, 400, "not a WebSocket event"),
        (None, 400, "not a WebSocket event"),
        ([joining()], 400, "not a WebSocket event"),
        (joining(token=None), 401, "a join token is required"),
        (joining(token="a.b.c"), 401, "not valid"),
        (joining(token="\ud800"), 401, "not valid"),
        (joining(token=token_for("s1", Role.LISTENER, minutes=0)), 401, "has expired"),
        (joining(token=token_for("s2", Role.LISTENER)), 403, "another session or role"),
        (joining(role="speaker"), 403, "another session or role"),
    ],
)
def test_refuses_with_one_line_and_writes_nothing(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    event: object,
    status: int,
    reason: str,
) -> None:
    answer = connect_handler.lambda_handler(event)
    assert answer["statusCode"] == status
    body = json.loads(str(answer["body"]))
    assert body["type"] == "error"
    assert body["status"] == status
    assert reason in body["message"]
    line = logged(capsys)
    assert (line["message"], line["status"], line["level"]) == ("refused", status, "WARNING")
    assert line["reason"] == body["message"]
    assert aws.writes == []


@pytest.mark.parametrize(
    ("role", "status", "reason"),
    [
        (Role.LISTENER, 404, "the session is not active"),
        (Role.SPEAKER, 409, "the session has a speaker"),
    ],
)
def test_refuses_what_the_session_does_not_allow(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], role: Role, status: int, reason: str
) -> None:
    aws.answer("TransactWriteItems", cancelled("None", "ConditionalCheckFailed"))
    answer = connect_handler.lambda_handler(joining(role=role, token=token_for("s1", role)))
    assert answer["statusCode"] == status
    line = logged(capsys)
    assert (line["reason"], line["connectionId"]) == (reason, CONNECTION_ID)


def test_neither_the_token_nor_the_secret_is_ever_logged_or_answered(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = [
        token_for("s1", Role.LISTENER),
        token_for("s2", Role.LISTENER),
        token_for("s1", Role.LISTENER, minutes=0),
        "eyJhbGciOiJIUzI1NiJ9.forged.token",
    ]
    answers = [connect_handler.lambda_handler(joining(token=token)) for token in tokens]
    said = capsys.readouterr().out + json.dumps(answers)
    assert JOIN_SECRET not in said
    for token in tokens:
        assert token not in said
        assert token.split(".")[1] not in said


def test_an_outage_lets_nobody_in(aws: AwsStub) -> None:
    aws.fail("GetSecretValue", status=400, code="AccessDeniedException")
    with pytest.raises(BackendError, match="GetSecretValue failed"):
        connect_handler.lambda_handler(joining())
    assert aws.writes == []


def test_a_join_that_could_not_be_written_is_an_error(aws: AwsStub) -> None:
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    aws.fail("PutItem", status=400, code="AccessDeniedException")
    with pytest.raises(BackendError, match="PutItem failed"):
        connect_handler.lambda_handler(joining())


@pytest.mark.parametrize("name", ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "JOIN_SECRET_ARN"])
def test_an_incomplete_environment_fails_by_name(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=f"{name} is not set"):
        connect_handler.lambda_handler(joining())


def test_a_message_whose_action_is_connect_writes_nothing(aws: AwsStub) -> None:
    message = joining()
    message["requestContext"]["eventType"] = "MESSAGE"
    assert connect_handler.lambda_handler(message)["statusCode"] == 400
    assert not {"PutItem", "UpdateItem", "TransactWriteItems"} & set(aws.operations)
