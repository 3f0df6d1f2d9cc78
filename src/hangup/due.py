"""Close the connections whose deadline has come, as the queue delivers them.

1. Nothing is closed at or before its deadline, whatever the queue does. A delay is rounded down to
   whole seconds, so a message comes up to a second early: it waits here for its moment. What comes
   earlier than that goes back to the queue.
2. The claim decides: a client that spoke after the sweep keeps its connection, and of two messages
   about one connection (a queue delivers twice, two sweeps look ahead into the same seconds) one
   closes.
3. What is over by now (the client spoke, the connection was cleaned up) waits for nothing, neither
   its moment nor a turn of the pace: a crowd that is queued by one sweep after another until it is
   closed would else use up all turns. The look is before the wait, not on the way to the close.
4. A close that failed is left to the next sweep, which finds it within a minute: it is not
   delivered again. What was not tried is: what came too early, or without time left.
5. Each message waits by itself, and takes its turn after that: one that is early holds up no other.
   Where messages come faster than the functions take them, they are past their deadline when they
   are taken, and nobody waits: waiting costs time that nobody else needs.
6. A message that cannot be read stops no other: in the end it lies in the queue of failed closes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from hangup.closer import STOP_MARGIN_MS, Closer, Ended, Outcome, Tally
from hangup.core.due import Due, delay_s, parse_due, wait_ms
from hangup.core.model import DurationMs
from hangup.errors import BackendError, InvalidRequest
from hangup.ports import Clock, DueQueue, Log, Metrics, ParallelMap

__all__ = ["DueConnections", "Message"]

_LONGEST_WAIT_MS: Final = DurationMs(1_250)
"""A second that the delay was rounded by, and a quarter for the clocks of sweep, queue and this
function, which differ by some 10 ms: with a second alone a message would be given back for a
millisecond of that. More is another matter. Not below 1,000: what goes back does so for whole
seconds, rounded down, and for none it would come at once, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it was received; ``receipt`` is good for this receipt of it alone."""

    message_id: str
    receipt: str
    body: object


@dataclass(frozen=True, slots=True, kw_only=True)
class DueConnections:
    """Closes what is due. ``parallel_map`` runs the closes of one batch."""

    closer: Closer
    queue: DueQueue
    metrics: Metrics
    clock: Clock
    log: Log
    parallel_map: ParallelMap

    def close_due_connections(
        self, messages: Sequence[Message], *, time_left_ms: Callable[[], DurationMs]
    ) -> Sequence[str]:
        """Close what the messages name; return the ids of those to be delivered again.

        ``time_left_ms`` says how long the invocation may go on. The metrics are out on return.
        """
        # A turn that nobody takes: a process that starts while another ends, as Lambda's do, would
        # begin with a close at once, and all of them together would be faster than the pace.
        self.closer.pacer.wait()
        received = [_Received(message=message, due=self._read(message)) for message in messages]
        self._say_whom(received)
        tally = Tally()
        again: list[str] = []
        close = partial(self._close, time_left_ms=time_left_ms)
        for one, outcome in zip(received, self.parallel_map(close, received), strict=True):
            if one.due is not None and outcome is not None:
                tally.add(one.due.connection, outcome, deadline_ms=one.due.deadline_ms)
            if outcome is None:
                again.append(one.message.message_id)
        report = tally.report()
        self.metrics.emit(report.metrics())
        self.log.info(
            "due connections done", received=len(messages), again=len(again), **report.as_json()
        )
        return again

    def _read(self, message: Message) -> Due | None:
        try:
            return parse_due(message.body)
        except InvalidRequest as error:
            self.log.error("message refused", messageId=message.message_id, reason=str(error))
            return None

    def _say_whom(self, received: Sequence["_Received"]) -> None:
        ids: dict[str, list[str]] = {}
        for one in received:
            if one.due is not None:
                ids.setdefault(one.due.correlation_id, []).append(one.due.connection.connection_id)
        for correlation_id, connection_ids in ids.items():
            _Correlated(self.log, correlation_id).info(
                "closing due connections", count=len(connection_ids), connectionIds=connection_ids
            )

    def _close(
        self, received: "_Received", *, time_left_ms: Callable[[], DurationMs]
    ) -> Outcome | None:
        """Return what the close came to, None if none was tried."""
        due = received.due

        def has_time() -> bool:
            return time_left_ms() >= STOP_MARGIN_MS

        if due is None or not has_time():
            return None
        if self._is_over(due):
            return Outcome(ended=Ended.CLAIM_LOST)
        # The turn comes last: taken before the wait, it would be kept from a message that is due.
        if not self._is_past_deadline(received.message, due):
            return None
        if not self.closer.pacer.wait(has_time):
            return None
        # The id of the sweep that found it, not of this invocation: one id leads through all logs.
        closer = replace(self.closer, log=_Correlated(self.log, due.correlation_id))
        return closer.close_idle_connection(due.connection, correlation_id=due.correlation_id)

    def _is_over(self, due: Due) -> bool:
        """Say whether the claim would be lost, as far as a look can tell; the claim decides."""
        try:
            record = self.closer.connections.get(due.connection.connection_id)
        except BackendError:
            return False
        if record is None:
            return True
        seen_ms, queued_ms = record.last_seen_ms, due.connection.last_seen_ms
        return seen_ms is not None and queued_ms is not None and seen_ms > queued_ms

    def _is_past_deadline(self, message: Message, due: Due) -> bool:
        """Wait for the deadline if it is near; if it is not, give the message back until then."""
        while early_ms := wait_ms(due.deadline_ms, now_ms=self.clock.now_ms()):
            if early_ms > _LONGEST_WAIT_MS:
                self._postpone(message, due)
                return False
            self.clock.sleep(early_ms)
        return True

    def _postpone(self, message: Message, due: Due) -> None:
        seconds = delay_s(due.deadline_ms, now_ms=self.clock.now_ms())
        log = _Correlated(self.log, due.correlation_id)
        connection_id = due.connection.connection_id
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
    due: Due | None


class _Correlated:
    """``Log`` whose lines carry the id of a sweep, in place of the invocation's own."""

    def __init__(self, log: Log, correlation_id: str) -> None:
        # No methods of its own: a line says where it was logged, and that would be here.
        self.info = partial(log.info, correlation_id=correlation_id)
        self.warning = partial(log.warning, correlation_id=correlation_id)
        self.error = partial(log.error, correlation_id=correlation_id)
