"""Any event at all: the handlers answer, and write nothing for what they refuse."""

import json
import logging
import time
from collections.abc import Callable
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.core.connection import DurationMs, EpochMs
from hangup.handlers import connect_handler, disconnect_handler, message_handler
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from tests.support.aws_stub import ACTIVE_SESSION, JOIN_SECRET, AwsStub
from tests.support.json_values import ANY_JSON, nearly_right
from tests.support.recorded import recorded

HANDLERS: dict[str, Callable[[object], dict[str, object]]] = {
    "connect": connect_handler.lambda_handler,
    "message": message_handler.lambda_handler,
    "disconnect": disconnect_handler.lambda_handler,
}
ODD_EVENTS = ANY_JSON | nearly_right("connect", "message", "disconnect", "scheduled")


@pytest.mark.parametrize("route", HANDLERS)
@given(event=ODD_EVENTS)
def test_any_event_gets_an_answer_and_a_refusal_writes_nothing(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    route: str,
    event: object,
) -> None:
    caplog.set_level(logging.DEBUG, "message_handler")
    aws.reset()
    capsys.readouterr()
    answer = HANDLERS[route](event)
    assert answer["statusCode"] in {200, *(s for s in HTTPStatus if 400 <= s < 500)}
    json.dumps(answer)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    logged = json.loads(lines[0])
    if answer["statusCode"] == HTTPStatus.OK:
        assert logged["level"] == ("DEBUG" if route == "message" else "INFO")
    else:
        assert aws.writes == []
        assert (logged["message"], logged["status"]) == ("refused", answer["statusCode"])


@pytest.mark.parametrize("role", [Role.SPEAKER, Role.LISTENER])
@given(changes=st.dictionaries(st.sampled_from(["sessionId", "role", "token"]), ANY_JSON))
def test_nobody_joins_with_anything_but_the_genuine_parameters(
    aws: AwsStub, role: Role, changes: dict[str, object]
) -> None:
    aws.reset()
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    event = recorded("connect")
    genuine = {
        "sessionId": "s1",
        "role": str(role),
        "token": mint_join_token(
            session_id="s1",
            role=role,
            secret=JOIN_SECRET,
            now_ms=EpochMs(time.time_ns() // 1_000_000),
            lifetime_ms=DurationMs(60_000),
        ),
    }
    event["queryStringParameters"] = genuine | changes
    joined = connect_handler.lambda_handler(event)["statusCode"] == HTTPStatus.OK
    assert joined is (event["queryStringParameters"] == genuine)
    write = {Role.SPEAKER: "TransactWriteItems", Role.LISTENER: "PutItem"}[role]
    assert aws.writes == ([write] if joined else [])
