"""Ways to read a synthesised template."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Resources:
    """A template's resources, found by what they are rather than by their generated names."""

    template: dict[str, Any]

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """Return the properties of each resource of a type, by logical id."""
        return {
            logical_id: resource.get("Properties", {})
            for logical_id, resource in self.template["Resources"].items()
            if resource["Type"] == resource_type
        }

    def function(self, handler: str) -> dict[str, Any]:
        (function,) = (
            properties
            for properties in self.of_type("AWS::Lambda::Function").values()
            if properties["Handler"] == f"hangup.handlers.{handler}.lambda_handler"
        )
        return function

    def grants(self, handler: str) -> dict[str, set[str]]:
        """Return the actions that a handler's role allows, by resource."""
        role = self.function(handler)["Role"]["Fn::GetAtt"][0]
        grants: dict[str, set[str]] = {}
        for policy in self.of_type("AWS::IAM::Policy").values():
            if {"Ref": role} in policy["Roles"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert statement.keys() == {"Action", "Effect", "Resource"}
                    assert statement["Effect"] == "Allow"
                    for resource in as_list(statement["Resource"]):
                        actions = grants.setdefault(readable(resource), set())
                        actions.update(as_list(statement["Action"]))
        return grants

    def alarm(self, metric_name: str) -> dict[str, Any]:
        (alarm,) = (
            properties
            for properties in self.of_type("AWS::CloudWatch::Alarm").values()
            if properties["MetricName"] == metric_name
        )
        return alarm


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def readable(value: Any) -> str:
    """Write CloudFormation's intrinsics as text: ``${Table.Arn}``, without generated suffixes."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return "${" + _without_suffix(name) + "}"
        case {"Fn::GetAtt": [name, attribute]}:
            return "${" + f"{_without_suffix(name)}.{attribute}" + "}"
        case {"Fn::Join": ["", parts]}:
            return "".join(readable(part) for part in parts)
        case {"Fn::If": [condition, yes, no]}:
            return f"{condition} ? {readable(yes)} : {readable(no)}"
    raise AssertionError(f"not expected in a template: {value!r}")


def _without_suffix(logical_id: str) -> str:
    return re.sub("[0-9A-F]{8}$", "", logical_id)
