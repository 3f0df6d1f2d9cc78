"""Whatever arrives at the edge is understood or refused, and nothing else."""

import json
from collections.abc import Callable
from typing import TypeVar

from hypothesis import example, given
from hypothesis import strategies as st

from hangup.core.events import parse_disconnect, route_of
from hangup.errors import InvalidRequest
from hangup.sessions.model import JoinRequest, Role
from hangup.sessions.requests import parse_join, parse_message
from tests.support.json_values import ANY_JSON, ANY_TEXT, nearly_right

Value = TypeVar("Value")
Result = TypeVar("Result")


def outcome(read: Callable[[Value], Result], value: Value) -> Result | InvalidRequest:
    """Return what was read, or the refusal. Anything else that is raised fails the test."""
    try:
        return read(value)
    except InvalidRequest as refusal:
        return refusal


@given(st.dictionaries(ANY_TEXT, ANY_JSON) | st.none())
def test_any_query_is_a_join_or_a_refusal(query: dict[str, object] | None) -> None:
    match outcome(parse_join, query):
        case InvalidRequest(status=status):
            assert status == 400
        case request:
            assert isinstance(request, JoinRequest)


@given(
    st.fixed_dictionaries(
        {"sessionId": st.just("s1") | ANY_JSON, "role": st.sampled_from([*Role]) | ANY_JSON},
        optional={"targetLanguage": st.just("de") | ANY_JSON},
    )
)
def test_what_gets_through_is_within_its_bounds(query: dict[str, object]) -> None:
    request = outcome(parse_join, query)
    if isinstance(request, InvalidRequest):
        return
    assert request.role in (Role.SPEAKER, Role.LISTENER)
    assert request.session_id.isascii()
    assert 1 <= len(request.session_id) <= 64
    assert request.role == Role.LISTENER or request.target_language is None


@given(ANY_TEXT | ANY_JSON | ANY_JSON.map(json.dumps))
@example("[" * 200_000)
@example("1" * 5_000)
@example('{"action": "a"}' + " " * 200_000)
def test_any_body_is_a_message_or_a_refusal(body: object) -> None:
    match outcome(parse_message, body):
        case InvalidRequest(status=status):
            assert status in (400, 413)
        case message:
            assert isinstance(message["action"], str)


@given(ANY_JSON | nearly_right("connect", "message", "disconnect", "scheduled"))
def test_any_event_has_a_route_or_is_refused(event: object) -> None:
    match outcome(route_of, event):
        case InvalidRequest(status=status):
            assert status == 400
            assert isinstance(outcome(parse_disconnect, event), InvalidRequest)
        case (connection_id, route_key):
            assert connection_id.isascii()
            assert connection_id.isprintable()
            assert 1 <= len(connection_id) <= 128
            assert isinstance(event, dict)
            is_typed = event["requestContext"].get("eventType") == "DISCONNECT"
            disconnecting = outcome(parse_disconnect, event) == connection_id
            assert disconnecting is (route_key == "$disconnect" and is_typed)
