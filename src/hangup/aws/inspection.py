"""What is asked of an account to see whether a deployment is well. It only reads.

What AWS says is not there is ``None`` or empty.
"""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

from hangup.aws.account_reads import AccountReads
from hangup.aws.cloudwatch import FunctionLogs
from hangup.aws.connections import date_of
from hangup.aws.inspected import (
    Alarm,
    Caller,
    Function,
    Metric,
    Resource,
    RouteTable,
    Rule,
    Stage,
    VpcEndpoint,
    is_in_service,
    route_table,
    vpc_endpoint,
)
from hangup.aws.values import Item
from hangup.core.connection import EpochMs

_METRICS_AT_ONCE: Final = 500
_ALARMS_AT_ONCE: Final = 100
_TAIL_BYTES: Final = 1_000_000
_PERIOD_S: Final = 60


class Inspection(AccountReads):
    """What ``hangup doctor`` looks at."""

    def caller(self) -> Caller:
        """Return who asks."""
        answer = self._ask("sts", "GetCallerIdentity")
        return Caller(account=answer["Account"], arn=answer["Arn"], answered_at_ms=date_of(answer))

    # -- API Gateway -----------------------------------------------------------------------------

    def api(self, api_id: str) -> tuple[str, bool] | None:
        """Return an API's protocol, and whether API Gateway's own address of it works."""
        answer = self._found("apigatewayv2", "GetApi", ApiId=api_id)
        if answer is None:
            return None
        return answer["ProtocolType"], not answer.get("DisableExecuteApiEndpoint", False)

    def stage(self, api_id: str, name: str) -> Stage | None:
        """Return a stage."""
        answer = self._found("apigatewayv2", "GetStage", ApiId=api_id, StageName=name)
        if answer is None:
            return None
        return Stage(
            is_deployed="DeploymentId" in answer or answer.get("AutoDeploy", False),
            rate=answer.get("DefaultRouteSettings", {}).get("ThrottlingRateLimit"),
        )

    def throttle(self) -> float | None:
        """Return how many requests a second the account has in the Region."""
        rate = self._ask("apigateway", "GetAccount").get("throttleSettings", {}).get("rateLimit")
        return None if rate is None else float(rate)

    def api_mappings(self, domain: str) -> Sequence[tuple[str, str, str]] | None:
        """Return the API, the stage and the path of each mapping of a custom domain."""
        answer = self._found("apigatewayv2", "GetApiMappings", DomainName=domain)
        if answer is None:
            return None
        return [
            (one["ApiId"], one["Stage"], one.get("ApiMappingKey", "")) for one in answer["Items"]
        ]

    def domains(self) -> Sequence[str]:
        """Return the custom domains of the account."""
        found = self._ask("apigatewayv2", "GetDomainNames").get("Items", [])
        return [one["DomainName"] for one in found]

    # -- Lambda ----------------------------------------------------------------------------------

    def unreserved(self) -> int:
        """Return how many concurrent executions no function has reserved."""
        limits = self._ask("lambda", "GetAccountSettings")["AccountLimit"]
        return int(limits["UnreservedConcurrentExecutions"])

    def function(self, name: str) -> Function | None:
        """Return a function by its name or ARN."""
        answer = self._found("lambda", "GetFunctionConfiguration", FunctionName=name)
        return None if answer is None else _function(answer)

    def functions(self) -> Iterator[Function]:
        """Return all functions."""
        return map(_function, self._listed("lambda", "ListFunctions", "Functions"))

    def reserved(self, function: str) -> int | None:
        """Return how many concurrent executions a function has reserved."""
        answer = self._ask("lambda", "GetFunctionConcurrency", FunctionName=function)
        reserved: int | None = answer.get("ReservedConcurrentExecutions")
        return reserved

    def may_be_started_by(self, function: str, rule_arn: str) -> bool:
        """Return whether a function's policy lets a rule of EventBridge start it."""
        answer = self._found("lambda", "GetPolicy", FunctionName=function)
        policy = json.loads(answer["Policy"]) if answer else {}
        return any(_lets(one, rule_arn) for one in policy.get("Statement", []))

    def mappings(self, function: str) -> Sequence[tuple[str, str]]:
        """Return the id and the state of each event source mapping of a function."""
        answer = self._ask("lambda", "ListEventSourceMappings", FunctionName=function)
        return [(one["UUID"], one["State"]) for one in answer["EventSourceMappings"]]

    # -- DynamoDB, KMS, IAM, S3 ------------------------------------------------------------------

    def item(self, table: str, key: Mapping[str, Any]) -> Item | None:
        """Return an item as it is now."""
        answer = self._ask("dynamodb", "GetItem", TableName=table, Key=key, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def kms_key(self, arn: str) -> tuple[bool, str]:
        """Return whether a key is the customer's own, and its state."""
        about = self._ask("kms", "DescribeKey", KeyId=arn)["KeyMetadata"]
        return about.get("KeyManager") == "CUSTOMER", about.get("KeyState", "Enabled")

    def refused(self, role: str, actions: Sequence[str], resource: str) -> Sequence[str]:
        """Return which of these actions on a resource a role is not allowed."""
        answer = self._ask(
            "iam",
            "SimulatePrincipalPolicy",
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
            "s3", "GetObject", Bucket=bucket, Key=key, Range=f"bytes=-{_TAIL_BYTES}"
        )
        if answer is None:
            return None
        body: bytes = self._calls("GetObject", answer["Body"].read)
        return body

    # -- CloudFormation, EventBridge, CloudWatch -------------------------------------------------

    def resources(self, stack: str) -> Sequence[Resource]:
        """Return what a stack has."""
        answer = self._ask("cloudformation", "DescribeStackResources", StackName=stack)
        return [
            Resource(one["ResourceType"], one["LogicalResourceId"], one["PhysicalResourceId"])
            for one in answer["StackResources"]
            if one["ResourceStatus"] != "DELETE_COMPLETE" and one.get("PhysicalResourceId")
        ]

    def template(self, stack: str) -> Any:  # noqa: ANN401 - JSON
        """Return the template that a stack was deployed with."""
        body = self._ask("cloudformation", "GetTemplate", StackName=stack)["TemplateBody"]
        return json.loads(body) if isinstance(body, str) else json.loads(json.dumps(body))

    def rule(self, name: str) -> Rule | None:
        """Return a rule."""
        about = self._found("events", "DescribeRule", Name=name)
        if about is None:
            return None
        answer = self._ask("events", "ListTargetsByRule", Rule=name)
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
            results = self._listed(
                "cloudwatch",
                "GetMetricData",
                "MetricDataResults",
                StartTime=until - timedelta(minutes=minutes),
                EndTime=until + timedelta(minutes=1),
                MetricDataQueries=[_query(place, one) for place, one in enumerate(asked)],
            )
            for result in results:
                sums[asked[int(result["Id"][1:])]] += sum(result["Values"])
        return sums

    def log_lines(self, groups: Sequence[str], *, since_ms: EpochMs, phrase: str) -> Sequence[str]:
        """Return the lines of these log groups since a time that have a phrase."""
        logs = FunctionLogs(self._client("logs"), self._calls, groups)
        return [text for _, _, text in logs.events(since_ms=since_ms, phrase=phrase)]

    # -- VPC -------------------------------------------------------------------------------------

    def route_tables(self, vpc: str) -> Sequence[RouteTable]:
        """Return the route tables of a VPC."""
        found = self._listed("ec2", "DescribeRouteTables", "RouteTables", Filters=_in_vpc(vpc))
        return [route_table(one) for one in found]

    def vpc_endpoints(self, vpc: str) -> Sequence[VpcEndpoint]:
        """Return the endpoints in a VPC that are in service."""
        found = self._listed("ec2", "DescribeVpcEndpoints", "VpcEndpoints", Filters=_in_vpc(vpc))
        return [vpc_endpoint(one) for one in found if is_in_service(one, vpc)]

    def is_private_here(self, host: str) -> bool:
        """Return whether a host has, as seen from this machine, an address of a private network."""
        try:
            found = socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)
        except OSError:
            return False
        return any(ip_address(address[0]).is_private for *_, address in found)


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
