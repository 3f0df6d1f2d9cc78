"""The project's documents, and the tables in them."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DOCUMENTS", "README", "ROOT", "page", "picture_lines", "prose", "table"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
README = (ROOT / "README.md").read_text()


def page(name: str) -> str:
    """Return the text of a page of the docs, by its path below ``docs/`` without ``.md``."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def table(first_header: str, document: str) -> list[list[str]]:
    """Return the cells of the rows of the table that begins with this header."""
    lines = document.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def prose(document: str) -> Sequence[str]:
    """Return what a person reads, by paragraph or row of a table: no code, no output."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", document)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]+`", "`code`", text)
    text = re.sub(r"\n(?=[ \t]*(?:[-|#>]|\d+\.) )", "\n\n", text)
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def picture_lines(svg: str) -> Sequence[str]:
    """Return the lines of text in a terminal's picture, from top to bottom."""
    rows: dict[float, list[str]] = {}
    for y, text in re.findall(
        r'<text class="[^"]*" x="[\d.]+" y="([\d.]+)"[^>]*>(.*?)</text>', svg
    ):
        rows.setdefault(float(y), []).append(html.unescape(text).replace("\xa0", " "))
    return ["".join(parts).rstrip() for _, parts in sorted(rows.items())]
