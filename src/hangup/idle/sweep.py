"""The sweep: one bounded pass over all connections, or a shard of them, that closes the idle ones.

1. Watch: ``guard`` reads a sample of the table, and judges whether activity is being recorded, and
   whether the table is this API's. Without a sample, a sweep that asks closes nothing.
2. Find: ``scan`` reads the table, and yields batches of candidates.
3. Decide: the rules in ``core.policy`` decide what to do about each candidate. What they cannot
   judge is in ``unjudged``.
4. Close: ``closer`` asks API Gateway about each connection that looks idle, and closes it, no
   faster than ``pacer`` allows. One bad record or failure does not stop the others. Where API
   Gateway's account is the source of activity, most are kept: ``asking`` asks first. With a queue
   the sweep closes nothing itself: ``queueing`` queues a close for each connection that is idle,
   or will be before the next sweep reads it.
5. Stop in time: when less than ``STOP_MARGIN_MS`` is left, nothing more starts, and the report says
   so. The next sweep starts at another segment, so that every segment gets its turn.
6. Report: metrics first, then one log line, then an error if a backend failed.

Several records may name one connection, in a table whose key is more than the id. Of those that a
sweep finds idle, the first is acted on: it is claimed, and the client gets one notice. The others
come after it, and go on only where API Gateway answers that the connection is gone: they are handed
over, or deleted, as any record of a ghost is. The metrics count one timeout. That
holds for one sweep, whatever segments they lie in. It does not hold for shards, which are swept at
the same time, nor for the scheduled closes of two sweeps. There two records may be claimed at once,
each with a notice; one close then takes effect, and the other finds the connection gone. No sweep
sees which of the records is the latest, so for such a table API Gateway is always asked.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime, TimeAttribute
from hangup.core.guard import MAX_REFUSALS, NOT_WITH_GATEWAY, WHAT_DECIDES, Hold
from hangup.core.outcomes import IDS_PER_LINE, CloseCounter, CloseResult
from hangup.core.policy import IdlePolicy, part_records, sort_candidates
from hangup.core.report import CloseStatus, SweepReport
from hangup.core.scheduled_close import ScheduledClose
from hangup.core.shards import WHOLE_TABLE, Shard
from hangup.core.timing import LOOK_AHEAD_MS, STOP_MARGIN_MS
from hangup.errors import BackendError, InvalidRequest, SweepFailed
from hangup.idle.asking import Asking
from hangup.idle.closer import Closer, Terms, log_closed, log_left, log_lost
from hangup.idle.guard import Answer, Watch
from hangup.idle.pacer import Pacer
from hangup.idle.queueing import schedule
from hangup.idle.scan import Batch, Scan
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
            now_ms=now_ms,
            looks_ahead_ms=DurationMs(0) if self.close_queue is None else LOOK_AHEAD_MS,
            time_left_ms=time_left_ms,
            correlation_id=correlation_id,
            asks=not override_guard,
            closes=self.closer.counter(),
            unjudged=Unjudged(closer=self.closer, times=self.times, now_ms=now_ms),
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
        run.look_at_a_sample()
        with closing(scan.batches()) as batches:
            for batch in batches:
                run.act_on(batch)
                if run.is_stopped:
                    break
        if run.asking is not None:
            run.asking.close_the_rest()
        return run.report(scan)


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """A sweep under way: what it has found and done so far."""

    sweep: Sweep
    now_ms: EpochMs
    looks_ahead_ms: DurationMs
    time_left_ms: Callable[[], DurationMs]
    correlation_id: str
    asks: bool
    closes: CloseCounter
    unjudged: Unjudged
    terms: Mapping[DurationMs, Terms] = field(init=False)
    """On what terms a connection is closed, by its timeout."""
    asking: Asking | None = None
    """Where API Gateway's account is the source of activity, and closes are not queued."""
    met: set[str] = field(default_factory=set)
    """The connections that were acted on: another record of one waits for API Gateway's answer."""
    counts: Counter[str] = field(default_factory=Counter)
    error: BackendError | None = None
    """The first error: probably the cause of the later ones."""
    hold: Hold | None = None
    control_is_checked: bool = False
    checked: int | None = None
    """Records checked when the sweep was stopped; None if it was not. Pages that were read ahead by
    then do not count: nobody looked at what they hold."""
    out_of_time: bool = False

    @property
    def is_stopped(self) -> bool:
        return self.hold is not None or self.sweep.closer.confirmer.is_refused

    def look_at_a_sample(self) -> None:
        """Judge the recording of activity, and on what terms this sweep closes."""
        watch = self.sweep.watch
        self.sweep.closer.confirmer.start()
        try:
            # Whoever overrides the guard trusts the records, and not a wrong clock.
            self.hold = watch.look(self.now_ms) if self._has_time() else None
        except BackendError as error:
            self._log_no_sample(error)
        self.terms = {
            timeout_ms: Terms(
                silence_ms=timeout_ms,
                recording_is_well=self.error is None and watch.is_well(self.now_ms, timeout_ms),
                asks=self.asks,
            )
            for timeout_ms in self.sweep.policy.timeouts_ms
        }
        if self.sweep.closer.confirmer.is_source and self.sweep.close_queue is None:
            self.asking = Asking(
                closer=self.sweep.closer,
                terms_of=self._terms_of,
                questions=self.sweep.questions,
                concurrent_map=self.sweep.concurrency.map,
                may_go_on=lambda: not self.is_stopped and self._has_time(),
                close=self._close,
                close_other=self._close_other,
                count=self._count,
                is_held=self._is_held,
            )

    def act_on(self, batch: Batch) -> None:
        """Close, or schedule, what is idle in a batch, as far as there is time."""
        sweep, log = self.sweep, self.sweep.closer.log
        sorted_ = sort_candidates(
            batch.candidates, sweep.policy, now_ms=self.now_ms, looks_ahead_ms=self.looks_ahead_ms
        )
        self.unjudged.add(sorted_)
        if self.asks:
            self.unjudged.ask_for_times(
                sorted_.without_time,
                concurrent_map=sweep.concurrency.map,
                may_ask=lambda: not self.is_stopped and sweep.questions.wait(self._has_time),
            )
            self.error = self.error or self.unjudged.error
            self._judge_what_is_told()
        found = sorted_.found
        if self.asking is not None:
            self.counts["found"] += len(found)
            self.asking.ask_about(found, self.met)
            if self.is_stopped:
                self.checked = batch.checked
            return
        if self._check_control_group(found, batch) or not found or not self._has_time():
            return
        first, others = part_records(found, self.met)
        self.counts["found"] += len(first)
        if sweep.close_queue is None:
            self.counts["found"] += len(others)
            list(sweep.concurrency.map(self._close, self._paced(first)))
            list(sweep.concurrency.map(self._close_other, self._paced(others)))
        elif first:
            # The others are left to the sweeps after this one: by then the connection is closed.
            log.info(
                "scheduling the closes of connections that are idle or due",
                count=len(first),
                connectionIds=[one.connection_id for one in first[:IDS_PER_LINE]],
            )
            self._schedule(first, sweep.close_queue)
        if sweep.closer.confirmer.is_refused:
            self.checked = batch.checked

    def _judge_what_is_told(self) -> None:
        """Observe who is idle by API Gateway's account alone, which an observer does not note."""
        for connection, answer in self.unjudged.told:
            is_idle = self.now_ms > self.sweep.policy.deadline_of(connection)
            if is_idle and self.sweep.closer.pacer.wait(self._has_time):
                self.counts["found"] += 1
                self._close(connection, answer)
        self.unjudged.told.clear()

    def _check_control_group(self, found: Sequence[Connection], batch: Batch) -> bool:
        """Return whether the sweep is held. The first that looks idle makes it ask."""
        if found and self.asks and not self.control_is_checked and not self.is_stopped:
            self._is_held()
        if self.hold is not None:
            self.checked = batch.checked
        return self.is_stopped

    def _is_held(self) -> bool:
        """Ask the control group; return whether it holds the sweep. To be called once."""
        self.control_is_checked = True
        try:
            self.hold = self.sweep.watch.check_control_group(
                self.now_ms, has_time=self._has_time, concurrent_map=self.sweep.concurrency.map
            )
        except BackendError as error:
            self._log_no_sample(error)
            self.hold = Hold.NO_SAMPLE
        return self.hold is not None

    def _log_no_sample(self, error: BackendError) -> None:
        self.sweep.closer.log.error("sample of the table not read", error=str(error))
        self.error = self.error or error

    def _paced(self, found: Sequence[Connection]) -> Iterator[Connection]:
        """Wait for both paces, then yield the next connection. Stop when time is short."""
        sweep = self.sweep
        for connection in found:
            if not (
                sweep.questions.wait(self._has_time) and sweep.closer.pacer.wait(self._has_time)
            ):
                return
            if self.is_stopped:
                return
            yield connection

    def _close(self, connection: Connection, answer: Answer | None = None) -> None:
        deadline_ms = self.sweep.policy.deadline_of(connection)
        result = self.sweep.closer.close_idle_connection(
            connection,
            self._terms_of(connection),
            correlation_id=self.correlation_id,
            answer=answer,
        )
        self._count(connection, result, deadline_ms=deadline_ms)

    def _close_other(self, connection: Connection) -> None:
        result = self.sweep.closer.close_idle_connection(
            connection,
            replace(self._terms_of(connection), only_gone=True),
            correlation_id=self.correlation_id,
        )
        # One connection, one timeout.
        self._count(connection, result)

    def _terms_of(self, connection: Connection) -> Terms:
        return self.terms[self.sweep.policy.timeout_ms(connection.role)]

    def _count(
        self, connection: Connection, result: CloseResult, *, deadline_ms: EpochMs | None = None
    ) -> None:
        if result.status is not CloseStatus.UNCONFIRMED:
            self.error = self.error or result.error
        self.closes.add(connection, result, deadline_ms=deadline_ms)
        if self.sweep.witness is not None:
            self.sweep.witness(connection, result)

    def _schedule(self, found: Sequence[Connection], queue: CloseQueue) -> None:
        closes = [
            ScheduledClose(
                connection=connection,
                deadline_ms=self.sweep.policy.deadline_of(connection),
                correlation_id=self.correlation_id,
                silence_ms=self._terms_of(connection).silence_ms,
                judged_at_ms=self.now_ms,
                recording_is_well=self._terms_of(connection).recording_is_well,
                asks=self.asks,
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
        """Emit the metrics and the log lines. Raises ``SweepFailed`` if a backend failed."""
        closes = self.closes.report()
        hold = self.hold
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
            + self.sweep.watch.others,
            failed_segments=scan.failed_segments,
            hold=hold,
            has_read_all=not (
                self.sweep.closer.confirmer.is_refused
                or self.out_of_time
                or scan.out_of_time
                or scan.left
                or scan.error
            ),
        )
        self.sweep.metrics.emit(report.metrics())
        if scan.left:
            self.sweep.closer.log.warning(
                "left records that look idle to the next sweep: too many for one", count=scan.left
            )
        self._log(report)
        if self.sweep.closer.confirmer.is_refused:
            raise SweepFailed(_REFUSED)
        error = scan.error or self.error
        if error is not None:
            raise SweepFailed(
                f"the sweep {report.what_failed(self.sweep.total_segments)}; first error: {error}"
            ) from error
        return report

    def _log(self, report: SweepReport) -> None:
        log = self.sweep.closer.log
        self.unjudged.log()
        log_closed(self.closes, log)
        log_left(self.closes, log)
        log_lost(report.closes, log)
        if report.hold is not None:
            log.error("sweep held", reason=report.hold, advice=report.hold.advice)
        if report.complete:
            log.info("sweep done", **report.as_json())
        else:
            log.warning(
                "sweep incomplete: the next sweep starts at another segment", **report.as_json()
            )
