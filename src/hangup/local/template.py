"""The CloudFormation template as MiniStack can take it. Pure: template in, template out.

What is changed on the way, and why, so that the template itself stays the one for AWS:

1. ``AWS::ApiGatewayV2::RouteResponse`` goes: MiniStack's CloudFormation does not know the type, and
   its API Gateway sends a route's answer to the client without one.
2. ``Ref`` of a secret becomes its ``Id`` attribute. Both are the ARN on AWS; MiniStack's ``Ref`` is
   the name, which no policy would match.
3. ``ReservedConcurrentExecutions`` is ignored there; ``reserved_concurrency`` lists it for the
   caller to put in place afterwards.
4. Functions get the code that was uploaded, under a key of its own content: CloudFormation
   replaces code only when the key differs from the last one.
5. ``AWS::SQS::QueuePolicy`` goes: it refuses whoever does not come by TLS, and MiniStack, on
   loopback, speaks nothing else than plain HTTP.
6. Who may ``sqs:SendMessage`` may also ``sqs:SendMessageBatch``: for AWS the first covers both (and
   there is no such second action), MiniStack takes them for two.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["code_buckets", "prepared", "reserved_concurrency"]

_LEFT_OUT: Final = frozenset({"AWS::ApiGatewayV2::RouteResponse", "AWS::SQS::QueuePolicy"})
_POLICY: Final = "AWS::IAM::Policy"
_FUNCTION: Final = "AWS::Lambda::Function"
_SECRET: Final = "AWS::SecretsManager::Secret"  # noqa: S105 - a type, no secret


def prepared(template: Mapping[str, Any], *, code_key: str) -> dict[str, Any]:
    """Return the template for MiniStack; ``code_key`` is the uploaded code's S3 key."""
    secrets = {k for k, r in template["Resources"].items() if r["Type"] == _SECRET}
    result: dict[str, Any] = _with_secret_ids(dict(template), secrets)
    gone = {k for k, r in result["Resources"].items() if r["Type"] in _LEFT_OUT}
    resources = {k: r for k, r in result["Resources"].items() if k not in gone}
    for resource in resources.values():
        wanted = resource.pop("DependsOn", [])
        still = [k for k in ([wanted] if isinstance(wanted, str) else wanted) if k not in gone]
        if still:
            resource["DependsOn"] = still
        code = _s3_code(resource)
        if code is not None:
            code["S3Key"] = code_key
        if resource["Type"] == _POLICY:
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Action"] == "sqs:SendMessage":
                    statement["Action"] = ["sqs:SendMessage", "sqs:SendMessageBatch"]
    return {**result, "Resources": resources}


def code_buckets(template: Mapping[str, Any]) -> set[str]:
    """Return the names of the buckets that the template's functions take their code from."""
    codes = [_s3_code(resource) for resource in template["Resources"].values()]
    return {code["S3Bucket"] for code in codes if code is not None}


def reserved_concurrency(template: Mapping[str, Any]) -> dict[str, int]:
    """Return the reserved concurrency of each function that has one, by logical id."""
    return {
        logical_id: int(resource["Properties"]["ReservedConcurrentExecutions"])
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == _FUNCTION
        and "ReservedConcurrentExecutions" in resource["Properties"]
    }


def _s3_code(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    if resource["Type"] != _FUNCTION:
        return None
    code: dict[str, Any] = resource["Properties"]["Code"]
    return code if isinstance(code.get("S3Bucket"), str) else None


def _with_secret_ids(node: Any, secrets: set[str]) -> Any:  # noqa: ANN401 - JSON
    """Return a deep copy in which every Ref of a secret asks for its ARN."""
    if isinstance(node, dict):
        if len(node) == 1 and node.get("Ref") in secrets:
            return {"Fn::GetAtt": [node["Ref"], "Id"]}
        return {key: _with_secret_ids(value, secrets) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_secret_ids(item, secrets) for item in node]
    return node
