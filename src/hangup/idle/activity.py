"""Record activity: whatever a client sends proves that it is there.

``handlers.message_handler`` calls this. ``handlers.tracks_activity``, for other people's functions,
records too, but closes no connection.
"""

from dataclasses import dataclass

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import NotRecorded
from hangup.ports import ConnectionsRepository, Gateway, Log


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivityRecorder:
    """Records that clients are there. ``resolution_ms`` 0 writes on every message."""

    connections: ConnectionsRepository
    gateway: Gateway
    log: Log
    resolution_ms: DurationMs

    def record(self, connection_id: str, *, now_ms: EpochMs) -> Connection | NotRecorded:
        """Record one activity; return the record as it was before. Close an orphan."""
        before = self.connections.record_activity(
            connection_id, now_ms=now_ms, resolution_ms=self.resolution_ms
        )
        if before is NotRecorded.NO_RECORD:
            self.log.warning(
                "closed an orphan: the connection has no record", connectionId=connection_id
            )
            self.gateway.delete_connection(connection_id)
        return before
