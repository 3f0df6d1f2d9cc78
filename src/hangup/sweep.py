"""The sweep: one bounded pass over all connections that closes the idle ones.

1. Find: DynamoDB reads the whole table, segment by segment, and returns only candidates.
2. Decide: the rules in ``core.policy`` say what each candidate is.
3. Close: each idle connection goes through the closer; a bad record or a failure stops nothing.
4. Stop in time: with less than the margin left, the sweep starts nothing more and says so; the
   next sweep starts at another segment, so that no part of the table waits for ever.
5. Report: metrics first, then one log line, then an error if a backend failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from hangup.closer import Closer, Ended, Outcome
from hangup.core.model import Connection, DurationMs, EpochMs, Role, TimeoutReason
from hangup.core.policy import Adopt, Close, IdlePolicy, Keep, Unreadable, decide
from hangup.core.report import SweepReport
from hangup.errors import BackendError, SweepFailed
from hangup.ports import Clock, ConnectionsRepository, Log, Metrics, ParallelMap

__all__ = ["STOP_MARGIN_MS", "Sweep"]

STOP_MARGIN_MS: Final = DurationMs(20_000)
"""With less than this left of the invocation nothing new is started. It has room for one close
whose calls run into their time-outs (``aws.clients``) and for the report."""

_ROTATION_MS: Final = 60_000
"""Sweeps come once a minute: each starts one segment further than the one before."""

_IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records floods no log."""


@dataclass(slots=True)
class _Tally:
    """The counts of a sweep under way."""

    counts: Counter[str] = field(default_factory=Counter)
    timeouts: Counter[tuple[Role, TimeoutReason]] = field(default_factory=Counter)
    first_error: BackendError | None = None
    complete: bool = True

    def report(self) -> SweepReport:
        count = self.counts
        return SweepReport(
            checked=count["checked"],
            idle=count["idle"],
            timeouts=dict(self.timeouts),
            claims_lost=count["claims_lost"],
            notices_failed=count["notices_failed"],
            close_failures=count["close_failures"],
            handover_failures=count["handover_failures"],
            adopted=count["adopted"],
            unreadable=count["unreadable"],
            complete=self.complete,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One pass over the connections table, ready to be run once per invocation.

    ``total_segments`` (at least 1) is how many parts the table is read in, one after the other.
    ``parallel_map`` runs the closes of one page.
    """

    connections: ConnectionsRepository
    closer: Closer
    metrics: Metrics
    clock: Clock
    log: Log
    policy: IdlePolicy
    total_segments: int
    parallel_map: ParallelMap

    def check_and_close_idle_connections(
        self, *, time_left_ms: Callable[[], DurationMs], correlation_id: str
    ) -> SweepReport:
        """Check all connections and close those that are idle by now.

        ``time_left_ms`` says how long the invocation may go on. Raises ``SweepFailed`` after the
        metrics are out if a backend error left work to the next sweep.
        """
        now_ms = self.clock.now_ms()
        tally = _Tally()
        try:
            for segment in self._segments(now_ms):
                self._sweep_segment(segment, now_ms, tally, time_left_ms, correlation_id)
        except BackendError as error:
            self.log.error("scan failed", error=str(error))
            tally.complete = False
            # The first error is the likelier cause of the later ones.
            tally.first_error = tally.first_error or error
        return self._report(tally)

    def _segments(self, now_ms: EpochMs) -> Iterator[int]:
        first = now_ms // _ROTATION_MS
        return ((first + step) % self.total_segments for step in range(self.total_segments))

    def _sweep_segment(
        self,
        segment: int,
        now_ms: EpochMs,
        tally: _Tally,
        time_left_ms: Callable[[], DurationMs],
        correlation_id: str,
    ) -> None:
        def close(connection: Connection) -> Outcome | None:
            if time_left_ms() < STOP_MARGIN_MS:
                return None
            return self.closer.close_idle_connection(connection, correlation_id=correlation_id)

        pages = self.connections.scan_candidates(
            cutoff_ms=self.policy.cutoff_ms(now_ms),
            segment=segment,
            total_segments=self.total_segments,
        )
        while tally.complete:
            # Asked before each page: a page is a read of up to 1 MB.
            if time_left_ms() < STOP_MARGIN_MS:
                tally.complete = False
                return
            page = next(pages, None)
            if page is None:
                return
            tally.counts["checked"] += page.scanned_count
            idle = self._decide(page.candidates, now_ms, tally)
            for connection, outcome in zip(idle, self.parallel_map(close, idle), strict=True):
                self._count(connection, outcome, tally)

    def _decide(
        self, candidates: Sequence[Connection], now_ms: EpochMs, tally: _Tally
    ) -> Sequence[Connection]:
        """Return the idle ones; adopt, count and log the others as the rules say."""
        idle, unreadable = [], []
        for connection in candidates:
            match decide(connection, self.policy, now_ms):
                case Close():
                    idle.append(connection)
                case Keep():
                    pass
                case Adopt():
                    self._adopt(connection, now_ms, tally)
                case Unreadable():
                    unreadable.append(connection.connection_id)
                case unexpected:
                    assert_never(unexpected)
        if unreadable:
            tally.counts["unreadable"] += len(unreadable)
            self.log.warning(
                "records left alone: their times are no epoch milliseconds",
                count=len(unreadable),
                connectionIds=unreadable[:_IDS_PER_LINE],
            )
        tally.counts["idle"] += len(idle)
        return idle

    def _adopt(self, connection: Connection, now_ms: EpochMs, tally: _Tally) -> None:
        try:
            adopted = self.connections.adopt(connection.connection_id, now_ms=now_ms)
        except BackendError as error:
            self.log.error(
                "adoption failed", connectionId=connection.connection_id, error=str(error)
            )
            tally.first_error = tally.first_error or error
        else:
            tally.counts["adopted"] += adopted

    @staticmethod
    def _count(connection: Connection, outcome: Outcome | None, tally: _Tally) -> None:
        if outcome is None:
            tally.complete = False
            return
        tally.counts["notices_failed"] += outcome.notice_failed
        tally.first_error = tally.first_error or outcome.error
        match outcome.ended:
            case Ended.CLOSED:
                tally.timeouts[connection.role, TimeoutReason.IDLE_TIMEOUT] += 1
            case Ended.ALREADY_GONE:
                tally.timeouts[connection.role, TimeoutReason.GONE] += 1
            case Ended.CLAIM_LOST:
                tally.counts["claims_lost"] += 1
            case Ended.CLAIM_FAILED | Ended.CLOSE_FAILED:
                tally.counts["close_failures"] += 1
            case Ended.HANDOVER_FAILED:
                tally.counts["handover_failures"] += 1
            case unexpected:
                assert_never(unexpected)

    def _report(self, tally: _Tally) -> SweepReport:
        report = tally.report()
        self.metrics.emit(report.counts())
        if report.complete:
            self.log.info("sweep done", **report.as_json())
        else:
            self.log.warning("sweep incomplete, the next one goes on", **report.as_json())
        if tally.first_error is not None:
            raise SweepFailed(
                f"{report.failures} of {report.idle} idle connections are left to the next sweep; "
                f"first error: {tally.first_error}"
            ) from tally.first_error
        return report
