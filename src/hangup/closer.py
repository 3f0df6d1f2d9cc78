"""Close one idle connection: claim, notice, close, hand over, in that order.

1. Without the claim nothing happens: the client has spoken, or somebody else is closing.
2. A notice that fails is logged and stops nothing.
3. A close that fails leaves the connection, unclaimed, to the next sweep, without a second notice.
4. A hand-over that fails leaves the record, unclaimed, so that the next sweep hands over again.
5. A claim that cannot be given back (shortly before its end an invocation makes no call any more)
   expires by itself: that costs one sweep more, and maybe a second notice.
6. A connection that is gone, on the notice or on the close, is closed: its hand-over still follows.
7. Whoever starts a close waits for its turn first: with ``pacer``, and not beyond its time.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock
from typing import Final, Literal

from hangup.core.messages import GatewayAddress, connection_timeout, disconnect_event
from hangup.core.model import Connection, DurationMs, EpochMs, Role, TimeoutReason
from hangup.core.pacing import Pace
from hangup.core.report import ClosesReport
from hangup.errors import BackendError
from hangup.ports import (
    Clock,
    CloseOutcome,
    ConnectionsRepository,
    Functions,
    Gateway,
    Log,
    PostOutcome,
)

__all__ = ["STOP_MARGIN_MS", "Closer", "Ended", "Outcome", "Pacer", "Tally"]

STOP_MARGIN_MS: Final = DurationMs(8_000)
"""With less than this left no close is started; what the report takes is kept besides.

No call begins with less than its time-out left (``aws.calls.ATTEMPT_MS``). This is twice that: so a
close has four seconds until its last call begins. It takes some 60 ms, and a second or two if calls
are throttled and tried again. One that runs into a time-out so late is left where it stands, as if
the sweep had crashed there (rule 5): with room for five of them, every sweep would close a quarter
fewer.
"""

_LONGEST_SLEEP_MS: Final = DurationMs(1_000)
"""A slow pace that many share has turns further apart than an invocation has time left: whoever
waits for one looks up this often."""


class Ended(Enum):
    """How far one close got."""

    CLOSED = auto()
    """Closed by this sweep, and the disconnect handler is on its way."""
    ALREADY_GONE = auto()
    """Had left before, and the disconnect handler is on its way."""
    CLAIM_LOST = auto()
    CLAIM_FAILED = auto()
    CLOSE_FAILED = auto()
    HANDOVER_FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one close came to; ``error`` is what kept it from being complete.

    ``closed_at_ms`` is when the connection was closed, None if this close did not do it.
    """

    ended: Ended
    closed_at_ms: EpochMs | None = None
    notice_failed: bool = False
    error: BackendError | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts what closes come to."""

    _ended: Counter[Ended] = field(default_factory=Counter)
    _timeouts: Counter[tuple[Role, TimeoutReason]] = field(default_factory=Counter)
    _notices_failed: int = 0
    _lateness_ms: list[DurationMs] = field(default_factory=list)

    def add(self, connection: Connection, outcome: Outcome, *, deadline_ms: EpochMs) -> None:
        """Count one close of a connection that had this deadline."""
        self._ended[outcome.ended] += 1
        self._notices_failed += outcome.notice_failed
        if outcome.ended is Ended.CLOSED:
            self._timeouts[connection.role, TimeoutReason.IDLE_TIMEOUT] += 1
        elif outcome.ended is Ended.ALREADY_GONE:
            self._timeouts[connection.role, TimeoutReason.GONE] += 1
        if outcome.closed_at_ms is not None:
            self._lateness_ms.append(DurationMs(outcome.closed_at_ms - deadline_ms))

    def report(self) -> ClosesReport:
        """Return the counts so far."""
        ended = self._ended
        return ClosesReport(
            timeouts=dict(self._timeouts),
            lateness_ms=tuple(self._lateness_ms),
            claims_lost=ended[Ended.CLAIM_LOST],
            notices_failed=self._notices_failed,
            close_failures=ended[Ended.CLAIM_FAILED] + ended[Ended.CLOSE_FAILED],
            handover_failures=ended[Ended.HANDOVER_FAILED],
        )


@dataclass(slots=True, kw_only=True)
class Pacer:
    """Lets closes start at a pace, whatever runs them: threads, or calls interleaved on one.

    Closes of a sweep do not wait for their turn themselves: whoever starts them does, so that none
    begins that could not go on.
    """

    clock: Clock
    pace: Pace
    _last_start_ms: EpochMs | None = None
    _taking: Lock = field(default_factory=Lock)

    def wait(self, has_time: Callable[[], bool] = lambda: True) -> bool:
        """Return True when the next close may start, and False when there is no time for it."""
        while has_time():
            early_ms = self._take_turn()
            if not early_ms:
                return True
            # Without the lock: another that is interleaved with this one would wait for it, on the
            # very thread that has to come back here. Of all that wake up, one takes the turn.
            self.clock.sleep(min(early_ms, _LONGEST_SLEEP_MS))
        return False

    def _take_turn(self) -> DurationMs:
        """Return 0 if it is taken, else in how many milliseconds there will be one."""
        with self._taking:
            now_ms = self.clock.now_ms()
            if self._last_start_ms is not None:
                # Where the clock was set back, nobody waits for it to catch up.
                self._last_start_ms = min(self._last_start_ms, now_ms)
            start_ms = self.pace.next_start_ms(last_start_ms=self._last_start_ms, now_ms=now_ms)
            if start_ms <= now_ms:
                self._last_start_ms = now_ms
            return DurationMs(start_ms - now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closer:
    """Closes connections that a sweep found idle.

    ``claim_ms`` is how long a claim holds, milliseconds: as long as the longest invocation, since
    after that nobody can be acting on it.
    """

    connections: ConnectionsRepository
    gateway: Gateway
    functions: Functions
    clock: Clock
    log: Log
    address: GatewayAddress
    claim_ms: DurationMs
    pacer: Pacer

    def close_idle_connection(self, connection: Connection, *, correlation_id: str) -> Outcome:
        """Take one connection that the sweep found idle from its claim to its hand-over."""
        now_ms = self.clock.now_ms()
        connection_id = connection.connection_id
        try:
            # Claim before closing: closing first would cut off a client that has just spoken.
            claimed = self.connections.claim(
                connection, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + self.claim_ms)
            )
        except BackendError as error:
            self.log.error("claim failed", connectionId=connection_id, error=str(error))
            return Outcome(ended=Ended.CLAIM_FAILED, error=error)
        if not claimed:
            return Outcome(ended=Ended.CLAIM_LOST)

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
            return Outcome(ended=Ended.CLOSE_FAILED, notice_failed=notice_failed, error=error)
        closed_at_ms = self.clock.now_ms() if closed is CloseOutcome.CLOSED else None
        try:
            self.trigger_disconnect_handler(
                connection, now_ms=now_ms, correlation_id=correlation_id
            )
        except BackendError as error:
            self.log.error("hand-over failed", connectionId=connection_id, error=str(error))
            self._release(connection, noticed_at_ms=None)
            return Outcome(
                ended=Ended.HANDOVER_FAILED,
                closed_at_ms=closed_at_ms,
                notice_failed=notice_failed,
                error=error,
            )
        ended = Ended.CLOSED if closed is CloseOutcome.CLOSED else Ended.ALREADY_GONE
        return Outcome(ended=ended, closed_at_ms=closed_at_ms, notice_failed=notice_failed)

    def send_timeout_message(
        self, connection: Connection, *, now_ms: EpochMs
    ) -> PostOutcome | Literal[False]:
        """Send the notice; return False, having logged why, if it could not be sent."""
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
        """Close the connection; one that has already left is closed. Raises ``BackendError``."""
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
            # The claim expires by itself: the cost is one sweep more, and maybe a second notice.
            self.log.warning(
                "release failed", connectionId=connection.connection_id, error=str(error)
            )
