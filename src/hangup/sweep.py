"""The sweep: one bounded pass over all connections that closes the idle ones.

1. Find: DynamoDB reads the whole table, segment by segment, and returns only candidates.
2. Decide: the rules in ``core.policy`` say what each candidate is.
3. Guard: if unlikely many are idle at once, API Gateway is asked first (``core.guard``). Idle
   connections are therefore gathered, up to a batch, before the first of them is closed.
4. Close: each goes through the closer, paced; a bad record or a failure stops nothing.
5. Stop in time: with less than the margin left, the sweep starts nothing more and says so; the
   next sweep starts at another segment, so that no part of the table waits for ever.
6. Report: metrics first, then one log line, then an error if a backend failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from hangup.closer import Closer, Ended, Outcome
from hangup.core.guard import GuardPolicy, Hold, Liveness, judge, liveness
from hangup.core.model import Connection, DurationMs, EpochMs, Role, TimeoutReason
from hangup.core.policy import Adopt, Close, IdlePolicy, Keep, Unreadable, decide
from hangup.core.report import SweepReport
from hangup.errors import BackendError, SweepFailed
from hangup.ports import (
    Clock,
    ConnectionsRepository,
    Gateway,
    Log,
    Metrics,
    ParallelMap,
    ScanPage,
)

__all__ = ["BATCH_SIZE", "SCAN_MARGIN_MS", "STOP_MARGIN_MS", "Sweep", "segments_from"]

STOP_MARGIN_MS: Final = DurationMs(20_000)
"""With less than this left no close is started. It has room for one whose five calls all run into
their time-outs (``aws.calls.ATTEMPT_MS``); what the report takes is kept besides."""

SCAN_MARGIN_MS: Final = DurationMs(25_000)
"""With less than this left no page is read: what was gathered must still be closed."""

BATCH_SIZE: Final = 1_000
"""Idle connections gathered before some are closed: a thousand judge the table well, since a scan
comes in the order of a hash, and take less than a megabyte."""

_IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records floods no log."""

_ROTATION_MS: Final = 60_000
_GOLDEN_RATIO_32: Final = 2_654_435_769
"""2 ** 32 divided by the golden ratio: its multiples spread evenly, whatever their step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is how many parts the table is read in, one after the other.
    ``parallel_map`` runs the closes of one batch and the guard's questions.
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

    def check_and_close_idle_connections(
        self,
        *,
        time_left_ms: Callable[[], DurationMs],
        correlation_id: str,
        override_guard: bool = False,
    ) -> SweepReport:
        """Check all connections and close those that are idle by now.

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
        ).run()


@dataclass(slots=True, kw_only=True)
class _Pass:
    """A sweep under way: what it has gathered and counted so far."""

    sweep: Sweep
    now_ms: EpochMs
    time_left_ms: Callable[[], DurationMs]
    correlation_id: str
    override_guard: bool
    gathered: list[Connection] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    timeouts: Counter[tuple[Role, TimeoutReason]] = field(default_factory=Counter)
    first_error: BackendError | None = None
    complete: bool = True
    held: bool = False

    def run(self) -> SweepReport:
        try:
            for page in self._pages():
                self.counts["checked"] += page.scanned_count
                self._decide(page.candidates)
                while len(self.gathered) >= BATCH_SIZE and not self.held:
                    self._close_batch()
        except BackendError as error:
            self.sweep.log.error("scan failed", error=str(error))
            self.complete = False
            # The first error is the likelier cause of the later ones.
            self.first_error = self.first_error or error
        if self.gathered and not self.held:
            self._close_batch()
        return self._report()

    def _pages(self) -> Iterator[ScanPage]:
        sweep = self.sweep
        for segment in segments_from(self.now_ms, sweep.total_segments):
            pages = sweep.connections.scan_candidates(
                cutoff_ms=sweep.policy.cutoff_ms(self.now_ms),
                segment=segment,
                total_segments=sweep.total_segments,
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

    def _decide(self, candidates: Sequence[Connection]) -> None:
        """Gather the idle ones; adopt, count and log the others as the rules say."""
        idle, unreadable, timeless = [], [], []
        for connection in candidates:
            match decide(connection, self.sweep.policy, self.now_ms):
                case Close():
                    idle.append(connection)
                case Keep():
                    pass
                case Adopt():
                    timeless.append(connection)
                case Unreadable():
                    unreadable.append(connection.connection_id)
                case unexpected:
                    assert_never(unexpected)
        self.gathered += idle
        self.counts["idle"] += len(idle)
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

    def _close_batch(self) -> None:
        batch, self.gathered = self.gathered[:BATCH_SIZE], self.gathered[BATCH_SIZE:]
        hold = self._doubt(batch)
        if hold is not None:
            self.held = True
            self.complete = False
            self.sweep.log.error(
                "sweep held: unlikely many connections look idle, and API Gateway does not confirm"
                " it; from here on none was closed. Check that activity is being recorded. To close"
                ' them all the same, invoke this function once with {"overrideGuard": true}',
                idle=self.counts["idle"],
                checked=self.counts["checked"],
                sample=hold.seen,
            )
            return
        self.sweep.log.info(
            "closing idle connections",
            count=len(batch),
            connectionIds=[connection.connection_id for connection in batch[:_IDS_PER_LINE]],
        )
        for connection, outcome in zip(
            batch, self.sweep.parallel_map(self._close, batch), strict=True
        ):
            self._count(connection, outcome)

    def _doubt(self, batch: Sequence[Connection]) -> Hold | None:
        guard = self.sweep.guard
        if self.override_guard or not guard.is_suspicious(
            idle=self.counts["idle"],
            checked=self.counts["checked"],
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
        except BackendError as error:
            self.sweep.log.warning(
                "liveness unknown", connectionId=connection.connection_id, error=str(error)
            )
            return Liveness.UNKNOWN
        return liveness(last_active_ms, cutoff_ms=self.sweep.policy.cutoff_ms(self.now_ms))

    def _close(self, connection: Connection) -> Outcome | None:
        if not self._has_time():
            return None
        return self.sweep.closer.close_idle_connection(
            connection, correlation_id=self.correlation_id, has_time=self._has_time
        )

    def _has_time(self) -> bool:
        return self.time_left_ms() >= STOP_MARGIN_MS

    def _count(self, connection: Connection, outcome: Outcome | None) -> None:
        if outcome is None:
            self.complete = False
            return
        self.counts["notices_failed"] += outcome.notice_failed
        self.first_error = self.first_error or outcome.error
        match outcome.ended:
            case Ended.CLOSED:
                self.timeouts[connection.role, TimeoutReason.IDLE_TIMEOUT] += 1
            case Ended.ALREADY_GONE:
                self.timeouts[connection.role, TimeoutReason.GONE] += 1
            case Ended.CLAIM_LOST:
                self.counts["claims_lost"] += 1
            case Ended.CLAIM_FAILED | Ended.CLOSE_FAILED:
                self.counts["close_failures"] += 1
            case Ended.HANDOVER_FAILED:
                self.counts["handover_failures"] += 1
            case unexpected:
                assert_never(unexpected)

    def _report(self) -> SweepReport:
        count = self.counts
        report = SweepReport(
            checked=count["checked"],
            idle=count["idle"],
            timeouts=dict(self.timeouts),
            claims_lost=count["claims_lost"],
            notices_failed=count["notices_failed"],
            close_failures=count["close_failures"],
            handover_failures=count["handover_failures"],
            adopted=count["adopted"],
            unreadable=count["unreadable"],
            held=self.held,
            complete=self.complete,
        )
        self.sweep.metrics.emit(report.counts())
        if report.complete:
            self.sweep.log.info("sweep done", **report.as_json())
        else:
            self.sweep.log.warning("sweep incomplete, the next one goes on", **report.as_json())
        if self.first_error is not None:
            raise SweepFailed(
                f"the sweep met errors, {report.failures} of {report.idle} idle connections are "
                f"left to the next one; first error: {self.first_error}"
            ) from self.first_error
        return report


def segments_from(now_ms: EpochMs, total_segments: int) -> Iterator[int]:
    """Yield all segments, starting with one that changes from minute to minute.

    The start is a multiple of the golden ratio, so that it visits every segment evenly even where
    sweeps come only every second, fifth or sixtieth minute.
    """
    minute = now_ms // _ROTATION_MS
    first = (minute * _GOLDEN_RATIO_32 % 2**32) * total_segments >> 32
    return ((first + step) % total_segments for step in range(total_segments))
