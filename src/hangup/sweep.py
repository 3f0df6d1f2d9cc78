"""The sweep: one bounded pass over all connections, or a part of them, that closes the idle ones.

1. Find: DynamoDB reads the whole table, segment by segment, and returns only candidates.
2. Decide: the rules in ``core.policy`` say what each candidate is.
3. Guard: if unlikely many are idle at once, API Gateway is asked first (``core.guard``). Idle
   connections are therefore gathered, up to a batch, before the first of them is closed.
4. Close: each goes through the closer, paced; a bad record or a failure stops nothing. With a
   queue the sweep closes none: it looks ahead, and queues what is idle or will be before the next
   sweep has looked.
5. Stop in time: with less than the margin left, the sweep starts nothing more and says so; the
   next sweep starts at another segment, so that no part of the table waits for ever.
6. Report: metrics first, then one log line, then an error if a backend failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, assert_never

from hangup.closer import STOP_MARGIN_MS, Closer, Outcome, Tally
from hangup.core.due import LOOK_AHEAD_MS, Due, falls_due
from hangup.core.guard import GuardPolicy, Hold, Liveness, judge, liveness, liveness_of_due
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.model import Connection, DurationMs, EpochMs
from hangup.core.policy import Adopt, Close, IdlePolicy, Keep, Unreadable, decide
from hangup.core.report import SweepReport
from hangup.errors import BackendError, SweepFailed
from hangup.ports import (
    Clock,
    ConnectionsRepository,
    DueQueue,
    Gateway,
    Log,
    Metrics,
    NotQueued,
    ParallelMap,
    ScanPage,
)

__all__ = [
    "BATCH_SIZE",
    "SCAN_MARGIN_MS",
    "STOP_MARGIN_MS",
    "WHOLE_TABLE",
    "SegmentGroup",
    "Sweep",
    "segments_from",
]

SCAN_MARGIN_MS: Final = DurationMs(13_000)
"""With less than this left no page is read: what was gathered must still be closed. What
this is more than for a close, five seconds, a batch takes at the default pace."""

BATCH_SIZE: Final = 1_000
"""Idle connections gathered before some are closed: a thousand judge the table well, since a scan
comes in the order of a hash, and take less than a megabyte."""

_IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records floods no log."""

_ROTATION_MS: Final = 60_000
_GOLDEN_RATIO_32: Final = 2_654_435_769
"""2 ** 32 divided by the golden ratio: its multiples spread evenly, whatever their step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentGroup:
    """The part of the table that one sweep of several reads: part ``index`` of ``of`` (from 0)."""

    index: int
    of: int


WHOLE_TABLE: Final = SegmentGroup(index=0, of=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is how many parts the table, or a group's part of it, is read
    in, one after the other. ``parallel_map`` runs the closes of one batch and the guard's
    questions. With a ``due_queue`` the sweep closes nothing itself.
    """

    connections: ConnectionsRepository
    gateway: Gateway
    closer: Closer
    metrics: Metrics
    clock: Clock
    log: Log
    policy: IdlePolicy
    guard: GuardPolicy
    total_segments: int
    parallel_map: ParallelMap
    due_queue: DueQueue | None = None

    def check_and_close_idle_connections(
        self,
        *,
        time_left_ms: Callable[[], DurationMs],
        correlation_id: str,
        override_guard: bool = False,
        group: SegmentGroup = WHOLE_TABLE,
    ) -> SweepReport:
        """Check all connections, or those of a group, and close those that are idle by now.

        ``time_left_ms`` says how long the invocation may go on; ``override_guard`` closes even
        where the guard would hold. Raises ``SweepFailed`` after the metrics are out if a backend
        error left work to the next sweep.
        """
        return _Pass(
            sweep=self,
            now_ms=self.clock.now_ms(),
            time_left_ms=time_left_ms,
            correlation_id=correlation_id,
            override_guard=override_guard,
            group=group,
        ).run()


@dataclass(slots=True, kw_only=True)
class _Pass:
    """A sweep under way: what it has gathered and counted so far."""

    sweep: Sweep
    now_ms: EpochMs
    time_left_ms: Callable[[], DurationMs]
    correlation_id: str
    override_guard: bool
    group: SegmentGroup
    gathered: list[Connection] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    first_error: BackendError | None = None
    complete: bool = True
    held: bool = False

    def run(self) -> SweepReport:
        try:
            for page in self._pages():
                self.counts["checked"] += page.scanned_count
                self._decide(page.candidates)
                while len(self.gathered) >= BATCH_SIZE and not self.held:
                    self._act_on_batch()
        except BackendError as error:
            self.sweep.log.error("scan failed", error=str(error))
            self.complete = False
            # The first error is the likelier cause of the later ones.
            self.first_error = self.first_error or error
        if self.gathered and not self.held:
            self._act_on_batch()
        return self._report()

    def _pages(self) -> Iterator[ScanPage]:
        sweep = self.sweep
        for segment in segments_from(self.now_ms, sweep.total_segments):
            pages = sweep.connections.scan_candidates(
                cutoff_ms=self._scan_cutoff_ms(),
                segment=self.group.index * sweep.total_segments + segment,
                total_segments=self.group.of * sweep.total_segments,
            )
            while True:
                # Asked before each page: a page is a read of up to 1 MB.
                if self.held or self.time_left_ms() < SCAN_MARGIN_MS:
                    self.complete = False
                    return
                page = next(pages, None)
                if page is None:
                    break
                yield page

    def _scan_cutoff_ms(self) -> EpochMs:
        looks_until_ms = self.now_ms
        if self.sweep.due_queue is not None:
            looks_until_ms = EpochMs(looks_until_ms + LOOK_AHEAD_MS)
        return self.sweep.policy.cutoff_ms(looks_until_ms)

    def _decide(self, candidates: Sequence[Connection]) -> None:
        """Gather the idle and the due ones; adopt, count and log the others as the rules say."""
        found, unreadable, timeless = [], [], []
        for connection in candidates:
            match decide(connection, self.sweep.policy, self.now_ms):
                case Close():
                    found.append(connection)
                case Keep() as keep:
                    if self.sweep.due_queue is not None and falls_due(keep, now_ms=self.now_ms):
                        found.append(connection)
                case Adopt():
                    timeless.append(connection)
                case Unreadable():
                    unreadable.append(connection.connection_id)
                case unexpected:
                    assert_never(unexpected)
        self.gathered += found
        self.counts["found"] += len(found)
        # A table that is new to Hangup may have a page of nothing but these.
        for adopted in self.sweep.parallel_map(self._adopt, timeless):
            self.counts["adopted"] += adopted
        if unreadable:
            self.counts["unreadable"] += len(unreadable)
            self.sweep.log.warning(
                "records left alone: their times are no epoch milliseconds",
                count=len(unreadable),
                connectionIds=unreadable[:_IDS_PER_LINE],
            )

    def _adopt(self, connection: Connection) -> bool:
        if not self._has_time():
            self.complete = False
            return False
        try:
            return self.sweep.connections.adopt(connection.connection_id, now_ms=self.now_ms)
        except BackendError as error:
            self.sweep.log.error(
                "adoption failed", connectionId=connection.connection_id, error=str(error)
            )
            self.first_error = self.first_error or error
            return False

    def _act_on_batch(self) -> None:
        batch, self.gathered = self.gathered[:BATCH_SIZE], self.gathered[BATCH_SIZE:]
        hold = self._doubt(batch)
        if hold is not None:
            self._hold(hold)
        elif self.sweep.due_queue is not None:
            self._queue_batch(batch, self.sweep.due_queue)
        else:
            self._close_batch(batch)

    def _hold(self, hold: Hold) -> None:
        self.held = True
        self.complete = False
        self.sweep.log.error(
            "sweep held: unlikely many connections look idle, and API Gateway does not confirm"
            " it; from here on none was closed. Check that activity is being recorded. To close"
            ' them all the same, invoke this function once with {"overrideGuard": true}',
            idle=self.counts["found"],
            checked=self.counts["checked"],
            sample=hold.seen,
        )

    def _close_batch(self, batch: Sequence[Connection]) -> None:
        self._say("closing idle connections", batch)
        for connection, outcome in self.sweep.parallel_map(self._close, self._in_turn(batch)):
            self.first_error = self.first_error or outcome.error
            self.tally.add(connection, outcome, deadline_ms=self._deadline_ms(connection))

    def _queue_batch(self, batch: Sequence[Connection], queue: DueQueue) -> None:
        self._say("queueing connections that are idle or fall due", batch)
        dues = [
            Due(
                connection=connection,
                deadline_ms=self._deadline_ms(connection),
                correlation_id=self.correlation_id,
            )
            for connection in batch
        ]

        def send(some: Sequence[Due]) -> NotQueued | Literal["too late"] | None:
            return queue.send(some) if self._has_time() else "too late"

        parts = [dues[n : n + MAX_QUEUE_BATCH] for n in range(0, len(dues), MAX_QUEUE_BATCH)]
        for part, left in zip(parts, self.sweep.parallel_map(send, parts), strict=True):
            if left == "too late":
                self.complete = False
                continue
            self.counts["queued"] += len(part) - (len(left.dues) if left else 0)
            if left is not None:
                self.counts["queue_failures"] += len(left.dues)
                self.first_error = self.first_error or left.error
                self.sweep.log.error(
                    "queueing failed",
                    connectionIds=[due.connection.connection_id for due in left.dues],
                    error=str(left.error),
                )

    def _say(self, event: str, batch: Sequence[Connection]) -> None:
        self.sweep.log.info(
            event,
            count=len(batch),
            connectionIds=[connection.connection_id for connection in batch[:_IDS_PER_LINE]],
        )

    def _doubt(self, batch: Sequence[Connection]) -> Hold | None:
        guard = self.sweep.guard
        # Groups are even samples of the table, and together they would close what none of them
        # finds unlikely: so each judges as if all had found what it has.
        groups = self.group.of
        if self.override_guard or not guard.is_suspicious(
            idle=self.counts["found"] * groups,
            checked=self.counts["checked"] * groups,
            whole_table=self.complete,
        ):
            return None
        sample = guard.sample(batch, seed=self.now_ms // _ROTATION_MS)
        return judge(list(self.sweep.parallel_map(self._liveness, sample)))

    def _liveness(self, connection: Connection) -> Liveness:
        if not self._has_time():
            return Liveness.UNKNOWN
        try:
            last_active_ms = self.sweep.gateway.last_active_ms(connection.connection_id)
            if self.now_ms > self._deadline_ms(connection):
                cutoff_ms = self.sweep.policy.cutoff_ms(self.now_ms)
                return liveness(last_active_ms, cutoff_ms=cutoff_ms)
            return self._liveness_of_due(connection, last_active_ms)
        except BackendError as error:
            self.sweep.log.warning(
                "liveness unknown", connectionId=connection.connection_id, error=str(error)
            )
            return Liveness.UNKNOWN

    def _liveness_of_due(self, connection: Connection, last_active_ms: EpochMs | None) -> Liveness:
        resolution_ms = self.sweep.policy.activity_resolution_ms

        def judged(seen: Connection) -> Liveness:
            return liveness_of_due(
                last_active_ms,
                recorded_ms=_last_seen_ms(seen),
                activity_resolution_ms=resolution_ms,
            )

        seen = judged(connection)
        if seen is not Liveness.ACTIVE:
            return seen
        # It may have spoken, and been recorded, since the scan: then the record says so by now.
        now = self.sweep.connections.get(connection.connection_id)
        if now is None:
            return Liveness.GONE
        return Liveness.UNKNOWN if now.last_seen_ms is None else judged(now)

    def _in_turn(self, batch: Sequence[Connection]) -> Iterator[Connection]:
        """Yield each when its close may start, as long as there is time for one."""
        for connection in batch:
            if not self.sweep.closer.pacer.wait(self._has_time):
                self.complete = False
                return
            yield connection

    def _close(self, connection: Connection) -> tuple[Connection, Outcome]:
        closer = self.sweep.closer
        return connection, closer.close_idle_connection(
            connection, correlation_id=self.correlation_id
        )

    def _has_time(self) -> bool:
        return self.time_left_ms() >= STOP_MARGIN_MS

    def _deadline_ms(self, connection: Connection) -> EpochMs:
        return self.sweep.policy.deadline_ms(_last_seen_ms(connection))

    def _report(self) -> SweepReport:
        count = self.counts
        precise = self.sweep.due_queue is not None
        report = SweepReport(
            checked=count["checked"],
            # With a queue, whoever closes them counts them: once, in the minute of their close. A
            # sweep that was held leaves none to be closed and counted.
            idle=count["found"] - count["queued"] if self.held or not precise else 0,
            closes=self.tally.report(),
            queued=count["queued"],
            queue_failures=count["queue_failures"],
            adopted=count["adopted"],
            unreadable=count["unreadable"],
            held=self.held,
            complete=self.complete,
        )
        self.sweep.metrics.emit(report.metrics())
        if report.complete:
            self.sweep.log.info("sweep done", **report.as_json())
        else:
            self.sweep.log.warning("sweep incomplete, the next one goes on", **report.as_json())
        if self.first_error is not None:
            raise SweepFailed(
                f"the sweep met errors, {report.failures} of {count['found']} idle connections are "
                f"left to the next one; first error: {self.first_error}"
            ) from self.first_error
        return report


def _last_seen_ms(connection: Connection) -> EpochMs:
    assert connection.last_seen_ms is not None  # noqa: S101 - what is idle or due has one
    return connection.last_seen_ms


def segments_from(now_ms: EpochMs, total_segments: int) -> Iterator[int]:
    """Yield all segments, starting with one that changes from minute to minute.

    The start is a multiple of the golden ratio, so that it visits every segment evenly even where
    sweeps come only every second, fifth or sixtieth minute.
    """
    minute = now_ms // _ROTATION_MS
    first = (minute * _GOLDEN_RATIO_32 % 2**32) * total_segments >> 32
    return ((first + step) % total_segments for step in range(total_segments))
