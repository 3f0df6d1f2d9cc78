"""Parse and check what clients of a session send: join parameters and messages."""

import json
import re
from collections.abc import Mapping
from typing import Final, assert_never

from hangup.core.connection import JsonObject
from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.core.texts import Text
from hangup.errors import InvalidRequest
from hangup.sessions.model import JoinRequest, Role

SESSION_ID: Final = Text("1 to 64 letters, digits, '-' or '_'", r"[A-Za-z0-9_-]{1,64}")
# A practical part of BCP 47: language, then script, region or variant subtags.
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)

_ROLES: Final = " or ".join(f"'{role}'" for role in Role)


def parse_join(query: Mapping[str, object] | None) -> JoinRequest:
    """Return the join request in a ``$connect`` event's query string parameters.

    ``sessionId`` is 1 to 64 letters, digits, ``-`` and ``_``; ``role`` is ``speaker`` or
    ``listener``; ``targetLanguage`` (listeners only, optional) is a BCP 47 tag such as ``de`` or
    ``pt-BR``. Raises ``InvalidRequest`` (400) that names the first invalid parameter.
    """
    query = query or {}
    session_id, language = query.get("sessionId"), query.get("targetLanguage")
    if not isinstance(session_id, str) or not SESSION_ID.accepts(session_id):
        raise InvalidRequest(400, f"sessionId must be {SESSION_ID}")
    try:
        role = Role(str(query.get("role")))
    except ValueError:
        raise InvalidRequest(400, f"role must be {_ROLES}") from None
    if language is not None:
        match role:
            case Role.LISTENER:
                pass
            case Role.SPEAKER:
                raise InvalidRequest(400, "targetLanguage is for listeners only")
            case unexpected:
                assert_never(unexpected)
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
            raise InvalidRequest(
                400, "targetLanguage must be a language tag such as 'de' or 'pt-BR'"
            )
    return JoinRequest(session_id=session_id, role=role, target_language=language)


def parse_message(body: object) -> JsonObject:
    """Return the JSON object in a message's body.

    Raises ``InvalidRequest``: 413 if it is longer than API Gateway's limit (128 KB as UTF-8), 400
    if it is not a JSON object with a string member ``action``.
    """
    # "surrogatepass" also gives the size of a lone surrogate, which plain UTF-8 cannot encode.
    if isinstance(body, str) and (
        len(body) > MAX_MESSAGE_BYTES
        or len(body.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_BYTES
    ):
        raise InvalidRequest(413, f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
    try:
        message = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequest(400, "a message must be a JSON object")
    if not isinstance(message.get("action"), str):
        raise InvalidRequest(400, "a message must have a string member 'action'")
    return message
