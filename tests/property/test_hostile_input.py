"""Input that means harm: forged tokens, huge and deep bodies, lines and secrets in the log."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.core.model import DurationMs, EpochMs, Role
from hangup.handlers import connect_handler, heartbeat_handler
from hangup.tokens import AUDIENCE, mint_join_token
from tests.events.recorded import recorded
from tests.property.json_values import ANY_JSON, ANY_TEXT
from tests.unit.aws_stub import JOIN_SECRET, AwsStub

LEAK = 16
"""So many characters of a secret or a token in a log line are a leak."""


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


def forged_with(
    header: dict[str, object], secret: str = JOIN_SECRET, digest: str = "sha256"
) -> str:
    """Return a token with any header, its signature an HMAC with the secret."""

    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part(header) + b"." + part(claims())
    signature = hmac.new(secret.encode(), signed, digest).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


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
    "huge": "e" * 1_000_000,
    "many dots": "." * 10_000,
}


def knock(token: object, **query: object) -> dict[str, Any]:
    event = recorded("connect")
    event["queryStringParameters"] = {
        "sessionId": "s1",
        "role": "listener",
        "token": token,
    } | query
    return connect_handler.lambda_handler(event)


def assert_clean_lines(out: str, *private: str) -> None:
    """Each line is one JSON object, and none holds a part of what is private."""
    for line in out.splitlines():
        assert isinstance(json.loads(line), dict)
    for secret in private:
        pieces = {secret[i : i + LEAK] for i in range(0, max(len(secret) - LEAK, 0) + 1, LEAK // 2)}
        assert not [piece for piece in pieces if len(piece) == LEAK and piece in out]


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_lets_nobody_in_and_leaks_nowhere(
    aws: AwsStub, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    answer = knock(FORGED[kind])
    assert answer["statusCode"] in (401, 403)
    assert aws.writes == []
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert_clean_lines(out + json.dumps(answer), JOIN_SECRET, FORGED[kind][:2_000])


def test_a_genuine_token_leaks_nowhere_either(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
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
    answer = heartbeat_handler.lambda_handler(event)
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
    assert heartbeat_handler.lambda_handler(event)["statusCode"] == 200
    assert_clean_lines(capsys.readouterr().out, private)
