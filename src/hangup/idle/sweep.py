"""The sweep: one bounded pass over all connections, or a shard of them, that closes the idle ones.

1. Guard: ``guard`` reads a sample of the table, and judges whether activity is being recorded, and
   whether the table is this API's. Without a sample, a sweep that asks closes nothing.
2. Find: ``scan`` reads the table, and yields batches of candidates.
3. Decide: the rules in ``core.policy`` decide what to do about each candidate. What they cannot
   judge is in ``unjudged``.
4. Close: ``closes`` takes turns, no faster than ``pacer`` allows. In its turn ``closer`` asks API
   Gateway about a connection that looks idle, and closes it. One bad record or failure does not
   stop the others. Where API Gateway's account is the source of activity, most are kept:
   ``asking`` asks first. With a queue the sweep closes nothing itself: ``queueing`` queues a close
   for each connection that is idle, or will be before the next sweep reads it.
5. Stop in time: when less than ``STOP_MARGIN_MS`` is left, nothing more starts, and the report says
   so. The next sweep starts at another segment, so that every segment gets its turn.
6. Report: metrics first, then log lines (``report``), then an error if a backend failed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime, TimeAttribute
from hangup.core.guard import MAX_REFUSALS, NOT_WITH_GATEWAY, WHAT_DECIDES, Hold
from hangup.core.outcomes import CloseResult
from hangup.core.policy import IdlePolicy, part_records, sort_candidates
from hangup.core.report import CloseStatus, SweepReport
from hangup.core.scheduled_close import ScheduledClose
from hangup.core.shards import WHOLE_TABLE, Shard
from hangup.core.timing import LOOK_AHEAD_MS
from hangup.errors import InvalidRequest, SweepFailed
from hangup.idle.asking import Asking
from hangup.idle.closer import Closer
from hangup.idle.closes import Closes
from hangup.idle.guard import Guard, Watch
from hangup.idle.pacer import Pacer
from hangup.idle.queueing import schedule
from hangup.idle.report import log_sweep
from hangup.idle.scan import Scan
from hangup.idle.unjudged import Unjudged
from hangup.ports import CloseQueue, Concurrency, Metrics

_REFUSED: Final = (
    f"API Gateway refused {MAX_REFUSALS} questions in a row (403): the role of this function needs"
    " execute-api:ManageConnections on GET /@connections/* of this API and stage"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is the number of segments in which the table, or a shard, is
    read; up to four are read at the same time. ``concurrency`` runs the readers and the closes.
    ``questions`` paces what API Gateway is asked. ``times`` is what the table calls its times.
    ``records_decide`` is whether what is on record can decide alone.
    With a ``close_queue`` the sweep closes nothing itself. A ``witness`` hears what came of each
    connection that looked idle.
    """

    closer: Closer
    watch: Watch
    metrics: Metrics
    policy: IdlePolicy
    questions: Pacer
    times: Mapping[RecordedTime, TimeAttribute]
    total_segments: int
    concurrency: Concurrency
    close_queue: CloseQueue | None = None
    records_decide: bool = True
    witness: Callable[[Connection, CloseResult], None] | None = None

    def check_and_close_idle_connections(
        self,
        *,
        time_left_ms: Callable[[], DurationMs],
        correlation_id: str,
        override_guard: bool = False,
        shard: Shard = WHOLE_TABLE,
    ) -> SweepReport:
        """Check all connections, or those of a shard, and close those that are idle by now.

        ``time_left_ms`` says how long the invocation may go on. ``override_guard`` closes what is
        idle on record, and asks nobody. Raises ``InvalidRequest`` if the records of the table
        cannot decide that, and ``SweepFailed``, after it has emitted the metrics, if a backend
        error left work to the next sweep.
        """
        if override_guard and self.closer.confirmer.is_source:
            raise InvalidRequest(400, f"overrideGuard is refused: {NOT_WITH_GATEWAY}")
        if override_guard and not self.records_decide:
            raise InvalidRequest(400, f"overrideGuard is not for this TABLE_SCHEMA: {WHAT_DECIDES}")
        now_ms = self.closer.clock.now_ms()
        run = _Run(
            sweep=self,
            looks_ahead_ms=DurationMs(0) if self.close_queue is None else LOOK_AHEAD_MS,
            guard=Guard(
                watch=self.watch,
                confirmer=self.closer.confirmer,
                policy=self.policy,
                log=self.closer.log,
                concurrent_map=self.concurrency.map,
                time_left_ms=time_left_ms,
                now_ms=now_ms,
                asks=not override_guard,
            ),
            correlation_id=correlation_id,
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
        run.guard.start()
        with closing(scan.batches()) as batches:
            for batch in batches:
                run.act_on(batch.candidates)
                if run.guard.is_stopped:
                    run.checked = batch.checked
                    break
        if run.asking is not None:
            run.asking.close_the_rest()
        return run.report(scan)


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """A sweep under way: what it has found and done so far."""

    sweep: Sweep
    looks_ahead_ms: DurationMs
    guard: Guard
    correlation_id: str
    closes: Closes = field(init=False)
    unjudged: Unjudged = field(init=False)
    asking: Asking | None = None
    """Where API Gateway's account is the source of activity, and closes are not queued."""
    met: set[str] = field(default_factory=set)
    """The connections that were acted on: another record of one waits for API Gateway's answer."""
    counts: Counter[str] = field(default_factory=Counter)
    checked: int | None = None
    """Records checked when the sweep was stopped; None if it was not. Pages that were read ahead by
    then do not count: nobody looked at what they hold."""

    def __post_init__(self) -> None:
        """Make the parts that one sweep needs for itself."""
        sweep, closer = self.sweep, self.sweep.closer
        self.closes = Closes(
            closer=closer,
            guard=self.guard,
            questions=sweep.questions,
            concurrent_map=sweep.concurrency.map,
            correlation_id=self.correlation_id,
            witness=sweep.witness,
        )
        self.unjudged = Unjudged(closer=closer, times=sweep.times, now_ms=self.guard.now_ms)
        if closer.confirmer.is_source and sweep.close_queue is None:
            self.asking = Asking(closes=self.closes)

    def act_on(self, candidates: Sequence[Connection]) -> None:
        """Close, or schedule, what is idle of some candidates, as far as there is time."""
        sorted_ = sort_candidates(
            candidates,
            self.sweep.policy,
            now_ms=self.guard.now_ms,
            looks_ahead_ms=self.looks_ahead_ms,
        )
        self.unjudged.add(sorted_)
        if self.guard.asks:
            self._ask_for_times(sorted_.without_time)
        found = sorted_.found
        if self.asking is not None:
            self.counts["found"] += len(found)
            self.asking.ask_about(found, self.met)
            return
        if found:
            self.guard.check_control_group()
        if found and self.guard.may_go_on():
            first, others = part_records(found, self.met)
            self.counts["found"] += len(first)
            if self.sweep.close_queue is None:
                self.counts["found"] += len(others)
                self.closes.close_all(first, others)
            elif first:
                # A further record is left to the sweeps after this one: by then its connection is
                # closed.
                self._schedule(first, self.sweep.close_queue)

    def _ask_for_times(self, without_time: Sequence[Connection]) -> None:
        """Ask about records without a time, and judge those whose time nobody notes."""
        self.unjudged.ask_for_times(
            without_time,
            concurrent_map=self.sweep.concurrency.map,
            may_ask=self.closes.waits_to_ask,
        )
        self.guard.failed(self.unjudged.error)
        # What an observer is told: it notes nothing, so the next sweep will not find it on record.
        for connection, answer in self.unjudged.told:
            is_idle = self.guard.now_ms > self.sweep.policy.deadline_of(connection)
            if is_idle and self.closes.waits_for_turn():
                self.counts["found"] += 1
                self.closes.close(connection, answer)
        self.unjudged.told.clear()

    def _schedule(self, found: Sequence[Connection], queue: CloseQueue) -> None:
        closes = [
            ScheduledClose(
                connection=connection,
                deadline_ms=self.sweep.policy.deadline_of(connection),
                correlation_id=self.correlation_id,
                silence_ms=self.guard.terms_of(connection).silence_ms,
                judged_at_ms=self.guard.now_ms,
                recording_is_well=self.guard.terms_of(connection).recording_is_well,
                asks=self.guard.asks,
            )
            for connection in found
        ]
        done = schedule(
            closes,
            queue=queue,
            log=self.sweep.closer.log,
            concurrent_map=self.sweep.concurrency.map,
            has_time=self.guard.has_time,
        )
        self.counts["queued"] += done.queued
        self.counts["queue_failures"] += done.failures
        self.guard.failed(done.error)

    def report(self, scan: Scan) -> SweepReport:
        """Emit the metrics and the log lines. Raises ``SweepFailed`` if a backend failed."""
        sweep, is_refused = self.sweep, self.guard.confirmer.is_refused
        closes = self.closes.counter.report()
        hold = self.guard.hold
        if hold is None and closes.count(CloseStatus.HELD):
            hold = Hold.RECORDING
        report = SweepReport(
            checked=scan.checked if self.checked is None else self.checked,
            found=self.counts["found"],
            closes=closes,
            queued=self.counts["queued"],
            queue_failures=self.counts["queue_failures"],
            clocks_started=self.unjudged.clocks_started,
            unreadable=self.unjudged.unreadable,
            ignored=self.unjudged.ignored
            + closes.count(CloseStatus.IGNORED)
            + scan.others
            + sweep.watch.others,
            failed_segments=scan.failed_segments,
            hold=hold,
            has_read_all=not (
                is_refused or self.guard.out_of_time or scan.out_of_time or scan.left or scan.error
            ),
        )
        sweep.metrics.emit(report.metrics())
        if scan.left:
            sweep.closer.log.warning(
                "left records that look idle to the next sweep: too many for one", count=scan.left
            )
        self.unjudged.log()
        log_sweep(report, self.closes.counter, sweep.closer.log)
        if is_refused:
            raise SweepFailed(_REFUSED)
        error = scan.error or self.guard.error
        if error is not None:
            raise SweepFailed(
                f"the sweep {report.what_failed(sweep.total_segments)}; first error: {error}"
            ) from error
        return report
