"""The closer and the sweep on the fakes, and what the timeout handler is called with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hangup.aws.gateway import gateway_address
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.sessions.model import Role
from hangup.testing import FakeAws

__all__ = ["ADDRESS", "IDLE_TIMEOUT_MS", "PLENTY_MS", "TICK", "Context", "World"]

IDLE_TIMEOUT_MS = DurationMs(120_000)
ADDRESS = gateway_address("https://abc123.execute-api.eu-west-1.amazonaws.com/prod")
PLENTY_MS = DurationMs(60_000)


class World(FakeAws):
    """The fakes, and the closer and the sweep on them."""

    def __init__(self) -> None:
        super().__init__()
        self.closer = self.make_closer(address=ADDRESS)
        self.sweep = self.make_sweep(closer=self.closer, total_segments=2)

    def connect(
        self, connection_id: str, *, silent_s: float, role: str | None = Role.LISTENER
    ) -> Connection:
        """Put a connection on record, with an open socket, that was silent for so long."""
        now_ms = self.clock.now_ms()
        connection = Connection(
            connection_id=connection_id,
            session_id="s1",
            role=role,
            connected_at_ms=EpochMs(now_ms - 600_000),
            last_activity_ms=EpochMs(now_ms - round(silent_s * 1000)),
        )
        self.connections.put(connection)
        self.gateway.open(connection_id)
        return connection

    def run(self) -> dict[str, object]:
        """Sweep once, with plenty of time, and return the counts."""
        report = self.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="tick-1"
        )
        return report.as_json()


TICK = {"id": "event-1", "source": "aws.events", "detail-type": "Scheduled Event"}


@dataclass
class Context:
    """What the handler uses of Lambda's context."""

    aws_request_id: str = "request-1"
    remaining_ms: Callable[[], int] = field(default=lambda: 60_000)

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms()
