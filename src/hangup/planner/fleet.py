"""What the planner is asked about: a fleet of connections, and how it is swept."""

import math
from dataclasses import dataclass

from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import (
    CLOSE_CPU_MS,
    LOOK_AHEAD_S,
    MAX_CONNECTION_S,
    MESSAGE_UNIT_BYTES,
    MONTH_S,
    PAGE_LATENCY_MS,
    PRECISE_INTERVAL_S,
    WRITE_UNIT_BYTES,
)

__all__ = ["Fleet"]

_MAX_RECORD_BYTES = 409_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A steady number of connections: whoever leaves is replaced.

    ``idle_share`` of all connections (0 to 1) end by falling silent and being closed by a sweep,
    the others leave by themselves; each lasts ``lifetime_s`` on average. With ``precise`` sweeps
    queue what falls due, and close functions close it. Raises ``ConfigurationError`` where the
    values contradict each other or a limit of AWS.
    """

    connections: int = 100_000
    heartbeat_s: float = 30
    idle_timeout_s: float = 120
    sweep_interval_s: float = 60
    idle_share: float = 0.1
    lifetime_s: float = MAX_CONNECTION_S
    record_bytes: int = 300
    message_bytes: int = 64
    resolution_s: float = 0
    scan_segments: int = 16
    closes_per_second: int = 200
    page_latency_ms: float = PAGE_LATENCY_MS
    close_cpu_ms: float = CLOSE_CPU_MS
    precise: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        for wrong, why in (
            (
                self.heartbeat_s >= self.idle_timeout_s,
                (
                    f"a heartbeat every {self.heartbeat_s:g} s and an idle timeout of"
                    f" {self.idle_timeout_s:g} s close everybody: the heartbeat must be the shorter"
                ),
            ),
            (
                self.resolution_s >= self.idle_timeout_s,
                (
                    f"an activity resolution of {self.resolution_s:g} s must be below the idle"
                    f" timeout of {self.idle_timeout_s:g} s"
                ),
            ),
            (
                not self.idle_timeout_s <= self.lifetime_s <= MAX_CONNECTION_S,
                (
                    f"a lifetime of {self.lifetime_s:g} s must be from the idle timeout"
                    f" ({self.idle_timeout_s:g} s) to API Gateway's limit of {MAX_CONNECTION_S} s"
                ),
            ),
            (
                not 0 <= self.idle_share <= 1,
                (
                    f"{self.idle_closes_per_hour:,.0f} idle closes an hour are more than the"
                    f" {self.ends_per_second * 3600:,.0f} connections that end in an hour"
                ),
            ),
            (
                not 1 <= self.message_bytes <= MAX_MESSAGE_BYTES,
                (
                    f"a message of {self.message_bytes} bytes must be from 1 to"
                    f" {MAX_MESSAGE_BYTES} bytes, API Gateway's limit"
                ),
            ),
            (
                not 1 <= self.record_bytes <= _MAX_RECORD_BYTES,
                (
                    f"a record of {self.record_bytes} bytes must be from 1 to {_MAX_RECORD_BYTES}"
                    " bytes, DynamoDB's limit"
                ),
            ),
            (
                self.precise and self.sweep_interval_s > PRECISE_INTERVAL_S,
                (
                    f"precise sweeps look {LOOK_AHEAD_S:g} s ahead, and so come every"
                    f" {PRECISE_INTERVAL_S} s, not every {self.sweep_interval_s:g} s"
                ),
            ),
        ):
            if wrong:
                raise ConfigurationError(why)

    @property
    def ends_per_second(self) -> float:
        """How many connections end, and as many begin."""
        return self.connections / self.lifetime_s

    @property
    def idle_closes_per_hour(self) -> float:
        """How many fall silent in an hour."""
        return self.idle_closes_per_second * 3600

    @property
    def idle_closes_per_second(self) -> float:
        """How many fall silent in a second."""
        return self.ends_per_second * self.idle_share

    @property
    def heartbeats_per_second(self) -> float:
        """How many heartbeats arrive in a second."""
        return self.connections / self.heartbeat_s

    @property
    def heartbeats_per_write(self) -> int:
        """Every how manieth heartbeat moves the recorded time; each costs a write all the same."""
        return max(1, math.ceil(self.resolution_s / self.heartbeat_s))

    @property
    def grace_s(self) -> float:
        """From the recorded activity to the deadline."""
        return self.idle_timeout_s + self.resolution_s

    @property
    def write_units(self) -> int:
        """Write units of one write to a connection's record."""
        return math.ceil(self.record_bytes / WRITE_UNIT_BYTES)

    @property
    def message_units(self) -> int:
        """Billed messages of one heartbeat."""
        return math.ceil(self.message_bytes / MESSAGE_UNIT_BYTES)

    @property
    def sweeps_per_month(self) -> float:
        """How often a sweep is started in 30 days."""
        return MONTH_S / self.sweep_interval_s
