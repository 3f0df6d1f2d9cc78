"""API Gateway's WebSocket events: read, and made for the disconnect handler."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    EpochMs,
    JsonObject,
    TimeoutReason,
)
from hangup.core.limits import MAX_CONNECTION_ID_LENGTH
from hangup.errors import InvalidRequest

NO_ROLE: Final = "unknown"
"""What events and metrics say of a connection whose record has no role."""

NO_ADDRESS: Final = "0.0.0.0"
"""The source address in the event of a connection that is gone: nobody knows it any more."""

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""As HTTP and API Gateway write them, whatever the locale."""


# API Gateway's ids are base64 with "=" at the end; emulators use hexadecimal.
_CONNECTION_ID: Final = re.compile(rf"[A-Za-z0-9_=+/-]{{1,{MAX_CONNECTION_ID_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """Where a WebSocket API is: what API Gateway puts into every event of it."""

    domain_name: str
    stage: str
    api_id: str


def parse_connect(event: object) -> str:
    """Return the connection id in a connect event; raise as ``parse_disconnect`` does."""
    return _id_in(event, "$connect", "CONNECT")


def parse_disconnect(event: object) -> str:
    """Return the connection id in a disconnect event.

    Raises ``InvalidRequest`` (400) for an event of another shape, route or type. A client may send
    a message whose action is ``$disconnect``: its event has that route, and the type ``MESSAGE``.
    """
    return _id_in(event, "$disconnect", "DISCONNECT")


def _id_in(event: object, route_key: str, event_type: str) -> str:
    connection_id, context = _context_of(event)
    if context.get("routeKey") != route_key or context.get("eventType") != event_type:
        raise InvalidRequest(
            400,
            f"requestContext.routeKey is not {route_key}, or its eventType is not {event_type}",
        )
    return connection_id


def client_of(event: object) -> str | None:
    """Return the connection id if a client's message caused the event, else None.

    The type decides, and where there is none the route: a message may select any route. Raises
    ``InvalidRequest`` (400) as ``route_of`` does.
    """
    connection_id, route_key = route_of(event)
    event_type = _context_of(event)[1].get("eventType")
    if event_type is None:
        return None if route_key in ("$connect", "$disconnect") else connection_id
    return connection_id if event_type == "MESSAGE" else None


def route_of(event: object) -> tuple[str, str]:
    """Return the connection id and the route key of an API Gateway WebSocket event.

    Raises ``InvalidRequest`` (400) if the event is of another shape or the id has odd characters.
    """
    connection_id, context = _context_of(event)
    route_key = context.get("routeKey")
    if not isinstance(route_key, str) or not route_key:
        raise InvalidRequest(400, "requestContext.routeKey is missing or malformed")
    return connection_id, route_key


def is_connection_id(text: str) -> bool:
    """Return whether this has the form of API Gateway's ids, or of an emulator's."""
    return _CONNECTION_ID.fullmatch(text) is not None


def _context_of(event: object) -> tuple[str, Mapping[str, object]]:
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping):
        raise InvalidRequest(400, "not a WebSocket event: requestContext is missing")
    connection_id = context.get("connectionId")
    if not isinstance(connection_id, str) or not is_connection_id(connection_id):
        raise InvalidRequest(400, "requestContext.connectionId is missing or malformed")
    return connection_id, context


def disconnect_event(
    connection: Connection,
    info: ConnectionInfo | None,
    address: GatewayAddress,
    *,
    now_ms: EpochMs,
    correlation_id: str,
) -> JsonObject:
    """Return API Gateway's own event for ``$disconnect``, with three members added.

    ``sessionId`` (``None`` if the record has none), ``role`` and ``correlationId`` stand beside
    ``requestContext``. Status code 1001 is what API Gateway reports for its own idle closes.
    ``info`` is what API Gateway said of the connection. Where it is None, since the connection is
    gone, the address is ``0.0.0.0`` and the user agent empty; without a connect time on record
    either, it is the last time known.
    """
    source_ip = (info and info.source_ip) or NO_ADDRESS
    connected_ms = (info and info.connected_at_ms) or connection.connected_at_ms
    headers = {
        "Host": address.domain_name,
        "x-api-key": "",
        "X-Forwarded-For": source_ip,
        "x-restapi": "",
    }
    identity = {"sourceIp": source_ip, "userAgent": (info and info.user_agent) or ""}
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": {
            "routeKey": "$disconnect",
            "eventType": "DISCONNECT",
            "connectionId": connection.connection_id,
            "domainName": address.domain_name,
            "stage": address.stage,
            "apiId": address.api_id,
            "requestId": correlation_id,
            "extendedRequestId": correlation_id,
            "requestTime": _request_time(now_ms // 1000),
            "requestTimeEpoch": int(now_ms),
            "connectedAt": connected_ms or connection.last_seen_ms or int(now_ms),
            "identity": identity,
            "messageDirection": "IN",
            "disconnectStatusCode": 1001,
            "disconnectReason": str(TimeoutReason.IDLE_TIMEOUT),
        },
        "isBase64Encoded": False,
        "sessionId": connection.session_id,
        "role": connection.role or NO_ROLE,
        "correlationId": correlation_id,
    }


@lru_cache(maxsize=2)
def _request_time(epoch_s: int) -> str:
    """Return a time as API Gateway writes it: ``28/Nov/2026:18:51:53 +0000``."""
    time = datetime.fromtimestamp(epoch_s, UTC)
    return f"{time:%d}/{MONTHS[time.month - 1]}/{time:%Y:%H:%M:%S} +0000"
