"""Close one idle connection: confirm, claim, notice, close, hand over, in that order.

1. API Gateway is asked first: see ``core.guard``. Who is active there is left, and the time is
   noted in an attribute of our own. Without an answer the connection is left. Where the account is
   the source of activity, ``idle.asking`` asks before there is a turn, and comes with the answer.
2. The caller takes a turn of the pace before it starts a close. A close that comes to nothing gives
   the turn back.
3. If the claim is refused, stop: the client has spoken or left, or somebody else is closing. The
   conditions of a claim are in ``aws.expressions``.
4. If the notice fails, log it and go on.
5. If the close fails, release the claim. The next sweep tries again, without a second notice.
6. Hand over by the deployment's rule: see ``core.hand_over``. If that fails, keep the record. The
   next sweep hands over. A record that is still there after its hand-over is handed over again,
   each time after twice as long.
7. If the claim cannot be released, it expires by itself. That delays the close by one sweep, and
   may cost a second notice. It happens shortly before an invocation ends, when no call may start.
8. If the question, the notice or the close finds the connection gone, hand it over all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event
from hangup.core.guard import Seen
from hangup.core.hand_over import HandOver
from hangup.core.messages import connection_timeout
from hangup.core.outcomes import CloseCounter, CloseOutcome, CloseResult, PostOutcome
from hangup.core.report import CloseStatus
from hangup.core.timing import CLAIM_MS, LONGEST_CLAIM_MS
from hangup.errors import BackendError
from hangup.idle.guard import Answer, Confirmer, Terms
from hangup.idle.pacer import Pacer
from hangup.ports import Clock, ConnectionsRepository, Functions, Gateway, Log

_TURN_NOT_USED: Final = (
    CloseStatus.NOT_YET,
    CloseStatus.ACTIVE,
    CloseStatus.KEPT,
    CloseStatus.HELD,
    CloseStatus.UNCONFIRMED,
    CloseStatus.IGNORED,
    CloseStatus.WOULD_CLOSE,
    CloseStatus.CLAIM_LOST,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Closer:
    """Closes connections that a sweep found idle.

    ``claim_ms`` is how long a claim holds: as long as the longest invocation. After that no
    function can be acting on it. ``metric_roles`` are the roles that metrics name. With ``acts``
    False it asks and reports, and neither writes nor closes. ``functions`` may be None where
    ``hand_over`` calls no handler. ``sockets_lost`` returns how many kept sockets this process has
    found closed.
    """

    connections: ConnectionsRepository
    gateway: Gateway
    functions: Functions | None
    clock: Clock
    log: Log
    address: GatewayAddress
    pacer: Pacer
    confirmer: Confirmer
    metric_roles: frozenset[str]
    sockets_lost: Callable[[], int] = lambda: 0
    claim_ms: DurationMs = CLAIM_MS
    acts: bool = True
    hand_over: HandOver = HandOver.ALWAYS

    def counter(self) -> CloseCounter:
        """Return an empty counter of results."""
        return CloseCounter(
            metric_roles=self.metric_roles,
            hand_over=self.hand_over,
            sockets_lost=self.sockets_lost,
        )

    def close_idle_connection(
        self,
        connection: Connection,
        terms: Terms,
        *,
        correlation_id: str,
        answer: Answer | None = None,
    ) -> CloseResult:
        """Confirm, claim, notify, close and hand over one connection, past its deadline.

        With an ``answer``, which must have come just now, API Gateway is not asked again.
        """
        result = self._confirm_and_close(connection, terms, correlation_id, answer)
        if result.status in _TURN_NOT_USED:
            self.pacer.give_back()
        return result

    def _confirm_and_close(
        self, connection: Connection, terms: Terms, correlation_id: str, answer: Answer | None
    ) -> CloseResult:
        if answer is None and terms.asks:
            answer = self.confirmer.ask(connection, silence_ms=terms.silence_ms)
        if answer is None:
            answer = Answer(seen=Seen.QUIET, asked_ms=self.clock.monotonic_ms())
        left = self.reason_to_leave(connection, answer, terms)
        if left is not None:
            return left
        connection = self.as_told(connection, answer)
        if not self.acts:
            return CloseResult(status=CloseStatus.WOULD_CLOSE, is_gone=answer.seen is Seen.GONE)
        now_ms = self.clock.now_ms()
        claim_ms = min(self.claim_ms << connection.handovers, LONGEST_CLAIM_MS)
        claim_expires_ms = EpochMs(now_ms + claim_ms)
        try:
            # Claim before closing: closing first would cut off a client that has just spoken.
            claimed = self.connections.claim(
                connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms
            )
        except BackendError as error:
            self.log.error("claim failed", connectionId=connection.connection_id, error=str(error))
            return CloseResult(status=CloseStatus.CLAIM_FAILED, error=error)
        if not claimed:
            return CloseResult(status=CloseStatus.CLAIM_LOST)
        if answer.seen is Seen.QUIET and terms.asks and not self.confirmer.is_good(answer):
            # The claim took long. Who is not recorded may have spoken meanwhile.
            self._release(connection, noticed_at_ms=None, is_handed_over=False)
            return CloseResult(status=CloseStatus.UNCONFIRMED)
        return self._close_claimed(connection, answer, now_ms, claim_expires_ms, correlation_id)

    def as_told(self, connection: Connection, answer: Answer) -> Connection:
        """Return a connection with API Gateway's account of it, where that is the source."""
        if answer.info is None or not self.confirmer.is_source:
            return connection
        return connection.seen_by_gateway(answer.info.last_active_ms)

    def reason_to_leave(
        self, connection: Connection, answer: Answer, terms: Terms
    ) -> CloseResult | None:
        """Return the result for a connection that must not be closed, None for one that may.

        Where API Gateway saw one active that is not on record, note the time.
        """
        match answer.seen:
            case Seen.GONE:
                return None
            case Seen.QUIET if terms.only_gone:
                return CloseResult(status=CloseStatus.CLAIM_LOST)
            case Seen.QUIET:
                # What took long to be answered may be untrue by now.
                is_good = self.confirmer.is_good(answer)
                return None if is_good else CloseResult(status=CloseStatus.UNCONFIRMED)
            case Seen.INVALID:
                return CloseResult(status=CloseStatus.IGNORED)
            case Seen.NO_ANSWER:
                return CloseResult(status=CloseStatus.UNCONFIRMED, error=answer.error)
            case Seen.ACTIVE | Seen.NOT_YET:
                return self._reason_to_leave_active(connection, answer, terms)
            case unexpected:
                assert_never(unexpected)

    def _reason_to_leave_active(
        self, connection: Connection, answer: Answer, terms: Terms
    ) -> CloseResult | None:
        records_decide = self.confirmer.counts_both and terms.recording_is_well
        if records_decide and not terms.is_old:
            return None
        if answer.seen is Seen.NOT_YET and answer.info is not None:
            last_active_ms = answer.info.last_active_ms
            return CloseResult(status=CloseStatus.NOT_YET, last_active_ms=last_active_ms)
        if records_decide:
            # The next sweep finds it, and has a verdict of its own.
            return CloseResult(status=CloseStatus.NOT_YET)
        if self.confirmer.counts_both:
            return CloseResult(status=CloseStatus.HELD)
        return self._leave_active(connection, answer)

    def _leave_active(self, connection: Connection, answer: Answer) -> CloseResult:
        """Note when API Gateway saw the client, so that it is not asked about every minute."""
        status = CloseStatus.KEPT if self.confirmer.is_source else CloseStatus.ACTIVE
        if not self.acts or answer.info is None:
            return CloseResult(status=status)
        try:
            is_noted = self.connections.record_gateway_activity(
                connection, active_ms=answer.info.last_active_ms, now_ms=self.clock.now_ms()
            )
        except BackendError as error:
            return CloseResult(status=status, error=error)
        # Recorded by now: the client has spoken since the table was read.
        return CloseResult(status=status if is_noted else CloseStatus.CLAIM_LOST)

    def _close_claimed(
        self,
        connection: Connection,
        answer: Answer,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        correlation_id: str,
    ) -> CloseResult:
        connection_id = connection.connection_id
        is_gone = answer.seen is Seen.GONE
        posted = None
        if not (is_gone or connection.is_noticed):
            posted = self.send_timeout_message(connection, now_ms=now_ms)
        notice_failed = posted is False
        try:
            if is_gone or posted is PostOutcome.GONE:
                closed = CloseOutcome.ALREADY_GONE
            else:
                closed = self.close_connection(connection)
        except BackendError as error:
            self.log.error("close failed", connectionId=connection_id, error=str(error))
            self._release(
                connection,
                noticed_at_ms=None if notice_failed else now_ms,
                is_handed_over=False,
            )
            return CloseResult(
                status=CloseStatus.CLOSE_FAILED, notice_failed=notice_failed, error=error
            )
        closed_at_ms = self.clock.now_ms() if closed is CloseOutcome.CLOSED else None
        try:
            self._hand_over(connection, answer, now_ms, claim_expires_ms, correlation_id)
        except BackendError as error:
            self.log.error("hand-over failed", connectionId=connection_id, error=str(error))
            if not connection.handovers:
                self._release(connection, noticed_at_ms=None, is_handed_over=True)
            return CloseResult(
                status=CloseStatus.HANDOVER_FAILED,
                closed_at_ms=closed_at_ms,
                notice_failed=notice_failed,
                error=error,
            )
        status = CloseStatus.CLOSED if closed is CloseOutcome.CLOSED else CloseStatus.ALREADY_GONE
        return CloseResult(status=status, closed_at_ms=closed_at_ms, notice_failed=notice_failed)

    def _hand_over(
        self,
        connection: Connection,
        answer: Answer,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        correlation_id: str,
    ) -> None:
        """Do what the deployment's rule says. Raises ``BackendError``."""
        if self.hand_over is HandOver.DELETE:
            self.connections.delete_claimed(connection, claim_expires_ms=claim_expires_ms)
        elif self.hand_over.calls_handler_after(connection.handovers):
            self.trigger_disconnect_handler(
                connection, answer.info, now_ms=now_ms, correlation_id=correlation_id
            )

    def send_timeout_message(
        self, connection: Connection, *, now_ms: EpochMs
    ) -> PostOutcome | Literal[False]:
        """Send the notice. If it cannot be sent, log the reason and return False."""
        # The clock may have been set back since.
        idle_ms = DurationMs(max(0, now_ms - (connection.last_seen_ms or now_ms)))
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
        self,
        connection: Connection,
        info: ConnectionInfo | None,
        *,
        now_ms: EpochMs,
        correlation_id: str,
    ) -> None:
        """Hand the cleanup over to the disconnect handler. Raises ``BackendError``."""
        assert self.functions is not None  # noqa: S101 - a rule that calls it comes with it
        self.functions.invoke_disconnect_handler(
            disconnect_event(
                connection, info, self.address, now_ms=now_ms, correlation_id=correlation_id
            )
        )

    def _release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        try:
            self.connections.release(
                connection, noticed_at_ms=noticed_at_ms, is_handed_over=is_handed_over
            )
        except BackendError as error:
            # The claim expires by itself: see rule 7.
            self.log.warning(
                "claim not released", connectionId=connection.connection_id, error=str(error)
            )
