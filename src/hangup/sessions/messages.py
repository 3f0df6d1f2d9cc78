"""The messages of a session that clients receive."""

from hangup.core.connection import EpochMs, JsonObject

__all__ = ["heartbeat_ack", "message_ack", "session_ended"]


def session_ended(*, session_id: str, now_ms: EpochMs) -> JsonObject:
    """Return what listeners receive when the speaker has left; ``timestamp`` is epoch ms."""
    return {"type": "sessionEnded", "sessionId": session_id, "timestamp": int(now_ms)}


def heartbeat_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to a heartbeat; ``timestamp`` is the recorded activity, epoch ms."""
    return {"type": "heartbeatAck", "timestamp": int(now_ms)}


def message_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to an ordinary message; ``timestamp`` as in ``heartbeat_ack``."""
    return {"type": "messageAck", "timestamp": int(now_ms)}
