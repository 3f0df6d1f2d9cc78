"""What is asked of an account to see whether a deployment is well. It only reads.

What AWS says is not there is ``None`` or empty. Every other refusal is a ``BackendError`` with the
name of the operation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from hangup.aws import clients
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.inspected import Alarm, Caller, Function, Metric, Resource, Rule, Stage
from hangup.aws.logs import FunctionLogs
from hangup.aws.networks import (
    RouteTable,
    VpcEndpoint,
    has_private_address,
    is_in_service,
    route_table,
    vpc_endpoint,
)
from hangup.aws.retries import Calls
from hangup.aws.values import Item
from hangup.core.connection import EpochMs
from hangup.errors import BackendError

_NOT_FOUND: Final = ("NotFoundException", "ResourceNotFoundException", "NoSuchKey", "404")
_METRICS_AT_ONCE: Final = 500
_ALARMS_AT_ONCE: Final = 100
_TAIL_BYTES: Final = 1_000_000
_PERIOD_S: Final = 60


class Inspection:
    """An account in one Region, as the caller's credentials see it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._clients: dict[str, Any] = {}

    def caller(self) -> Caller:
        """Return who asks."""
        answer = self._ask("sts", "GetCallerIdentity", "get_caller_identity")
        headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
        return Caller(
            account=answer["Account"], arn=answer["Arn"], answered_at_ms=_date_in(headers)
        )

    # -- API Gateway -----------------------------------------------------------------------------

    def api(self, api_id: str) -> tuple[str, bool] | None:
        """Return an API's protocol, and whether API Gateway's own address of it works."""
        answer = self._found("apigatewayv2", "GetApi", "get_api", ApiId=api_id)
        if answer is None:
            return None
        return answer["ProtocolType"], not answer.get("DisableExecuteApiEndpoint", False)

    def stage(self, api_id: str, name: str) -> Stage | None:
        """Return a stage."""
        answer = self._found("apigatewayv2", "GetStage", "get_stage", ApiId=api_id, StageName=name)
        if answer is None:
            return None
        settings = answer.get("DefaultRouteSettings", {})
        return Stage(
            is_deployed="DeploymentId" in answer or answer.get("AutoDeploy", False),
            rate=settings.get("ThrottlingRateLimit"),
        )

    def throttle(self) -> float | None:
        """Return how many requests a second the account has in the Region."""
        answer = self._ask("apigateway", "GetAccount", "get_account")
        rate = answer.get("throttleSettings", {}).get("rateLimit")
        return None if rate is None else float(rate)

    def api_mappings(self, domain: str) -> Sequence[tuple[str, str, str]] | None:
        """Return the API, the stage and the path of each mapping of a custom domain."""
        answer = self._found(
            "apigatewayv2", "GetApiMappings", "get_api_mappings", DomainName=domain
        )
        if answer is None:
            return None
        return [
            (one["ApiId"], one["Stage"], one.get("ApiMappingKey", "")) for one in answer["Items"]
        ]

    def gateway(self, endpoint: str) -> ManagementApiGateway:
        """Return who manages the connections of a stage, by its ``@connections`` URL."""
        client = self._calls(
            "CreateClient", lambda: clients.client("apigatewaymanagementapi", endpoint)
        )
        return ManagementApiGateway(client, self._calls)

    def domains(self) -> Sequence[str]:
        """Return the custom domains of the account."""
        answer = self._ask("apigatewayv2", "GetDomainNames", "get_domain_names")
        return [one["DomainName"] for one in answer.get("Items", [])]

    # -- Lambda ----------------------------------------------------------------------------------

    def unreserved(self) -> int:
        """Return how many concurrent executions no function has reserved."""
        answer = self._ask("lambda", "GetAccountSettings", "get_account_settings")
        return int(answer["AccountLimit"]["UnreservedConcurrentExecutions"])

    def function(self, name: str) -> Function | None:
        """Return a function by its name or ARN."""
        answer = self._found(
            "lambda",
            "GetFunctionConfiguration",
            "get_function_configuration",
            FunctionName=name,
        )
        return None if answer is None else _function(answer)

    def functions(self) -> Iterator[Function]:
        """Yield all functions."""
        for answer in self._pages("lambda", "ListFunctions", "list_functions"):
            yield from map(_function, answer["Functions"])

    def reserved(self, function: str) -> int | None:
        """Return how many concurrent executions a function has reserved."""
        answer = self._ask(
            "lambda", "GetFunctionConcurrency", "get_function_concurrency", FunctionName=function
        )
        reserved: int | None = answer.get("ReservedConcurrentExecutions")
        return reserved

    def may_be_started_by(self, function: str, rule_arn: str) -> bool:
        """Return whether a function's policy lets a rule of EventBridge start it."""
        answer = self._found("lambda", "GetPolicy", "get_policy", FunctionName=function)
        policy = json.loads(answer["Policy"]) if answer else {}
        return any(_lets(one, rule_arn) for one in policy.get("Statement", []))

    def mappings(self, function: str) -> Sequence[tuple[str, str]]:
        """Return the id and the state of each event source mapping of a function."""
        answer = self._ask(
            "lambda", "ListEventSourceMappings", "list_event_source_mappings", FunctionName=function
        )
        return [(one["UUID"], one["State"]) for one in answer["EventSourceMappings"]]

    # -- DynamoDB, KMS, IAM, S3 ------------------------------------------------------------------

    def item(self, table: str, key: Mapping[str, Any]) -> Item | None:
        """Return an item as it is now."""
        answer = self._ask(
            "dynamodb", "GetItem", "get_item", TableName=table, Key=key, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    def kms_key(self, arn: str) -> tuple[bool, str]:
        """Return whether a key is the customer's own, and its state."""
        about = self._ask("kms", "DescribeKey", "describe_key", KeyId=arn)["KeyMetadata"]
        return about.get("KeyManager") == "CUSTOMER", about.get("KeyState", "Enabled")

    def refused(self, role: str, actions: Sequence[str], resource: str) -> Sequence[str]:
        """Return which of these actions on a resource a role is not allowed."""
        answer = self._ask(
            "iam",
            "SimulatePrincipalPolicy",
            "simulate_principal_policy",
            PolicySourceArn=role,
            ActionNames=list(actions),
            ResourceArns=[resource],
        )
        return [
            one["EvalActionName"]
            for one in answer["EvaluationResults"]
            if one["EvalDecision"] != "allowed"
        ]

    def end_of_object(self, bucket: str, key: str) -> bytes | None:
        """Return the last million bytes of an object: of a zip, the names of what is in it."""
        answer = self._found(
            "s3", "GetObject", "get_object", Bucket=bucket, Key=key, Range=f"bytes=-{_TAIL_BYTES}"
        )
        if answer is None:
            return None
        body: bytes = self._calls("GetObject", answer["Body"].read)
        return body

    # -- CloudFormation, EventBridge, CloudWatch -------------------------------------------------

    def resources(self, stack: str) -> Sequence[Resource]:
        """Return what a stack has."""
        answer = self._ask(
            "cloudformation",
            "DescribeStackResources",
            "describe_stack_resources",
            StackName=stack,
        )
        return [
            Resource(one["ResourceType"], one["LogicalResourceId"], one["PhysicalResourceId"])
            for one in answer["StackResources"]
            if one["ResourceStatus"] != "DELETE_COMPLETE" and one.get("PhysicalResourceId")
        ]

    def template(self, stack: str) -> Any:  # noqa: ANN401 - JSON
        """Return the template that a stack was deployed with."""
        answer = self._ask("cloudformation", "GetTemplate", "get_template", StackName=stack)
        body = answer["TemplateBody"]
        return json.loads(body) if isinstance(body, str) else json.loads(json.dumps(body))

    def rule(self, name: str) -> Rule | None:
        """Return a rule."""
        about = self._found("events", "DescribeRule", "describe_rule", Name=name)
        if about is None:
            return None
        answer = self._ask("events", "ListTargetsByRule", "list_targets_by_rule", Rule=name)
        return Rule(
            name=name,
            arn=about["Arn"],
            is_enabled=about.get("State", "ENABLED") != "DISABLED",
            targets=[one["Arn"] for one in answer["Targets"]],
        )

    def alarms(self, names: Sequence[str]) -> Iterator[Alarm]:
        """Yield these alarms."""
        for start in range(0, len(names), _ALARMS_AT_ONCE):
            answer = self._ask(
                "cloudwatch",
                "DescribeAlarms",
                "describe_alarms",
                AlarmNames=list(names[start : start + _ALARMS_AT_ONCE]),
                MaxRecords=_ALARMS_AT_ONCE,
            )
            for one in answer["MetricAlarms"]:
                yield Alarm(
                    name=one["AlarmName"],
                    metric=one.get("MetricName", ""),
                    about=one.get("AlarmDescription", ""),
                    is_on=one["StateValue"] == "ALARM",
                    has_actions=bool(one.get("AlarmActions")),
                    actions_enabled=one.get("ActionsEnabled", True),
                )

    def sums(
        self, metrics: Sequence[Metric], *, until_ms: EpochMs, minutes: int
    ) -> Mapping[Metric, float]:
        """Return the sum of each metric over the minutes before a time; 0 without any value."""
        sums: dict[Metric, float] = dict.fromkeys(metrics, 0.0)
        until = datetime.fromtimestamp(until_ms / 1000, UTC)
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            asked = metrics[start : start + _METRICS_AT_ONCE]
            pages = self._pages(
                "cloudwatch",
                "GetMetricData",
                "get_metric_data",
                StartTime=until - timedelta(minutes=minutes),
                EndTime=until + timedelta(minutes=1),
                MetricDataQueries=[_query(place, one) for place, one in enumerate(asked)],
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    sums[asked[int(result["Id"][1:])]] += sum(result["Values"])
        return sums

    def log_lines(self, groups: Sequence[str], *, since_ms: EpochMs, phrase: str) -> Sequence[str]:
        """Return the lines of these log groups since a time that have a phrase."""
        logs = FunctionLogs(self._client("logs"), self._calls, groups)
        return [text for _, _, text in logs.events(since_ms=since_ms, phrase=phrase)]

    # -- VPC -------------------------------------------------------------------------------------

    def route_tables(self, vpc: str) -> Sequence[RouteTable]:
        """Return the route tables of a VPC."""
        pages = self._pages(
            "ec2", "DescribeRouteTables", "describe_route_tables", Filters=_in_vpc(vpc)
        )
        return [route_table(one) for page in pages for one in page["RouteTables"]]

    def vpc_endpoints(self, vpc: str) -> Sequence[VpcEndpoint]:
        """Return the endpoints in a VPC that are in service."""
        pages = self._pages(
            "ec2", "DescribeVpcEndpoints", "describe_vpc_endpoints", Filters=_in_vpc(vpc)
        )
        found = [one for page in pages for one in page["VpcEndpoints"]]
        return [vpc_endpoint(one) for one in found if is_in_service(one, vpc)]

    def is_private_here(self, host: str) -> bool:
        """Return whether a host has, as seen from this machine, an address of a private network."""
        return has_private_address(host)

    # -- how it is asked -------------------------------------------------------------------------

    def _ask(self, service: str, operation: str, method: str, **request: Any) -> Any:  # noqa: ANN401
        return self._calls(operation, partial(getattr(self._client(service), method), **request))

    def _found(self, service: str, operation: str, method: str, **request: Any) -> Any | None:  # noqa: ANN401
        try:
            return self._ask(service, operation, method, **request)
        except BackendError as error:
            if error.code in _NOT_FOUND:
                return None
            raise

    def _pages(
        self,
        service: str,
        operation: str,
        method: str,
        **request: Any,  # noqa: ANN401
    ) -> list[Any]:
        paginator = self._client(service).get_paginator(method)
        return self._calls(operation, lambda: list(paginator.paginate(**request)))

    def _client(self, service: str) -> Any:  # noqa: ANN401 - botocore's
        if service not in self._clients:
            # Made within a call, so that a missing Region is an error like any other.
            made = self._calls("CreateClient", lambda: clients.client(service))
            self._clients[service] = made
        return self._clients[service]


def _date_in(headers: Mapping[str, str]) -> EpochMs | None:
    # Where a proxy added another, the first is the service's own.
    text = ",".join(headers.get("date", "").split(",")[:2])
    try:
        return EpochMs(round(parsedate_to_datetime(text).timestamp() * 1000))
    except ValueError:
        return None


def _function(answer: Mapping[str, Any]) -> Function:
    state = answer.get("State", "Active")
    try:
        changed = datetime.fromisoformat(answer["LastModified"])
        changed_at_ms: EpochMs | None = EpochMs(round(changed.timestamp() * 1000))
    except ValueError:
        changed_at_ms = None
    return Function(
        name=answer["FunctionName"],
        arn=answer["FunctionArn"],
        role=answer["Role"],
        variables=answer.get("Environment", {}).get("Variables", {}),
        vpc=answer.get("VpcConfig", {}).get("VpcId", ""),
        subnets=answer.get("VpcConfig", {}).get("SubnetIds", []),
        changed_at_ms=changed_at_ms,
        problem=answer.get("StateReason", state) if state == "Failed" else "",
    )


def _in_vpc(vpc: str) -> Sequence[Mapping[str, Any]]:
    return [{"Name": "vpc-id", "Values": [vpc]}]


def _lets(statement: Mapping[str, Any], rule_arn: str) -> bool:
    """Return whether a statement of a function's policy is about EventBridge and this rule."""
    principal = statement.get("Principal", {})
    service = principal.get("Service") if isinstance(principal, dict) else principal
    if statement.get("Effect") != "Allow" or service not in ("events.amazonaws.com", "*"):
        return False
    sources = [
        source
        for condition in statement.get("Condition", {}).values()
        for name, source in condition.items()
        if name.lower() == "aws:sourcearn"
    ]
    return not sources or rule_arn in sources


def _query(place: int, metric: Metric) -> Mapping[str, Any]:
    dimensions = [metric.dimension] if metric.dimension else []
    return {
        "Id": f"m{place}",
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
            },
            "Period": _PERIOD_S,
            "Stat": "Sum",
        },
    }
