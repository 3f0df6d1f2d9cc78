"""The options of ``hangup plan``: what may be asked, within which bounds."""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from hangup.core.limits import MAX_MESSAGE_BYTES, MAX_SCAN_SEGMENTS
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import MAX_CONNECTION_S
from hangup.planner.fleet import Fleet

__all__ = ["DESCRIPTION", "EPILOG", "add_options", "fleet_of"]

DESCRIPTION = """\
Say what a fleet of WebSocket connections costs a month, how long a sweep of it
takes, how late its closes are, which AWS quota it meets first, and what other
ways to close idle connections would cost. It calls nobody and needs no
credentials: all of it follows from the options, the price file, and the
assumptions in docs/planning.md.
"""

EPILOG = """\
examples:
  hangup plan --connections 1000000
  hangup plan --connections 50000 --heartbeat 20 --idle-timeout 60 --idle-closes-per-hour 900
  hangup plan --connections 1000000 --json | jq .lateness_s
  hangup plan --print-prices > prices.json   # edit it, then:
  hangup plan --prices prices.json
"""

_MAX_CONNECTIONS = 1_000_000_000
_SWEEP_STEP_S = 60


def _whole(at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not at_least <= int(text) <= at_most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {at_least} to {at_most}"
            )
        return int(text)

    return parse


def _number(at_least: float, at_most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        plain = re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text, re.ASCII)
        value = float(text) if plain else math.nan
        if not at_least <= value <= at_most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {at_least} to {at_most}")
        return value

    return parse


def _sweep_interval(text: str) -> int:
    seconds = _whole(_SWEEP_STEP_S, MAX_CONNECTION_S)(text)
    if seconds % _SWEEP_STEP_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no multiple of {_SWEEP_STEP_S} seconds")
    return seconds


_Option = tuple[str, str, str, Callable[[str], float], str]

_FLEET: tuple[_Option, ...] = (
    ("--connections", "connections", "N", _whole(1, _MAX_CONNECTIONS), "open at any time"),
    (
        "--heartbeat",
        "heartbeat_s",
        "SECONDS",
        _number(0.1, MAX_CONNECTION_S),
        "how often each client says something; below the idle timeout",
    ),
    (
        "--lifetime",
        "lifetime_s",
        "SECONDS",
        _number(1, MAX_CONNECTION_S),
        "how long a connection lasts on average, at most 7200",
    ),
    (
        "--record-bytes",
        "record_bytes",
        "N",
        _whole(1, 409_600),
        "size of a connection's record",
    ),
    (
        "--message-bytes",
        "message_bytes",
        "N",
        _whole(1, MAX_MESSAGE_BYTES),
        "size of a heartbeat",
    ),
)

_SWEEP: tuple[_Option, ...] = (
    (
        "--idle-timeout",
        "idle_timeout_s",
        "SECONDS",
        _whole(1, MAX_CONNECTION_S),
        "as CONNECTION_IDLE_TIMEOUT_SECONDS",
    ),
    (
        "--sweep-interval",
        "sweep_interval_s",
        "SECONDS",
        _sweep_interval,
        "whole minutes, since an EventBridge rate() knows no less",
    ),
    (
        "--activity-resolution",
        "resolution_s",
        "SECONDS",
        _whole(0, MAX_CONNECTION_S),
        "as ACTIVITY_RESOLUTION_SECONDS",
    ),
    (
        "--scan-segments",
        "scan_segments",
        "N",
        _whole(1, MAX_SCAN_SEGMENTS),
        "as SCAN_SEGMENTS; the plan says how many sweeps side by side it takes (segments=N)",
    ),
    (
        "--closes-per-second",
        "closes_per_second",
        "N",
        _whole(0, 1000),
        "as CLOSES_PER_SECOND; 0 is no limit",
    ),
    (
        "--page-latency-ms",
        "page_latency_ms",
        "MS",
        _number(0.1, 60_000),
        "time of one page of the scan",
    ),
    (
        "--close-cpu-ms",
        "close_cpu_ms",
        "MS",
        _number(0.001, 10_000),
        "CPU time of one close at one whole vCPU; 256 MB have 0.14 of it",
    ),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of the command."""
    default = {field.name: field.default for field in fields(Fleet)}
    fleet = parser.add_argument_group("the fleet")
    sweep = parser.add_argument_group("the sweep")
    for group, options in ((fleet, _FLEET), (sweep, _SWEEP)):
        for option, name, metavar, kind, about in options:
            group.add_argument(
                option,
                dest=name,
                type=kind,
                metavar=metavar,
                default=default[name],
                help=f"{about} (default: {default[name]})",
            )
    sweep.add_argument(
        "--precise",
        action="store_true",
        help="plan for precise=True: sweeps queue what falls due, close functions close it",
    )
    silent = fleet.add_mutually_exclusive_group()
    silent.add_argument(
        "--idle-share",
        type=_number(0, 1),
        metavar="SHARE",
        help="share of all connections that end by falling silent, 0 to 1; the others leave by"
        f" themselves (default: {default['idle_share']})",
    )
    silent.add_argument(
        "--idle-closes-per-hour",
        type=_number(0, _MAX_CONNECTIONS),
        metavar="N",
        help="the same, as the number of connections that fall silent in an hour",
    )
    _add_output(parser.add_argument_group("prices and output"))


def _add_output(output: argparse._ArgumentGroup) -> None:
    output.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="your own prices, all or some, in the shape that --print-prices shows; those that the"
        " file lacks remain",
    )
    output.add_argument(
        "--print-prices", action="store_true", help="print the built-in price file, and stop"
    )
    output.add_argument("--json", action="store_true", help="print the plan as one JSON object")


def fleet_of(options: argparse.Namespace) -> Fleet:
    """Return the fleet that the options describe.

    Raises ``ConfigurationError`` where they contradict each other.
    """
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Fleet)
        if getattr(options, field.name) is not None
    }
    fleet = Fleet(**given)
    if options.idle_closes_per_hour is None:
        return fleet
    an_hour = fleet.ends_per_second * 3600
    # Rounding must not refuse a fleet in which all of them fall silent.
    if options.idle_closes_per_hour > an_hour * (1 + 1e-9):
        raise ConfigurationError(
            f"{options.idle_closes_per_hour:,.0f} idle closes an hour are more than the"
            f" {an_hour:,.0f} connections that end in an hour: {fleet.connections:,} of"
            f" {fleet.lifetime_s:g} s each"
        )
    return Fleet(**{**given, "idle_share": min(1.0, options.idle_closes_per_hour / an_hour)})
