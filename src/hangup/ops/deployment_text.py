"""``hangup.toml`` for people and for tools: the commented file, its reference, its JSON Schema."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hangup.ops.kinds import Setting
from hangup.ops.settings import SECTIONS, SETTINGS
from hangup.ops.toml_text import in_toml

_WIDTH: Final = 98
_FIRST_LINES: Final = (
    "# A deployment of Hangup, which closes idle WebSocket connections. Every setting is here.",
    "# A line that begins with # and no space is not in force; remove the # to use it.",
)


def commented_file(
    said: Mapping[str, object],
    *,
    notes: Mapping[str, str] | None = None,
    doubts: Mapping[str, object] | None = None,
) -> str:
    """Return the text of a file that says ``said``, by dotted keys.

    Every setting is in it. What is not said is commented out, with the value in ``doubts``, its
    default, or an example. ``notes`` are put in front of settings.
    """
    notes, doubts = notes or {}, doubts or {}
    lines = [*_FIRST_LINES]
    for section, about in SECTIONS.items():
        lines += ["", f"# {about}", f"[{section}]"]
        for one in SETTINGS:
            if one.section == section:
                for text in filter(None, (one.about, notes.get(one.key))):
                    lines += _comment(text)
                lines.append(_line(one, said, doubts))
    return "\n".join((*lines, ""))


def _comment(text: str) -> Iterator[str]:
    # What was found in somebody's table may hold any character; a comment is one line.
    clean = "".join(one if one.isprintable() else "\ufffd" for one in text)
    for line in textwrap.wrap(clean, _WIDTH):
        yield f"# {line}"


def _line(one: Setting, said: Mapping[str, object], doubts: Mapping[str, object]) -> str:
    if one.key in said:
        return f"{one.name} = {in_toml(said[one.key])}"
    shown = next(
        value for value in (doubts.get(one.key), one.example, one.default) if value is not None
    )
    return f"#{one.name} = {in_toml(shown)}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors and other tools."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hangup.toml",
        **_table("A deployment of Hangup."),
    }
    for section, about in SECTIONS.items():
        *above, name = section.split(".")
        _within(schema, above)["properties"][name] = _table(about)
    for one in SETTINGS:
        *above, name = one.key.split(".")
        members = _within(schema, above)
        described = {"description": one.about, **one.kind.json_schema()}
        members["properties"][name] = (
            described if one.default is None else described | {"default": one.default}
        )
        if one.is_required:
            members["required"] = [*members.get("required", []), name]
    schema["required"] = [
        name for name, table in schema["properties"].items() if "required" in table
    ]
    return schema


def _table(about: str) -> dict[str, Any]:
    return {
        "description": about,
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def _within(schema: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        schema = schema["properties"][name]
    return schema


def json_schema_text() -> str:
    """Return the JSON Schema as the file in the package has it."""
    return f"{json.dumps(json_schema(), indent=2)}\n"


def as_markdown() -> str:
    """Return the reference as the docs have it: a table for each section."""
    lines = []
    for section, about in SECTIONS.items():
        lines += [
            f"### `[{section}]`",
            "",
            about,
            "",
            "| Key | Default | Must be | What | Parameter |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(one) for one in SETTINGS if one.section == section] + [""]
    return "\n".join(lines).rstrip("\n")


def _row(one: Setting) -> str:
    default = "none" if one.default is None else f"`{in_toml(one.default)}`"
    parameter = f"`{one.parameter}`" if one.parameter else ""
    cells = (f"`{one.name}`", "required" if one.is_required else default, one.kind, one.about)
    return f"| {' | '.join(map(str, cells))} | {parameter} |"
