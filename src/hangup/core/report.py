"""What a sweep did, in numbers, and the metrics that say the same to CloudWatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from hangup.core.connection import DurationMs, TimeoutReason
from hangup.core.events import NO_ROLE
from hangup.core.guard import Hold

NAMESPACE: Final = "Hangup"
"""The CloudWatch namespace of every metric of Hangup's own."""

MIN_MOSTLY_GONE: Final = 20
MOSTLY_GONE_PERCENT: Final = 90
"""From this many connections on, this many percent that had left before are worth a look: mostly
API Gateway's own event has cleaned up after those."""

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
    ACTIVE = auto()
    """Left: active by API Gateway's account, though not on record."""
    KEPT = auto()
    """Left: active by API Gateway's account, which is the source of activity."""
    NOT_YET = auto()
    """Left: idle in a moment, by the same activity as API Gateway's account has it."""
    HELD = auto()
    """Left: idle on record, which cannot be relied on now, and active by API Gateway's account."""
    UNCONFIRMED = auto()
    """Left: API Gateway did not say whether it is idle."""
    IGNORED = auto()
    """Left: no connection."""
    WOULD_CLOSE = auto()
    """Left: this function only observes."""


_FAILED: Final = (CloseStatus.CLAIM_FAILED, CloseStatus.CLOSE_FAILED, CloseStatus.HANDOVER_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosesReport:
    """What became of some connections that were to be closed: how many came to each status.

    ``timeouts`` counts those that were closed or found gone, by ``metric_role`` and reason; what is
    handed over again was counted before. ``lateness_ms`` has, for each that was closed, how long
    after its deadline it was. ``handovers_repeated`` counts those whose cleanup keeps failing.
    ``sockets_lost`` counts requests that found the socket of an earlier one closed: a notice is
    not sent again, all others are.
    """

    statuses: Mapping[CloseStatus, int]
    timeouts: Mapping[tuple[str, TimeoutReason], int]
    lateness_ms: Sequence[DurationMs]
    notices_failed: int
    handovers_repeated: int
    sockets_lost: int

    def count(self, *statuses: CloseStatus) -> int:
        """Return how many came to one of these."""
        return sum(self.statuses.get(status, 0) for status in statuses)

    @property
    def closed(self) -> int:
        """How many connections were closed here."""
        return self._by_reason(TimeoutReason.IDLE_TIMEOUT)

    @property
    def gone(self) -> int:
        """How many connections had already left: ghosts."""
        return self._by_reason(TimeoutReason.GONE)

    @property
    def is_mostly_gone(self) -> bool:
        """Whether nearly all of many connections had already left."""
        over = self.closed + self.gone
        return over >= MIN_MOSTLY_GONE and self.gone * 100 >= over * MOSTLY_GONE_PERCENT

    @property
    def failures(self) -> int:
        """How many idle connections a backend error left to the next sweep."""
        return self.count(*_FAILED)

    @property
    def idle(self) -> int:
        """How many were idle by the record and by API Gateway, and were not another's to close."""
        unclosed = (CloseStatus.CLAIM_FAILED, CloseStatus.CLOSE_FAILED, CloseStatus.WOULD_CLOSE)
        return self.closed + self.gone + self.count(*unclosed)

    def metrics(self) -> Sequence[Metric]:
        """Return the metrics of the closes; two of the contract's are there even when they are 0.

        ``ConnectionsClosed`` includes the connections found gone: either way it is over and being
        cleaned up. ``ConnectionTimeout`` tells the two apart.
        """
        rare = [
            Count(name="RecordsIgnored", value=self.count(CloseStatus.IGNORED)),
            Count(name="SweepsHeld", value=int(self.count(CloseStatus.HELD) > 0)),
        ]
        return [
            Count(name="IdleConnectionsDetected", value=self.idle),
            Count(name="ConnectionsClosed", value=self.closed + self.gone),
            *(count for count in rare if count.value),
            *self.metrics_when_any(),
        ]

    def metrics_when_any(self) -> list[Metric]:
        """Return the further metrics, those that are not 0."""
        counts = [
            Count(name="ClaimsLost", value=self.count(CloseStatus.CLAIM_LOST)),
            Count(name="NoticesFailed", value=self.notices_failed),
            Count(name="CloseFailures", value=self.failures),
            Count(name="HandoversRepeated", value=self.handovers_repeated),
            Count(name="SweepsMostlyGone", value=int(self.is_mostly_gone)),
            Count(name="ActivityUnrecorded", value=self.count(CloseStatus.ACTIVE)),
            Count(name="ConnectionsUnconfirmed", value=self.count(CloseStatus.UNCONFIRMED)),
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
            "wouldClose": self.count(CloseStatus.WOULD_CLOSE),
            "activityUnrecorded": self.count(CloseStatus.ACTIVE),
            "kept": self.count(CloseStatus.KEPT),
            "unconfirmed": self.count(CloseStatus.UNCONFIRMED),
            "recordingDoubted": self.count(CloseStatus.HELD),
            "claimsLost": self.count(CloseStatus.CLAIM_LOST),
            "noticesFailed": self.notices_failed,
            "closeFailures": self.count(CloseStatus.CLAIM_FAILED, CloseStatus.CLOSE_FAILED),
            "handoverFailures": self.count(CloseStatus.HANDOVER_FAILED),
            "handoversRepeated": self.handovers_repeated,
            "socketsLost": self.sockets_lost,
        }

    def _by_reason(self, wanted: TimeoutReason) -> int:
        return sum(value for (_, reason), value in self.timeouts.items() if reason is wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """Every count of one sweep.

    ``found`` counts the candidates that the record says are idle, and ``closes`` is what became of
    them. A sweep with a queue closes nothing: it finds what is due soon as well, ``queued`` counts
    what it sent to the queue, and ``queue_failures`` what could not be sent.
    ``clocks_started`` counts records without any time whose connection API Gateway knows.
    ``hold`` says why the sweep closed nothing, or not all that is idle on record. ``has_read_all``
    is False if something else ended the sweep before it had seen the whole table, or its shard, and
    tried to close or to queue everything that it should.
    """

    checked: int
    found: int
    closes: ClosesReport
    queued: int
    queue_failures: int
    clocks_started: int
    unreadable: int
    ignored: int
    failed_segments: int
    hold: Hold | None
    has_read_all: bool

    @property
    def complete(self) -> bool:
        """Whether the sweep did all that a sweep is for."""
        return self.has_read_all and self.hold is None

    def what_failed(self, total_segments: int) -> str:
        """Return in words what errors kept this sweep from doing."""
        settled = sum(self.closes.statuses.values()) - self.closes.failures
        unread, left = self.failed_segments, self.found - self.queued - settled
        parts = (
            (unread, f"could not read {unread} of {total_segments} segments"),
            (left, f"left {left} of {self.found} idle connections to the next one"),
        )
        said = [text for count, text in parts if count > 0]
        return " and ".join(said or ["could not ask API Gateway or the table all that it had to"])

    def metrics(self) -> Sequence[Metric]:
        """Return the sweep's metrics; the contract's three are there even when they are 0."""
        closes = self.closes
        counts = [
            Count(name="ClosesScheduled", value=self.queued),
            Count(name="QueueFailures", value=self.queue_failures),
            Count(name="RecordsUnreadable", value=self.unreadable),
            Count(name="RecordsIgnored", value=self.ignored),
            Count(name="SweepsHeld", value=int(self.hold is not None)),
            Count(name="SweepsIncomplete", value=int(not self.has_read_all)),
        ]
        return [
            Count(name="ConnectionsChecked", value=self.checked),
            Count(name="IdleConnectionsDetected", value=closes.idle),
            Count(name="ConnectionsClosed", value=closes.closed + closes.gone),
            *(count for count in counts if count.value),
            *closes.metrics_when_any(),
        ]

    def as_json(self) -> dict[str, object]:
        """Return what the timeout handler answers and logs."""
        return {
            "checked": self.checked,
            "idle": self.closes.idle,
            **self.closes.as_json(),
            "queued": self.queued,
            "queueFailures": self.queue_failures,
            "clocksStarted": self.clocks_started,
            "unreadable": self.unreadable,
            "ignored": self.ignored,
            "held": self.hold,
            "complete": self.complete,
        }
