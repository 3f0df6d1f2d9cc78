"""The notice that a client receives before its idle connection is closed."""

from hangup.core.connection import DurationMs, EpochMs, JsonObject


def connection_timeout(*, idle_ms: DurationMs, now_ms: EpochMs) -> JsonObject:
    """Return the notice: exactly four members; ``idleSeconds`` is whole seconds, rounded down."""
    return {
        "type": "connectionTimeout",
        "message": "Connection closed due to inactivity",
        "idleSeconds": idle_ms // 1000,
        "timestamp": int(now_ms),
    }
