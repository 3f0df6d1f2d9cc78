"""Join tokens: who gets in, and who is refused with which status."""

import base64
import json
import math
import runpy
import sys
from typing import Any

import jwt
import pytest

from hangup.core.connection import DurationMs, EpochMs
from hangup.errors import ConfigurationError, InvalidRequest, MissingExtraError
from hangup.sessions import tokens
from hangup.sessions.model import JoinRequest, Role
from hangup.sessions.tokens import AUDIENCE, authorise_join, mint_join_token

SECRET = "a-secret-of-32-bytes-or-more-0123456789"
NOW_MS = EpochMs(1_700_000_000_000)
NOW_S = NOW_MS // 1000
LISTENER = JoinRequest(session_id="s1", role=Role.LISTENER)
CLAIMS: dict[str, Any] = {
    "aud": AUDIENCE,
    "iat": NOW_S,
    "exp": NOW_S + 60,
    "sessionId": "s1",
    "role": "listener",
}


def minted(role: Role = Role.LISTENER, secret: str = SECRET) -> str:
    return mint_join_token(
        session_id="s1", role=role, secret=secret, now_ms=NOW_MS, lifetime_ms=DurationMs(60_000)
    )


def signed(
    changes: dict[str, object] | None = None, *, secret: str = SECRET, algorithm: str = "HS256"
) -> str:
    """Return a token with these claims changed; ``None`` leaves one out."""
    claims = CLAIMS | (changes or {})
    merged = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(merged, secret, algorithm=algorithm)


def refusal(token: object, request: JoinRequest = LISTENER, now_ms: int = NOW_MS) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        authorise_join(token, request, secret=SECRET, now_ms=EpochMs(now_ms))
    return error.value


def _segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_lets_in_whom_the_token_names() -> None:
    for role in (Role.SPEAKER, Role.LISTENER):
        request = JoinRequest(session_id="s1", role=role)
        authorise_join(minted(role=role), request, secret=SECRET, now_ms=NOW_MS)


def test_a_token_has_exactly_the_claims_that_are_checked() -> None:
    claims = jwt.decode(minted(), options={"verify_signature": False})
    assert claims == CLAIMS


def test_expires_at_exactly_its_expiry() -> None:
    expires_ms = NOW_MS + 60_000
    authorise_join(minted(), LISTENER, secret=SECRET, now_ms=EpochMs(expires_ms - 1))
    assert refusal(minted(), now_ms=expires_ms).status == 401
    assert str(refusal(minted(), now_ms=expires_ms)) == "the join token has expired"


@pytest.mark.parametrize("token", [None, "", 7, b"abc", ["a.b.c"], {"token": "a.b.c"}])
def test_refuses_a_join_without_a_token(token: object) -> None:
    error = refusal(token)
    assert (error.status, str(error)) == (401, "a join token is required")


@pytest.mark.parametrize(
    "token",
    [
        "a",
        "a.b.c",
        "....",
        "\x00",
        "é.é.é",
        "\ud800.a.b",
        "a.b.\ud800",
        "a" * 100_000,
        f"{_segment({'alg': 'HS256'})}.{_segment(b'[' * 50_000)}.{_segment(b'x')}",
        f"{_segment(b'[' * 50_000)}.{_segment(CLAIMS)}.{_segment(b'x')}",
        f"{_segment({'alg': 'HS256', 'kid': 7})}.{_segment(CLAIMS)}.{_segment(b'x')}",
    ],
)
def test_refuses_what_is_no_token(token: str) -> None:
    error = refusal(token)
    assert (error.status, str(error)) == (401, "the join token is not valid")


def test_refuses_a_token_that_another_secret_signed() -> None:
    error = refusal(signed(secret="another-secret-of-32-bytes-or-more-01234"))
    assert (error.status, str(error)) == (401, "the join token is not valid")


def test_refuses_a_token_whose_claims_were_changed_after_signing() -> None:
    header, _, signature = minted().split(".")
    forged = f"{header}.{_segment(CLAIMS | {'sessionId': 's2'})}.{signature}"
    assert refusal(forged, JoinRequest(session_id="s2", role=Role.LISTENER)).status == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_refuses_an_unsigned_token(algorithm: str) -> None:
    for signature in ("", _segment(b"x")):
        unsigned = f"{_segment({'alg': algorithm, 'typ': 'JWT'})}.{_segment(CLAIMS)}.{signature}"
        assert refusal(unsigned).status == 401


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_refuses_the_right_secret_with_another_algorithm(algorithm: str) -> None:
    assert refusal(signed(algorithm=algorithm)).status == 401


def test_refuses_another_algorithm_over_a_signature_that_fits() -> None:
    _, claims, signature = minted().split(".")
    assert refusal(f"{_segment({'alg': 'HS512'})}.{claims}.{signature}").status == 401


@pytest.mark.parametrize(
    ("session_id", "role"),
    [("s2", Role.LISTENER), ("S1", Role.LISTENER), ("s1", Role.SPEAKER), ("s2", Role.SPEAKER)],
)
def test_refuses_a_genuine_token_of_another_session_or_role(session_id: str, role: Role) -> None:
    error = refusal(minted(), JoinRequest(session_id=session_id, role=role))
    assert (error.status, str(error)) == (403, "the join token is for another session or role")


@pytest.mark.parametrize("claim", ["aud", "exp", "iat", "sessionId", "role"])
def test_refuses_a_token_without_one_of_its_claims(claim: str) -> None:
    assert refusal(signed({claim: None})).status == 401


@pytest.mark.parametrize("audience", ["hangup", "", ["another"], 7, {}])
def test_refuses_a_token_for_another_audience(audience: object) -> None:
    assert refusal(signed({"aud": audience})).status == 401


NO_TIMES = [
    True,
    1.0e300,
    -1.0e300,
    10**400,
    253_402_300_800,  # the year 10000: milliseconds, perhaps
    math.inf,
    -math.inf,
    math.nan,
    "soon",
    [],
    {},
    str(NOW_S + 60),
]


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize("time", NO_TIMES)
def test_refuses_a_claim_that_is_no_time(claim: str, time: object) -> None:
    error = refusal(signed({claim: time}))
    assert (error.status, str(error)) == (401, "the join token is not valid")


def test_a_time_may_be_a_fraction_of_a_second() -> None:
    token = signed({"exp": NOW_S + 60.5, "nbf": NOW_S + 10.25})
    assert str(refusal(token, now_ms=NOW_MS + 10_249)) == "the join token is not valid yet"
    for now_ms in (NOW_MS + 10_250, NOW_MS + 60_499):
        authorise_join(token, LISTENER, secret=SECRET, now_ms=EpochMs(now_ms))
    assert str(refusal(token, now_ms=NOW_MS + 60_500)) == "the join token has expired"


def test_is_not_valid_before_its_time() -> None:
    token = signed({"nbf": NOW_S + 30})
    error = refusal(token, now_ms=NOW_MS + 29_999)
    assert (error.status, str(error)) == (401, "the join token is not valid yet")
    authorise_join(token, LISTENER, secret=SECRET, now_ms=EpochMs(NOW_MS + 30_000))


@pytest.mark.parametrize("expires", [-1, 0, NOW_S])
def test_refuses_an_expiry_that_is_past(expires: int) -> None:
    assert str(refusal(signed({"exp": expires}))) == "the join token has expired"


@pytest.mark.parametrize("value", [7, ["s1"], {"S": "s1"}, True])
@pytest.mark.parametrize("claim", ["sessionId", "role"])
def test_refuses_claims_of_another_type(claim: str, value: object) -> None:
    assert refusal(signed({claim: value})).status == 403


def test_will_not_work_with_a_weak_secret() -> None:
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        minted(secret="x" * 31)
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        authorise_join(minted(), LISTENER, secret="", now_ms=NOW_MS)


def test_a_refusal_does_not_repeat_the_token() -> None:
    assert "abc" not in str(refusal("abc.abc.abc"))


def test_without_its_extra_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hangup\[sessions\]'"):
        runpy.run_path(tokens.__file__)
