"""Close one idle connection: claim, notice, close, hand over, in that order.

1. If the claim is refused, stop: the client has spoken or left, or somebody else is closing. The
   conditions of a claim are in ``aws.schema``.
2. If the notice fails, log it and go on.
3. If the close fails, release the claim. The next sweep tries again, without a second notice.
4. If the hand-over fails, keep the record and release the claim. The next sweep hands over.
5. If the claim cannot be released, it expires by itself. That delays the close by one sweep, and
   may cost a second notice. It happens shortly before an invocation ends, when no call may start.
6. If the notice or the close finds the connection gone, hand it over all the same.
7. The caller must call ``pacer.wait`` before it starts a close.
"""

from dataclasses import dataclass
from typing import Literal

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event
from hangup.core.messages import connection_timeout
from hangup.core.outcomes import (
    CloseCounter,
    CloseOutcome,
    CloseResult,
    CloseStatus,
    PostOutcome,
)
from hangup.core.timing import CLAIM_MS
from hangup.errors import BackendError
from hangup.idle.pacer import Pacer
from hangup.ports import Clock, ConnectionsRepository, Functions, Gateway, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Closer:
    """Closes connections that a sweep found idle.

    ``claim_ms`` is how long a claim holds: as long as the longest invocation. After that no
    function can be acting on it. ``metric_roles`` are the roles that metrics name.
    """

    connections: ConnectionsRepository
    gateway: Gateway
    functions: Functions
    clock: Clock
    log: Log
    address: GatewayAddress
    pacer: Pacer
    metric_roles: frozenset[str]
    claim_ms: DurationMs = CLAIM_MS

    def counter(self) -> CloseCounter:
        """Return an empty counter of results."""
        return CloseCounter(metric_roles=self.metric_roles)

    def close_idle_connection(self, connection: Connection, *, correlation_id: str) -> CloseResult:
        """Claim, notify, close and hand over one connection."""
        now_ms = self.clock.now_ms()
        connection_id = connection.connection_id
        try:
            # Claim before closing: closing first would cut off a client that has just spoken.
            claimed = self.connections.claim(
                connection, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + self.claim_ms)
            )
        except BackendError as error:
            self.log.error("claim failed", connectionId=connection_id, error=str(error))
            return CloseResult(status=CloseStatus.CLAIM_FAILED, error=error)
        if not claimed:
            return CloseResult(status=CloseStatus.CLAIM_LOST)

        posted = None
        if not connection.is_noticed:
            posted = self.send_timeout_message(connection, now_ms=now_ms)
        notice_failed = posted is False
        try:
            if posted is PostOutcome.GONE:
                closed = CloseOutcome.ALREADY_GONE
            else:
                closed = self.close_connection(connection)
        except BackendError as error:
            self.log.error("close failed", connectionId=connection_id, error=str(error))
            self._release(connection, noticed_at_ms=None if notice_failed else now_ms)
            return CloseResult(
                status=CloseStatus.CLOSE_FAILED, notice_failed=notice_failed, error=error
            )
        closed_at_ms = self.clock.now_ms() if closed is CloseOutcome.CLOSED else None
        try:
            self.trigger_disconnect_handler(
                connection, now_ms=now_ms, correlation_id=correlation_id
            )
        except BackendError as error:
            self.log.error("hand-over failed", connectionId=connection_id, error=str(error))
            self._release(connection, noticed_at_ms=None)
            return CloseResult(
                status=CloseStatus.HANDOVER_FAILED,
                closed_at_ms=closed_at_ms,
                notice_failed=notice_failed,
                error=error,
            )
        status = CloseStatus.CLOSED if closed is CloseOutcome.CLOSED else CloseStatus.ALREADY_GONE
        return CloseResult(status=status, closed_at_ms=closed_at_ms, notice_failed=notice_failed)

    def send_timeout_message(
        self, connection: Connection, *, now_ms: EpochMs
    ) -> PostOutcome | Literal[False]:
        """Send the notice. If it cannot be sent, log the reason and return False."""
        idle_ms = DurationMs(now_ms - (connection.last_seen_ms or now_ms))
        try:
            return self.gateway.post_to_connection(
                connection.connection_id, connection_timeout(idle_ms=idle_ms, now_ms=now_ms)
            )
        except BackendError as error:
            self.log.warning(
                "notice failed", connectionId=connection.connection_id, error=str(error)
            )
            return False

    def close_connection(self, connection: Connection) -> CloseOutcome:
        """Close the connection; ``ALREADY_GONE`` if it has left. Raises ``BackendError``."""
        return self.gateway.delete_connection(connection.connection_id)

    def trigger_disconnect_handler(
        self, connection: Connection, *, now_ms: EpochMs, correlation_id: str
    ) -> None:
        """Hand the cleanup over to the disconnect handler. Raises ``BackendError``."""
        self.functions.invoke_disconnect_handler(
            disconnect_event(connection, self.address, now_ms=now_ms, correlation_id=correlation_id)
        )

    def _release(self, connection: Connection, *, noticed_at_ms: EpochMs | None) -> None:
        try:
            self.connections.release(connection, noticed_at_ms=noticed_at_ms)
        except BackendError as error:
            # The claim expires by itself: see rule 5.
            self.log.warning(
                "claim not released", connectionId=connection.connection_id, error=str(error)
            )
