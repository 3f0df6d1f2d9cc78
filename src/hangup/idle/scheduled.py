"""Close at the deadline what ``idle.queueing`` sent to the queue, as the queue delivers it.

1. Nothing is closed at or before its deadline, whatever the queue does. A delay is rounded down to
   whole seconds, so a message comes up to a second early, and waits here. What comes earlier than
   that goes back to the queue.
2. The claim decides. A client that spoke after the sweep keeps its connection. Of two messages
   about one connection, one closes: a queue delivers twice, and two sweeps look ahead into the same
   seconds.
3. A message whose connection has spoken or left takes no turn of the pace and waits for nothing.
   Otherwise a crowd that one sweep after another queues would use up all turns.
4. A close that failed is left to the next sweep, which finds it within a minute: it is not
   delivered again. A close that was not tried is: it came too early, or there was no time left.
5. Each message waits by itself, and takes its turn after that: one that is early delays no other.
6. A message that cannot be read stops no other. In the end it lies in the queue of failed closes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.guard import VERDICT_GOOD_MS
from hangup.core.outcomes import CloseResult
from hangup.core.report import CloseStatus
from hangup.core.scheduled_close import ScheduledClose, delay_s, parse_scheduled_close, wait_ms
from hangup.core.timing import STOP_MARGIN_MS
from hangup.errors import BackendError, ConfigurationError, InvalidRequest
from hangup.idle.closer import Closer
from hangup.idle.guard import Terms
from hangup.idle.pacer import Pacer
from hangup.idle.report import log_left, log_lost
from hangup.ports import CloseQueue, ConcurrentMap, Log, Metrics

_LONGEST_WAIT_MS: Final = DurationMs(1_250)
"""The second that the delay was rounded by, and a quarter for clocks that differ (by some 10 ms).
Not below 1,000: a message goes back for whole seconds, rounded down, and with none it would come
back at once, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it was received; ``receipt`` is good for this receipt of it alone."""

    message_id: str
    receipt: str
    body: object


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScheduledCloser:
    """Closes what is due.

    ``questions`` paces what API Gateway is asked: who is kept gives the turn of a close back.
    ``concurrent_map`` runs the closes of one batch.
    """

    closer: Closer
    questions: Pacer
    queue: CloseQueue
    metrics: Metrics
    concurrent_map: ConcurrentMap

    def close_scheduled(
        self, messages: Sequence[Message], *, time_left_ms: Callable[[], DurationMs]
    ) -> Sequence[str]:
        """Close what the messages name; return the ids of those to be delivered again.

        ``time_left_ms`` says how long the invocation may go on. The metrics are out on return.
        """
        # A turn that nobody uses. A new process would start with a close at once, and where Lambda
        # starts many as others end, all of them together would be faster than the pace.
        self.closer.pacer.wait(lambda: time_left_ms() >= STOP_MARGIN_MS)
        received = [_Received(message=message, close=self._read(message)) for message in messages]
        self._log_ids(received)
        counter = self.closer.counter()
        again: list[str] = []
        close = partial(self._close, time_left_ms=time_left_ms)
        for one, result in zip(received, self.concurrent_map(close, received), strict=True):
            if one.close is not None and result is not None:
                counter.add(one.close.connection, result, deadline_ms=one.close.deadline_ms)
            if result is None:
                again.append(one.message.message_id)
        report = counter.report()
        self.metrics.emit(report.metrics())
        log_left(counter, self.closer.log)
        log_lost(report, self.closer.log)
        self.closer.log.info(
            "scheduled closes done", received=len(messages), again=len(again), **report.as_json()
        )
        return again

    def _read(self, message: Message) -> ScheduledClose | None:
        try:
            return parse_scheduled_close(message.body)
        except InvalidRequest as error:
            self.closer.log.error(
                "message refused", messageId=message.message_id, reason=str(error)
            )
            return None

    def _log_ids(self, received: Sequence["_Received"]) -> None:
        ids: dict[str, list[str]] = {}
        for one in received:
            if one.close is not None:
                ids.setdefault(one.close.correlation_id, []).append(
                    one.close.connection.connection_id
                )
        for correlation_id, connection_ids in ids.items():
            _Correlated(self.closer.log, correlation_id).info(
                "closing connections that are due",
                count=len(connection_ids),
                connectionIds=connection_ids,
            )

    def _close(
        self, received: "_Received", *, time_left_ms: Callable[[], DurationMs]
    ) -> CloseResult | None:
        """Return what the close came to, None if none was tried."""
        scheduled = received.close

        def has_time() -> bool:
            return time_left_ms() >= STOP_MARGIN_MS

        if scheduled is None or not has_time():
            return None
        try:
            if self._is_over(scheduled):
                return CloseResult(status=CloseStatus.CLAIM_LOST)
        except ConfigurationError as error:
            # Sent when the table had another schema: it has not the key that is needed now.
            message_id = received.message.message_id
            self.closer.log.error("message refused", messageId=message_id, reason=str(error))
            return None
        # The id of the sweep that found it, not of this invocation: one id leads through all logs.
        closer = replace(self.closer, log=_Correlated(self.closer.log, scheduled.correlation_id))
        deadline_ms = scheduled.deadline_ms
        # The turn comes last: taken before the wait, it would be kept from a message that is due.
        while self._is_past(deadline_ms, received.message, scheduled):
            terms = Terms(
                silence_ms=scheduled.silence_ms,
                recording_is_well=scheduled.recording_is_well,
                is_old=self._is_old(scheduled),
                asks=scheduled.asks,
            )
            result = self._close_in_turn(closer, scheduled, terms, has_time)
            if result is None or result.last_active_ms is None:
                return result
            # Its last activity is by API Gateway's account a moment later than on record.
            deadline_ms = EpochMs(result.last_active_ms + scheduled.silence_ms)
        return None

    def _close_in_turn(
        self,
        closer: Closer,
        scheduled: ScheduledClose,
        terms: Terms,
        has_time: Callable[[], bool],
    ) -> CloseResult | None:
        """Take a turn of the pace, and close; None if there was no time left for it.

        Where API Gateway's account is the source of activity, most are kept, and take no turn.
        """
        answer = None
        if closer.confirmer.is_source:
            if not self.questions.wait(has_time):
                return None
            answer = closer.confirmer.ask(scheduled.connection, silence_ms=terms.silence_ms)
            left = closer.reason_to_leave(scheduled.connection, answer, terms)
            if left is not None:
                return left
        if answer is None or not (has_time() and closer.pacer.take()):
            # By the time that there is a turn the answer may be untrue.
            answer = None
            if not (self.questions.wait(has_time) and closer.pacer.wait(has_time)):
                return None
        return closer.close_idle_connection(
            scheduled.connection, terms, correlation_id=scheduled.correlation_id, answer=answer
        )

    def _is_old(self, scheduled: ScheduledClose) -> bool:
        """Return whether the sweep's verdict on the recording was given too long ago."""
        age_ms = self.closer.clock.now_ms() - scheduled.judged_at_ms
        return age_ms > VERDICT_GOOD_MS

    def _is_over(self, scheduled: ScheduledClose) -> bool:
        """Return whether the claim would surely be lost. Without an answer, the claim decides."""
        try:
            record = self.closer.connections.reread(scheduled.connection)
        except BackendError:
            return False
        if record is None:
            return True
        seen_ms, queued_ms = record.last_seen_ms, scheduled.connection.last_seen_ms
        return seen_ms is not None and queued_ms is not None and seen_ms > queued_ms

    def _is_past(self, deadline_ms: EpochMs, message: Message, scheduled: ScheduledClose) -> bool:
        """Wait for the deadline if it is near; if it is not, give the message back until then."""
        while early_ms := wait_ms(deadline_ms, now_ms=self.closer.clock.now_ms()):
            if early_ms > _LONGEST_WAIT_MS:
                self._postpone(deadline_ms, message, scheduled)
                return False
            self.closer.clock.sleep(early_ms)
        return True

    def _postpone(self, deadline_ms: EpochMs, message: Message, scheduled: ScheduledClose) -> None:
        seconds = delay_s(deadline_ms, now_ms=self.closer.clock.now_ms())
        log = _Correlated(self.closer.log, scheduled.correlation_id)
        connection_id = scheduled.connection.connection_id
        log.warning("delivered early", connectionId=connection_id, seconds=seconds)
        try:
            self.queue.postpone(message.receipt, delay_s=seconds)
        except BackendError as error:
            # Then it comes again when the queue stops hiding it: later than it should.
            log.warning("not postponed", connectionId=connection_id, error=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A message, and what it carries; None if it cannot be read."""

    message: Message
    close: ScheduledClose | None


class _Correlated:
    """``Log`` whose lines carry the id of a sweep, in place of the invocation's own."""

    def __init__(self, log: Log, correlation_id: str) -> None:
        # No methods of its own: a line says where it was logged, and that would be here.
        self.info = partial(log.info, correlation_id=correlation_id)
        self.warning = partial(log.warning, correlation_id=correlation_id)
        self.error = partial(log.error, correlation_id=correlation_id)
