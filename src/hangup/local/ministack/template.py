"""The CloudFormation template as MiniStack can take it. Pure: template in, template out.

What is changed on the way, and why, so that the template itself stays the one for AWS:

1. ``AWS::ApiGatewayV2::RouteResponse`` goes: MiniStack's CloudFormation does not know the type, and
   its API Gateway sends a route's answer to the client without one.
2. ``Ref`` of a secret becomes its ``Id`` attribute. Both are the ARN on AWS; MiniStack's ``Ref`` is
   the name, which no policy would match.
3. ``ReservedConcurrentExecutions`` is ignored there; ``reserved_concurrency`` lists it for the
   caller to put in place afterwards.
4. ``IdleTimeoutSeconds`` may be less than 75 with ``precise`` too. That bound is for one sweep a
   minute, and the demo sweeps once a second. In the template of the timeout alone it is a rule.
5. ``AWS::SQS::QueuePolicy`` goes: it refuses whoever does not come by TLS, and MiniStack, on
   loopback, speaks nothing else than plain HTTP.
6. Who may ``sqs:SendMessage`` may also ``sqs:SendMessageBatch``: for AWS the first covers both (and
   there is no such second action), MiniStack takes them for two.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

_LEFT_OUT: Final = frozenset({"AWS::ApiGatewayV2::RouteResponse", "AWS::SQS::QueuePolicy"})
_WHOLE_SECONDS: Final = "^[1-9][0-9]{0,3}$"
_PRECISE_NEEDS_TIME: Final = "PreciseNeedsTime"
_SECRET: Final = "AWS::SecretsManager::Secret"  # noqa: S105 - a type, no secret


def prepared(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template for MiniStack."""
    secrets = {k for k, r in template["Resources"].items() if r["Type"] == _SECRET}

    def as_there(node: dict[str, Any]) -> dict[str, Any]:
        if len(node) == 1 and node.get("Ref") in secrets:
            return {"Fn::GetAtt": [node["Ref"], "Id"]}
        if node.get("Action") == "sqs:SendMessage":
            return {**node, "Action": ["sqs:SendMessage", "sqs:SendMessageBatch"]}
        return node

    result: dict[str, Any] = json.loads(json.dumps(template), object_hook=as_there)
    gone = {k for k, r in result["Resources"].items() if r["Type"] in _LEFT_OUT}
    resources = {k: r for k, r in result["Resources"].items() if k not in gone}
    for resource in resources.values():
        wanted = resource.pop("DependsOn", [])
        still = [k for k in ([wanted] if isinstance(wanted, str) else wanted) if k not in gone]
        if still:
            resource["DependsOn"] = still
    idle_timeout = result.get("Parameters", {}).get("IdleTimeoutSeconds")
    if idle_timeout is not None:
        idle_timeout["AllowedPattern"] = _WHOLE_SECONDS
        result.get("Rules", {}).pop(_PRECISE_NEEDS_TIME, None)
    return {**result, "Resources": resources}


def reserved_concurrency(template: Mapping[str, Any]) -> dict[str, int]:
    """Return the reserved concurrency of each function that has one, by logical id.

    Where a parameter decides it, as ``ReserveConcurrency`` does, it is reserved here: there is no
    quota of an account.
    """
    return {
        logical_id: _number(resource["Properties"]["ReservedConcurrentExecutions"])
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
        and "ReservedConcurrentExecutions" in resource["Properties"]
    }


def _number(value: Any) -> int:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        _condition, value, _otherwise = value["Fn::If"]
    return int(value)
