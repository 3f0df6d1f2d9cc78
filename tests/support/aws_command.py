"""Run a command of AWS's own program, as far as the fixes of the doctor use it, with boto3.

    run_aws("aws events enable-rule --name tick", engine.client)

Options are matched with the members of the operation's request, and their values read as the
program reads them: texts, numbers, JSON, and the shorthand ``Key=value,Key=value``. An unknown
operation or option fails.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from botocore import xform_name


def run_aws(command: str, client: Callable[[str], Any]) -> Any:
    """Return what AWS answers."""
    program, service, operation, *words = shlex.split(command)
    assert program == "aws"
    of_service = client(service)
    method = operation.replace("-", "_")
    name = next(
        one for one in of_service.meta.service_model.operation_names if xform_name(one) == method
    )
    members = of_service.meta.service_model.operation_model(name).input_shape.members
    by_option = {f"--{xform_name(one).replace('_', '-')}": one for one in members}
    request: dict[str, Any] = {}
    for option, values in _options(words):
        member = by_option[option]
        request[member] = _value(members[member], values)
    return getattr(of_service, method)(**request)


def _options(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    options: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            options.append((word, []))
        else:
            options[-1][1].append(word)
    return options


_SCALARS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": int,
    "long": int,
    "double": float,
    "float": float,
}


def _value(shape: Any, values: Sequence[str]) -> Any:
    if shape.type_name == "boolean":
        assert not values
        return True
    if shape.type_name == "list":
        return [_value(shape.member, [one]) for one in values]
    if shape.type_name in _SCALARS:
        return _SCALARS[shape.type_name](values[0])
    if values[0].startswith("{"):
        return json.loads(values[0])
    return {
        name: _value(shape.members[name], [text]) if text != "[]" else []
        for name, _, text in (part.partition("=") for part in values[0].split(","))
    }
