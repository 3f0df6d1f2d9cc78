"""Ask API Gateway, for the mass-close guard, about connections that look idle (``core.guard``)."""

from dataclasses import dataclass

from hangup.core.guard import Liveness, liveness, liveness_of_due
from hangup.core.model import Connection, EpochMs
from hangup.core.policy import IdlePolicy
from hangup.errors import BackendError
from hangup.ports import ConnectionsRepository, Gateway, Log

__all__ = ["Inquiry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Whom to ask, and by which policy a connection looked idle at ``now_ms``, or due soon."""

    connections: ConnectionsRepository
    gateway: Gateway
    log: Log
    policy: IdlePolicy
    now_ms: EpochMs

    def liveness(self, connection: Connection) -> Liveness:
        """Return what API Gateway says of it; ``UNKNOWN``, logged, if it gave no answer."""
        try:
            last_active_ms = self.gateway.last_active_ms(connection.connection_id)
            recorded_ms = connection.last_seen_ms
            assert recorded_ms is not None  # noqa: S101 - what is idle or due has one
            if self.now_ms > self.policy.deadline_ms(recorded_ms):
                return liveness(last_active_ms, cutoff_ms=self.policy.cutoff_ms(self.now_ms))
            return self._of_due(connection, recorded_ms, last_active_ms)
        except BackendError as error:
            self.log.warning(
                "liveness unknown", connectionId=connection.connection_id, error=str(error)
            )
            return Liveness.UNKNOWN

    def _of_due(
        self, connection: Connection, recorded_ms: EpochMs, last_active_ms: EpochMs | None
    ) -> Liveness:
        def judged(recorded_ms: EpochMs) -> Liveness:
            return liveness_of_due(
                last_active_ms,
                recorded_ms=recorded_ms,
                activity_resolution_ms=self.policy.activity_resolution_ms,
            )

        seen = judged(recorded_ms)
        if seen is not Liveness.ACTIVE:
            return seen
        # It may have spoken, and been recorded, since the scan: then the record says so by now.
        now = self.connections.get(connection.connection_id)
        if now is None:
            return Liveness.GONE
        return Liveness.UNKNOWN if now.last_seen_ms is None else judged(now.last_seen_ms)
