"""What clients send, checked at the edge: join parameters, connection ids, messages."""

import json
import re
from collections.abc import Mapping
from typing import Final, TypeGuard

from hangup.core.limits import (
    MAX_CONNECTION_ID_LENGTH,
    MAX_MESSAGE_BYTES,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)
from hangup.core.model import JoinRequest, JsonObject, Role
from hangup.errors import InvalidRequest

__all__ = [
    "is_epoch_ms",
    "parse_disconnect",
    "parse_join",
    "parse_message",
    "route_of",
]

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# A practical part of BCP 47: language, then script, region or variant subtags.
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)
# API Gateway's ids are base64 with "=" at the end; emulators use hexadecimal.
_CONNECTION_ID: Final = re.compile(rf"[A-Za-z0-9_=+/-]{{1,{MAX_CONNECTION_ID_LENGTH}}}", re.ASCII)


def parse_join(query: Mapping[str, object] | None) -> JoinRequest:
    """Return the join request in a ``$connect`` event's query string parameters.

    ``sessionId`` is 1 to 64 letters, digits, ``-`` and ``_``; ``role`` is ``speaker`` or
    ``listener``; ``targetLanguage`` (listeners only, optional) is a BCP 47 tag such as ``de`` or
    ``pt-BR``. Raises ``InvalidRequest`` (400) naming the first parameter that is not.
    """
    query = query or {}
    session_id, role = query.get("sessionId"), query.get("role")
    language = query.get("targetLanguage")
    if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):
        raise InvalidRequest(400, "sessionId must be 1 to 64 letters, digits, '-' or '_'")
    if not isinstance(role, str) or role not in (Role.SPEAKER, Role.LISTENER):
        raise InvalidRequest(400, "role must be 'speaker' or 'listener'")
    if language is not None:
        if role != Role.LISTENER:
            raise InvalidRequest(400, "targetLanguage is for listeners only")
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
            raise InvalidRequest(
                400, "targetLanguage must be a language tag such as 'de' or 'pt-BR'"
            )
    return JoinRequest(session_id=session_id, role=Role(role), target_language=language)


def parse_message(body: object) -> JsonObject:
    """Return the JSON object in a message's body.

    Raises ``InvalidRequest``: 413 if it is longer than API Gateway lets through (128 KB as UTF-8),
    400 if it is no JSON object with a string member ``action``.
    """
    if not isinstance(body, str):
        raise InvalidRequest(400, "a message must be a JSON object")
    # Encoded with "surrogatepass": a lone surrogate is odd, but its size is still known.
    if (
        len(body) > MAX_MESSAGE_BYTES
        or len(body.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_BYTES
    ):
        raise InvalidRequest(413, f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest(400, "a message must be a JSON object") from None
    if not isinstance(message, dict):
        raise InvalidRequest(400, "a message must be a JSON object")
    if not isinstance(message.get("action"), str):
        raise InvalidRequest(400, "a message must have a string member 'action'")
    return message


def parse_disconnect(event: object) -> str:
    """Return the connection id in a disconnect event.

    Raises ``InvalidRequest`` (400) for an event of another shape or of another route.
    """
    connection_id, route_key = route_of(event)
    if route_key != "$disconnect":
        raise InvalidRequest(400, "requestContext.routeKey is not $disconnect")
    return connection_id


def route_of(event: object) -> tuple[str, str]:
    """Return the connection id and the route key of an API Gateway WebSocket event.

    Raises ``InvalidRequest`` (400) if the event is of another shape or the id has odd characters.
    """
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping):
        raise InvalidRequest(400, "the event has no requestContext: it is no WebSocket event")
    connection_id, route_key = context.get("connectionId"), context.get("routeKey")
    if not isinstance(connection_id, str) or not _CONNECTION_ID.fullmatch(connection_id):
        raise InvalidRequest(400, "requestContext.connectionId is missing or malformed")
    if not isinstance(route_key, str) or not route_key:
        raise InvalidRequest(400, "requestContext.routeKey is missing or malformed")
    return connection_id, route_key


def is_epoch_ms(value: object) -> TypeGuard[int]:
    """Say whether this is a plausible whole number of epoch milliseconds."""
    return type(value) is int and MIN_PLAUSIBLE_EPOCH_MS <= value < MAX_PLAUSIBLE_EPOCH_MS
