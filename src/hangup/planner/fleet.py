"""The fleet that is planned for, how it is swept, and the options that say so."""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hangup.core.due import LOOK_AHEAD_S
from hangup.core.limits import MAX_CONNECTION_S, MAX_MESSAGE_BYTES, MAX_SCAN_SEGMENTS
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import (
    CLOSE_CPU_MS,
    MAX_RECORD_BYTES,
    MESSAGE_UNIT_BYTES,
    MONTH_S,
    PAGE_LATENCY_MS,
    PRECISE_INTERVAL_S,
    WRITE_UNIT_BYTES,
)

__all__ = ["Fleet", "add_fleet_options", "fleet_of"]

MAX_CONNECTIONS = 1_000_000_000


def _number(low: float, high: float, *, step: float = 0) -> Callable[[str], float]:
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


def _option(default: float, parse: Callable[[str], float], metavar: str, about: str) -> Any:
    """Return a field of ``Fleet`` that is an option of the command line as well."""
    return field(default=default, metadata={"type": parse, "metavar": metavar, "help": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A steady number of connections: those that leave are replaced.

    ``idle_share`` of all connections (0 to 1) end by falling silent and being closed, the others
    leave by themselves; each lasts ``lifetime_s`` on average. With ``precise`` sweeps queue what
    will be idle soon, and close functions close it. Raises ``ConfigurationError`` where the
    values contradict each other or a limit of AWS.
    """

    connections: int = _option(
        100_000, _number(1, MAX_CONNECTIONS, step=1), "N", "open at any time"
    )
    heartbeat_s: float = _option(
        30,
        _number(0.1, MAX_CONNECTION_S),
        "SECONDS",
        "time between two messages of a client; below the idle timeout",
    )
    lifetime_s: float = _option(
        MAX_CONNECTION_S,
        _number(1, MAX_CONNECTION_S),
        "SECONDS",
        "how long a connection lasts on average, at most 7200",
    )
    record_bytes: int = _option(
        300, _number(1, MAX_RECORD_BYTES, step=1), "N", "size of a connection's record"
    )
    message_bytes: int = _option(
        64, _number(1, MAX_MESSAGE_BYTES, step=1), "N", "size of a heartbeat"
    )
    idle_timeout_s: float = _option(
        120, _number(1, MAX_CONNECTION_S, step=1), "SECONDS", "as CONNECTION_IDLE_TIMEOUT_SECONDS"
    )
    sweep_interval_s: float = _option(
        60, _number(60, MAX_CONNECTION_S, step=60), "SECONDS", "whole minutes, as EventBridge rules"
    )
    resolution_s: float = _option(
        0, _number(0, MAX_CONNECTION_S, step=1), "SECONDS", "as ACTIVITY_RESOLUTION_SECONDS"
    )
    scan_segments: int = _option(
        16,
        _number(1, MAX_SCAN_SEGMENTS, step=1),
        "N",
        "as SCAN_SEGMENTS; the plan says how many parallel sweeps it takes (shards=N)",
    )
    closes_per_second: int = _option(
        200, _number(0, 1000, step=1), "N", "as CLOSES_PER_SECOND; 0 is no limit"
    )
    page_latency_ms: float = _option(
        PAGE_LATENCY_MS, _number(0.1, 60_000), "MS", "time of one page of the scan"
    )
    close_cpu_ms: float = _option(
        CLOSE_CPU_MS,
        _number(0.001, 10_000),
        "MS",
        "CPU time of one close at one whole vCPU; 256 MB have 0.14 of it",
    )
    idle_share: float = _option(
        0.1,
        _number(0, 1),
        "SHARE",
        "share of all connections that end by falling silent, 0 to 1; the others leave by"
        " themselves",
    )
    precise: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        for wrong, why in (
            (
                self.heartbeat_s >= self.idle_timeout_s,
                f"a heartbeat every {self.heartbeat_s:g} s with an idle timeout of"
                f" {self.idle_timeout_s:g} s closes every connection: the heartbeat must be"
                " shorter",
            ),
            (
                self.resolution_s >= self.idle_timeout_s,
                f"an activity resolution of {self.resolution_s:g} s must be below the idle"
                f" timeout of {self.idle_timeout_s:g} s",
            ),
            (
                not self.idle_timeout_s <= self.lifetime_s <= MAX_CONNECTION_S,
                f"a lifetime of {self.lifetime_s:g} s must be from the idle timeout"
                f" ({self.idle_timeout_s:g} s) to API Gateway's limit of {MAX_CONNECTION_S} s",
            ),
            (
                not 0 <= self.idle_share <= 1,
                f"{self.idle_closes_per_second * 3600:,.0f} idle closes an hour are more than the"
                f" {self.ends_per_second * 3600:,.0f} connections that end in an hour",
            ),
            (
                not 1 <= self.message_bytes <= MAX_MESSAGE_BYTES,
                f"a message of {self.message_bytes} bytes must be from 1 to"
                f" {MAX_MESSAGE_BYTES} bytes, API Gateway's limit",
            ),
            (
                not 1 <= self.record_bytes <= MAX_RECORD_BYTES,
                f"a record of {self.record_bytes} bytes must be from 1 to {MAX_RECORD_BYTES}"
                " bytes, DynamoDB's limit",
            ),
            (
                self.precise and self.sweep_interval_s > PRECISE_INTERVAL_S,
                f"precise sweeps look {LOOK_AHEAD_S:g} s ahead: they must come every"
                f" {PRECISE_INTERVAL_S} s, not every {self.sweep_interval_s:g} s",
            ),
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
    def heartbeats_per_write(self) -> int:
        """Heartbeats per recorded time; each of them costs a write all the same."""
        return max(1, math.ceil(self.resolution_s / self.heartbeat_s))

    @property
    def grace_s(self) -> float:
        """From the recorded activity to the deadline."""
        return self.idle_timeout_s + self.resolution_s

    @property
    def table_bytes(self) -> int:
        """Size of the table of connections."""
        return self.connections * self.record_bytes

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


_FLAGS = {
    "heartbeat_s": "--heartbeat",
    "lifetime_s": "--lifetime",
    "idle_timeout_s": "--idle-timeout",
    "sweep_interval_s": "--sweep-interval",
    "resolution_s": "--activity-resolution",
}
"""Options that are not called as their field is."""


def add_fleet_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of ``Fleet``."""
    group = parser.add_argument_group("the fleet and its sweep")
    silent = group.add_mutually_exclusive_group()
    for value in fields(Fleet):
        if value.metadata:
            (silent if value.name == "idle_share" else group).add_argument(
                _FLAGS.get(value.name, f"--{value.name.replace('_', '-')}"),
                dest=value.name,
                type=value.metadata["type"],
                metavar=value.metadata["metavar"],
                help=f"{value.metadata['help']} (default: {value.default})",
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
    names = {value.name for value in fields(Fleet)}
    given = {name: value for name, value in vars(options).items() if value is not None}
    fleet = Fleet(**{name: value for name, value in given.items() if name in names})
    if "idle_closes_per_hour" not in given:
        return fleet
    # Rounded, so that a fleet in which all of them fall silent is not refused.
    share = given["idle_closes_per_hour"] / (fleet.ends_per_second * 3600)
    return replace(fleet, idle_share=round(share, 12))
