"""Whatever is presented as a token, only a genuine one lets anybody in."""

from typing import TypeGuard

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hangup.core.connection import DurationMs, EpochMs
from hangup.errors import InvalidRequest
from hangup.sessions.model import JoinRequest, Role
from hangup.sessions.tokens import AUDIENCE, authorise_join, mint_join_token
from tests.support.json_values import ANY_JSON, ANY_TEXT

SECRET = "a-secret-of-32-bytes-or-more-0123456789"
NOW_MS = EpochMs(1_700_000_000_000)
REQUEST = JoinRequest(session_id="s1", role=Role.LISTENER)
GENUINE = mint_join_token(
    session_id="s1",
    role=Role.LISTENER,
    secret=SECRET,
    now_ms=NOW_MS,
    lifetime_ms=DurationMs(60_000),
)
DOTTED = st.lists(ANY_TEXT, min_size=2, max_size=4).map(".".join)


def is_refused(token: object, request: JoinRequest = REQUEST, now_ms: int = NOW_MS) -> bool:
    try:
        authorise_join(token, request, secret=SECRET, now_ms=EpochMs(now_ms))
    except InvalidRequest as refusal:
        return refusal.status in (401, 403)
    return False


@given(ANY_TEXT | DOTTED | ANY_JSON | st.binary())
def test_nothing_that_is_made_up_gets_in(token: object) -> None:
    assert is_refused(token)


@given(st.data())
def test_no_genuine_token_with_a_character_changed_gets_in(data: st.DataObject) -> None:
    # Not the very last one: some of its bits are no part of the signature.
    at = data.draw(st.integers(0, len(GENUINE) - 2))
    character = data.draw(st.characters(exclude_characters=GENUINE[at]))
    assert is_refused(GENUINE[:at] + character + GENUINE[at + 1 :])


@given(st.sampled_from(["s1", "s2", "S1", "s1 "]), st.sampled_from([Role.SPEAKER, Role.LISTENER]))
def test_a_token_is_for_one_session_and_one_role(session_id: str, role: Role) -> None:
    request = JoinRequest(session_id=session_id, role=role)
    assert is_refused(GENUINE, request) is (request != REQUEST)


@given(st.integers(-200_000, 200_000))
def test_a_token_is_good_until_its_expiry_and_not_a_millisecond_longer(moment: int) -> None:
    assert is_refused(GENUINE, now_ms=NOW_MS + 60_000 + moment) is (moment >= 0)


TIMES = st.floats() | st.integers(-(10**12), 10**12) | ANY_JSON
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["aud", "iat", "sessionId", "role"], ANY_JSON),
        **dict.fromkeys(["exp", "nbf"], TIMES),
    },
)


def is_time(value: object) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 253_402_300_800
    )


@given(CLAIMS)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_signed_claims_of_any_type_are_no_more_than_refused(changes: dict[str, object]) -> None:
    claims = {
        "aud": AUDIENCE,
        "iat": NOW_MS // 1000,
        "exp": NOW_MS // 1000 + 60,
        "sessionId": "s1",
        "role": "listener",
    }
    assume(changes.keys() - {"aud", "iat"})
    try:
        token = jwt.encode(claims | changes, SECRET, algorithm="HS256")
    except (TypeError, UnicodeError):
        assume(False)
    expires, begins = changes.get("exp", claims["exp"]), changes.get("nbf", 0)
    still_genuine = (
        is_time(expires)
        and expires * 1000 > NOW_MS
        and is_time(begins)
        and begins * 1000 <= NOW_MS
        and changes.get("sessionId", "s1") == "s1"
        and changes.get("role", "listener") == "listener"
    )
    assert is_refused(token) or still_genuine
