"""``hangup token``."""

import argparse
from typing import Final

from hangup.aws.runtime import clock
from hangup.cli.options import add_stack, join_secret_of, whole_number
from hangup.cli.output import say
from hangup.core.connection import DurationMs
from hangup.sessions.model import Role
from hangup.sessions.requests import parse_join
from hangup.sessions.tokens import mint_join_token

_DESCRIPTION: Final = """\
Print a join token. Whoever has it may join one session in one role until it
expires, so treat it as a password. It is signed with the join secret of a
deployed stack, which is read with your AWS credentials, or with --local.
"""
_EXAMPLES: Final = """\
examples:
  hangup token --session demo --role speaker
  hangup token --local --session demo --role listener --expires-in 600
"""
_MAX_LIFETIME_S: Final = 604_800


def add_to(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description, parser.epilog = _DESCRIPTION, _EXAMPLES
    parser.add_argument("--session", required=True, metavar="ID", help="id of the session")
    parser.add_argument(
        "--role", required=True, choices=tuple(map(str, Role)), help="role in the session"
    )
    parser.add_argument(
        "--expires-in",
        type=whole_number(1, _MAX_LIFETIME_S),
        default=3_600,
        metavar="SECONDS",
        help="how long the token can be used to join, at most a week (default: 3600)",
    )
    add_stack(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # The connect handler's own rule: no token for a session that nobody could join.
    parse_join({"sessionId": options.session, "role": options.role})
    token = mint_join_token(
        session_id=options.session,
        role=Role(options.role),
        secret=join_secret_of(options),
        now_ms=clock.now_ms(),
        lifetime_ms=DurationMs(options.expires_in * 1000),
    )
    say(token)
    return 0
