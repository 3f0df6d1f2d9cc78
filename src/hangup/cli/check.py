"""``hangup check``."""

import argparse
import json
import shlex
from typing import Final

from hangup.cli.options import add_stack, same_stack, stack_of
from hangup.cli.output import StderrLog, say, say_aside
from hangup.cli.shell import this_program
from hangup.ops.wiring import check_of
from hangup.sessions.check import findings_as_json, in_words

_DESCRIPTION: Final = """\
Find inconsistent records in a deployed stack: records whose connection is gone,
listeners whose session has ended or does not exist, active sessions without a
speaker, and claims that have expired. It reads both tables and asks API Gateway
about each connection. What looks inconsistent is read again some seconds later,
because the stack is in use meanwhile.

exit status: 0 if there are no violations, or all are repaired; 1 otherwise
"""
_EXAMPLES: Final = """\
examples:
  hangup check
  hangup check --fix --stack My-Hangup
  hangup check --local --json
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = _DESCRIPTION, _EXAMPLES
    parser.add_argument("--fix", action="store_true", help="repair the violations, and check again")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_stack(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with check_of(stack_of(options), log=StderrLog(), progress=say_aside) as check:
        found = check.find()
        report, tried = check.repair(found) if options.fix else (found, ())
    if options.json:
        say(json.dumps(findings_as_json(report, tried), indent=2))
    else:
        for violation in found.violations:
            say(f"{violation.kind}: {violation}")
        for result in tried:
            if result.failure is not None:
                say(f"not repaired: {result.violation}: {result.failure}")
        repair = shlex.join(["check", "--fix", *same_stack(options)])
        repair_with = f"{this_program()} {repair}"
        say(in_words(report, tried, fixed=options.fix, repair_with=repair_with))
    return 1 if report.violations else 0
