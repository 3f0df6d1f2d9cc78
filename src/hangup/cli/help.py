"""Help without drawing: for a pipe, a file, and a terminal that takes no colours.

Typer's own help draws boxes with Rich, or has no groups without it.
"""

import inspect
import sys
from collections import defaultdict
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
        _write_sections(_commands(command, context), formatter, indents=1)
    _write_sections(_options(command, context), formatter, indents=0)
    if command.epilog:
        formatter.write_paragraph()
        formatter.write(f"{command.epilog}\n")


def _write_sections(
    sections: dict[str, list[tuple[str, str]]], formatter: "HelpFormatter", *, indents: int
) -> None:
    # What has no group of its own comes first, as in Typer's drawing.
    for title in sorted(sections, key=lambda title: title != _OPTIONS):
        with formatter.section(title):
            for _ in range(indents):
                formatter.indent()
            formatter.write_dl(sections[title])
            for _ in range(indents):
                formatter.dedent()


def _options(command: Command | Group, context: "Context") -> dict[str, list[tuple[str, str]]]:
    sections: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None:
            sections[_panel(option)].append(record)
    return sections


def _commands(group: Group, context: "Context") -> dict[str, list[tuple[str, str]]]:
    sections: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            sections[_panel(command)].append((name, command.help or ""))
    return sections


def _panel(part: Any) -> str:  # noqa: ANN401 - an option or a command
    return getattr(part, "rich_help_panel", None) or _OPTIONS
