"""Record a run of ``hangup demo`` as the README's picture: ``make pictures``.

The picture has the lines that the demo printed, in their order and unchanged, but for the sweeps
that closed nobody. It needs no font or script from elsewhere.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

__all__ = ["PICTURE", "draw", "shown"]

_ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = _ROOT / "docs" / "demo.svg"

_MIN_WIDTH: Final = 80
_QUIET: Final = re.compile(r"sweep checks \d+ connections: .* 0 closed")
_NOT_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")
"""Terminal sequences but those that end with m: cursor movements, for example."""

# rich's own, but without its fonts, which a reader's browser would fetch from elsewhere.
_FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})"
      clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def shown(lines: Iterable[str]) -> list[str]:
    """Return the lines that the picture shows, without what moves a cursor."""
    clean = (_NOT_COLOURS.sub("", line) for line in lines)
    return [line for line in clean if not _QUIET.search(line)]


def draw(lines: Iterable[str], *, command: str = "make demo", name: str = "demo") -> str:
    """Return an SVG of a terminal that shows a command and these lines.

    ``name`` keeps its styles apart from those of other pictures on a page.
    """
    texts = [Text(f"$ {command}", style="bold"), *map(Text.from_ansi, lines)]
    width = max(_MIN_WIDTH, *(text.cell_len for text in texts))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        for text in texts:
            console.print(text)
        return console.export_svg(title=command, theme=MONOKAI, code_format=_FORMAT, unique_id=name)


def main() -> None:
    """Run the demo and write the picture, if every check of the demo passed."""
    colours = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(_MIN_WIDTH)}
    demo = subprocess.run(
        [sys.executable, "-m", "hangup.cli", "demo"],
        env={**os.environ, **colours},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if demo.returncode:
        raise SystemExit("hangup: the demo failed, so there is no picture of it")
    PICTURE.write_text(draw(shown(demo.stdout.splitlines())))
    print(f"{PICTURE.relative_to(_ROOT)} shows this run.")


if __name__ == "__main__":
    main()
