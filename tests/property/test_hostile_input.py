"""Input that means harm: forged tokens, huge and deep bodies, lines and secrets in the log.

That any event gets an answer, and a refusal writes nothing, is in test_handlers_properties.py.
"""

import base64
import copy
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.events import is_connection_id
from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.errors import InvalidRequest
from hangup.handlers import (
    close_handler,
    connect_handler,
    disconnect_handler,
    message_handler,
    timeout_handler,
)
from hangup.handlers.tracks_activity import tracks_activity
from hangup.sessions.model import Role
from hangup.sessions.tokens import AUDIENCE, mint_join_token
from tests.support.aws_stub import ACTIVE_SESSION, JOIN_SECRET, AwsStub, Failure
from tests.support.json_values import ANY_JSON, ANY_TEXT, nearly_right
from tests.support.recorded import recorded

LEAK = 16
"""So many characters of a secret or a token in a log line are a leak."""


class Context:
    """Lambda's context of an invocation with plenty of time."""

    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@tracks_activity
def hand_back(event: object, _context: object) -> object:
    return event


def claims(**changes: object) -> dict[str, object]:
    now_s = time.time_ns() // 1_000_000_000
    genuine: dict[str, object] = {
        "aud": AUDIENCE,
        "iat": now_s,
        "exp": now_s + 60,
        "sessionId": "s1",
        "role": "listener",
    }
    return genuine | changes


def signed(
    header: bytes, payload: bytes, *, secret: str = JOIN_SECRET, digest: str = "sha256"
) -> str:
    """Return a token of any two parts, its signature an HMAC with the secret."""

    def encoded(part: bytes) -> bytes:
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    content = encoded(header) + b"." + encoded(payload)
    return (content + b"." + encoded(hmac.new(secret.encode(), content, digest).digest())).decode()


def forged_with(
    header: dict[str, object], secret: str = JOIN_SECRET, digest: str = "sha256"
) -> str:
    """Return a token with any header and genuine claims."""
    parts = json.dumps(header).encode(), json.dumps(claims()).encode()
    return signed(*parts, secret=secret, digest=digest)


GENUINE_HEADER = b'{"alg":"HS256","typ":"JWT"}'


def without_signature() -> str:
    return jwt.encode(claims(), key="", algorithm="none")


FORGED = {
    "no algorithm": without_signature(),
    "no algorithm, mixed case": forged_with({"alg": "nOnE", "typ": "JWT"}),
    "HS384 with the secret": forged_with({"alg": "HS384", "typ": "JWT"}, digest="sha384"),
    "HS512 with the secret": forged_with({"alg": "HS512", "typ": "JWT"}, digest="sha512"),
    "RS256 in the header": forged_with({"alg": "RS256", "typ": "JWT"}),
    "a key of its own choice": forged_with({"alg": "HS256", "kid": "../../dev/null"}, secret=""),
    "a key in the header": forged_with(
        {"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}, secret="\0"
    ),
    "another secret": forged_with({"alg": "HS256"}, secret="y" * 64),
    "expired": jwt.encode(claims(exp=1), JOIN_SECRET, algorithm="HS256"),
    "no expiry": jwt.encode(
        {k: v for k, v in claims().items() if k != "exp"}, JOIN_SECRET, algorithm="HS256"
    ),
    "another audience": jwt.encode(claims(aud="other"), JOIN_SECRET, algorithm="HS256"),
    "another session": jwt.encode(claims(sessionId="s2"), JOIN_SECRET, algorithm="HS256"),
    "another role": jwt.encode(claims(role="speaker"), JOIN_SECRET, algorithm="HS256"),
    "an expiry that is a list": jwt.encode(claims(exp=[1]), JOIN_SECRET, algorithm="HS256"),
    "an expiry of infinite length": signed(GENUINE_HEADER, b'{"exp": 1e999}'),
    "an expiry of many digits": signed(GENUINE_HEADER, b'{"exp": ' + b"9" * 100_000 + b"}"),
    "claims that are a list": signed(GENUINE_HEADER, b"[]"),
    "claims that are deep": signed(GENUINE_HEADER, b"[" * 100_000),
    "claims that are no text": signed(GENUINE_HEADER, b"\xff\xfe\x00"),
    "a header that is a list": signed(b"[]", b"{}"),
    "a header that is deep": signed(b'{"alg":' * 100_000, b"{}"),
    "a header that is no text": signed(b"\xff\xfe\x00", b"{}"),
    "a critical extension": forged_with({"alg": "HS256", "crit": ["b64"], "b64": False}),
    "huge": "e" * 1_000_000,
    "many dots": "." * 10_000,
    "wide characters": "\u202e\u2028\ud800\x00." * 100,
}


def knock(token: object, **query: object) -> Any:
    event = recorded("connect")
    event["queryStringParameters"] = {
        "sessionId": "s1",
        "role": "listener",
        "token": token,
    } | query
    return connect_handler.lambda_handler(event)


def assert_clean_lines(out: str, *private: str) -> None:
    """Each line is one JSON object, and none holds a part of what is private."""
    assert out == "" or out.endswith("\n")
    # A line ends where CloudWatch ends it. str.splitlines knows more ends, such as U+2028.
    for line in out.split("\n")[:-1]:
        assert isinstance(json.loads(line), dict)
    for secret in private:
        pieces = (secret[at : at + LEAK] for at in range(len(secret) - LEAK + 1))
        assert not [piece for piece in pieces if piece in out]


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_lets_nobody_in_and_leaks_nowhere(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    answer = knock(FORGED[kind])
    assert answer["statusCode"] in (401, 403)
    assert aws.writes == []
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert_clean_lines(out + json.dumps(answer) + "\n", JOIN_SECRET, FORGED[kind][:2_000])


@given(
    changes=st.dictionaries(st.sampled_from(["aud", "exp", "iat", "sessionId", "role"]), ANY_JSON),
    header=st.dictionaries(st.sampled_from(["typ", "kid", "jwk", "jku", "x5u", "crit"]), ANY_JSON),
)
def test_no_signed_claim_or_header_of_another_kind_lets_anybody_in(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    header: dict[str, object],
) -> None:
    aws.reset()
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    capsys.readouterr()
    changed = claims(**changes)
    payload = json.dumps(changed).encode()
    token = signed(json.dumps({"alg": "HS256", **header}).encode(), payload)
    status = knock(token)["statusCode"]
    assert status in (200, 401, 403)
    if status == 200:
        assert (changed["sessionId"], changed["role"]) == ("s1", "listener")
    else:
        assert aws.writes == []
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert_clean_lines(out, JOIN_SECRET, token)


def test_a_genuine_token_leaks_nowhere_either(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    token = mint_join_token(
        session_id="s1",
        role=Role.LISTENER,
        secret=JOIN_SECRET,
        now_ms=EpochMs(time.time_ns() // 1_000_000),
        lifetime_ms=DurationMs(60_000),
    )
    assert knock(token)["statusCode"] == 200
    assert_clean_lines(capsys.readouterr().out, JOIN_SECRET, token)


@given(query=st.dictionaries(st.sampled_from(["sessionId", "role", "targetLanguage"]), ANY_TEXT))
def test_no_parameter_reaches_a_log_as_a_line_of_its_own(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], query: dict[str, str]
) -> None:
    capsys.readouterr()
    answer = knock("x.y.z", **query)
    assert 400 <= answer["statusCode"] < 500
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert_clean_lines(out)


BODIES = {
    "deep lists": "[" * 100_000,
    "deep objects": '{"action":' * 10_000 + "1" + "}" * 10_000,
    "deeper objects": '{"action":' * 100_000 + "1" + "}" * 100_000,
    "lists that close": "[" * 60_000 + "]" * 60_000,
    "a megabyte": json.dumps({"action": "message", "text": "x" * 1_000_000}),
    "a byte too many": json.dumps({"action": "message", "text": "x" * MAX_MESSAGE_BYTES}),
    "wide characters": json.dumps(
        {"action": "message", "text": "\u20ac" * MAX_MESSAGE_BYTES}, ensure_ascii=False
    )[:MAX_MESSAGE_BYTES],
    "a long number": '{"action": "message", "n": ' + "9" * 100_000 + "}",
    "lines": '{"action": "x\\n{\\"level\\": \\"ERROR\\"}\\r\\n\\u2028"}',
    "right to left": '{"action": "\u202eegassem"}',
    "surrogates": '{"action": "\\ud800"}',
    "control characters": '{"action": "\\u0000\\u001b[2J"}',
    "nan": '{"action": NaN}',
    "twice": '{"action": "heartbeat", "action": "drop"}',
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_hostile_body_is_refused_in_one_line_and_writes_nothing(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    event = recorded("message")
    event["body"] = BODIES[kind]
    answer = message_handler.lambda_handler(event)
    assert answer["statusCode"] in (400, 413)
    assert aws.writes == []
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert len(out) < 1_000
    assert_clean_lines(out)


@given(extra=st.dictionaries(ANY_TEXT, ANY_JSON, max_size=5))
def test_what_else_a_message_holds_is_neither_read_nor_logged(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], extra: dict[str, object]
) -> None:
    aws.reset()
    capsys.readouterr()
    event = recorded("message")
    private = "a private word of the client: 0123456789"
    event["body"] = json.dumps(extra | {"action": "message", "private": private})
    assert message_handler.lambda_handler(event)["statusCode"] == 200
    assert_clean_lines(capsys.readouterr().out, private)


HUGE = "\U0001f4a5" * 250_000
HUGE_PLACES = {
    "connectionId": ("connect", "message", "disconnect"),
    "routeKey": ("disconnect",),
    "sessionId": ("connect",),
    "role": ("connect",),
    "targetLanguage": ("connect",),
    "token": ("connect",),
}
HANDLERS: dict[str, Callable[[object], Any]] = {
    "connect": connect_handler.lambda_handler,
    "message": message_handler.lambda_handler,
    "disconnect": disconnect_handler.lambda_handler,
}


@pytest.mark.parametrize(
    ("place", "route"),
    [(place, route) for place, routes in HUGE_PLACES.items() for route in routes],
)
def test_a_megabyte_in_one_place_is_refused_in_one_short_line(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], place: str, route: str
) -> None:
    event = recorded(route)
    if place in event["requestContext"]:
        event["requestContext"][place] = HUGE
    else:
        genuine = jwt.encode(claims(), JOIN_SECRET, algorithm="HS256")
        query = {"sessionId": "s1", "role": "listener", "token": genuine}
        event["queryStringParameters"] = query | {place: HUGE}
    answer = HANDLERS[route](event)
    assert 400 <= answer["statusCode"] < 500
    assert aws.writes == []
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert len(out + json.dumps(answer)) < 1_000


@given(text=ANY_TEXT | st.just(HUGE))
def test_no_request_id_reaches_a_log_as_a_line_of_its_own(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.DEBUG, "message_handler")
    capsys.readouterr()
    event = recorded("message")
    event["requestContext"]["requestId"] = text
    event["correlationId"] = text
    event["body"] = '{"action": "heartbeat"}'
    assert message_handler.lambda_handler(event)["statusCode"] == 200
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert len(out) < 1_000
    assert_clean_lines(out)


@given(event=ANY_JSON | nearly_right("scheduled"))
@example(event={"overrideGuard": None})
def test_no_event_makes_a_sweep_do_anything_else(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], event: object
) -> None:
    aws.reset()
    capsys.readouterr()
    try:
        counts = timeout_handler.lambda_handler(event, Context())
    except InvalidRequest:
        # Misspelt, what a sweep is told is refused: it must not sweep as ever.
        assert isinstance(event, dict)
        assert event.keys() & {"overrideGuard", "shard", "shards"}
        assert aws.operations == []
        assert_clean_lines(capsys.readouterr().out)
        return
    assert counts["complete"] is True
    assert set(aws.operations) == {"Scan"}
    assert_clean_lines(capsys.readouterr().out)


@pytest.fixture
def close(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Any]:
    """The close handler, with a queue."""
    monkeypatch.setenv("CLOSE_QUEUE_URL", f"{aws.endpoint}/due")
    return lambda event: close_handler.lambda_handler(event, Context())


DUE = {
    "connectionId": "c1",
    "sessionId": "s1",
    "role": "listener",
    "connectedAt": None,
    "lastActivityTime": 1_699_355_661_402,
    "noticedAt": None,
    "deadline": 1_699_355_781_402,
    "correlationId": "tick-1",
}
NEEDED = ["connectionId", "role", "lastActivityTime", "deadline", "correlationId"]
MISSHAPEN = st.builds(
    lambda name, value: json.dumps(DUE | {name: value}),
    st.sampled_from(NEEDED),
    st.sampled_from([None, True, -1, 1.5, 10**400, [], {}, [DUE]]),
)
DEEP = "[" * 100_000


@given(
    bodies=st.lists(
        ANY_TEXT | ANY_JSON.map(json.dumps) | MISSHAPEN | st.sampled_from([DEEP, HUGE]), max_size=10
    )
)
def test_no_message_makes_a_close_do_anything_else(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    close: Callable[[object], Any],
    bodies: list[str],
) -> None:
    aws.reset()
    capsys.readouterr()
    records = [
        {"messageId": f"m{number}", "receiptHandle": "receipt", "body": body}
        for number, body in enumerate(bodies)
    ]
    answer = close({"Records": records})
    # Each goes back to the queue, and in the end to that of failed closes.
    failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    assert failed == [record["messageId"] for record in records]
    assert aws.operations == []
    out = capsys.readouterr().out
    assert len(out) < 3_000 + 1_000 * len(bodies)
    assert_clean_lines(out)


@given(event=ANY_JSON | nearly_right("connect", "scheduled"))
def test_what_is_no_event_of_a_queue_closes_nothing(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    close: Callable[[object], Any],
    event: object,
) -> None:
    aws.reset()
    capsys.readouterr()
    with pytest.raises(InvalidRequest, match="not an SQS event"):
        close(event)
    assert aws.operations == []
    assert_clean_lines(capsys.readouterr().out)


ATTRIBUTES = [
    "sessionId",
    "role",
    "targetLanguage",
    "connectedAt",
    "lastActivityTime",
    "gatewayActiveAt",
    "noticedAt",
    "handovers",
]
TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=40)


@given(
    connection_id=TEXT | st.just("L0SM9cOFvHcCIhw="),
    odd=st.dictionaries(
        st.sampled_from(ATTRIBUTES),
        st.builds(lambda text: {"S": text}, TEXT)
        | st.sampled_from([{"NULL": True}, {"L": []}, {"M": {}}, {"N": "-1"}, {"N": "1E+125"}]),
    ),
)
@example(connection_id="half \ud83d", odd={"sessionId": {"S": "\ud83d"}})
@example(connection_id="c1=", odd={"sessionId": {"S": "\ud83d"}})
@example(connection_id="c1=", odd={"lastActivityTime": {"S": "\n{}\u2028\ud83d"}})
@example(connection_id="\n{}\u2028", odd={})
def test_no_record_reaches_a_log_as_a_line_of_its_own(
    aws: AwsStub,
    capsys: pytest.CaptureFixture[str],
    connection_id: str,
    odd: dict[str, dict[str, object]],
) -> None:
    aws.reset()
    capsys.readouterr()
    item = {"lastActivityTime": {"N": "1699355661402"}} | odd
    item |= {"connectionId": {"S": connection_id}}
    page = {"Items": [item], "Count": 1, "ScannedCount": 1}
    nothing: dict[str, object] = {"Items": [], "Count": 0, "ScannedCount": 0}
    # In the sample of the table, which has no segments, and in the first segment of the scan.
    aws.answer("Scan", lambda call: nothing if call.content.get("Segment") else page)
    aws.answer("PostToConnection", Failure(status=403, code="ForbiddenException"))
    counts = timeout_handler.lambda_handler({}, Context())
    if not is_connection_id(connection_id):
        expected = (0, 0, 1)
    elif "lastActivityTime" in odd:
        expected = (0, 1, 0)
    else:
        expected = (1, 0, 0)
    assert (counts["idle"], counts["unreadable"], counts["ignored"]) == expected
    assert counts["idle"] in (counts["closed"], counts["gone"])
    # Whatever it is, only what is a connection is asked about, claimed or handed over.
    assert bool({*aws.operations} - {"Scan"}) is bool(counts["idle"])
    assert_clean_lines(capsys.readouterr().out)


@given(event=ANY_JSON | nearly_right("connect", "message", "disconnect", "scheduled"))
def test_the_decorator_hands_on_any_event_as_it_came(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], event: object
) -> None:
    aws.reset()
    capsys.readouterr()
    came = copy.deepcopy(event)
    assert repr(hand_back(event, None)) == repr(came)
    assert aws.operations in ([], ["UpdateItem"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == (0 if aws.operations else out.count('"activity not recorded"'))
    assert_clean_lines(out)
