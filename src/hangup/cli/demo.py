"""``hangup demo``."""

import argparse
from typing import Final

from hangup.cli.options import add_precise
from hangup.cli.output import say

_DESCRIPTION: Final = """\
Run the stack on this machine with an idle timeout of 4 seconds. Connect eight
real WebSocket clients, let three of them fall silent, and check what became of
each. Nothing outside this machine is used, and nothing is left behind.

exit status: 0 if every check holds, 1 otherwise
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = _DESCRIPTION
    add_precise(parser)
    parser.set_defaults(run=_run, local=True)


def _run(options: argparse.Namespace) -> int:
    from hangup.local.demo.demo import run_demo  # noqa: PLC0415 - its parts are an extra

    return 0 if run_demo(say, precise=options.precise) else 1
