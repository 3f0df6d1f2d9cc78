"""What a sweep did, in numbers, and the metrics that say the same to CloudWatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hangup.core.connection import DurationMs, TimeoutReason
from hangup.core.events import NO_ROLE

NAMESPACE: Final = "Hangup"
"""The CloudWatch namespace of every metric of Hangup's own."""

OTHER_ROLE: Final = "other"
"""The ``Role`` of a connection whose role the configuration does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One CloudWatch metric of unit Count."""

    name: str
    value: int
    dimensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """One CloudWatch metric of unit Milliseconds, with every value that was measured."""

    name: str
    values: Sequence[DurationMs]
    dimensions: Mapping[str, str] = field(default_factory=dict)


Metric = Count | Durations


def metric_role(role: str | None, *, named: frozenset[str]) -> str:
    """Return the ``Role`` dimension of a connection with this label.

    Only roles that the configuration names get a metric of their own: a label may hold anything,
    and CloudWatch charges for each value.
    """
    if role is None:
        return NO_ROLE
    return role if role in named else OTHER_ROLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosesReport:
    """What became of some connections that were to be closed.

    ``timeouts`` counts those that were closed or found gone, and handed over, by ``metric_role``
    and reason. ``lateness_ms`` has, for each that was closed, how long after its deadline it was.
    """

    timeouts: Mapping[tuple[str, TimeoutReason], int]
    lateness_ms: Sequence[DurationMs]
    claims_lost: int
    notices_failed: int
    close_failures: int
    handover_failures: int

    @property
    def closed(self) -> int:
        """How many connections were closed here and handed over."""
        return self._by_reason(TimeoutReason.IDLE_TIMEOUT)

    @property
    def gone(self) -> int:
        """How many connections had already left, and were handed over: ghosts."""
        return self._by_reason(TimeoutReason.GONE)

    @property
    def failures(self) -> int:
        """How many idle connections a backend error left to the next sweep."""
        return self.close_failures + self.handover_failures

    @property
    def idle(self) -> int:
        """How many were past their deadline: all whose claim was not lost."""
        return self.closed + self.gone + self.failures

    def metrics(self) -> Sequence[Metric]:
        """Return the metrics of the closes; two of the contract's are there even when they are 0.

        ``ConnectionsClosed`` includes the connections found gone: either way it is over and being
        cleaned up. ``ConnectionTimeout`` tells the two apart.
        """
        return [
            Count(name="IdleConnectionsDetected", value=self.idle),
            Count(name="ConnectionsClosed", value=self.closed + self.gone),
            *self.metrics_when_any(),
        ]

    def metrics_when_any(self) -> list[Metric]:
        """Return the further metrics, those that are not 0."""
        counts = [
            Count(name="ClaimsLost", value=self.claims_lost),
            Count(name="NoticesFailed", value=self.notices_failed),
            Count(name="CloseFailures", value=self.failures),
        ] + [
            Count(
                name="ConnectionTimeout",
                value=value,
                dimensions={"Role": role, "Reason": str(reason)},
            )
            for (role, reason), value in sorted(self.timeouts.items())
        ]
        metrics: list[Metric] = [count for count in counts if count.value]
        if self.lateness_ms:
            metrics.append(Durations(name="CloseLateness", values=self.lateness_ms))
        return metrics

    def as_json(self) -> dict[str, object]:
        """Return the counts for an answer or a log line."""
        return {
            "closed": self.closed,
            "gone": self.gone,
            "claimsLost": self.claims_lost,
            "noticesFailed": self.notices_failed,
            "closeFailures": self.close_failures,
            "handoverFailures": self.handover_failures,
        }

    def _by_reason(self, wanted: TimeoutReason) -> int:
        return sum(value for (_, reason), value in self.timeouts.items() if reason is wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """Every count of one sweep.

    ``found`` counts what was idle, and ``closes`` is what became of it. A ``precise`` sweep has a
    queue and closes nothing: it finds what is due soon as well, ``queued`` counts what it sent to
    the queue, and ``queue_failures`` what could not be sent. ``held`` is True if the guard stopped
    the sweep. ``complete`` is False if the sweep ended, for whatever reason, before it had seen the
    whole table, or its shard, and tried to close or to queue everything that it should.
    """

    checked: int
    found: int
    precise: bool
    closes: ClosesReport
    queued: int
    queue_failures: int
    clocks_started: int
    unreadable: int
    failed_segments: int
    held: bool
    complete: bool

    @property
    def idle(self) -> int:
        """How many were idle and the sweep's own to close.

        With a queue, the close function counts them, once, in the minute of their close. What a
        held sweep has not queued is never counted there.
        """
        return self.found - self.queued if self.held or not self.precise else 0

    def what_failed(self, total_segments: int) -> str:
        """Return in words what errors kept this sweep from doing."""
        closes = self.closes
        done = self.queued + closes.closed + closes.gone + closes.claims_lost
        unread, left = self.failed_segments, self.found - done
        parts = (
            (unread, f"could not read {unread} of {total_segments} segments"),
            (left, f"left {left} of {self.found} idle connections to the next one"),
        )
        said = [text for count, text in parts if count > 0]
        return " and ".join(said or ["could not start the clocks of some records"])

    def metrics(self) -> Sequence[Metric]:
        """Return the sweep's metrics; the contract's three are there even when they are 0."""
        counts = [
            Count(name="ClosesScheduled", value=self.queued),
            Count(name="QueueFailures", value=self.queue_failures),
            Count(name="RecordsUnreadable", value=self.unreadable),
            Count(name="SweepsHeld", value=int(self.held)),
            Count(name="SweepsIncomplete", value=int(not self.complete and not self.held)),
        ]
        return [
            Count(name="ConnectionsChecked", value=self.checked),
            Count(name="IdleConnectionsDetected", value=self.idle),
            Count(name="ConnectionsClosed", value=self.closes.closed + self.closes.gone),
            *(count for count in counts if count.value),
            *self.closes.metrics_when_any(),
        ]

    def as_json(self) -> dict[str, object]:
        """Return what the timeout handler answers and logs."""
        return {
            "checked": self.checked,
            "idle": self.idle,
            **self.closes.as_json(),
            "queued": self.queued,
            "queueFailures": self.queue_failures,
            "clocksStarted": self.clocks_started,
            "unreadable": self.unreadable,
            "held": self.held,
            "complete": self.complete,
        }
