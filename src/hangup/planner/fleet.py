"""The fleet that is planned for, how it is swept, and the options that say so."""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from hangup.core.limits import MAX_CONNECTION_S, MAX_MESSAGE_BYTES, MAX_SCAN_SEGMENTS
from hangup.core.timing import LOOK_AHEAD_S, SWEEP_INTERVAL_S
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import (
    CLOSE_CPU_MS,
    MAX_CONNECTIONS,
    MAX_RECORD_BYTES,
    PAGE_LATENCY_MS,
    WRITE_UNIT_BYTES,
)

__all__ = ["Fleet", "add_fleet_options", "fleet_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A steady number of connections: those that leave are replaced.

    ``idle_share`` of all connections (0 to 1) end by falling silent and being closed, the others
    leave by themselves; each lasts ``lifetime_s`` on average. With ``precise`` sweeps queue what
    will be idle soon, and close functions close it. Raises ``ConfigurationError`` where the
    values contradict each other or a limit of AWS.
    """

    connections: int = 100_000
    heartbeat_s: float = 30
    lifetime_s: float = MAX_CONNECTION_S
    idle_share: float = 0.1
    record_bytes: int = 300
    message_bytes: int = 64
    idle_timeout_s: float = 120
    sweep_interval_s: float = 60
    activity_resolution_s: float = 0
    scan_segments: int = 16
    closes_per_second: int = 200
    page_latency_ms: float = PAGE_LATENCY_MS
    close_cpu_ms: float = CLOSE_CPU_MS
    precise: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        timeout = f"the idle timeout of {self.idle_timeout_s:g} s"
        heartbeat = f"a heartbeat every {self.heartbeat_s:g} s closes every connection"
        resolution = f"an activity resolution of {self.activity_resolution_s:g} s"
        lifetime = f"a lifetime of {self.lifetime_s:g} s"
        interval = f"every {SWEEP_INTERVAL_S} s, not every {self.sweep_interval_s:g} s"
        late = self.precise and self.sweep_interval_s > SWEEP_INTERVAL_S
        for wrong, why in (
            (self.heartbeat_s >= self.idle_timeout_s, f"{heartbeat}: {timeout} must be longer"),
            (
                self.activity_resolution_s >= self.idle_timeout_s,
                f"{resolution} must be below {timeout}",
            ),
            (self.lifetime_s < self.idle_timeout_s, f"{lifetime} must be at least {timeout}"),
            (late, f"precise sweeps look {LOOK_AHEAD_S} s ahead: they must come {interval}"),
        ):
            if wrong:
                raise ConfigurationError(why)

    @property
    def ends_per_second(self) -> float:
        """How many connections end in a second; as many begin."""
        return self.connections / self.lifetime_s

    @property
    def idle_closes_per_second(self) -> float:
        """How many connections fall silent in a second."""
        return self.ends_per_second * self.idle_share

    @property
    def closes_per_sweep(self) -> float:
        """How many connections fall silent from one sweep to the next."""
        return self.idle_closes_per_second * self.sweep_interval_s

    @property
    def heartbeats_per_second(self) -> float:
        """How many heartbeats arrive in a second."""
        return self.connections / self.heartbeat_s

    @property
    def heartbeats_per_recorded_time(self) -> int:
        """How many heartbeats there are for one whose time is recorded; each costs a write."""
        return max(1, math.ceil(self.activity_resolution_s / self.heartbeat_s))

    @property
    def grace_s(self) -> float:
        """From the recorded activity to the deadline."""
        return self.idle_timeout_s + self.activity_resolution_s

    @property
    def table_bytes(self) -> int:
        """Size of the table of connections."""
        return self.connections * self.record_bytes

    @property
    def write_units(self) -> int:
        """Write units of one write to a connection's record."""
        return math.ceil(self.record_bytes / WRITE_UNIT_BYTES)


def _number(low: float, high: float, *, step: int = 0) -> Callable[[str], float]:
    """Return a parser of numbers from ``low`` to ``high``; with a step, of its whole multiples."""
    kind, pattern = "a number", r"[0-9]{1,12}(\.[0-9]{1,9})?"
    if step:
        kind, pattern = "a whole number" if step == 1 else f"a multiple of {step}", "[0-9]{1,10}"

    def parse(text: str) -> float:
        value = math.nan
        if re.fullmatch(pattern, text, re.ASCII):
            value = int(text) if step else float(text)
        if not low <= value <= high or (step and value % step):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind} from {low} to {high}")
        return value

    return parse


_OPTIONS = {
    "connections": (_number(1, MAX_CONNECTIONS, step=1), "open at any time"),
    "heartbeat_s": (_number(0.1, MAX_CONNECTION_S), "between two messages of a client"),
    "lifetime_s": (_number(1, MAX_CONNECTION_S), "how long a connection lasts on average"),
    "record_bytes": (_number(1, MAX_RECORD_BYTES, step=1), "size of a connection's record"),
    "message_bytes": (_number(1, MAX_MESSAGE_BYTES, step=1), "size of a heartbeat"),
    "idle_timeout_s": (
        _number(1, MAX_CONNECTION_S, step=1),
        "as CONNECTION_IDLE_TIMEOUT_SECONDS; longer than the heartbeat",
    ),
    "sweep_interval_s": (
        _number(60, MAX_CONNECTION_S, step=60),
        "whole minutes, as in an EventBridge rate()",
    ),
    "activity_resolution_s": (
        _number(0, MAX_CONNECTION_S, step=1),
        "as ACTIVITY_RESOLUTION_SECONDS",
    ),
    "scan_segments": (
        _number(1, MAX_SCAN_SEGMENTS, step=1),
        "as SCAN_SEGMENTS; the plan says how many sweeps have to run in parallel (shards=N)",
    ),
    "closes_per_second": (_number(0, 1000, step=1), "as CLOSES_PER_SECOND; 0 is no limit"),
    "page_latency_ms": (_number(0.1, 60_000), "time of one page of the scan"),
    "close_cpu_ms": (
        _number(0.001, 10_000),
        "CPU time of one close at one whole vCPU; 256 MB have 0.14 of it",
    ),
    "idle_share": (
        _number(0, 1),
        "share of the connections that end by falling silent; the others leave by themselves",
    ),
}
"""Parser and help of the options, by field of ``Fleet``; seconds are not part of an option's name.
"""


def add_fleet_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a fleet."""
    default = {field.name: field.default for field in fields(Fleet)}
    group = parser.add_argument_group("the fleet and its sweep")
    silent = group.add_mutually_exclusive_group()
    for name, (parse, about) in _OPTIONS.items():
        unit = {"s": "SECONDS", "ms": "MS", "share": "SHARE"}.get(name.rpartition("_")[2], "N")
        (silent if name == "idle_share" else group).add_argument(
            f"--{name.removesuffix('_s').replace('_', '-')}",
            dest=name,
            type=parse,
            metavar=unit,
            default=default[name],
            help=f"{about} (default: {default[name]})",
        )
    silent.add_argument(
        "--idle-closes-per-hour",
        type=_number(0, MAX_CONNECTIONS),
        metavar="N",
        help="the same, as the number of connections that fall silent in an hour",
    )
    group.add_argument(
        "--precise",
        action="store_true",
        help="plan for precise=True: sweeps queue connections, close functions close them",
    )


def fleet_of(options: argparse.Namespace) -> Fleet:
    """Return the fleet that the options describe.

    Raises ``ConfigurationError`` where they contradict each other.
    """
    fleet = Fleet(**{field.name: getattr(options, field.name) for field in fields(Fleet)})
    if options.idle_closes_per_hour is None:
        return fleet
    an_hour = fleet.ends_per_second * 3600
    # Rounded, so that a fleet in which all of them fall silent is not refused.
    share = round(options.idle_closes_per_hour / an_hour, 9)
    if share > 1:
        raise ConfigurationError(
            f"{options.idle_closes_per_hour:,.0f} idle closes an hour are more than the"
            f" {an_hour:,.0f} connections that end in an hour: {fleet.connections:,} of"
            f" {fleet.lifetime_s:g} s each"
        )
    return replace(fleet, idle_share=share)
