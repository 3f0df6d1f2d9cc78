"""The options that several commands have, and how the values of options are read."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from hangup.core.bounds import WholeNumber
from hangup.errors import LocalStackError

STATE_DIR: Final = Path(".hangup")
"""Where `hangup up` keeps its state, below the current folder."""

_OUTPUT: Final = "Output"

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as one JSON object, and nothing else.",
        rich_help_panel=_OUTPUT,
    ),
]
AllLines = Annotated[
    bool, typer.Option("--all", help="Print every line, however many.", rich_help_panel=_OUTPUT)
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Ask nothing: agree to what the command would ask.")
]
Precise = Annotated[
    bool,
    typer.Option("--precise", help="Close to the second, by a queue, instead of to the minute."),
]


def whole_number(at_least: int, at_most: int, *, step: int = 1) -> Callable[[object], int]:
    """Return a parser of an option's value: digits only, both bounds included."""
    number = WholeNumber(at_least=at_least, at_most=at_most, step=step)

    def parse(value: object) -> int:
        try:
            return number.parse(str(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def decimal_number(low: float, high: float) -> Callable[[object], float]:
    """Return a parser of an option's value: digits and a point, both bounds included."""

    def parse(value: object) -> float:
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
            raise typer.BadParameter(f"{text!r} is not a number from {low} to {high}")
        return float(text)

    return parse


def need_local_stack() -> None:
    """Raise ``LocalStackError`` where what runs on this machine is not installed."""
    if importlib.util.find_spec("ministack") is None:
        raise LocalStackError("this needs the local stack: pip install 'hangup[local]'")
