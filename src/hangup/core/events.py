"""API Gateway's WebSocket events: read, and made for the disconnect handler."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hangup.core.connection import Connection, EpochMs, JsonObject, TimeoutReason
from hangup.core.limits import MAX_CONNECTION_ID_LENGTH
from hangup.errors import InvalidRequest

NO_ROLE: Final = "unknown"
"""What events and metrics say of a connection whose record has no role."""

_NO_DISCONNECT: Final = (
    "requestContext.routeKey is not $disconnect, or its eventType is not DISCONNECT"
)

# API Gateway's ids are base64 with "=" at the end; emulators use hexadecimal.
_CONNECTION_ID: Final = re.compile(rf"[A-Za-z0-9_=+/-]{{1,{MAX_CONNECTION_ID_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """Where a WebSocket API is: what API Gateway puts into every event of it."""

    domain_name: str
    stage: str
    api_id: str


def parse_disconnect(event: object) -> str:
    """Return the connection id in a disconnect event.

    Raises ``InvalidRequest`` (400) for an event of another shape, route or type. A client may send
    a message whose action is ``$disconnect``: its event has that route, and the type ``MESSAGE``.
    """
    connection_id, context = _context_of(event)
    if context.get("routeKey") != "$disconnect" or context.get("eventType") != "DISCONNECT":
        raise InvalidRequest(400, _NO_DISCONNECT)
    return connection_id


def route_of(event: object) -> tuple[str, str]:
    """Return the connection id and the route key of an API Gateway WebSocket event.

    Raises ``InvalidRequest`` (400) if the event is of another shape or the id has odd characters.
    """
    connection_id, context = _context_of(event)
    route_key = context.get("routeKey")
    if not isinstance(route_key, str) or not route_key:
        raise InvalidRequest(400, "requestContext.routeKey is missing or malformed")
    return connection_id, route_key


def _context_of(event: object) -> tuple[str, Mapping[str, object]]:
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping):
        raise InvalidRequest(400, "not a WebSocket event: requestContext is missing")
    connection_id = context.get("connectionId")
    if not isinstance(connection_id, str) or not _CONNECTION_ID.fullmatch(connection_id):
        raise InvalidRequest(400, "requestContext.connectionId is missing or malformed")
    return connection_id, context


def disconnect_event(
    connection: Connection, address: GatewayAddress, *, now_ms: EpochMs, correlation_id: str
) -> JsonObject:
    """Return an event like API Gateway's own for ``$disconnect``, with three members added.

    ``sessionId`` (``None`` if the record has none), ``role`` and ``correlationId`` stand beside
    ``requestContext``. Status code 1001 is what API Gateway reports for its own idle closes.
    """
    return {
        "requestContext": {
            "routeKey": "$disconnect",
            "eventType": "DISCONNECT",
            "connectionId": connection.connection_id,
            "domainName": address.domain_name,
            "stage": address.stage,
            "apiId": address.api_id,
            "requestId": correlation_id,
            "requestTimeEpoch": int(now_ms),
            "connectedAt": connection.connected_at_ms,
            "messageDirection": "IN",
            "disconnectStatusCode": 1001,
            "disconnectReason": str(TimeoutReason.IDLE_TIMEOUT),
        },
        "isBase64Encoded": False,
        "sessionId": connection.session_id,
        "role": connection.role or NO_ROLE,
        "correlationId": correlation_id,
    }
