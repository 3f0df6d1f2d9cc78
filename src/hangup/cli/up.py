"""``hangup up``."""

from typing import Annotated, Final

import typer

from hangup.cli.options import STATE_DIR, Precise, need_local_stack, whole_number
from hangup.cli.output import Steps, say, stop_waiting
from hangup.cli.shell import python_as_typed, this_program
from hangup.core.limits import MAX_CONNECTION_S
from hangup.local.ministack.last_active import LastActive

EXAMPLES: Final = ("hangup up", "hangup up --port 4600 --idle-timeout 30")
STATUS: Final = ("stopped by Ctrl-C", "it could not start, or ended by itself")


def up(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            parser=whole_number(1, 65_535),
            help="Port on 127.0.0.1 (default: that of the last run, or 4566, or a free one).",
        ),
    ] = None,
    idle_timeout: Annotated[
        int,
        typer.Option(
            "--idle-timeout",
            metavar="SECONDS",
            parser=whole_number(1, MAX_CONNECTION_S),
            help="Close connections that have been silent for longer.",
        ),
    ] = 120,
    precise: Precise = False,
    last_active: Annotated[
        LastActive,
        typer.Option(
            "--last-active",
            help="Whose messages move API Gateway's lastActiveAt: the client's alone, or both its"
            " own and those that are posted to it. AWS does not say which it does.",
        ),
    ] = LastActive.CLIENT,
) -> int:
    """Run the stack on this machine, on 127.0.0.1, until Ctrl-C.

    It sweeps once a minute, as on AWS. It prints how to connect, and then what
    happens. The state is kept in .hangup in the current folder, and the next
    run restores it.
    """
    need_local_stack()
    from hangup.local.up import run_up  # noqa: PLC0415 - its parts are an extra

    try:
        run_up(
            _Narrator().say,
            port=port,
            idle_timeout_s=idle_timeout,
            precise=precise,
            last_active=last_active,
            state_dir=STATE_DIR,
            program=this_program(),
            python=python_as_typed(),
        )
    except KeyboardInterrupt:
        # The expected end of this command.
        stop_waiting()
        say(f"\nStopped. The state is kept in {STATE_DIR} for the next run.")
    return 0


class _Narrator:
    """Prints the lines of a run: what is going on now, how to connect, and what happens."""

    def __init__(self) -> None:
        self._steps = Steps()

    def say(self, line: str) -> None:
        """Print a line; one that ends with three dots says what goes on until the next."""
        step = line.removesuffix(" ...")
        if step != line:
            self._steps.begin(step)
        else:
            self._steps.end()
            say((line, "bold green" if line.startswith("Up:") else ""))
