"""Compare what a stack's record says it has with what the engine holds.

The engine keeps each service's state in a file of its own. Where one is missing, damaged or of
another version, the stack's own record still says that everything is there, and an update finds
nothing to do.
"""

import http.client
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from hangup.local.ministack.engine import HOST, Engine

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackResourceTypeDef

_TIMEOUT_S: Final = 10.0

_LOOK_UPS: Final[Mapping[str, tuple[str, str, str]]] = {
    "AWS::ApiGatewayV2::Api": ("apigatewayv2", "get_api", "ApiId"),
    "AWS::DynamoDB::Table": ("dynamodb", "describe_table", "TableName"),
    "AWS::Events::Rule": ("events", "describe_rule", "Name"),
    "AWS::IAM::Role": ("iam", "get_role", "RoleName"),
    "AWS::Lambda::EventSourceMapping": ("lambda", "get_event_source_mapping", "UUID"),
    "AWS::Lambda::Function": ("lambda", "get_function", "FunctionName"),
    "AWS::SQS::Queue": ("sqs", "get_queue_url", "QueueName"),
    "AWS::SecretsManager::Secret": ("secretsmanager", "describe_secret", "SecretId"),
}
"""How to ask for one resource: service, operation, and the parameter that names it. Parts of an API
or a role are in the same file as the whole."""

_LISTS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "AWS::CloudWatch::Alarm": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
}
"""Where only a list is to be had: service, operation, and where in its pages the names are."""


def missing_resources(engine: Engine, stack_name: str) -> Sequence[str]:
    """Return the stack's resources that the engine does not hold, as "TYPE LOGICAL_ID"."""
    cloudformation: CloudFormationClient = engine.client("cloudformation")
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    listed = {kind: _names(engine, *_LISTS[kind]) for kind in _LISTS}
    return [
        f"{resource['ResourceType']} {resource['LogicalResourceId']}"
        for resource in resources
        if not _is_there(engine, listed, resource)
    ]


def _names(engine: Engine, service: str, operation: str, items: str, name: str) -> set[str]:
    pages = engine.client(service).get_paginator(operation).paginate()
    return {item[name] for page in pages for item in page.get(items, [])}


def _is_there(
    engine: Engine, listed: Mapping[str, Collection[str]], resource: "StackResourceTypeDef"
) -> bool:
    kind = resource["ResourceType"]
    # A queue's id is its address, of which the port may be that of another run.
    name = resource.get("PhysicalResourceId", "")
    name = name.rpartition("/")[2] if kind == "AWS::SQS::Queue" else name
    if kind not in _LOOK_UPS:
        return kind not in listed or name in listed[kind]
    service, operation, parameter = _LOOK_UPS[kind]
    try:
        found = getattr(engine.client(service), operation)(**{parameter: name})
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return False
    return kind != "AWS::Lambda::Function" or _has_code(engine, found)


def _has_code(engine: Engine, function: Mapping[str, Any]) -> bool:
    """Return whether a function's code can be fetched; without it each call answers a mock."""
    location = urlsplit(function["Code"]["Location"])
    connection = http.client.HTTPConnection(HOST, engine.port, timeout=_TIMEOUT_S)
    with closing(connection):
        connection.request("GET", f"{location.path}?{location.query}")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK and bool(answer.read(1))
