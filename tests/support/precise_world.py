"""The fakes, with a sweep that queues and the function behind the queue."""

from collections.abc import Sequence
from dataclasses import replace

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.pacing import pace_of_questions
from hangup.core.scheduled_close import ScheduledClose, as_message
from hangup.idle.pacer import Pacer
from hangup.idle.scheduled import Message, ScheduledCloser
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS, World

__all__ = ["PreciseWorld"]


class PreciseWorld(World):
    """A world whose sweep sends what is due to ``close_queue``."""

    def __init__(self) -> None:
        super().__init__()
        self.sweep = replace(self.sweep, close_queue=self.close_queue)
        self.due = ScheduledCloser(
            closer=self.closer,
            questions=Pacer(clock=self.clock, pace=pace_of_questions(self.closer.pacer.pace)),
            queue=self.close_queue,
            metrics=self.metrics,
            concurrent_map=map,
        )

    def deliver(self, *, time_left_ms: DurationMs = PLENTY_MS) -> Sequence[str]:
        """Run the close function on what the queue has by now; return what failed."""
        received = self.close_queue.receive()
        messages = [
            Message(message_id=r.message_id, receipt=r.receipt, body=r.body) for r in received
        ]
        again = self.due.close_scheduled(messages, time_left_ms=lambda: time_left_ms)
        for message in messages:
            if message.message_id not in again:
                self.close_queue.delete(message.message_id)
        return again

    def due_of(self, connection: Connection, *, recording_is_well: bool = False) -> ScheduledClose:
        """Return what a sweep would queue."""
        assert connection.last_seen_ms is not None
        return ScheduledClose(
            connection=connection,
            deadline_ms=EpochMs(connection.last_seen_ms + IDLE_TIMEOUT_MS),
            correlation_id="tick-1",
            silence_ms=IDLE_TIMEOUT_MS,
            judged_at_ms=self.clock.now_ms(),
            recording_is_well=recording_is_well,
        )

    def receive_at_once(
        self, *connections: Connection, recording_is_well: bool = False
    ) -> Sequence[str]:
        """Run the close function on these, whatever their deadline; return what failed."""
        messages = [
            Message(
                message_id=f"m{n}",
                receipt=f"r{n}",
                body=as_message(self.due_of(connection, recording_is_well=recording_is_well)),
            )
            for n, connection in enumerate(connections)
        ]
        return self.due.close_scheduled(messages, time_left_ms=lambda: PLENTY_MS)
