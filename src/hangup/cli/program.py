"""The program: which commands there are, and what an error looks like.

Each command has a module of its own in this folder, which is loaded only when the command is
called. It has a function of the same name, whose docstring is the help, ``EXAMPLES``, and
``STATUS``, which says when the exit status is 0 and when it is 1. To add a command, write the
module and add a line to ``_COMMANDS``.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.main import get_command

from hangup import __version__
from hangup.cli.app import INTERRUPTED
from hangup.cli.completion import VARIABLE, Shell, complete, install_for, script_for
from hangup.cli.help import Command, Group
from hangup.cli.output import interrupt, say, say_aside, stop_waiting, write_aside
from hangup.errors import BackendError, HangupError

if TYPE_CHECKING:
    from typer._click import Context

_NAME: Final = "hangup"
_HERE: Final = "On this machine"
_ANY: Final = "Any deployment"
_DEPLOYED: Final = "The deployed reference stack"
_OWN: Final = "Your own application"
_PLANNING: Final = "Planning"
_COMPLETION: Final = "Completion"


_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "demo": (_HERE, "Run the stack here, watch it close idle clients, check it."),
    "up": (_HERE, "Run the stack here until Ctrl-C."),
    "init": (_OWN, "Find an app's API and table, and write hangup.toml."),
    "sweep": (_OWN, "Sweep once from here: see who is idle, or close them."),
    "deploy": (_OWN, "Deploy the timeout as a stack beside your own."),
    "doctor": (_OWN, "Find what keeps the timeout from working, and what ends it."),
    "mode": (_OWN, "Let the deployed timeout close, or only report."),
    "destroy": (_OWN, "Remove the stack of the timeout."),
    "template": (_OWN, "Print the CloudFormation template of the timeout alone."),
    "package": (_OWN, "Write the functions' zip, or upload it with the template."),
    "status": (_ANY, "Show connections, sweeps and alarms of a deployment."),
    "explain": (_ANY, "Explain what happens to one connection, and why."),
    "tail": (_ANY, "Show what a deployment does as it happens."),
    "token": (_DEPLOYED, "Print a token that lets a client join a session."),
    "check": (_DEPLOYED, "Find and repair inconsistent records."),
    "redrive": (_DEPLOYED, "Replay the cleanups that Lambda gave up."),
    "plan": (_PLANNING, "Say what a fleet costs, how late closes are, which quota it meets."),
}
"""What is said about each command in the program's help: its group, and what it does."""

_LOCAL: Final = ("status", "explain", "tail", "token", "check", "redrive")
"""The commands that have ``--local``."""

_STATUS: Final = ("done, and all is as it should be", "failed, or something is wrong")
_MORE: Final = "`hangup COMMAND --help` explains a command and its options."

_NOT_SET_UP: Final = {
    "NoRegionError": "no AWS Region is set: use --region, or set AWS_DEFAULT_REGION, or AWS_PROFILE"
    " to a profile that has one",
    "NoCredentialsError": "no AWS credentials are found: use --profile, or set AWS_PROFILE, or"
    " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
"""What to do where botocore lacks what it needs to call AWS, by the names of its errors."""

_EXTRAS: Final = {
    **dict.fromkeys(("boto3", "ministack", "uvicorn", "websockets", "wsproto"), "local"),
    "jwt": "sessions",
}
"""The extra that a module comes with, where a command needs more than the command line does."""


def run(words: Sequence[str]) -> int:
    """Run what is typed after the program's name; return the exit status of the command.

    Raise ``SystemExit`` with 0 after ``--help`` and the like, with 2 for wrong usage.
    """
    # So that `kill` stops the stack in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, interrupt)
    program = get_command(_app())
    if os.environ.get(VARIABLE):
        complete(program)
    try:
        with program.make_context(_NAME, list(words)) as context:
            status: int = program.invoke(context)
            return status
    except typer.Exit as left:
        raise SystemExit(left.exit_code) from None
    except typer.TyperException as error:
        _explain(error, words)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        say_aside(f"this needs {error.name}: pip install 'hangup[{extra}]'")
        return 1
    except HangupError as error:
        missing = _NOT_SET_UP.get(error.code) if isinstance(error, BackendError) else None
        if missing and words[0] in _LOCAL:
            missing += "; or add --local for the stack that `hangup up` runs"
        say_aside(missing or str(error))
        return 1
    finally:
        stop_waiting()


def command_of(name: str) -> Command:
    """Return a command, with its module loaded."""
    module = import_module(f"hangup.cli.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    described = app.command(name, cls=Command, epilog=_epilog(module.EXAMPLES, module.STATUS))
    described(getattr(module, name))
    command = get_command(app)
    assert isinstance(command, Command)  # noqa: S101 - as asked for
    return command


def _epilog(examples: Sequence[str], status: tuple[str, str]) -> str:
    """Return the end of a help: what one may type, and what the exit status says."""
    done, failed = status
    lines = ("Examples:" if len(examples) > 1 else "Example:", *(f"  {one}" for one in examples))
    return "\n".join(
        (
            *lines,
            "",
            "Exit status:",
            f"  0    {done}",
            f"  1    {failed}",
            "  2    wrong usage",
            f"  {INTERRUPTED}  interrupted, or nobody reads the output any more",
        )
    )


class _Program(Group):
    """The commands by what is said about them here; the one that is called is loaded."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - Typer's
        super().__init__(**attributes)
        for name, (panel, about) in _COMMANDS.items():
            self.add_command(Command(name, help=about, rich_help_panel=panel))

    def resolve_command(
        self, ctx: "Context", args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """Return the command that is called."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, command_of(name) if name and found else None, rest


def _app() -> typer.Typer:
    app = typer.Typer(
        cls=_Program,
        add_completion=False,
        rich_markup_mode="rich",
        epilog=f"{_epilog(('hangup demo',), _STATUS)}\n\n{_MORE}",
        subcommand_metavar="COMMAND ...",
    )
    app.callback(invoke_without_command=True)(_program)
    return app


def _program(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            help="Let your shell complete commands and options.",
            rich_help_panel=_COMPLETION,
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            help="Print the script that does so, to install it yourself.",
            rich_help_panel=_COMPLETION,
        ),
    ] = False,
    shell: Annotated[
        Shell | None,
        typer.Option(
            "--shell",
            metavar="NAME",
            help=f"The shell, where it cannot be told: {', '.join(Shell)}.",
            show_default=False,
            rich_help_panel=_COMPLETION,
        ),
    ] = None,
) -> None:
    """Close idle Amazon API Gateway WebSocket connections."""
    if version:
        say(f"{_NAME} {__version__}")
    elif show_completion:
        say(script_for(shell))
    elif install_completion:
        say(f"Installed in {install_for(shell)}; it works in the next shell that you start.")
    elif context.invoked_subcommand is None:
        # Somebody's first try, more often than a mistake: say what there is.
        with contextlib.redirect_stdout(sys.stderr):
            typer.echo(context.get_help())
        raise typer.Exit(2)
    else:
        return
    raise typer.Exit


def _explain(error: typer.TyperException, words: Sequence[str]) -> None:
    """Print how the command is used, and what is wrong."""
    context: Context | None = getattr(error, "ctx", None)
    if context is None:  # of an option without its value, Typer does not say whose it is
        path = " ".join((_NAME, *(word for word in words[:1] if word in _COMMANDS)))
        write_aside((f"Usage: {path} [OPTIONS]", "bold"))
    else:
        path = context.command_path
        write_aside((context.get_usage(), "bold"))
    write_aside((f"{path}:", "bold red"), f" {error.format_message()}")
    write_aside(f"Try: {path} --help")
