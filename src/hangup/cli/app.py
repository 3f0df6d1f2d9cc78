"""The command line: which commands there are, and what an error looks like.

Each command has a module of its own in this folder. To add one, write the module and add a line to
``_COMMANDS``.
"""

import argparse
import importlib.util
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hangup import __version__
from hangup.cli import check, demo, plan, redrive, token, up
from hangup.cli.output import interrupt, say_aside
from hangup.errors import BackendError, HangupError, LocalStackError

_COMMANDS: Final[Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "demo": ("run the stack on this machine, watch it close idle clients, check it", demo.add_to),
    "up": ("run the stack on this machine until Ctrl-C", up.add_to),
    "token": ("print a token that lets a client join a session", token.add_to),
    "check": ("find and repair inconsistent records of a deployed stack", check.add_to),
    "redrive": ("replay the cleanups that Lambda gave up", redrive.add_to),
    "plan": (
        "say what a fleet costs, how late its closes are, which quota it meets first",
        plan.add_to,
    ),
}

_INTERRUPTED: Final = 130

_NOT_SET_UP: Final = {
    "NoRegionError": "no AWS Region is set: set AWS_DEFAULT_REGION, or AWS_PROFILE to a profile"
    " that has one",
    "NoCredentialsError": "no AWS credentials are found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY",
}
"""What to do where botocore lacks what it needs to call AWS, by the names of its errors."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    It is also interrupted when nobody reads its output any more.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # Not the parser of all commands: it would print their usage instead of this one's.
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # So that `kill` stops the stack in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, interrupt)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        if options.local and importlib.util.find_spec("ministack") is None:
            raise LocalStackError("this needs the local stack: pip install 'hangup[local]'")
        return run(options)
    except HangupError as error:
        missing = _NOT_SET_UP.get(error.code) if isinstance(error, BackendError) else None
        instead = "or add --local for the stack that `hangup up` runs"
        say_aside(f"{missing}; {instead}" if missing else str(error))
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hangup",
        description="Close idle Amazon API Gateway WebSocket connections.",
        epilog="`hangup COMMAND --help` explains a command and its options.",
    )
    # Commands that need the extra "local" say so here, with or without an option of that name.
    parser.set_defaults(local=False)
    parser.add_argument("--version", action="version", version=f"hangup {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (about, add_to) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add_to(command)
        command.set_defaults(parser=command)
    return parser
