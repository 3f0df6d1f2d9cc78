"""The sweep: one bounded pass over all connections, or a shard of them, that closes the idle ones.

1. Find: ``scan`` reads the table, and yields batches of candidates.
2. Decide: the rules in ``core.policy`` decide what to do about each candidate.
3. Guard: if too many look idle at once, ``guard`` asks API Gateway about a sample. It may stop the
   sweep.
4. Close: ``closer`` closes each idle connection, no faster than ``pacer`` allows. One bad record or
   failure does not stop the others. With a queue the sweep closes nothing itself: ``scheduled``
   queues a close for each connection that is idle, or will be before the next sweep reads it.
5. Stop in time: when less than ``STOP_MARGIN_MS`` is left, nothing more starts, and the report says
   so. The next sweep starts at another segment, so that every segment gets its turn.
6. Report: metrics first, then one log line, then an error if a backend failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import GuardPolicy
from hangup.core.outcomes import CloseCounter
from hangup.core.policy import IdlePolicy, sort_candidates
from hangup.core.report import SweepReport
from hangup.core.scheduled_close import ScheduledClose
from hangup.core.shards import WHOLE_TABLE, Shard
from hangup.core.timing import BATCH_SIZE, LOOK_AHEAD_MS, STOP_MARGIN_MS
from hangup.errors import BackendError, SweepFailed
from hangup.idle.closer import Closer
from hangup.idle.guard import Guard
from hangup.idle.scan import Batch, Scan
from hangup.idle.scheduled import schedule
from hangup.ports import CloseQueue, Concurrency, Metrics

_IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records does not flood the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is the number of segments in which the table, or a shard, is
    read; up to four are read at the same time. ``concurrency`` runs the readers, the closes and
    the guard's probes. With a ``close_queue`` the sweep closes nothing itself.
    """

    closer: Closer
    metrics: Metrics
    policy: IdlePolicy
    guard_policy: GuardPolicy
    total_segments: int
    concurrency: Concurrency
    close_queue: CloseQueue | None = None

    def check_and_close_idle_connections(
        self,
        *,
        time_left_ms: Callable[[], DurationMs],
        correlation_id: str,
        override_guard: bool = False,
        shard: Shard = WHOLE_TABLE,
    ) -> SweepReport:
        """Check all connections, or those of a shard, and close those that are idle by now.

        ``time_left_ms`` says how long the invocation may go on. ``override_guard`` closes even
        where the guard would hold. Raises ``SweepFailed``, after it has emitted the metrics, if a
        backend error left work to the next sweep.
        """
        now_ms = self.closer.clock.now_ms()
        run = _Run(
            sweep=self,
            now_ms=now_ms,
            looks_ahead_ms=DurationMs(0) if self.close_queue is None else LOOK_AHEAD_MS,
            time_left_ms=time_left_ms,
            correlation_id=correlation_id,
            override_guard=override_guard,
            shard=shard,
            guard=Guard(
                connections=self.closer.connections,
                gateway=self.closer.gateway,
                log=self.closer.log,
                idle_policy=self.policy,
                guard_policy=self.guard_policy,
            ),
            closes=self.closer.counter(),
        )
        scan = Scan(
            connections=self.closer.connections,
            log=self.closer.log,
            concurrency=self.concurrency,
            time_left_ms=time_left_ms,
            now_ms=now_ms,
            cutoff_ms=self.policy.cutoff_ms(EpochMs(now_ms + run.looks_ahead_ms)),
            shard=shard,
            total_segments=self.total_segments,
        )
        with closing(scan.batches()) as batches:
            for batch in batches:
                run.act_on(batch)
                if run.held:
                    break
        return run.report(scan)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A sweep under way: what it has found and done so far."""

    sweep: Sweep
    now_ms: EpochMs
    looks_ahead_ms: DurationMs
    time_left_ms: Callable[[], DurationMs]
    correlation_id: str
    override_guard: bool
    shard: Shard
    guard: Guard
    closes: CloseCounter
    counts: Counter[str] = field(default_factory=Counter)
    error: BackendError | None = None
    """The first error: probably the cause of the later ones."""
    out_of_time: bool = False
    checked_when_held: int | None = None
    """Records checked when the guard held the sweep; None if it did not. Pages that were read ahead
    by then do not count: nobody looked at what they hold."""

    @property
    def held(self) -> bool:
        return self.checked_when_held is not None

    def act_on(self, batch: Batch) -> None:
        """Close, or schedule, what is idle in a batch, as far as there is time."""
        sweep, log = self.sweep, self.sweep.closer.log
        sorted_ = sort_candidates(
            batch.candidates, sweep.policy, now_ms=self.now_ms, looks_ahead_ms=self.looks_ahead_ms
        )
        self.counts["found"] += len(sorted_.found)
        self.counts["unreadable"] += len(sorted_.unreadable)
        if sorted_.unreadable:
            log.warning(
                "skipped records with invalid timestamps (expected epoch ms)",
                **_count_and_ids(sorted_.unreadable),
            )
        # A table that is new to Hangup may have whole pages of such records.
        started = sweep.concurrency.map(self._start_clock, sorted_.without_times)
        self.counts["clocks_started"] += sum(started)
        # Four full pages hold some 28,000 candidates: the guard samples each part of them.
        for start in range(0, len(sorted_.found), BATCH_SIZE):
            found = sorted_.found[start : start + BATCH_SIZE]
            # The time is asked last: it may have run out while the guard was probing.
            if self._check_guard(found, batch) or not self._has_time():
                return
            if sweep.close_queue is None:
                log.info("closing idle connections", **_count_and_ids(found))
                list(sweep.concurrency.map(self._close, self._paced(found)))
            else:
                log.info(
                    "scheduling the closes of connections that are idle or due",
                    **_count_and_ids(found),
                )
                self._schedule(found, sweep.close_queue)

    def _start_clock(self, connection: Connection) -> bool:
        if not self._has_time():
            return False
        connection_id, closer = connection.connection_id, self.sweep.closer
        try:
            return closer.connections.start_clock(connection_id, now_ms=self.now_ms)
        except BackendError as error:
            closer.log.error("clock not started", connectionId=connection_id, error=str(error))
            self.error = self.error or error
            return False

    def _check_guard(self, found: Sequence[Connection], batch: Batch) -> bool:
        if self.override_guard or not self._has_time():
            return False
        hold = self.guard.check(
            found,
            # A shard alone may look harmless where all together do not. Each is an even sample of
            # the table, so its numbers are multiplied by the number of shards.
            idle=self.counts["found"] * self.shard.of,
            checked=batch.checked * self.shard.of,
            whole_table=batch.whole_table,
            now_ms=self.now_ms,
            has_time=self._has_time,
            concurrent_map=self.sweep.concurrency.map,
        )
        if hold is not None and self._has_time():
            self.checked_when_held = batch.checked
            self.sweep.closer.log.error(
                "sweep held: too many connections look idle at once, and API Gateway does not"
                " confirm that they are. This sweep closes no more. Check that activity is being"
                " recorded. To close them anyway, invoke this function once with"
                ' {"overrideGuard": true}',
                idle=self.counts["found"],
                checked=batch.checked,
                sample=hold.sample,
            )
        return self.held

    def _paced(self, found: Sequence[Connection]) -> Iterator[Connection]:
        """Wait for the pace, then yield the next connection. Stop when time is short."""
        for connection in found:
            if not self.sweep.closer.pacer.wait(self._has_time):
                return
            yield connection

    def _close(self, connection: Connection) -> None:
        result = self.sweep.closer.close_idle_connection(
            connection, correlation_id=self.correlation_id
        )
        self.error = self.error or result.error
        self.closes.add(connection, result, deadline_ms=self.sweep.policy.deadline_of(connection))

    def _schedule(self, found: Sequence[Connection], queue: CloseQueue) -> None:
        closes = [
            ScheduledClose(
                connection=connection,
                deadline_ms=self.sweep.policy.deadline_of(connection),
                correlation_id=self.correlation_id,
            )
            for connection in found
        ]
        done = schedule(
            closes,
            queue=queue,
            log=self.sweep.closer.log,
            concurrent_map=self.sweep.concurrency.map,
            has_time=self._has_time,
        )
        self.counts["queued"] += done.queued
        self.counts["queue_failures"] += done.failures
        self.error = self.error or done.error

    def _has_time(self) -> bool:
        """Return whether new work may start. Once False, always False."""
        self.out_of_time = self.out_of_time or self.time_left_ms() < STOP_MARGIN_MS
        return not self.out_of_time

    def report(self, scan: Scan) -> SweepReport:
        """Emit the metrics and the log line. Raises ``SweepFailed`` if a backend failed."""
        report = SweepReport(
            checked=scan.checked if self.checked_when_held is None else self.checked_when_held,
            found=self.counts["found"],
            precise=self.sweep.close_queue is not None,
            closes=self.closes.report(),
            queued=self.counts["queued"],
            queue_failures=self.counts["queue_failures"],
            clocks_started=self.counts["clocks_started"],
            unreadable=self.counts["unreadable"],
            failed_segments=scan.failed_segments,
            held=self.held,
            complete=not (self.held or self.out_of_time or scan.out_of_time or scan.error),
        )
        self.sweep.metrics.emit(report.metrics())
        log = self.sweep.closer.log
        if report.complete:
            log.info("sweep done", **report.as_json())
        else:
            log.warning(
                "sweep incomplete: the next sweep starts at another segment", **report.as_json()
            )
        error = scan.error or self.error
        if error is not None:
            raise SweepFailed(
                f"the sweep {report.what_failed(self.sweep.total_segments)}; first error: {error}"
            ) from error
        return report


def _count_and_ids(connections: Sequence[Connection]) -> dict[str, object]:
    """Return the fields of a log line: the count and the first ids."""
    ids = [connection.connection_id for connection in connections[:_IDS_PER_LINE]]
    return {"count": len(connections), "connectionIds": ids}
