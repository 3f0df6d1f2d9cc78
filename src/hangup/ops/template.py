"""The CloudFormation template of the timeout alone, as the package carries it."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

_FILE: Final = "timeout.template.json"


def timeout_template() -> str:
    """Return the text of the template: compact JSON that ends with a line break."""
    return (resources.files("hangup.ops") / _FILE).read_text("utf-8")


def as_markdown() -> str:
    """Return the parameters as the docs have them: a table for each group."""
    template = json.loads(timeout_template())
    lines: list[str] = []
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        lines += [f"### {group['Label']['default']}", ""]
        lines += ["| Parameter | Default | What |", "|---|---|---|"]
        lines += [_row(name, template["Parameters"][name]) for name in group["Parameters"]]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _row(name: str, parameter: Mapping[str, Any]) -> str:
    default = {None: "required", "": "empty"}.get(
        parameter.get("Default"), f"`{parameter.get('Default')}`"
    )
    values = ", ".join(f"`{value}`" for value in parameter.get("AllowedValues", ()))
    accepted = values or parameter["ConstraintDescription"].removeprefix("must be ")
    return f"| `{name}` | {default} | {parameter['Description']} Accepted: {accepted} |"
