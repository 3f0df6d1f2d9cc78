"""The messages of a session that clients receive."""

from hangup.core.connection import EpochMs, JsonObject


def session_ended(*, session_id: str, now_ms: EpochMs) -> JsonObject:
    """Return the notice to listeners that the session has ended; ``timestamp`` is epoch ms."""
    return {"type": "sessionEnded", "sessionId": session_id, "timestamp": int(now_ms)}


def heartbeat_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to a heartbeat; ``timestamp`` is the recorded activity, epoch ms."""
    return {"type": "heartbeatAck", "timestamp": int(now_ms)}


def message_ack(*, now_ms: EpochMs) -> JsonObject:
    """Return the answer to any other message; ``timestamp`` is the recorded activity, epoch ms."""
    return {"type": "messageAck", "timestamp": int(now_ms)}
