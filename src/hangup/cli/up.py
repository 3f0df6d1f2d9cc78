"""``hangup up``."""

import argparse
from typing import Final

from hangup.cli.options import STATE_DIR, add_precise, whole_number
from hangup.cli.output import say
from hangup.cli.shell import python_as_typed, this_program
from hangup.core.limits import MAX_CONNECTION_S
from hangup.local.ministack.last_active import LastActive

_DESCRIPTION: Final = """\
Run the stack on this machine, on 127.0.0.1, until Ctrl-C. It sweeps once a
minute, as on AWS. It prints how to connect, and then what happens.
The state is kept in .hangup in the current folder, and the next run restores it.
"""
_EXAMPLES: Final = """\
examples:
  hangup up
  hangup up --port 4600 --idle-timeout 30
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = _DESCRIPTION, _EXAMPLES
    parser.add_argument(
        "--port",
        type=whole_number(1, 65_535),
        metavar="N",
        help="port on 127.0.0.1 (default: that of the last run, or 4566, or a free one)",
    )
    parser.add_argument(
        "--idle-timeout",
        type=whole_number(1, MAX_CONNECTION_S),
        default=120,
        metavar="SECONDS",
        help="close connections that have been silent for longer (default: 120)",
    )
    add_precise(parser)
    parser.add_argument(
        "--last-active",
        choices=[str(whose) for whose in LastActive],
        default=LastActive.CLIENT,
        metavar="WHOSE",
        help="whose messages move API Gateway's lastActiveAt: the client's, or also those posted to"
        " it: 'client' or 'both' (default: client). AWS does not say which it does",
    )
    parser.set_defaults(run=_run, local=True)


def _run(options: argparse.Namespace) -> int:
    from hangup.local.up import run_up  # noqa: PLC0415 - its parts are an extra

    try:
        run_up(
            say,
            port=options.port,
            idle_timeout_s=options.idle_timeout,
            precise=options.precise,
            last_active=LastActive(options.last_active),
            state_dir=STATE_DIR,
            program=this_program(),
            python=python_as_typed(),
        )
    except KeyboardInterrupt:
        # The expected end of this command.
        say(f"\nStopped. The state is kept in {STATE_DIR} for the next run.")
    return 0
