"""``hangup check``."""

import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from hangup.cli.deployments import EndpointUrl, Function, Local, Profile, Region, Stack, Where
from hangup.cli.options import AllLines, AsJson
from hangup.cli.output import (
    UNCHANGED,
    StderrLog,
    interrupted_means,
    say,
    say_json,
    say_progress,
    say_rest,
    waiting,
)
from hangup.cli.shell import this_program
from hangup.ops.wiring import check_of
from hangup.sessions.check import CheckReport, findings_as_json, in_words
from hangup.sessions.repair import RepairResult

EXAMPLES: Final = (
    "hangup check",
    "hangup check --fix --stack My-Hangup",
    "hangup check --local --json",
)
STATUS: Final = ("no violations, or all are repaired", "violations are left, or it failed")

_LINES: Final = 10
"""For each kind of violation, so that a thousand ghosts do not hide the one that is none."""


def check(  # noqa: PLR0913 - the command's options
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair the violations, and check again.")
    ] = False,
    stack: Stack = None,
    function: Function = None,
    local: Local = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    all_lines: AllLines = False,
    as_json: AsJson = False,
) -> int:
    """Find inconsistent records in a deployed stack.

    These are records whose connection is gone, listeners whose session has
    ended or does not exist, active sessions without a speaker, claims that
    have expired, and times that cannot be read. It reads both tables and asks
    API Gateway about each connection. What looks inconsistent is read again
    some seconds later, because the stack is in use meanwhile.
    """
    where = Where(
        stack=stack,
        function=function,
        local=local,
        profile=profile,
        region=region,
        endpoint_url=endpoint_url,
    )
    with (
        interrupted_means(
            "what is repaired stays; run it again for the rest" if fix else UNCHANGED
        ),
        where.deployed() as found,
        check_of(found, log=StderrLog(), progress=say_progress) as checking,
        waiting("Reading the tables"),
    ):
        first = checking.find()
        report, tried = checking.repair(first) if fix else (first, ())
    if as_json:
        say_json(findings_as_json(report, tried))
    else:
        most = None if all_lines else _LINES
        _say_by_kind([(one.kind, str(one)) for one in first.violations], most=most)
        _say_failures(tried, most=most)
        _say_result(report, tried, fixed=fix, again=where.again)
    return 1 if report.violations else 0


def _say_by_kind(violations: Sequence[tuple[str, str]], *, most: int | None) -> None:
    """Print the violations, at most so many of each kind, and how many there are of each."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for kind, what in violations:
        kinds[kind].append(what)
    for kind, whats in kinds.items():
        for what in whats[:most]:
            say((f"{kind}:", "yellow"), f" {what}")
        say_rest(kind, len(whats), most)
    if len(violations) > 1:
        say()
        for kind, whats in kinds.items():
            say((f"{len(whats):>7,}", "bold"), f"  {kind}")


def _say_failures(tried: Sequence[RepairResult], *, most: int | None) -> None:
    failed = [one for one in tried if one.failure is not None]
    for one in failed[:most]:
        say(("not repaired:", "red"), f" {one.violation}: {one.failure}")
    say_rest("not repaired", len(failed), most)


def _say_result(
    report: CheckReport, tried: Sequence[RepairResult], *, fixed: bool, again: Sequence[str]
) -> None:
    repair_with = f"{this_program()} {shlex.join(['check', '--fix', *again])}"
    words = in_words(report, tried, fixed=fixed, repair_with=repair_with)
    say((words, "bold red" if report.violations else "bold green"))
