"""``hangup tail``."""

import json
from typing import Annotated, Any, Final

import typer

from hangup.aws.runtime import clock
from hangup.cli.deployments import (
    Config,
    EndpointUrl,
    Function,
    Local,
    Profile,
    Region,
    Settings,
    Stack,
    Where,
    timeout_of,
)
from hangup.cli.options import whole_number
from hangup.cli.output import say, say_aside, stop_waiting
from hangup.core.connection import DurationMs, EpochMs
from hangup.ops.log_tail import LogTail, at_clock, in_words
from hangup.ops.looking import logs_of

EXAMPLES: Final = (
    "hangup tail",
    "hangup tail --minutes 30 --stack My-Hangup",
    "hangup tail --local",
)
STATUS: Final = ("stopped by Ctrl-C", "the stack or its logs cannot be read")

_LOOK_EVERY_MS: Final = DurationMs(2_000)
"""With five functions that is half of what FilterLogEvents may be called in the tightest Region
(5 a second, CloudWatch Logs quotas)."""
_MAX_MINUTES: Final = 1_440


def tail(  # noqa: PLR0913 - the command's options
    *,
    minutes: Annotated[
        int,
        typer.Option(
            "--minutes",
            metavar="N",
            parser=whole_number(0, _MAX_MINUTES),
            help="Begin with what was logged in this time.",
        ),
    ] = 0,
    config: Config = None,
    settings: Settings = None,
    stack: Stack = None,
    function: Function = None,
    local: Local = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print each line as one JSON object, and nothing else.",
            rich_help_panel="Output",
        ),
    ] = False,
) -> int:
    """Show what a deployment does as it happens, until Ctrl-C.

    These are the log lines of its functions in words: sweeps, closes, whatever
    was left and why, and errors. On AWS they come some seconds late.
    """
    where = Where(
        stack=stack,
        function=function,
        local=local,
        profile=profile,
        region=region,
        endpoint_url=endpoint_url,
    )
    try:
        with timeout_of(where, config=config, settings=settings) as found:
            log_tail = LogTail(
                logs_of(found), clock, since_ms=EpochMs(clock.now_ms() - minutes * 60_000)
            )
            if not as_json:
                say_aside(f"watching {found.name}; Ctrl-C stops")
            while True:
                for at_ms, text in log_tail.new_lines():
                    _say(at_ms, text, as_json=as_json)
                clock.sleep(_LOOK_EVERY_MS)
    except KeyboardInterrupt:
        # The expected end of this command.
        stop_waiting()
    return 0


def _say(at_ms: int, text: str, *, as_json: bool) -> None:
    words = in_words(text)
    if words is None:
        return
    if as_json:
        say(json.dumps({"at": at_ms, "line": _object(text)}))
    else:
        say(f"{at_clock(at_ms)}  {words}")


def _object(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return a line as the function logged it: an object, or a text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text.rstrip("\n")
