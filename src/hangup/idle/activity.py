"""Record activity: whatever a client sends proves that it is there.

``handlers.message_handler`` calls this. ``handlers.tracks_activity``, for other people's functions,
records too, but closes no connection.
"""

from dataclasses import dataclass

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.outcomes import ActivityOutcome
from hangup.ports import ConnectionsRepository, Gateway, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRecorder:
    """Records that clients are there. ``resolution_ms`` 0 writes on every message."""

    connections: ConnectionsRepository
    gateway: Gateway
    log: Log
    resolution_ms: DurationMs

    def record(self, connection_id: str, *, now_ms: EpochMs) -> bool:
        """Record one activity; return False, having closed the connection, for an orphan."""
        outcome = self.connections.record_activity(
            connection_id, now_ms=now_ms, resolution_ms=self.resolution_ms
        )
        if outcome is not ActivityOutcome.NO_RECORD:
            return True
        self.log.warning(
            "closed an orphan: the connection has no record", connectionId=connection_id
        )
        self.gateway.delete_connection(connection_id)
        return False
