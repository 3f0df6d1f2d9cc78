"""Completion in the shell: the script for it, and where it goes."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import shellingham
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script, install

from hangup.errors import ConfigurationError

if TYPE_CHECKING:
    from typer._click import Command

VARIABLE: Final = "_HANGUP_COMPLETE"
"""Set by the script when it asks this program what could be typed next."""

_PROGRAM: Final = "hangup"


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"
    PWSH = "pwsh"


def script_for(shell: Shell | None) -> str:
    """Return the script. Without a shell it is that of the one this runs in.

    Raise ``ConfigurationError`` if that cannot be told.
    """
    return get_completion_script(
        prog_name=_PROGRAM, complete_var=VARIABLE, shell=str(shell or _this_shell())
    )


def install_for(shell: Shell | None) -> Path:
    """Write the script to where the shell looks for it, and return where that is.

    Raise ``ConfigurationError`` if the shell cannot be told or the file cannot be written.
    """
    name = str(shell or _this_shell())
    completion_init()
    try:
        _, path = install(shell=name, prog_name=_PROGRAM, complete_var=VARIABLE)
    except OSError as error:
        raise ConfigurationError(f"the completion cannot be installed: {error}") from error
    return path


def complete(program: "Command") -> NoReturn:
    """Answer the script: print what could be typed next, and leave."""
    completion_init()
    program.main(args=[], prog_name=_PROGRAM)
    raise SystemExit(0)


def _this_shell() -> Shell:
    try:
        name, _ = shellingham.detect_shell()
    except (shellingham.ShellDetectionFailure, OSError):
        name = Path(os.environ.get("SHELL", "")).name
    if name not in list(Shell):
        which = f"there is no completion for {name}" if name else "this shell cannot be told"
        raise ConfigurationError(f"{which}: choose one of {', '.join(Shell)} with --shell")
    return Shell(name)
