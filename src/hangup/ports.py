"""What the use cases need from the world, as protocols.

Adapters in ``hangup.aws`` speak to AWS, the fakes in ``hangup.testing`` keep everything in memory.
Every method raises ``BackendError`` for an answer that is not a normal outcome of its operation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    JsonObject,
    NoConnection,
)
from hangup.core.guard import Sample
from hangup.core.outcomes import CloseOutcome, NotRecorded, PostOutcome
from hangup.core.report import Metric
from hangup.core.scheduled_close import ScheduledClose
from hangup.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPage:
    """One page of a sweep's scan: the candidates in it, and how many records DynamoDB read.

    ``is_last`` is whether its segment has no more pages. ``others`` counts what came with the
    candidates and names no connection, ``left`` the records that may be idle and were not looked
    at, since there were too many.
    """

    candidates: Sequence[Connection]
    scanned_count: int
    is_last: bool
    others: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotQueued:
    """What could not be queued, and why."""

    closes: Sequence[ScheduledClose]
    error: BackendError


Item = TypeVar("Item")
Result = TypeVar("Result")


class ConcurrentMap(Protocol):
    """``map``, that of a thread pool, or ``aws.http.loop``: results in the order of the items."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterable[Result]:
        """Apply ``function`` to each item."""


class Task(Protocol):
    """Something that was started and goes on beside other things."""

    def wait(self) -> None:
        """Return once it has ended. Raises what it raised."""


class Concurrency(Protocol):
    """Work side by side, as far as it waits for answers."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterable[Result]:
        """Apply ``function`` to each item; results in the order of the items.

        Takes an item when it can begin it, not before: so ``items`` may be an iterator that waits
        until it is time for the next.
        """

    def start(self, function: Callable[[], None], /) -> Task:
        """Start something that goes on beside what the caller does next, until it is waited for."""


class Clock(Protocol):
    """The time of day, the time that has passed, and the one way to let some pass."""

    def now_ms(self) -> EpochMs:
        """Return the current time."""

    def monotonic_ms(self) -> DurationMs:
        """Return how long it is since some point in the past. It never goes back."""

    def sleep(self, duration_ms: DurationMs) -> None:
        """Return after about ``duration_ms`` milliseconds."""


class ConnectionsRepository(Protocol):
    """The connections table."""

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written (a consistent read), ``None`` if there is none."""

    def reread(self, connection: Connection) -> Connection | None:
        """Return a record that was read before as last written, by its own key (consistent).

        ``None`` if there is none, or it is another connection's by now.
        """

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table, page by page, in no particular order."""

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment, each with only those records that may be idle.

        A candidate was last seen before ``cutoff_ms`` (exclusive), on record and by API Gateway; or
        was connected before that and not seen since; or has no time; or its deciding time is not a
        number, or more than a day in the future. A record under a claim that holds at ``now_ms`` is
        left out.
        """

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records, candidates or not, from a random place of the table."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the exclusive right to close the connection until ``claim_expires_ms``.

        It counts as a hand-over that is under way. Return False, having written nothing, if the
        client became active after ``connection`` was read, if somebody sent the notice for this
        silence since then, if the record is gone, or if another claim has not expired at
        ``now_ms``.
        """

    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        """Give a claim back, so that the next sweep may claim at once.

        ``noticed_at_ms`` (``None``: leave it as it is) keeps that sweep from a second notice. If it
        is not ``is_handed_over``, the claim did not count as a hand-over. Do nothing if the record
        is gone.
        """

    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Delete the record of a connection that was claimed until ``claim_expires_ms``.

        Return False, having deleted nothing, if it is gone, if activity was recorded after
        ``connection`` was read, or if another claim holds.
        """

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the connection active; never move that back.

        This does not count as recorded activity. Return False, having written nothing, if activity
        was recorded after ``connection`` was read, or if the record is gone.
        """

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the connection's last activity forward to ``now_ms``, never back.

        With a resolution, write only if the stored time is at least that old. Never create a
        record. Return the record as it was before the write.
        """


class CloseQueue(Protocol):
    """The queue of scheduled closes, each delivered at about its deadline."""

    def send(self, closes: Sequence[ScheduledClose]) -> NotQueued | None:
        """Queue up to ten; return what could not be queued, None if all are.

        Each is delivered at least once, and less than a second before it is idle at the earliest.
        What could not be queued may be delivered all the same, if only the answer was lost.
        """

    def postpone(self, receipt: str, *, delay_s: int) -> None:
        """Let a received message be delivered again, after this many seconds (0 to 900)."""


class Gateway(Protocol):
    """The API Gateway Management API of one stage."""

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send a message, as JSON, to a connection."""

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection."""

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Return what API Gateway says of a connection."""


class Functions(Protocol):
    """The disconnect handler, to be invoked."""

    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Queue one asynchronous invocation (``InvocationType=Event``)."""


class Metrics(Protocol):
    """CloudWatch metrics."""

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Put every count and every duration, in one go."""


class Log(Protocol):
    """Structured log lines: an event in words, and fields that say about what."""

    def info(self, event: str, **fields: object) -> None:
        """Log a normal outcome."""

    def warning(self, event: str, **fields: object) -> None:
        """Log something that went wrong and does not stop the work."""

    def error(self, event: str, **fields: object) -> None:
        """Log something that failed and that somebody must look at, or that is tried again."""
