"""API Gateway, Lambda, CloudWatch and the clock, in memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hangup.core.connection import (
    ConnectionInfo,
    DurationMs,
    EpochMs,
    JsonObject,
    NoConnection,
)
from hangup.core.events import is_connection_id
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.core.report import Count, Durations, Metric
from hangup.errors import BackendError
from hangup.testing.faults import Faults, aws_call

Item = TypeVar("Item")
Result = TypeVar("Result")

START_MS = EpochMs(1_700_000_000_000)


@dataclass(slots=True)
class FakeClock:
    """``Clock`` that stands still until a test moves it or sleeps."""

    ms: int = START_MS
    uptime_ms: int = 0
    """Follows ``advance`` and ``sleep``, not what a test sets ``ms`` to."""

    def now_ms(self) -> EpochMs:
        """Return the time that was set."""
        return EpochMs(self.ms)

    def monotonic_ms(self) -> DurationMs:
        """Return the time that has passed."""
        return DurationMs(self.uptime_ms)

    def sleep(self, duration_ms: DurationMs) -> None:
        """Move the time forward at once."""
        self.ms += duration_ms
        self.uptime_ms += duration_ms

    def advance(self, *, seconds: float) -> EpochMs:
        """Move the time forward and return it."""
        self.sleep(DurationMs(round(seconds * 1000)))
        return EpochMs(self.ms)


class Sequential:
    """``Concurrency`` that runs one thing after the other; a task runs when it is waited for."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterable[Result]:
        """Return an iterator that applies ``function`` as it goes."""
        return map(function, items)

    def start(self, function: Callable[[], None], /) -> "SequentialTask":
        """Return a task that has not begun."""
        return SequentialTask(function)


class SequentialTask:
    """``Task`` that runs when it is first waited for."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._left = [function]

    def wait(self) -> None:
        """Run it, once."""
        while self._left:
            self._left.pop()()


class InMemoryGateway:
    """``Gateway`` over sockets that are only their ids, and what each was sent.

    ``posts_count`` is whether messages to a client move its last activity: no public source says
    whether API Gateway's do.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        clock: FakeClock | None = None,
        *,
        posts_count: bool = False,
    ) -> None:
        self.clock = clock or FakeClock()
        self.posts_count = posts_count
        self.open_ids: set[str] = set()
        self.sent: dict[str, list[JsonObject]] = {}
        self.active_ms: dict[str, EpochMs] = {}
        """By API Gateway's own account; a connection that is not in it was never active (1970)."""
        self._faults = faults or Faults()

    def open(self, connection_id: str) -> None:
        """Open a socket."""
        self.open_ids.add(connection_id)

    @aws_call("PostToConnection")
    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Deliver a message if the socket is open."""
        _refuse_unless_an_id(connection_id, "PostToConnection")
        if connection_id not in self.open_ids:
            return PostOutcome.GONE
        self.sent.setdefault(connection_id, []).append(message)
        if self.posts_count:
            self.active_ms[connection_id] = self.clock.now_ms()
        return PostOutcome.POSTED

    @aws_call("DeleteConnection")
    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close the socket if it is open."""
        _refuse_unless_an_id(connection_id, "DeleteConnection")
        if connection_id not in self.open_ids:
            return CloseOutcome.ALREADY_GONE
        self.open_ids.remove(connection_id)
        return CloseOutcome.CLOSED

    @aws_call("GetConnection")
    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Return the last activity that was set for the connection, if it is open."""
        if connection_id not in self.open_ids:
            return NoConnection.GONE if is_connection_id(connection_id) else NoConnection.INVALID
        return ConnectionInfo(last_active_ms=self.active_ms.get(connection_id, EpochMs(0)))


def _refuse_unless_an_id(connection_id: str, operation: str) -> None:
    if not is_connection_id(connection_id):
        raise BackendError(
            operation, "BadRequestException", "invalid connectionid", retryable=False
        )


class InMemoryFunctions:
    """``Functions`` that keep the events for the test to deliver, late, twice or never."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.events: list[JsonObject] = []
        self._faults = faults or Faults()

    @aws_call("Invoke")
    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Queue an event."""
        self.events.append(event)


@dataclass(slots=True)
class RecordingMetrics:
    """``Metrics`` that remember every count and every duration."""

    counts: list[Count] = field(default_factory=list)
    durations: list[Durations] = field(default_factory=list)

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Remember the metrics."""
        self.counts += (metric for metric in metrics if isinstance(metric, Count))
        self.durations += (metric for metric in metrics if isinstance(metric, Durations))

    def total(self, name: str, **dimensions: str) -> int:
        """Return the sum of a metric with exactly these dimensions."""
        return sum(c.value for c in self.counts if (c.name, c.dimensions) == (name, dimensions))

    def values_ms(self, name: str) -> list[DurationMs]:
        """Return every value of a metric of durations."""
        return [value for d in self.durations if d.name == name for value in d.values]


@dataclass(slots=True)
class RecordingLog:
    """``Log`` that remembers every line: level, event and fields."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        """Remember a line."""
        self.lines.append(("error", event, fields))

    def events(self, level: str) -> list[str]:
        """Return what was logged at this level."""
        return [event for logged, event, _ in self.lines if logged == level]
