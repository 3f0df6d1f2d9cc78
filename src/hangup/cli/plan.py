"""``hangup plan``."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields

from hangup.cli.options import whole_number
from hangup.cli.output import say
from hangup.core.limits import MAX_CONNECTION_S
from hangup.planner.assumptions import MAX_CONNECTIONS, MAX_RECORD_BYTES
from hangup.planner.fleet import Fleet
from hangup.planner.plan import as_text, make_plan
from hangup.planner.prices import list_prices

_DESCRIPTION = """\
Show what a fleet of WebSocket connections costs a month, how long a sweep of it
takes, how late closes are in both topologies, and which AWS quota it meets
first. It calls nobody and needs no credentials: everything follows from the
options, the list prices, and the assumptions in docs/explanation/planning.md.
"""

_EPILOG = """\
examples:
  hangup plan --connections 1000000
  hangup plan --connections 50000 --heartbeat 20 --idle-timeout 60 --idle-share 0.02
  hangup plan --connections 1000000 --json | jq .topologies.inline.late_s
"""


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return float(text)

    return parse


_OPTIONS: dict[str, tuple[Callable[[str], float], str, str]] = {
    "connections": (whole_number(1, MAX_CONNECTIONS), "N", "open at any time"),
    "heartbeat_s": (
        _number(0.1, MAX_CONNECTION_S),
        "SECONDS",
        "between two messages of a client; shorter than the idle timeout",
    ),
    "lifetime_s": (
        whole_number(1, MAX_CONNECTION_S),
        "SECONDS",
        "how long a connection lasts on average",
    ),
    "idle_share": (
        _number(0, 1),
        "SHARE",
        "share of the connections that end by falling silent; the others leave by themselves",
    ),
    "record_bytes": (whole_number(1, MAX_RECORD_BYTES), "N", "size of a connection's record"),
    "idle_timeout_s": (
        whole_number(1, MAX_CONNECTION_S),
        "SECONDS",
        "as CONNECTION_IDLE_TIMEOUT_SECONDS",
    ),
    "sweep_interval_s": (
        whole_number(60, MAX_CONNECTION_S, step=60),
        "SECONDS",
        "whole minutes, as in an EventBridge rate()",
    ),
    "activity_resolution_s": (
        whole_number(0, MAX_CONNECTION_S),
        "SECONDS",
        "as ACTIVITY_RESOLUTION_SECONDS",
    ),
    "closes_per_second": (whole_number(0, 1000), "N", "as CLOSES_PER_SECOND; 0 is no limit"),
}
"""Parser, unit and help of the options, by field of ``Fleet``; an option's name has no unit."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    default = {field.name: field.default for field in fields(Fleet)}
    for name, (parse, unit, about) in _OPTIONS.items():
        parser.add_argument(
            f"--{name.removesuffix('_s').replace('_', '-')}",
            dest=name,
            type=parse,
            metavar=unit,
            default=default[name],
            help=f"{about} (default: {default[name]})",
        )
    parser.add_argument(
        "--precise",
        action="store_true",
        help="plan for precise=True: sweeps queue connections, close functions close them",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    values = {name: getattr(options, name) for name in (*_OPTIONS, "precise")}
    plan = make_plan(Fleet(**values), list_prices())
    say(json.dumps(asdict(plan), indent=2) if options.json else as_text(plan))
    return 0
