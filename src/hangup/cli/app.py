"""The command line: ``hangup demo``, ``up``, ``token``, ``check``, ``redrive`` and ``plan``."""

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from hangup import __version__
from hangup.aws.deployment import DeployedStack, deployed_join_secret, deployed_stack
from hangup.core.connection import DurationMs, EpochMs
from hangup.core.limits import MAX_CONNECTION_S
from hangup.errors import BackendError, HangupError, LocalStackError
from hangup.ops.wiring import check_of, redrive_of
from hangup.planner.command import DESCRIPTION, EPILOG, add_options, plan_text
from hangup.sessions.check import findings_as_json, in_words
from hangup.sessions.model import Role
from hangup.sessions.requests import parse_join
from hangup.sessions.tokens import mint_join_token

__all__ = ["main"]

_DESCRIPTION: Final = "Hang up on idle Amazon API Gateway WebSocket connections."
_STACK: Final = "Hangup"
_STATE_DIR: Final = Path(".hangup")
_INTERRUPTED: Final = 130

_NOT_SET_UP: Final = {
    "NoRegionError": "no AWS Region is set: set AWS_DEFAULT_REGION, or AWS_PROFILE to a profile"
    " that has one",
    "NoCredentialsError": "no AWS credentials are found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY",
}
"""What to do where botocore finds nothing to call AWS with, by its names for that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Whoever stops reading what it prints interrupts it.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # Not the parser of all commands: it would print their usage instead of this one's.
        parser: argparse.ArgumentParser = options.parser
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # So that `kill` stops the stack in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except HangupError as error:
        _say_aside(_in_words(error))
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _in_words(error: HangupError) -> str:
    missing = _NOT_SET_UP.get(error.code) if isinstance(error, BackendError) else None
    return (
        f"{missing}; or add --local for the stack that `hangup up` runs" if missing else f"{error}"
    )


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
    _add_precise(demo)
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
    _add_precise(up)
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
    _add_where(token)
    token.set_defaults(run=_token)

    check = commands.add_parser(
        "check",
        help="look for what is broken in a deployed stack, and mend it",
        description="Compare both tables and API Gateway with what must hold: every record has a"
        " connection, every listener a session, every session a speaker and the right"
        " listenerCount, and no claim is left over. What looks broken is looked at again some"
        " seconds later, because the stack is live. Exit status 0 if nothing is broken or all of it"
        " is mended, 1 otherwise.",
    )
    check.add_argument(
        "--fix", action="store_true", help="mend what is broken, and check again afterwards"
    )
    check.add_argument("--json", action="store_true", help="print the result as one JSON object")
    _add_where(check)
    check.set_defaults(run=_check)

    redrive = commands.add_parser(
        "redrive",
        help="replay cleanups that failed for good",
        description="Invoke the disconnect function again with each event in the queue of failed"
        " cleanups. A message leaves the queue once its event is accepted. Exit status 0 if all"
        " were replayed, 1 if any is left.",
    )
    redrive.add_argument(
        "--dry-run", action="store_true", help="only say what would be replayed; leave it there"
    )
    _add_where(redrive)
    redrive.set_defaults(run=_redrive)

    plan = commands.add_parser(
        "plan",
        help="say what a fleet costs, how late its closes are, and which quota it meets first",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(plan)
    plan.set_defaults(run=_plan)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_precise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precise",
        action="store_true",
        help="close to the second, by a queue, instead of to the minute",
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--stack",
        default=_STACK,
        metavar="NAME",
        help=f"CloudFormation stack (default: {_STACK})",
    )
    where.add_argument("--local", action="store_true", help="the stack that `hangup up` runs here")


def _where(options: argparse.Namespace) -> Sequence[str]:
    """Return the options that lead to the same stack again."""
    if options.local:
        return ["--local"]
    return [] if options.stack == _STACK else ["--stack", options.stack]


def _program() -> str:
    """Return what to type here to call this program again, quoted for a shell."""
    called = Path(sys.argv[0])
    if called.name == "cli.py":
        return f"{_from_here(Path(sys.executable))} -m hangup.cli.app"
    if called.name != "hangup":  # called as a function
        return "hangup"
    found = shutil.which("hangup")
    on_path = found is not None and Path(found).resolve() == called.resolve()
    return "hangup" if on_path else _from_here(called)


def _from_here(program: Path) -> str:
    """Return what to type here to call a program, quoted for a shell."""
    absolute, here = program.absolute(), Path.cwd()
    if not absolute.is_relative_to(here):
        return shlex.quote(str(absolute))
    # With "./" a shell does not look for it on its path.
    if absolute.parent == here:
        return shlex.quote(f"./{absolute.name}")
    return shlex.quote(str(absolute.relative_to(here)))


def _demo(options: argparse.Namespace) -> int:
    _require_local_parts()
    from hangup.local.demo import run_demo  # noqa: PLC0415 - its parts are an extra

    return 0 if run_demo(_say, precise=options.precise) else 1


def _up(options: argparse.Namespace) -> int:
    _require_local_parts()
    from hangup.local.up import run_up  # noqa: PLC0415 - its parts are an extra

    try:
        run_up(
            _say,
            port=options.port,
            idle_timeout_s=options.idle_timeout,
            precise=options.precise,
            state_dir=_STATE_DIR,
            program=_program(),
            python=_from_here(Path(sys.executable)),
        )
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
    _say(token)
    return 0


def _check(options: argparse.Namespace) -> int:
    with check_of(_stack(options), log=_StderrLog(), progress=_say_aside) as check:
        found = check.find()
        report, tried = check.mend(found) if options.fix else (found, ())
    if options.json:
        _say(json.dumps(findings_as_json(report, tried), indent=2))
    else:
        for broken in found.broken:
            _say(f"{broken.kind}: {broken}")
        for mended in tried:
            if mended.failure is not None:
                _say(f"not mended: {mended.broken}: {mended.failure}")
        mend = shlex.join(["check", "--fix", *_where(options)])
        _say(in_words(report, tried, fixed=options.fix, mend_with=f"{_program()} {mend}"))
    return 1 if report.broken else 0


def _redrive(options: argparse.Namespace) -> int:
    report = redrive_of(_stack(options), say=_say).replay(dry_run=options.dry_run)
    verb = "would be replayed" if options.dry_run else "replayed"
    left = f", {len(report.left)} left in the queue" if report.left else ""
    _say(f"{report.replayed} {verb}{left}.")
    return 1 if report.left else 0


def _plan(options: argparse.Namespace) -> int:
    _say(plan_text(options))
    return 0


def _stack(options: argparse.Namespace) -> DeployedStack:
    if not options.local:
        return deployed_stack(options.stack)
    _require_local_parts()
    from hangup.local.up import local_stack  # noqa: PLC0415 - its parts are an extra

    return local_stack(_STATE_DIR)


class _StderrLog:
    """``Log`` for a terminal: what went wrong, in a line each; what is normal is not worth one."""

    def info(self, event: str, **fields: object) -> None:
        """Say nothing."""

    def warning(self, event: str, **fields: object) -> None:
        """Print a line."""
        about = ", ".join(f"{name} {value}" for name, value in fields.items())
        _say_aside(f"{event}: {about}")

    error = warning


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
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Nobody reads on (`hangup demo | head`): end in order, without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _interrupt(signal.SIGINT, None)


def _say_aside(line: str) -> None:
    # Where it gets into no result that is piped on.
    print(f"hangup: {line}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now: inside an event loop that is another thing than outside."""
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(on_ctrl_c):
        raise KeyboardInterrupt
    on_ctrl_c(number, frame)


if __name__ == "__main__":
    sys.exit(main())
