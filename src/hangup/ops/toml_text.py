"""TOML as text: a value as it is written, and the line where a key is."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def in_toml(value: object) -> str:
    """Return a text, number, truth value, array or table as TOML, in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        members = [f"{_key(name)} = {in_toml(one)}" for name, one in value.items()]
        return f"{{ {', '.join(members)} }}" if members else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_toml, value))}]"
    # What JSON escapes, TOML reads; of the others it takes all but this one.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else in_toml(name)


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the line (from 1) on which a key of a TOML document is said, None without one.

    ``path`` are the tables that the key is in, and the key. Where only its tables are said, it is
    the line of the innermost of those.
    """
    lines = text.splitlines(keepends=True)
    best, reached, whole = None, 0, 0
    # The start of a document is one as well, up to the end of each statement.
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        depth = _depth(document, path)
        if depth > reached:
            best, reached = whole + 1, depth
        whole = end
    return best


def _depth(document: Any, path: Sequence[str]) -> int:  # noqa: ANN401 - of any shape
    for depth, name in enumerate(path):
        if not isinstance(document, dict) or name not in document:
            return depth
        document = document[name]
    return len(path)
