"""What calls, closes and sweeps can come to. Expected outcomes are values, not errors."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs, TimeoutReason
from hangup.core.hand_over import HandOver
from hangup.core.report import ClosesReport, CloseStatus, metric_role
from hangup.errors import BackendError


class NotRecorded(Enum):
    """Why an activity was not written."""

    ALREADY_RECORDED = auto()
    """The stored time is as new, or newer than one resolution ago: nothing to write."""
    NO_RECORD = auto()
    """The connection is an orphan: it has no record, and none was made."""


class PostOutcome(Enum):
    """What became of a message. ``POSTED`` does not prove that the client is there."""

    POSTED = auto()
    GONE = auto()


class CloseOutcome(Enum):
    """What became of a close."""

    CLOSED = auto()
    ALREADY_GONE = auto()


_HANDED_OVER: Final = (CloseStatus.ALREADY_GONE, CloseStatus.HANDOVER_FAILED)

IDS_PER_LINE: Final = 20
"""Connection ids named in one log line, so that a table of bad records does not flood the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseResult:
    """What one close came to; ``error`` is what kept it from being complete.

    ``closed_at_ms`` is when the connection was closed, None if this close did not do it.
    ``last_active_ms`` is API Gateway's account of one that is not idle yet. ``is_gone`` is whether
    one that would be closed has left.
    """

    status: CloseStatus
    last_active_ms: EpochMs | None = None
    closed_at_ms: EpochMs | None = None
    notice_failed: bool = False
    is_gone: bool = False
    error: BackendError | None = None


@dataclass(slots=True, kw_only=True)
class CloseCounter:
    """Counts what closes come to.

    ``metric_roles`` are the roles that metrics name. ``hand_over`` is the rule of the deployment.
    ``sockets_lost`` returns how many kept sockets this process has found closed.
    """

    metric_roles: frozenset[str]
    hand_over: HandOver = HandOver.ALWAYS
    sockets_lost: Callable[[], int] = lambda: 0
    _statuses: Counter[CloseStatus] = field(default_factory=Counter)
    _ids: dict[CloseStatus, list[str]] = field(default_factory=dict)
    _errors: dict[CloseStatus, BackendError] = field(default_factory=dict)
    _timeouts: Counter[tuple[str, TimeoutReason]] = field(default_factory=Counter)
    _notices_failed: int = 0
    _repeated: int = 0
    _handler_calls: int = 0
    _lateness_ms: list[DurationMs] = field(default_factory=list)
    _sockets_lost_before: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin: what was lost before does not count."""
        self._sockets_lost_before = self.sockets_lost()

    def add(
        self, connection: Connection, result: CloseResult, *, deadline_ms: EpochMs | None
    ) -> None:
        """Count one close of a connection that had this deadline.

        Without one no timeout is counted: it was left, or it counts by another record.
        """
        self._statuses[result.status] += 1
        ids = self._ids.setdefault(result.status, [])
        if len(ids) < IDS_PER_LINE:
            ids.append(connection.connection_id)
        if result.error is not None:
            self._errors.setdefault(result.status, result.error)
        self._notices_failed += result.notice_failed
        if result.status is CloseStatus.ALREADY_GONE:
            self._handler_calls += self.hand_over.calls_handler_after(connection.handovers)
        if deadline_ms is None:
            return
        reason = None
        if result.closed_at_ms is not None:
            reason = TimeoutReason.IDLE_TIMEOUT
            # The clock may have been set back since.
            self._lateness_ms.append(DurationMs(max(0, result.closed_at_ms - deadline_ms)))
        elif result.status in _HANDED_OVER:
            # Handed over before, it was counted then.
            self._repeated += self.hand_over.is_repeated(connection.handovers)
            reason = None if connection.handovers else TimeoutReason.GONE
        if reason is not None:
            role = metric_role(connection.role, named=self.metric_roles)
            self._timeouts[role, reason] += 1

    def examples(self, status: CloseStatus) -> dict[str, object]:
        """Return the fields of a log line about what came to this; none if nothing did.

        They are the count, the first ids, and the first error. Of those that had left also the rule
        for their records, and how often it called the disconnect handler.
        """
        if status not in self._statuses:
            return {}
        error = self._errors.get(status)
        return {
            "count": self._statuses[status],
            "connectionIds": self._ids[status],
            **({} if error is None else {"error": str(error)}),
            **(self._handed_over() if status is CloseStatus.ALREADY_GONE else {}),
        }

    def _handed_over(self) -> dict[str, object]:
        return {"handOver": self.hand_over, "handlerCalls": self._handler_calls}

    def report(self) -> ClosesReport:
        """Return the counts so far."""
        return ClosesReport(
            statuses=dict(self._statuses),
            timeouts=dict(self._timeouts),
            lateness_ms=tuple(self._lateness_ms),
            notices_failed=self._notices_failed,
            handovers_repeated=self._repeated,
            sockets_lost=self.sockets_lost() - self._sockets_lost_before,
        )
