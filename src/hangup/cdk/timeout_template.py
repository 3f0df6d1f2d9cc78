"""The CloudFormation template of the timeout alone, for stacks that are not made with CDK.

It is what ``IdleConnectionTimeout`` makes, with parameters in place of its arguments. Where an
argument changes which resources there are, the construct is synthesised both ways and the two
templates become one: what only one of them has stands under a condition (``either``). All else that
depends on a parameter is a value, which ``_with_values`` and its neighbours put in its place.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from hangup import __version__
from hangup.cdk.idle_connection_timeout import IdleConnectionTimeout
from hangup.cdk.timeout_parameters import (
    CLOSE_FUNCTIONS,
    CONDITIONS,
    NO_VALUE,
    PARAMETERS,
    RULES,
    Json,
    at_least_shards,
    interface,
    ref,
)
from hangup.core.limits import SHARDS_OF_TEMPLATE

MAX_TEMPLATE_BYTES: Final = 51_200
"""Most that a request to CloudFormation may hold; a larger template must be in S3 (CloudFormation
user guide, quotas)."""

_DESCRIPTION: Final = "Hangup: close the idle connections of an API Gateway WebSocket API"
_MOST_SHARDS: Final = SHARDS_OF_TEMPLATE[-1]


def timeout_template() -> str:
    """Return the text of the template: compact JSON, always the same for the same sources."""
    precise, inline = (
        either(
            "HasStateTable",
            _synthesised(precise=precise, state_table=True),
            _synthesised(precise=precise, state_table=False),
        )
        for precise in (True, False)
    )
    template = either("IsPrecise", precise, inline)
    template |= {
        "Parameters": {one.name: one.as_json() for one in PARAMETERS},
        "Conditions": dict(CONDITIONS),
        "Rules": dict(RULES),
        "Mappings": {"Numbers": {text: {"Value": int(text)} for text in CLOSE_FUNCTIONS}},
        "Metadata": interface(),
    }
    return json.dumps(template, separators=(",", ":"), sort_keys=True) + "\n"


def _synthesised(*, precise: bool, state_table: bool) -> Json:
    """Return the template with all that any choice needs, but for these two."""
    # Not where the environment tells CDK's apps to write: that has the assembly to deploy.
    with tempfile.TemporaryDirectory() as outdir:
        app = cdk.App(
            outdir=outdir,
            analytics_reporting=False,
            # The parameters and conditions come later: a test has the whole template linted.
            builtin_cloud_formation_validation=False,
        )
        stack = _TimeoutStack(app, precise=precise, state_table=state_table)
        template: Json = app.synth().get_stack_artifact(stack.artifact_id).template
    before: Json = template["Resources"]
    resources = {
        logical_id: _with_values(resource, condition=_condition_of(resource, before))
        for logical_id, resource in before.items()
    }
    return cast("Json", _everywhere(_in_short, {**template, "Resources": resources}))


class _TimeoutStack(cdk.Stack):
    """The construct at its fullest, on resources that parameters name."""

    def __init__(self, app: cdk.App, *, precise: bool, state_table: bool) -> None:
        super().__init__(
            app,
            "Timeout",
            description=_DESCRIPTION,
            # No bootstrap stack, and no notes about paths: whoever deploys this has no CDK.
            synthesizer=cdk.LegacyStackSynthesizer(),
        )
        value = {one.name: cdk.Fn.ref(one.name) for one in PARAMETERS}
        api = apigatewayv2.WebSocketApi.from_web_socket_api_attributes(
            self, "Api", web_socket_id=value["ApiId"]
        )
        topic = sns.Topic.from_topic_arn(self, "Topic", value["AlarmTopicArn"])
        bucket = s3.Bucket.from_bucket_name(self, "Code", value["CodeBucket"])
        timeout = IdleConnectionTimeout(
            self,
            "IdleTimeout",
            api=api,
            stage=apigatewayv2.WebSocketStage.from_web_socket_stage_attributes(
                self, "Stage", api=api, stage_name=value["StageName"]
            ),
            connections_table=dynamodb.Table.from_table_name(self, "Table", value["TableName"]),
            connections_table_key=kms.Key.from_key_arn(self, "Key", value["TableKeyArn"]),
            schema=value["TableSchema"],
            hand_over=value["HandOver"],
            disconnect_handler=lambda_.Function.from_function_arn(
                self, "Disconnect", value["DisconnectFunctionArn"]
            ),
            precise=precise,
            state_table=state_table,
            activity=value["Activity"],
            shards=_MOST_SHARDS,
            deployment=value["Deployment"],
            alarm_actions=[cast("cloudwatch.IAlarmAction", cloudwatch_actions.SnsAction(topic))],
            dashboard=True,
            code=lambda_.Code.from_bucket(bucket, value["CodeKey"]),
        )
        outputs = {
            "TimeoutFunctionName": timeout.function.function_name,
            "TimeoutFunctionArn": timeout.function.function_arn,
            "MetricsNamespace": timeout.metrics_namespace,
            "SweepRuleName": timeout.rule.rule_name,
            # So that a stack shows which version its template is of.
            "HangupVersion": __version__,
        }
        if timeout.state_table is not None:
            outputs["StateTableName"] = timeout.state_table.table_name
        if timeout.scheduled_closes is not None:
            outputs |= {
                "CloseFunctionName": timeout.scheduled_closes.function.function_name,
                "CloseQueueUrl": timeout.scheduled_closes.queue.queue_url,
                "FailedClosesQueueUrl": timeout.scheduled_closes.failed_closes.queue_url,
            }
        for output, text in outputs.items():
            cdk.CfnOutput(self, output, value=text)


# -- choices between two templates -----------------------------------------------------------------


def either(condition: str, yes: Any, no: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what is ``yes`` where the condition holds, else ``no``: templates, or parts of them.

    A resource or an output that only ``yes`` has gets the condition. Lists are unordered.
    """
    if yes == no:
        return yes
    if isinstance(yes, list) and isinstance(no, list):
        return [
            *(one if one in no else _if(condition, one, NO_VALUE) for one in yes),
            *(_if(condition, NO_VALUE, one) for one in no if one not in yes),
        ]
    if not isinstance(yes, dict) or not isinstance(no, dict) or _is_intrinsic(yes, no):
        return _if(condition, yes, no)
    merged = {}
    for name in sorted({*yes, *no}):
        if name in yes and name in no:
            merged[name] = either(condition, yes[name], no[name])
        elif name in yes and _is_part(yes[name]):
            merged[name] = {**yes[name], "Condition": condition}
        else:
            merged[name] = _if(condition, yes.get(name, NO_VALUE), no.get(name, NO_VALUE))
    return merged


def _if(condition: str, yes: object, no: object) -> Json:
    return {"Fn::If": [condition, yes, no]}


def _is_intrinsic(*values: Mapping[str, object]) -> bool:
    return any(name == "Ref" or name.startswith("Fn::") for value in values for name in value)


def _is_part(value: object) -> bool:
    """Return whether this is a resource or an output, which CloudFormation can leave out."""
    return isinstance(value, dict) and (
        {"Type", "Properties"} <= value.keys() or value.keys() == {"Value"}
    )


# -- values that parameters decide -----------------------------------------------------------------


def _with_values(resource: Json, *, condition: str | None) -> Json:
    """Return a resource with what the construct has no argument for."""
    changed = dict(resource)
    if resource["Type"] in _PROPERTIES:
        changed["Properties"] = _PROPERTIES[resource["Type"]](resource["Properties"])
    if "DependsOn" in resource:
        # Of a role and its policy. The role is waited for anyway, because it is referred to.
        changed["DependsOn"] = [one for one in resource["DependsOn"] if "Policy" in one]
    return changed if condition is None else {**changed, "Condition": condition}


def _of_function(properties: Json) -> Json:
    variables = properties["Environment"]["Variables"]
    reader = properties["Handler"].split(".")[-2].removesuffix("_handler")
    ours = {
        one.variable.name: ref(one.name)
        for one in PARAMETERS
        if one.variable is not None and reader in one.variable.read_by.split(", ")
    }
    endpoint = variables["API_GATEWAY_ENDPOINT"]
    sweeps = reader == "timeout"
    reserved = {"ReservedConcurrentExecutions": _if("Reserves", ref("Shards"), NO_VALUE)}
    return {
        **properties,
        **(reserved if sweeps else {}),
        "Architectures": [ref("Architecture")],
        "Environment": {
            "Variables": {
                **variables,
                **ours,
                "API_GATEWAY_ENDPOINT": _if("HasEndpoint", ref("ManagementEndpoint"), endpoint),
                "PACE_SHARED_BY": ref("Shards" if sweeps else "CloseFunctions"),
            }
        },
    }


def _of_policy(properties: Json) -> Json:
    document = properties["PolicyDocument"]
    statements = [_under_its_choice(one) for one in document["Statement"]]
    return {**properties, "PolicyDocument": {**document, "Statement": statements}}


def _under_its_choice(statement: Json) -> Json:
    actions = statement["Action"]
    first = actions if isinstance(actions, str) else actions[0]
    condition = {
        "lambda:InvokeFunction": "CallsFunction",
        "dynamodb:DeleteItem": "DeletesRecords",
        "kms:Decrypt": "HasTableKey",
    }.get(first)
    return statement if condition is None else _if(condition, statement, NO_VALUE)


def _of_rule(properties: Json) -> Json:
    first, *_ = targets = properties["Targets"]
    return {
        **properties,
        "Targets": [_target(one, of_rule=_needs_shards(first)) for one in targets],
    }


def _target(target: Json, *, of_rule: str | None) -> Json:
    """Return the target that sweeps one shard, where there are that many.

    ``of_rule`` is the condition that its rule has.
    """
    transformer = target["InputTransformer"]
    said = transformer["InputTemplate"].replace(f'"shards":{_MOST_SHARDS}', '"shards":${Shards}')
    changed = {**target, "InputTransformer": {**transformer, "InputTemplate": {"Fn::Sub": said}}}
    condition = _needs_shards(target)
    return changed if condition in (None, of_rule) else _if(str(condition), changed, NO_VALUE)


def _needs_shards(target: Json) -> str | None:
    """Return the condition that there is the shard of a target; None if there always is."""
    shard = json.loads(target["InputTransformer"]["InputTemplate"].replace("<id>", "null"))["shard"]
    fewest = next(number for number in SHARDS_OF_TEMPLATE if number > shard)
    return None if fewest == 1 else at_least_shards(fewest)


def _of_mapping(properties: Json) -> Json:
    # A reference is text. AWS takes that for a number, but emulators do not.
    number = {"Fn::FindInMap": ["Numbers", ref("CloseFunctions"), "Value"]}
    return {**properties, "ScalingConfig": {"MaximumConcurrency": number}}


def _of_alarm(properties: Json) -> Json:
    said = properties["AlarmDescription"]
    ours = f"The sweep of one of the {_MOST_SHARDS} shards never"
    if not said.startswith(ours):
        return properties
    said = said.replace(ours, "No sweep, or not that of each shard,")
    return {**properties, "AlarmDescription": said, "Threshold": ref("Shards")}


def _of_log_group(properties: Json) -> Json:
    return {**properties, "RetentionInDays": ref("LogRetentionDays")}


def _of_table(properties: Json) -> Json:
    return {
        **properties,
        "SSESpecification": _if("HasTableKey", properties["SSESpecification"], NO_VALUE),
    }


_PROPERTIES: Final[Mapping[str, Callable[[Json], Json]]] = {
    "AWS::Lambda::Function": _of_function,
    "AWS::IAM::Policy": _of_policy,
    "AWS::Events::Rule": _of_rule,
    "AWS::DynamoDB::Table": _of_table,
    "AWS::Lambda::EventSourceMapping": _of_mapping,
    "AWS::CloudWatch::Alarm": _of_alarm,
    "AWS::Logs::LogGroup": _of_log_group,
}


def _condition_of(resource: Json, resources: Json) -> str | None:
    """Return the condition of a resource that the number of shards decides about, or a choice."""
    match resource:
        case {"Type": "AWS::CloudWatch::Dashboard"}:
            return "HasDashboard"
        case {"Type": "AWS::Events::Rule", "Properties": {"Targets": [first, *_]}}:
            return _needs_shards(first)
        case {"Type": "AWS::Lambda::Permission", "Properties": {"SourceArn": source}}:
            return _condition_of(resources[source["Fn::GetAtt"][0]], resources)
    return None


_INSTEAD: Final[Mapping[str, Json]] = {
    "AlarmTopicArn": _if("HasAlarmTopic", ref("AlarmTopicArn"), NO_VALUE),
    "Deployment": _if("IsNamed", ref("Deployment"), ref("AWS::StackName")),
}
"""What stands for a parameter that may be empty."""


def _in_short(node: Json) -> Json:
    """Return a reference with its parameter's other value, and a joined text as a shorter one."""
    match node:
        case {"Ref": name, **others} if not others:
            return _INSTEAD.get(name, node)
        case {"Fn::Join": ["", [*parts]]} if all(_as_variable(one) is not None for one in parts):
            return {"Fn::Sub": "".join(str(_as_variable(one)) for one in parts)}
    return node


def _as_variable(part: object) -> str | None:
    """Return a part of a joined text as ``Fn::Sub`` has it; None for what that cannot express."""
    match part:
        case str():
            return part.replace("${", "${!")
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
    return None


def _everywhere(change: Callable[[Json], Json], node: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with each of its objects changed, the innermost first."""
    if isinstance(node, list):
        return [_everywhere(change, one) for one in node]
    if not isinstance(node, dict):
        return node
    return change({name: _everywhere(change, one) for name, one in node.items()})
