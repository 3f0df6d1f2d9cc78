"""The sweep: one bounded pass over all connections, or a part of them, that closes the idle ones.

1. Find: DynamoDB reads the whole table, some segments side by side, and returns only candidates.
2. Decide: the rules in ``core.policy`` say what each candidate is.
3. Guard: if unlikely many are idle at once, API Gateway is asked first (``core.guard``). Idle
   connections are therefore gathered, up to a batch, before the first of them is closed.
4. Close: each goes through the closer, paced; a bad record or a failure stops nothing. With a
   queue the sweep closes none: it looks ahead, and queues what is idle or will be before the next
   sweep has looked. Meanwhile the next batch is gathered.
5. Stop in time: with less than the margin left, the sweep starts nothing more and says so; the
   next sweep starts at another segment, so that no segment waits for ever, as long as a sweep reads
   as much of the table as those side by side are.
6. Report: metrics first, then one log line, then an error if a backend failed.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final, assert_never

from hangup.closer import STOP_MARGIN_MS, Closer, Tally
from hangup.core.due import LOOK_AHEAD_MS, Due, falls_due
from hangup.core.guard import GuardPolicy, Hold, Liveness, judge
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.model import Connection, DurationMs, EpochMs
from hangup.core.policy import Adopt, Close, IdlePolicy, Keep, Unreadable, decide
from hangup.core.report import SweepReport
from hangup.core.segments import (
    ROTATION_MS,
    SCAN_MARGIN_MS,
    SEGMENTS_AT_ONCE,
    WHOLE_TABLE,
    SegmentGroup,
    segments_from,
)
from hangup.errors import BackendError, SweepFailed
from hangup.inquiry import Inquiry
from hangup.ports import (
    Clock,
    ConnectionsRepository,
    DueQueue,
    Gateway,
    Log,
    Metrics,
    ParallelMap,
    ScanPage,
)

__all__ = [
    "BATCH_SIZE",
    "STOP_MARGIN_MS",
    "Sweep",
]

BATCH_SIZE: Final = 1_000
"""Idle connections gathered before some are closed: a thousand judge the table well, since a scan
comes in the order of a hash, and take less than a megabyte. There are two batches at most, one that
is being closed and one that is being gathered, and a page of each segment that is being read."""

_IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records floods no log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is how many parts the table, or a group's part of it, is read
    in, up to four of them side by side while no close begins. ``parallel_map``, on one thread, runs
    these readers, the closes of a batch while the next is read, and the guard's questions. With a
    ``due_queue`` the sweep closes nothing itself.
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
    unread: deque[int] = field(init=False)
    """The segments of which nothing has been read."""
    begun: list[tuple[int, Iterator[ScanPage]]] = field(default_factory=list)
    """Those that have been read in part; not while a page of them is being read."""
    readers: int = 0
    """How many read now."""
    most_readers: int = SEGMENTS_AT_ONCE
    gathered: list[Connection] = field(default_factory=list)
    """Idle, or due: to be acted on."""
    timeless: list[Connection] = field(default_factory=list)
    """To be adopted."""
    counts: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    first_error: BackendError | None = None
    complete: bool = True
    held: bool = False

    def __post_init__(self) -> None:
        self.unread = deque(segments_from(self.now_ms, self.sweep.total_segments))

    def run(self) -> SweepReport:
        self._read_on()
        while (self.gathered or self.timeless) and not self.held:
            if not self._has_time():
                self.complete = False  # what is left is found again by the next sweep
                break
            self._adopt_all()
            if self.gathered:
                self._act_on_batch()
            else:
                self._read_on()
        return self._report()

    def _read_on(self, meanwhile: Iterable[Callable[[], None]] = ()) -> None:
        """Read segments side by side until a batch is gathered, or there is no more.

        An answer of DynamoDB takes a while, and no CPU time of ours: time for many closes, which
        are done ``meanwhile``. Beside them one reader does; the others come when no more of them is
        to be begun, and may have no work.
        """
        others = [self._read_segments] * (self.most_readers - 1)
        jobs = chain([self._read_segments], meanwhile, others)
        list(self.sweep.parallel_map(lambda job: job(), jobs))

    def _read_segments(self) -> None:
        """Read one page after the other until a batch is gathered, or others read what is left."""
        self.readers += 1
        while self._read_page():
            pass
        self.readers -= 1

    def _read_page(self) -> bool:
        """Read a page, if this reader is to; return whether it may be to read another."""
        if len(self.gathered) + len(self.timeless) >= BATCH_SIZE:
            return False
        if not self.begun and not self.unread:
            return False
        # Asked before each page: a page is a read of up to 1 MB.
        if self.time_left_ms() < SCAN_MARGIN_MS:
            self.complete = False
            return False
        segment, pages = self.begun.pop() if self.begun else self._begin(self.unread.popleft())
        try:
            page = next(pages, None)
        except BackendError as error:
            # Having raised, the segment is at its end; the others are read on.
            self.sweep.log.error("scan failed", segment=segment, error=str(error))
            self.complete = False
            self.counts["unread_segments"] += 1
            # The first error is the likelier cause of the later ones.
            self.first_error = self.first_error or error
            # By fewer: where the table's capacity is what is short, they get in each other's way.
            self.most_readers = max(1, self.most_readers - 1)
            return self.readers <= self.most_readers
        if page is not None:
            self.begun.append((segment, pages))
            self.counts["checked"] += page.scanned_count
            self._decide(page.candidates)
        return True

    def _begin(self, segment: int) -> tuple[int, Iterator[ScanPage]]:
        group, segments = self.group, self.sweep.total_segments
        pages = self.sweep.connections.scan_candidates(
            cutoff_ms=self._scan_cutoff_ms(),
            segment=group.index * segments + segment,
            total_segments=group.of * segments,
        )
        return segment, pages

    def _scan_cutoff_ms(self) -> EpochMs:
        looks_until_ms = self.now_ms
        if self.sweep.due_queue is not None:
            looks_until_ms = EpochMs(looks_until_ms + LOOK_AHEAD_MS)
        return self.sweep.policy.cutoff_ms(looks_until_ms)

    def _decide(self, candidates: Sequence[Connection]) -> None:
        """Gather the idle, the due and the timeless; count and log those whose times are none."""
        found, unreadable = [], []
        for connection in candidates:
            match decide(connection, self.sweep.policy, self.now_ms):
                case Close():
                    found.append(connection)
                case Keep() as keep:
                    if self.sweep.due_queue is not None and falls_due(keep, now_ms=self.now_ms):
                        found.append(connection)
                case Adopt():
                    self.timeless.append(connection)
                case Unreadable():
                    unreadable.append(connection.connection_id)
                case unexpected:
                    assert_never(unexpected)
        self.gathered += found
        self.counts["found"] += len(found)
        if unreadable:
            self.counts["unreadable"] += len(unreadable)
            self.sweep.log.warning(
                "records left alone: their times are no epoch milliseconds",
                count=len(unreadable),
                connectionIds=unreadable[:_IDS_PER_LINE],
            )

    def _adopt_all(self) -> None:
        # Side by side, since a table that is new to Hangup may have pages of nothing but these; and
        # not as they are found, since that may be while closes are under way: maps do not nest.
        timeless, self.timeless = self.timeless, []
        for adopted in self.sweep.parallel_map(self._adopt, timeless):
            self.counts["adopted"] += adopted

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
        if not self._has_time():
            self.complete = False  # nor was there time to ask: no reason to doubt
        elif hold is not None:
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
        self._read_on(partial(self._close, connection) for connection in self._in_turn(batch))

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
        self._read_on(
            partial(self._queue, queue, dues[n : n + MAX_QUEUE_BATCH])
            for n in range(0, len(dues), MAX_QUEUE_BATCH)
        )

    def _queue(self, queue: DueQueue, dues: Sequence[Due]) -> None:
        if not self._has_time():
            self.complete = False
            return
        left = queue.send(dues)
        self.counts["queued"] += len(dues) - (len(left.dues) if left else 0)
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
            # Reading stops at a page, so of what is not read to its end some has been begun.
            whole_table=self.complete and not self.begun,
        ):
            return None
        sample = guard.sample(batch, seed=self.now_ms // ROTATION_MS)
        inquiry = Inquiry(
            connections=self.sweep.connections,
            gateway=self.sweep.gateway,
            log=self.sweep.log,
            policy=self.sweep.policy,
            now_ms=self.now_ms,
        )
        return judge(list(self.sweep.parallel_map(partial(self._liveness, inquiry), sample)))

    def _liveness(self, inquiry: Inquiry, connection: Connection) -> Liveness:
        return inquiry.liveness(connection) if self._has_time() else Liveness.UNKNOWN

    def _in_turn(self, batch: Sequence[Connection]) -> Iterator[Connection]:
        """Yield each when its close may start, as long as there is time for one."""
        for connection in batch:
            if not self.sweep.closer.pacer.wait(self._has_time):
                self.complete = False
                return
            yield connection

    def _close(self, connection: Connection) -> None:
        outcome = self.sweep.closer.close_idle_connection(
            connection, correlation_id=self.correlation_id
        )
        self.first_error = self.first_error or outcome.error
        self.tally.add(connection, outcome, deadline_ms=self._deadline_ms(connection))

    def _has_time(self) -> bool:
        return self.time_left_ms() >= STOP_MARGIN_MS

    def _deadline_ms(self, connection: Connection) -> EpochMs:
        assert connection.last_seen_ms is not None  # noqa: S101 - what is idle or due has one
        return self.sweep.policy.deadline_ms(connection.last_seen_ms)

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
            done = count["queued"] + report.closed + report.gone + report.closes.claims_lost
            left = f"{count['found'] - done} of {count['found']} connections that it found idle"
            if count["unread_segments"]:
                left += f", and those in {count['unread_segments']} segments it could not read,"
            raise SweepFailed(
                f"the sweep met errors: {left} are left to the next one; "
                f"first error: {self.first_error}"
            ) from self.first_error
        return report
