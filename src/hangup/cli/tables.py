"""Tables: drawn on a terminal that takes colours and boxes, columns of plain text elsewhere."""

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from hangup.cli.output import is_drawn_on, printable, say, say_drawn, width

_GAP: Final = "  "


class Column(NamedTuple):
    """A column: its title, and whether it has numbers, which are aligned at their end."""

    title: str
    is_number: bool = False


def say_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a title; nothing of a table without rows."""
    if not rows:
        return
    rows = [[printable(text) for text in row] for row in rows]
    say((title, "bold"))
    if is_drawn_on(sys.stdout):
        _draw(columns, rows)
        return
    widths = [
        max(len(text) for text in (column.title, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    ]
    for row in ([column.title.upper() for column in columns], *rows):
        cells = [
            text.rjust(wide) if column.is_number else text.ljust(wide)
            for text, wide, column in zip(row, widths, columns, strict=True)
        ]
        say(_GAP + _GAP.join(cells).rstrip())


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - only where there is something to draw
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    table = Table(box=box.ROUNDED)
    for column in columns:
        table.add_column(column.title, justify="right" if column.is_number else "left")
    for row in rows:
        # As they are: an id or a label may look like Rich's markup.
        table.add_row(*map(Text, row))
    say_drawn(table, width=width())
