"""The command line: ``hangup demo``, ``hangup up``, ``hangup token``."""

import argparse
import importlib.util
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from hangup import __version__
from hangup.aws.stack import deployed_join_secret
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.model import DurationMs, EpochMs, Role
from hangup.core.requests import parse_join
from hangup.errors import HangupError, LocalStackError
from hangup.tokens import mint_join_token

__all__ = ["main"]

_DESCRIPTION: Final = "Hang up on idle Amazon API Gateway WebSocket connections."
_STATE_DIR: Final = Path(".hangup")
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    # So that `kill` stops the stack in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except HangupError as error:
        print(f"hangup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hangup", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"hangup {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="watch idle connections being closed on this machine, and check the result",
        description="Start the stack on loopback with an idle timeout of 4 s, connect eight real"
        " WebSocket clients, let some fall silent, and check what became of each. Exit status 0"
        " only if everything was as promised.",
    )
    demo.set_defaults(run=_demo)

    up = commands.add_parser(
        "up",
        help="run the stack on this machine until Ctrl-C",
        description="Run the stack on loopback at its real timing: one sweep a minute, by the"
        " EventBridge rule. State is kept in .hangup below the current folder.",
    )
    up.add_argument(
        "--port",
        type=_whole_number(1, 65_535),
        metavar="N",
        help="port on 127.0.0.1 (default: that of the last run, or 4566, or a free one)",
    )
    up.add_argument(
        "--idle-timeout",
        type=_whole_number(1, MAX_CONNECTION_S),
        default=120,
        metavar="SECONDS",
        help="close connections that were silent for longer (default: 120)",
    )
    up.set_defaults(run=_up)

    token = commands.add_parser(
        "token",
        help="mint a join token",
        description="Print a token that lets its bearer join one session in one role. Signed with"
        " the join secret of a deployed stack: of the one on AWS that --stack names, found with"
        " your AWS credentials, or with --local of the one that `hangup up` runs here.",
    )
    token.add_argument("--session", required=True, metavar="S", help="the session's id")
    token.add_argument("--role", required=True, choices=("speaker", "listener"))
    token.add_argument(
        "--expires-in",
        type=_whole_number(1, 604_800),
        default=3_600,
        metavar="SECONDS",
        help="how long it may be used to join (default: 3600)",
    )
    where = token.add_mutually_exclusive_group()
    where.add_argument(
        "--stack", default="Hangup", metavar="NAME", help="CloudFormation stack (default: Hangup)"
    )
    where.add_argument("--local", action="store_true", help="the stack that `hangup up` runs here")
    token.set_defaults(run=_token)
    return parser


def _demo(_options: argparse.Namespace) -> int:
    _require_local_parts()
    from hangup.local.demo import run_demo  # noqa: PLC0415 - its parts are an extra

    return 0 if run_demo(_say) else 1


def _up(options: argparse.Namespace) -> int:
    _require_local_parts()
    from hangup.local.up import run_up  # noqa: PLC0415 - its parts are an extra

    try:
        run_up(_say, port=options.port, idle_timeout_s=options.idle_timeout, state_dir=_STATE_DIR)
    except KeyboardInterrupt:
        # The expected end of this command.
        _say("\nStopped. The state is kept in .hangup for the next time.")
    return 0


def _token(options: argparse.Namespace) -> int:
    role = Role(options.role)
    # The same rule that the connect handler has: no token for a session that nobody could join.
    parse_join({"sessionId": options.session, "role": options.role})
    if options.local:
        _require_local_parts()
        from hangup.local.up import local_join_secret  # noqa: PLC0415 - its parts are an extra

        secret = local_join_secret(_STATE_DIR)
    else:
        secret = deployed_join_secret(options.stack)
    token = mint_join_token(
        session_id=options.session,
        role=role,
        secret=secret,
        now_ms=EpochMs(time.time_ns() // 1_000_000),
        lifetime_ms=DurationMs(options.expires_in * 1000),
    )
    print(token)
    return 0


def _whole_number(at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not at_least <= int(text) <= at_most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {at_least} to {at_most}"
            )
        return int(text)

    return parse


def _require_local_parts() -> None:
    if importlib.util.find_spec("ministack") is None:
        raise LocalStackError("this needs the local stack: pip install 'hangup[local]'")


def _say(line: str) -> None:
    # Flushed line by line: what happens is worth seeing while it happens, through a pipe too.
    print(line, flush=True)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
