"""The project's documents, and the tables in them."""

from pathlib import Path

__all__ = ["DOCUMENTS", "README", "ROOT", "table"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
README = (ROOT / "README.md").read_text()


def table(first_header: str, document: str = README) -> list[list[str]]:
    """Return the cells of the rows of the table that begins with this header."""
    lines = document.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
