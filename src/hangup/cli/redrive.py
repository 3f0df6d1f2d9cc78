"""``hangup redrive``."""

import argparse
from typing import Final

from hangup.cli.options import add_stack, stack_of
from hangup.cli.output import say
from hangup.ops.wiring import redrive_of

_DESCRIPTION: Final = """\
Replay the cleanups that Lambda gave up after its last attempt: invoke the
disconnect function again with each event in the queue of failed cleanups. An
event leaves the queue once Lambda has accepted it. Repair the cause first.

exit status: 0 if all were replayed, 1 if any is left in the queue
"""
_EXAMPLES: Final = """\
examples:
  hangup redrive --dry-run
  hangup redrive --stack My-Hangup
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = _DESCRIPTION, _EXAMPLES
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be replayed, and change nothing"
    )
    add_stack(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    report = redrive_of(stack_of(options), say=say).replay(dry_run=options.dry_run)
    verb = "would be replayed" if options.dry_run else "replayed"
    left = f", {len(report.left)} left in the queue" if report.left else ""
    say(f"{report.replayed} {verb}{left}.")
    return 1 if report.left else 0
