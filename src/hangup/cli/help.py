"""Help without drawing: for a pipe, a file, and a terminal that takes no colours.

Typer's own help draws boxes with Rich, or has no groups without it.
"""

import inspect
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from hangup.cli.output import is_drawn_on

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

_OPTIONS = "Options"


class Command(TyperCommand):
    """A command whose help is drawn where standard output takes it, and plain elsewhere."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help."""
        if is_drawn_on(sys.stdout):
            super().format_help(ctx, formatter)
        else:
            _write(self, ctx, formatter)


class Group(TyperGroup):
    """The same for a command that has commands."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help."""
        if is_drawn_on(sys.stdout):
            super().format_help(ctx, formatter)
        else:
            _write(self, ctx, formatter)


def _write(command: Command | Group, context: "Context", formatter: "HelpFormatter") -> None:
    command.format_usage(context, formatter)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        formatter.write_paragraph()
        formatter.write_text(paragraph)
    if isinstance(command, Group):
        commands = [(one, (name, one.help or "")) for name, one in command.commands.items()]
        _write_sections(commands, formatter, is_indented=True)
    options = [(one, one.get_help_record(context)) for one in command.get_params(context)]
    _write_sections(options, formatter, is_indented=False)
    if command.epilog:
        formatter.write_paragraph()
        formatter.write(f"{command.epilog}\n")


def _write_sections(
    parts: Iterable[tuple[Any, tuple[str, str] | None]],
    formatter: "HelpFormatter",
    *,
    is_indented: bool,
) -> None:
    """Write what there is to say of options or commands, by their groups."""
    sections: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for part, record in parts:
        if record is not None:
            sections[getattr(part, "rich_help_panel", None) or _OPTIONS].append(record)
    # What has no group of its own comes first, as in Typer's drawing.
    for title in sorted(sections, key=lambda title: title != _OPTIONS):
        with formatter.section(title), formatter.indentation() if is_indented else nullcontext():
            formatter.write_dl(sections[title])
