"""The messages that clients receive and the event that the disconnect handler receives."""

from dataclasses import dataclass

from hangup.core.model import Connection, DurationMs, EpochMs, JsonObject

__all__ = [
    "DISCONNECT_REASON",
    "GatewayAddress",
    "connection_timeout",
    "disconnect_event",
    "heartbeat_ack",
    "message_ack",
    "session_ended",
]

DISCONNECT_REASON = "IDLE_TIMEOUT"
"""``requestContext.disconnectReason`` of a synthetic disconnect event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """Where a WebSocket API is: what API Gateway puts into every event of it."""

    domain_name: str
    stage: str
    api_id: str


def connection_timeout(*, idle_ms: DurationMs, now_ms: EpochMs) -> JsonObject:
    """Return the notice: exactly four members; ``idleSeconds`` is whole seconds, rounded down."""
    return {
        "type": "connectionTimeout",
        "message": "Connection closed due to inactivity",
        "idleSeconds": idle_ms // 1000,
        "timestamp": int(now_ms),
    }


def session_ended(*, session_id: str, now_ms: EpochMs) -> JsonObject:
    """Return what each listener is told when the speaker has left; ``timestamp`` is epoch ms."""
    return {"type": "sessionEnded", "sessionId": session_id, "timestamp": int(now_ms)}


def heartbeat_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to a heartbeat; ``timestamp`` is the recorded activity, epoch ms."""
    return {"type": "heartbeatAck", "timestamp": int(now_ms)}


def message_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to an ordinary message; ``timestamp`` as in ``heartbeat_ack``."""
    return {"type": "messageAck", "timestamp": int(now_ms)}


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
            "disconnectReason": DISCONNECT_REASON,
        },
        "isBase64Encoded": False,
        "sessionId": connection.session_id,
        "role": str(connection.role),
        "correlationId": correlation_id,
    }
