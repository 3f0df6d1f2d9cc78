"""``hangup plan``."""

import argparse

from hangup.cli.output import say
from hangup.planner.command import DESCRIPTION, EPILOG, add_options, plan_text


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    say(plan_text(options))
    return 0
