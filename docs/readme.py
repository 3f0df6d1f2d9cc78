# ruff: noqa: INP001 - a script: nothing imports it
"""``make docs``: write the README's table of environment variables from ``hangup.config``."""

from pathlib import Path
from typing import Final

from hangup.config import as_markdown

_README: Final = Path(__file__).parents[1] / "README.md"
_BEGIN: Final = "<!-- configuration: written by make docs -->\n"
_END: Final = "\n<!-- /configuration -->"


def main() -> None:
    """Put the table between its markers in the README."""
    before, begin, rest = _README.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit("hangup: README.md has lost the markers of the configuration's table")
    _README.write_text(f"{before}{begin}{as_markdown()}{end}{after}")


if __name__ == "__main__":
    main()
