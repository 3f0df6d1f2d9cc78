"""``hangup token``."""

from typing import Annotated, Final

import typer

from hangup.aws.runtime import clock
from hangup.cli.deployments import EndpointUrl, Local, Profile, Region, Stack, Where
from hangup.cli.options import AsJson, whole_number
from hangup.cli.output import interrupted_means, say, say_json
from hangup.core.connection import DurationMs
from hangup.errors import ConfigurationError
from hangup.sessions.model import Role
from hangup.sessions.requests import SESSION_ID
from hangup.sessions.tokens import mint_join_token

EXAMPLES: Final = (
    "hangup token --session demo --role speaker",
    "hangup token --local --session demo --role listener --expires-in 600",
)
STATUS: Final = ("the token is printed", "the stack or its secret cannot be read")

_MAX_LIFETIME_S: Final = 604_800


def token(  # noqa: PLR0913 - the command's options
    *,
    session: Annotated[
        str,
        typer.Option("--session", metavar="ID", help="Id of the session."),
    ],
    role: Annotated[Role, typer.Option("--role", help="Role in the session.")],
    expires_in: Annotated[
        int,
        typer.Option(
            "--expires-in",
            metavar="SECONDS",
            parser=whole_number(1, _MAX_LIFETIME_S),
            help="How long the token can be used to join, at most a week.",
        ),
    ] = 3_600,
    stack: Stack = None,
    local: Local = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Print a join token.

    Whoever has it may join one session in one role until it expires, so treat
    it as a password. It is signed with the join secret of a deployed stack,
    which is read with your AWS credentials, or with --local.
    """
    # The connect handler's own rule: no token for a session that nobody could join.
    if not SESSION_ID.accepts(session):
        raise ConfigurationError(f"--session must be {SESSION_ID}")
    where = Where(
        stack=stack, local=local, profile=profile, region=region, endpoint_url=endpoint_url
    )
    with interrupted_means("no token is made; run it again"):
        secret = where.join_secret()
    now_ms = clock.now_ms()
    lifetime_ms = DurationMs(expires_in * 1000)
    minted = mint_join_token(
        session_id=session, role=role, secret=secret, now_ms=now_ms, lifetime_ms=lifetime_ms
    )
    if as_json:
        expires_at = (now_ms + lifetime_ms) // 1000
        say_json(
            {"token": minted, "sessionId": session, "role": str(role), "expiresAt": expires_at}
        )
    else:
        say(minted)
    return 0
