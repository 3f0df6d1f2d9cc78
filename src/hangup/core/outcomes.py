"""What calls, closes and sweeps can come to. Expected outcomes are values, not errors."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from hangup.core.connection import Connection, DurationMs, EpochMs, TimeoutReason
from hangup.core.report import ClosesReport, metric_role
from hangup.errors import BackendError


class ActivityOutcome(Enum):
    """What became of one recorded activity."""

    RECORDED = auto()
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


class CloseStatus(Enum):
    """How far one close got."""

    CLOSED = auto()
    """Closed by this sweep, and the disconnect handler is on its way."""
    ALREADY_GONE = auto()
    """Had left before, and the disconnect handler is on its way."""
    CLAIM_LOST = auto()
    CLAIM_FAILED = auto()
    CLOSE_FAILED = auto()
    HANDOVER_FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseResult:
    """What one close came to; ``error`` is what kept it from being complete.

    ``closed_at_ms`` is when the connection was closed, None if this close did not do it.
    """

    status: CloseStatus
    closed_at_ms: EpochMs | None = None
    notice_failed: bool = False
    error: BackendError | None = None


@dataclass(slots=True, kw_only=True)
class CloseCounter:
    """Counts what closes come to. ``metric_roles`` are the roles that metrics name."""

    metric_roles: frozenset[str]
    _statuses: Counter[CloseStatus] = field(default_factory=Counter)
    _timeouts: Counter[tuple[str, TimeoutReason]] = field(default_factory=Counter)
    _notices_failed: int = 0
    _lateness_ms: list[DurationMs] = field(default_factory=list)

    def add(self, connection: Connection, result: CloseResult, *, deadline_ms: EpochMs) -> None:
        """Count one close of a connection that had this deadline."""
        self._statuses[result.status] += 1
        self._notices_failed += result.notice_failed
        role = metric_role(connection.role, named=self.metric_roles)
        if result.status is CloseStatus.CLOSED:
            self._timeouts[role, TimeoutReason.IDLE_TIMEOUT] += 1
        elif result.status is CloseStatus.ALREADY_GONE:
            self._timeouts[role, TimeoutReason.GONE] += 1
        if result.closed_at_ms is not None:
            self._lateness_ms.append(DurationMs(result.closed_at_ms - deadline_ms))

    def report(self) -> ClosesReport:
        """Return the counts so far."""
        count = self._statuses
        return ClosesReport(
            timeouts=dict(self._timeouts),
            lateness_ms=tuple(self._lateness_ms),
            claims_lost=count[CloseStatus.CLAIM_LOST],
            notices_failed=self._notices_failed,
            close_failures=count[CloseStatus.CLAIM_FAILED] + count[CloseStatus.CLOSE_FAILED],
            handover_failures=count[CloseStatus.HANDOVER_FAILED],
        )
