"""Questions to the person at a terminal. Whoever pipes a command is asked nothing."""

import sys
from collections.abc import Callable, Sequence
from typing import Final

import typer

from hangup.aws.table_size import TableSize
from hangup.cli.output import say_aside, stop_waiting, write_aside
from hangup.errors import ConfigurationError
from hangup.planner.assumptions import READ_UNIT_BYTES
from hangup.planner.prices import list_prices

_LARGE_BYTES: Final = 1_000_000_000
"""What one read of a larger table costs is said before it is read."""


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


def agreed(question: str, *, yes: bool, otherwise: Callable[[], None] | None = None) -> bool:
    """Return whether whoever is at the terminal agrees; ``yes`` answers in their place.

    ``otherwise`` is called where they do not, or give no answer. Raise ``ConfigurationError`` where
    nobody can be asked.
    """
    is_agreed = yes
    try:
        is_agreed = yes or _confirmed(question)
    finally:
        if not is_agreed and otherwise is not None:
            otherwise()
    return is_agreed


def _confirmed(question: str) -> bool:
    if not may_ask():
        raise ConfigurationError(f"{question} Nobody can be asked here: add --yes to agree")
    stop_waiting()
    try:
        return bool(typer.confirm(question, err=True))
    except typer.Abort:
        raise KeyboardInterrupt from None


def may_read(table: str, size: TableSize, *, yes: bool, consistently: bool = False) -> bool:
    """Say what the read of a large table costs, and ask; ``yes`` agrees."""
    if size.bytes < _LARGE_BYTES:
        return True
    # An eventually consistent read is half a unit.
    units = size.bytes / READ_UNIT_BYTES / (1 if consistently else 2)
    how = "strongly consistent" if consistently else "as each sweep of the deployed function does"
    say_aside(
        f"{table} has about {size.items:,} items and {size.bytes / 1e9:,.1f} GB: one read of it"
        f" costs about ${units * list_prices().usd['dynamodb_reads']:.2f} on demand, {how}"
    )
    return agreed("Read it?", yes=yes)
