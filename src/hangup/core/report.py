"""What a sweep did, in numbers, and the metrics that say the same to CloudWatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hangup.core.model import Role, TimeoutReason

__all__ = ["NAMESPACE", "Count", "SweepReport"]

NAMESPACE: Final = "Hangup"
"""The CloudWatch namespace of every metric of Hangup's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One CloudWatch metric of unit Count."""

    name: str
    value: int
    dimensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """Every count of one sweep.

    ``timeouts`` counts the connections that the sweep closed or found gone, and handed over, by
    role and reason. ``held`` is True if the guard stopped the sweep. ``complete`` is False if the
    sweep ended, for whatever reason, before it had seen the whole table and tried to close
    everything idle in it.
    """

    checked: int
    idle: int
    timeouts: Mapping[tuple[Role, TimeoutReason], int]
    claims_lost: int
    notices_failed: int
    close_failures: int
    handover_failures: int
    adopted: int
    unreadable: int
    held: bool
    complete: bool

    @property
    def closed(self) -> int:
        """How many connections the sweep itself closed and handed over."""
        return self._by_reason(TimeoutReason.IDLE_TIMEOUT)

    @property
    def gone(self) -> int:
        """How many connections had already left, and were handed over: ghosts."""
        return self._by_reason(TimeoutReason.GONE)

    @property
    def failures(self) -> int:
        """How many idle connections a backend error left to the next sweep."""
        return self.close_failures + self.handover_failures

    def counts(self) -> Sequence[Count]:
        """Return the sweep's metrics; the contract's three are there even when they are 0.

        ``ConnectionsClosed`` includes the connections found gone: either way it is over and being
        cleaned up. ``ConnectionTimeout`` tells the two apart.
        """
        always = [
            Count(name="ConnectionsChecked", value=self.checked),
            Count(name="IdleConnectionsDetected", value=self.idle),
            Count(name="ConnectionsClosed", value=self.closed + self.gone),
        ]
        when_any = [
            Count(name="ClaimsLost", value=self.claims_lost),
            Count(name="NoticesFailed", value=self.notices_failed),
            Count(name="CloseFailures", value=self.failures),
            Count(name="RecordsUnreadable", value=self.unreadable),
            Count(name="SweepsHeld", value=int(self.held)),
            Count(name="SweepsIncomplete", value=int(not self.complete and not self.held)),
        ] + [
            Count(
                name="ConnectionTimeout",
                value=value,
                dimensions={"Role": str(role), "Reason": str(reason)},
            )
            for (role, reason), value in sorted(self.timeouts.items())
        ]
        return always + [count for count in when_any if count.value]

    def as_json(self) -> dict[str, object]:
        """Return what the timeout handler answers and logs."""
        return {
            "checked": self.checked,
            "idle": self.idle,
            "closed": self.closed,
            "gone": self.gone,
            "claimsLost": self.claims_lost,
            "noticesFailed": self.notices_failed,
            "closeFailures": self.close_failures,
            "handoverFailures": self.handover_failures,
            "adopted": self.adopted,
            "unreadable": self.unreadable,
            "held": self.held,
            "complete": self.complete,
        }

    def _by_reason(self, wanted: TimeoutReason) -> int:
        return sum(value for (_, reason), value in self.timeouts.items() if reason is wanted)
