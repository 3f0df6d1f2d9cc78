"""The fakes, with a sweep that queues and the function behind the queue."""

from collections.abc import Sequence
from dataclasses import replace

from hangup.core.due import Due, as_message
from hangup.core.model import Connection, DurationMs, EpochMs
from hangup.due import DueConnections, Message
from tests.unit.test_timeout_handler import IDLE_TIMEOUT_MS, PLENTY_MS, World

__all__ = ["PreciseWorld"]


class PreciseWorld(World):
    """A world whose sweep sends what is due to ``due_queue``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sweep = replace(self.sweep, due_queue=self.due_queue)
        self.due = DueConnections(
            closer=self.closer,
            queue=self.due_queue,
            metrics=self.metrics,
            clock=self.clock,
            log=self.log,
            parallel_map=map,
        )

    def deliver(self, *, time_left_ms: DurationMs = PLENTY_MS) -> Sequence[str]:
        """Run the close function on what the queue has by now; return what failed."""
        received = self.due_queue.receive()
        messages = [
            Message(message_id=r.message_id, receipt=r.receipt, body=r.body) for r in received
        ]
        again = self.due.close_due_connections(messages, time_left_ms=lambda: time_left_ms)
        for message in messages:
            if message.message_id not in again:
                self.due_queue.delete(message.message_id)
        return again

    def due_of(self, connection: Connection) -> Due:
        """Return what a sweep would queue."""
        assert connection.last_seen_ms is not None
        return Due(
            connection=connection,
            deadline_ms=EpochMs(connection.last_seen_ms + IDLE_TIMEOUT_MS),
            correlation_id="tick-1",
        )

    def receive_at_once(self, *connections: Connection) -> Sequence[str]:
        """Run the close function on these, whatever their deadline; return what failed."""
        messages = [
            Message(message_id=f"m{n}", receipt=f"r{n}", body=as_message(self.due_of(connection)))
            for n, connection in enumerate(connections)
        ]
        return self.due.close_due_connections(messages, time_left_ms=lambda: PLENTY_MS)
