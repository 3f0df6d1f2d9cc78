"""DynamoDB items of the two tables, to and from the model.

Connections (pk ``connectionId``): sessionId, role, connectedAt, lastActivityTime, expiresAt,
targetLanguage?, claimExpiresAt?, claimToken?, noticedAt?. Sessions (pk ``sessionId``): isActive,
speakerConnectionId, listenerCount, startedAt, endedAt?, expiresAt?, claimExpiresAt?,
claimToken?. Times are epoch milliseconds; ``expiresAt`` is DynamoDB's TTL, epoch seconds.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from hangup.core.connection import Connection, EpochMs
from hangup.core.limits import (
    MAX_CONNECTION_S,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)
from hangup.sessions.model import Session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        UniversalAttributeValueTypeDef,
    )

__all__ = [
    "CONNECTION_PROJECTION",
    "PROJECTION_NAMES",
    "connection_from_item",
    "connection_to_item",
    "number",
    "session_from_item",
    "string",
]

CONNECTION_PROJECTION: Final = (
    "connectionId, sessionId, #role, connectedAt, lastActivityTime, noticedAt"
)
"""What is read of connection records by a scan."""

PROJECTION_NAMES: Final = {"#role": "role"}
"""The one attribute whose name is a word that DynamoDB reserves."""

_TTL_SLACK_S: Final = 3_600


def connection_from_item(item: Mapping[str, "AttributeValueTypeDef"]) -> Connection:
    """Return the connection in an item of any shape that has a ``connectionId``, else KeyError."""
    malformed = []
    times: dict[str, EpochMs | None] = {}
    for name in ("connectedAt", "lastActivityTime"):
        value = item.get(name)
        times[name] = None if value is None else _epoch_ms(value)
        if value is not None and times[name] is None:
            malformed.append(name)
    noticed_at = item.get("noticedAt")
    return Connection(
        connection_id=item["connectionId"]["S"],
        session_id=_text(item, "sessionId"),
        role=_text(item, "role"),
        connected_at_ms=times["connectedAt"],
        last_activity_ms=times["lastActivityTime"],
        noticed_at_ms=None if noticed_at is None else _epoch_ms(noticed_at),
        target_language=_text(item, "targetLanguage"),
        malformed=tuple(malformed),
    )


def connection_to_item(connection: Connection) -> dict[str, "UniversalAttributeValueTypeDef"]:
    """Return the item of a connection that has just joined: both times and a session are set."""
    assert connection.session_id is not None  # noqa: S101 - the type cannot say it
    assert connection.connected_at_ms is not None  # noqa: S101
    expires_at_s = connection.connected_at_ms // 1000 + MAX_CONNECTION_S + _TTL_SLACK_S
    item: dict[str, UniversalAttributeValueTypeDef] = {
        "connectionId": string(connection.connection_id),
        "sessionId": string(connection.session_id),
        "role": string(connection.role or ""),
        "connectedAt": number(connection.connected_at_ms),
        "lastActivityTime": number(connection.last_activity_ms or connection.connected_at_ms),
        "expiresAt": number(expires_at_s),
    }
    if connection.target_language is not None:
        item["targetLanguage"] = string(connection.target_language)
    return item


def session_from_item(item: Mapping[str, "AttributeValueTypeDef"]) -> Session:
    """Return the session in an item that Hangup wrote."""
    ended_at = item.get("endedAt")
    return Session(
        session_id=item["sessionId"]["S"],
        is_active=item["isActive"]["BOOL"],
        speaker_connection_id=item["speakerConnectionId"]["S"],
        listener_count=int(item["listenerCount"]["N"]),
        started_at_ms=EpochMs(int(item["startedAt"]["N"])),
        ended_at_ms=None if ended_at is None else EpochMs(int(ended_at["N"])),
    )


def string(value: str) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB string."""
    return {"S": str(value)}


def number(value: int) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB number."""
    return {"N": str(value)}


def _text(item: Mapping[str, "AttributeValueTypeDef"], name: str) -> str | None:
    return item.get(name, {}).get("S") or None


def _epoch_ms(value: "AttributeValueTypeDef") -> EpochMs | None:
    """Return a plausible epoch-millisecond number, ``None`` for anything else.

    A fraction is rounded up: a connection is never closed a part of a millisecond early.
    """
    try:
        ms = Decimal(value["N"]).to_integral_value(rounding=ROUND_CEILING)
    except (KeyError, InvalidOperation):
        return None
    return EpochMs(int(ms)) if MIN_PLAUSIBLE_EPOCH_MS <= ms < MAX_PLAUSIBLE_EPOCH_MS else None
