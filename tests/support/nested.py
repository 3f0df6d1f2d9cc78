"""What is wrong with the parameters that a stack gives to the template of the timeout alone."""

import re
from collections.abc import Mapping
from typing import Any

from hangup.aws.schema import TableSchema
from hangup.errors import ConfigurationError

__all__ = ["problems_of"]


def problems_of(parameters: Mapping[str, object], template: Mapping[str, Any]) -> list[str]:
    """Return what CloudFormation, or the functions, would refuse; of tokens only their names."""
    known = template["Parameters"]
    problems = [f"{name}: not a parameter" for name in parameters if name not in known]
    problems += [
        f"{name}: required"
        for name, parameter in known.items()
        if name not in parameters and "Default" not in parameter
    ]
    values = {
        name: str(value)
        for name, value in parameters.items()
        if name in known and not isinstance(value, Mapping)
    }
    for name, value in values.items():
        allowed, pattern = known[name].get("AllowedValues"), known[name].get("AllowedPattern")
        if (allowed and value not in allowed) or (pattern and not re.fullmatch(pattern, value)):
            problems.append(f"{name}: {value!r} is not allowed")
    rule = parameters.get("HandOver", known["HandOver"]["Default"])
    if rule in ("always", "if_left") and not parameters.get("DisconnectFunctionArn"):
        problems.append(f"DisconnectFunctionArn: required with HandOver {rule}")
    if schema := values.get("TableSchema"):
        try:
            TableSchema.from_json(schema)
        except ConfigurationError as error:
            problems.append(f"TableSchema: {error}")
    return problems
