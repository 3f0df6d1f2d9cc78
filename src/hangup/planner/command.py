"""``hangup plan``: its options, and what it says."""

import argparse
import json
from pathlib import Path

from hangup.errors import ConfigurationError
from hangup.planner.fleet import add_fleet_options, fleet_of
from hangup.planner.plan import make_plan
from hangup.planner.prices import PriceList, packaged_prices, packaged_prices_text, parse_prices
from hangup.planner.report import as_json, as_text

__all__ = ["DESCRIPTION", "EPILOG", "add_options", "plan_text"]

DESCRIPTION = """\
Show what a fleet of WebSocket connections costs a month, how long a sweep of it
takes, how late closes are in both topologies, and which AWS quota it meets
first. It calls nobody and needs no credentials: everything follows from the
options, the price file, and the assumptions in docs/planning.md.
"""

EPILOG = """\
examples:
  hangup plan --connections 1000000
  hangup plan --connections 50000 --heartbeat 20 --idle-timeout 60 --idle-closes-per-hour 900
  hangup plan --connections 1000000 --json | jq .topologies.inline.lateness_s
  hangup plan --print-prices > prices.json   # edit it, then:
  hangup plan --prices prices.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of the command."""
    add_fleet_options(parser)
    output = parser.add_argument_group("prices and output")
    output.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="your own prices, all or some, in the form that --print-prices shows; the others stay"
        " as they are",
    )
    output.add_argument(
        "--print-prices", action="store_true", help="print the built-in price file and stop"
    )
    output.add_argument("--json", action="store_true", help="print the plan as one JSON object")


def plan_text(options: argparse.Namespace) -> str:
    """Return what the command prints.

    Raises ``ConfigurationError`` where the options contradict each other, or the price file cannot
    be read.
    """
    if options.print_prices:
        return packaged_prices_text().removesuffix("\n")
    plan = make_plan(fleet_of(options), _prices(options.prices))
    return json.dumps(as_json(plan), indent=2) if options.json else as_text(plan)


def _prices(file: Path | None) -> PriceList:
    if file is None:
        return packaged_prices()
    try:
        # With or without the mark that editors on Windows put first.
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"the prices cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: {error}") from error
    return parse_prices(text, name=str(file))
