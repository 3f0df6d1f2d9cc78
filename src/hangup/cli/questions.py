"""Questions to the person at a terminal. Whoever pipes a command is asked nothing."""

import sys
from collections.abc import Sequence

import typer

from hangup.cli.output import stop_waiting, write_aside
from hangup.errors import ConfigurationError


def may_ask() -> bool:
    """Return whether somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def choice(question: str, options: Sequence[str]) -> str:
    """Return the option that is chosen by its number. Ctrl-C and the end of the input interrupt."""
    stop_waiting()
    write_aside((question, "bold"))
    for number, option in enumerate(options, 1):
        write_aside((f"{number:>3}", "cyan"), f"  {option}")
    while True:
        try:
            text: str = typer.prompt("Number", err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
        if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= len(options):
            return options[int(text[:9]) - 1]
        write_aside(f"It is a number from 1 to {len(options)}.")


def agreed(question: str, *, yes: bool) -> bool:
    """Return whether whoever is at the terminal agrees; ``yes`` answers in their place.

    Raise ``ConfigurationError`` where nobody can be asked.
    """
    if yes:
        return True
    if not may_ask():
        raise ConfigurationError(f"{question} Nobody can be asked here: add --yes to agree")
    stop_waiting()
    try:
        return bool(typer.confirm(question, err=True))
    except typer.Abort:
        raise KeyboardInterrupt from None
