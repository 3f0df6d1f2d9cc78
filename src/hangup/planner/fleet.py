"""The fleet that is planned for, and how it is swept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hangup.config import (
    ACTIVITY_RESOLUTION_SECONDS,
    CLOSES_PER_SECOND,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
)
from hangup.core.guard import Activity
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.timing import LOOK_AHEAD_S, SWEEP_INTERVAL_S
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import CLOSE_CPU_MS, PAGE_LATENCY_MS, WRITE_UNIT_BYTES

_PARTS = 1_000
"""In which a time between two heartbeats is looked at."""
_ROUNDING = 1e-9


class FleetContradiction(ConfigurationError):
    """Two values of a fleet contradict each other; ``fields`` are their names."""

    def __init__(self, why: str, fields: tuple[str, ...]) -> None:
        super().__init__(why)
        self.fields = fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTimeout:
    """The idle timeout of a role, and which share of the connections has that role (0 to 1)."""

    idle_timeout_s: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A steady number of connections: those that leave are replaced.

    ``idle_share`` of all connections (0 to 1) end by falling silent and being closed, the others
    leave by themselves; each lasts ``lifetime_s`` on average. With ``precise`` sweeps queue what
    will be idle soon, and close functions close it. With ``activity`` gateway, heartbeats run no
    function and are not answered, and each client is asked about once a timeout. Connections whose
    role is not in ``timeouts_by_role`` have ``idle_timeout_s``. The two times in
    milliseconds are assumptions about AWS and not options: a test on another machine sets its own.

    Raises ``FleetContradiction`` where the values contradict each other or a limit of AWS.
    """

    connections: int = 100_000
    heartbeat_s: float = 30
    lifetime_s: float = MAX_CONNECTION_S
    idle_share: float = 0.1
    record_bytes: int = 300
    idle_timeout_s: float = CONNECTION_IDLE_TIMEOUT_SECONDS.default
    sweep_interval_s: float = 60
    activity_resolution_s: float = ACTIVITY_RESOLUTION_SECONDS.default
    closes_per_second: int = CLOSES_PER_SECOND.default
    precise: bool = False
    activity: Activity = Activity.RECORDED
    timeouts_by_role: Mapping[str, RoleTimeout] = field(default_factory=dict, hash=False)
    page_latency_ms: float = PAGE_LATENCY_MS
    close_cpu_ms: float = CLOSE_CPU_MS

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        shortest_s, longest_s = self.shortest_timeout_s, max(s for _, s in self.timeouts)
        timeout, longest = (f"the idle timeout of {s:g} s" for s in (shortest_s, longest_s))
        shares = sum(role.share for role in self.timeouts_by_role.values())
        interval = f"every {SWEEP_INTERVAL_S} s, not every {self.sweep_interval_s:g} s"
        for wrong, fields, why in (
            (
                shares > 1 + _ROUNDING,
                ("timeouts_by_role",),
                f"the shares of the roles add up to {shares:g}: they may be 1 at most",
            ),
            (
                self.heartbeat_s >= shortest_s,
                ("heartbeat_s", "idle_timeout_s"),
                f"a heartbeat every {self.heartbeat_s:g} s closes all: {timeout} must be longer",
            ),
            (
                self.activity_resolution_s >= shortest_s,
                ("activity_resolution_s", "idle_timeout_s"),
                f"a resolution of {self.activity_resolution_s:g} s must be below {timeout}",
            ),
            (
                self.lifetime_s < longest_s,
                ("lifetime_s", "idle_timeout_s"),
                f"a lifetime of {self.lifetime_s:g} s must be at least {longest}",
            ),
            (
                self.precise and self.sweep_interval_s > SWEEP_INTERVAL_S,
                ("precise", "sweep_interval_s"),
                f"precise sweeps look {LOOK_AHEAD_S} s ahead: they must come {interval}",
            ),
            (
                self.is_asked and self.activity_resolution_s > 0,
                ("activity", "activity_resolution_s"),
                "where nobody records activity there is no resolution of it",
            ),
            (
                self.is_asked and self.precise,
                ("activity", "precise"),
                "every connection would pass through the queue once a timeout: plan it inline",
            ),
        ):
            if wrong:
                raise FleetContradiction(why, fields)

    @property
    def timeouts(self) -> Sequence[tuple[float, float]]:
        """The share of the connections with each idle timeout, and that timeout in seconds."""
        roles = [(role.share, role.idle_timeout_s) for role in self.timeouts_by_role.values()]
        rest = 1 - sum(share for share, _ in roles)
        return [*roles, (max(0.0, rest), self.idle_timeout_s)]

    @property
    def shortest_timeout_s(self) -> float:
        """The timeout by which DynamoDB's filter goes."""
        return min(timeout_s for _, timeout_s in self.timeouts)

    @property
    def silent_kept(self) -> float:
        """How many silent connections each sweep gets before their own timeout, and keeps."""
        shortest_s = self.shortest_timeout_s
        waits_s = sum(share * (timeout_s - shortest_s) for share, timeout_s in self.timeouts)
        return self.idle_closes_per_second * waits_s

    @property
    def heartbeats_per_second(self) -> float:
        """How many heartbeats arrive in a second."""
        return self.connections / self.heartbeat_s

    @property
    def ends_per_second(self) -> float:
        """How many connections end in a second; as many begin."""
        return self.connections / self.lifetime_s

    @property
    def idle_closes_per_second(self) -> float:
        """How many connections fall silent in a second."""
        return self.ends_per_second * self.idle_share

    @property
    def is_asked(self) -> bool:
        """Whether API Gateway's account is the source of activity."""
        return self.activity is Activity.GATEWAY

    @property
    def questions_per_second(self) -> float:
        """How many live connections are asked about in a second; 0 where activity is recorded.

        An answer is as old as the client's last message: from 0 to the time between two. The next
        question comes with the first sweep after the timeout.
        """
        if not self.is_asked:
            return 0.0
        ages_s = [self.heartbeat_s * (part + 0.5) / _PARTS for part in range(_PARTS)]
        each_second = 0.0
        for share, timeout_s in self.timeouts:
            sweeps = sum((timeout_s - age_s) // self.sweep_interval_s + 1 for age_s in ages_s)
            each_second += share * self.connections / (sweeps / _PARTS * self.sweep_interval_s)
        return each_second

    @property
    def heartbeats_per_recorded_time(self) -> int:
        """How many heartbeats there are for one whose time is recorded; each costs a write."""
        return max(1, math.ceil(self.activity_resolution_s / self.heartbeat_s))

    @property
    def graces(self) -> Sequence[tuple[float, float]]:
        """The share of the connections, and the seconds from recorded activity to the deadline."""
        return [
            (share, timeout_s + self.activity_resolution_s) for share, timeout_s in self.timeouts
        ]

    @property
    def shortest_grace_s(self) -> float:
        """The shortest time from the recorded activity to a deadline."""
        return self.shortest_timeout_s + self.activity_resolution_s

    @property
    def table_bytes(self) -> int:
        """Size of the table of connections."""
        return self.connections * self.record_bytes

    @property
    def write_units(self) -> int:
        """Write units of one write to a connection's record."""
        return math.ceil(self.record_bytes / WRITE_UNIT_BYTES)
