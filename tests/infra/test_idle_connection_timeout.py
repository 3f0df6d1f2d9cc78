"""The idle timeout in a stack that has everything else already."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns

from hangup.aws.schema import TableSchema
from hangup.cdk import HangupStack, IdleConnectionTimeout
from hangup.cdk.bundle import build_lambda_zip, content_hash
from hangup.cdk.code import code_of
from hangup.core.hand_over import HandOver
from tests.support.documents import ROOT, page, table
from tests.support.existing_stack import (
    FUNCTION_ARN,
    KEY_ARN,
    TABLE_ARN,
    TOPIC_ARN,
    add_timeout,
    existing_stack,
    synthesised,
)
from tests.support.templates import Resources, readable

pytestmark = pytest.mark.infra


@pytest.fixture(scope="module")
def existing(lambda_zip: Path) -> Resources:
    stack = existing_stack()
    add_timeout(stack, lambda_zip)
    return synthesised(stack)


def test_adds_only_what_belongs_to_the_timeout(existing: Resources) -> None:
    types = sorted(resource["Type"] for resource in existing.template["Resources"].values())
    assert types == [
        *["AWS::CloudWatch::Alarm"] * 10,
        "AWS::Events::Rule",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
    ]


def test_finds_its_way_in_a_stack_with_imported_resources(existing: Resources) -> None:
    environment = existing.function("timeout_handler")["Environment"]["Variables"]
    assert {name: readable(value) for name, value in environment.items()} == {
        "CONNECTION_IDLE_TIMEOUT_SECONDS": "120",
        "ACTIVITY_RESOLUTION_SECONDS": "0",
        "CLOSES_PER_SECOND": "200",
        "LAST_ACTIVE_COUNTS": "unsettled",
        "MODE": "close",
        "METRICS_NAMESPACE": "Hangup/Chat/IdleTimeout",
        "API_GATEWAY_ENDPOINT": ("https://a1b2c3.execute-api.eu-west-1.${AWS::URLSuffix}/live"),
        "CONNECTIONS_TABLE": "chat",
        "DISCONNECT_HANDLER_FUNCTION": FUNCTION_ARN,
        "LOG_LEVEL": "INFO",
        "METRIC_ROLES": "speaker,listener",
    }


def test_takes_l1_resources_through_cdks_imports(lambda_zip: Path) -> None:
    """As docs/guides/existing-stack.md shows."""
    stack = existing_stack()
    cfn_api = apigatewayv2.CfnApi(stack, "CfnApi", name="chat", protocol_type="WEBSOCKET")
    cfn_stage = apigatewayv2.CfnStage(stack, "CfnStage", api_id=cfn_api.ref, stage_name="live")
    cfn_table = dynamodb.CfnTable(
        stack,
        "CfnTable",
        key_schema=[
            dynamodb.CfnTable.KeySchemaProperty(attribute_name="connectionId", key_type="HASH")
        ],
    )
    cfn_function = lambda_.CfnFunction(
        stack,
        "CfnFunction",
        code=lambda_.CfnFunction.CodeProperty(zip_file="def handler(event, context): ..."),
        handler="index.handler",
        runtime="python3.13",
        role="arn:aws:iam::111122223333:role/disconnect",
    )
    api = apigatewayv2.WebSocketApi.from_web_socket_api_attributes(
        stack, "L2Api", web_socket_id=cfn_api.ref
    )
    IdleConnectionTimeout(
        stack,
        "IdleTimeout",
        api=api,
        stage=apigatewayv2.WebSocketStage.from_web_socket_stage_attributes(
            stack, "L2Stage", api=api, stage_name=cfn_stage.stage_name
        ),
        connections_table=dynamodb.Table.from_table_arn(stack, "L2Table", cfn_table.attr_arn),
        disconnect_handler=lambda_.Function.from_function_arn(
            stack, "L2Disconnect", cfn_function.attr_arn
        ),
        code=code_of(lambda_zip),
    )
    template = synthesised(stack)
    environment = template.function("timeout_handler")["Environment"]["Variables"]
    assert readable(environment["API_GATEWAY_ENDPOINT"]) == (
        "https://${CfnApi}.execute-api.eu-west-1.${AWS::URLSuffix}/live"
    )
    assert readable(environment["DISCONNECT_HANDLER_FUNCTION"]) == "${CfnFunction.Arn}"
    assert "CfnTable" in str(environment["CONNECTIONS_TABLE"])
    stage = "arn:${AWS::Partition}:execute-api:eu-west-1:111122223333:${CfnApi}/live/"
    grants = template.grants("timeout_handler")
    assert {"${CfnTable.Arn}", "${CfnFunction.Arn}", f"{stage}GET/@connections/*"} <= set(grants)


def test_allows_itself_only_what_it_was_given(existing: Resources) -> None:
    stage = "arn:${AWS::Partition}:execute-api:eu-west-1:111122223333:a1b2c3/live/"
    assert existing.grants("timeout_handler") == {
        "${IdleTimeoutTimeoutHandlerLogs.Arn}": {"logs:CreateLogStream", "logs:PutLogEvents"},
        TABLE_ARN: {"dynamodb:Scan", "dynamodb:UpdateItem"},
        f"{stage}POST/@connections/*": {"execute-api:ManageConnections"},
        f"{stage}DELETE/@connections/*": {"execute-api:ManageConnections"},
        f"{stage}GET/@connections/*": {"execute-api:ManageConnections"},
        FUNCTION_ARN: {"lambda:InvokeFunction"},
    }


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("rule", HandOver)
def test_has_what_its_rule_of_handing_over_needs(
    rule: HandOver, precise: bool, lambda_zip: Path
) -> None:
    stack = existing_stack()
    handler = {} if rule.calls_handler else {"disconnect_handler": None}
    add_timeout(stack, lambda_zip, hand_over=str(rule), precise=precise, **handler)
    template = synthesised(stack)
    closing = "close_handler" if precise else "timeout_handler"
    environment = template.function(closing)["Environment"]["Variables"]
    assert environment.get("HAND_OVER", "always") == rule
    assert ("DISCONNECT_HANDLER_FUNCTION" in environment) == rule.calls_handler
    grants = template.grants(closing)
    assert (FUNCTION_ARN in grants) == rule.calls_handler
    assert ("dynamodb:DeleteItem" in grants[TABLE_ARN]) == (rule is HandOver.DELETE)
    if precise:
        assert "dynamodb:DeleteItem" not in template.grants("timeout_handler")[TABLE_ARN]


def test_takes_every_option(lambda_zip: Path) -> None:
    stack = existing_stack()
    topic = sns.Topic.from_topic_arn(stack, "Topic", TOPIC_ARN)
    timeout = add_timeout(
        stack,
        lambda_zip,
        idle_timeout_seconds=90,
        activity_resolution_seconds=15,
        closes_per_second=50,
        last_active_counts="client",
        mode="observe",
        deployment="chat",
        reserve_concurrency=False,
        metric_roles=["host", "guest"],
        management_endpoint="https://ws.example.com",
        alarm_actions=[actions.SnsAction(topic)],
        log_retention=logs.RetentionDays.ONE_WEEK,
    )
    resources = synthesised(stack)
    environment = resources.function("timeout_handler")["Environment"]["Variables"]
    assert environment["CONNECTION_IDLE_TIMEOUT_SECONDS"] == "90"
    assert environment["ACTIVITY_RESOLUTION_SECONDS"] == "15"
    assert environment["CLOSES_PER_SECOND"] == "50"
    assert environment["LAST_ACTIVE_COUNTS"] == "client"
    assert environment["MODE"] == "observe"
    assert environment["METRICS_NAMESPACE"] == timeout.metrics_namespace == "Hangup/chat"
    assert "ReservedConcurrentExecutions" not in resources.function("timeout_handler")
    assert environment["METRIC_ROLES"] == "host,guest"
    assert environment["API_GATEWAY_ENDPOINT"] == "https://ws.example.com"
    (log_group,) = resources.of_type("AWS::Logs::LogGroup").values()
    assert log_group["RetentionInDays"] == 7
    alarms = resources.of_type("AWS::CloudWatch::Alarm").values()
    assert [alarm["AlarmActions"] for alarm in alarms] == [[TOPIC_ARN]] * 10
    assert len(timeout.alarms) == 10


def test_shows_its_function_and_its_rule(lambda_zip: Path) -> None:
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip)
    cdk.CfnOutput(stack, "Function", value=timeout.function.function_name)
    cdk.CfnOutput(stack, "Rule", value=timeout.rule.rule_name)
    outputs = synthesised(stack).template["Outputs"]
    assert readable(outputs["Function"]["Value"]) == "${IdleTimeoutTimeoutHandlerFunction}"
    assert readable(outputs["Rule"]["Value"]) == "${IdleTimeoutEveryMinute}"


def test_builds_its_own_code_unless_it_is_given_some(
    existing: Resources, lambda_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lambda_zip.parents[1])
    stack = existing_stack()
    add_timeout(stack, None)
    code = synthesised(stack).function("timeout_handler")["Code"]
    assert code == existing.function("timeout_handler")["Code"]


def test_takes_x86_64_with_code_that_is_for_it(
    existing: Resources, lambda_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lambda_zip.parents[1])
    stack = existing_stack()
    add_timeout(stack, None, architecture=lambda_.Architecture.X86_64)
    function = synthesised(stack).function("timeout_handler")
    assert function["Architectures"] == ["x86_64"]
    assert existing.function("timeout_handler")["Architectures"] == ["arm64"]

    other = build_lambda_zip(lambda_zip.parent, architecture="x86_64")
    assert content_hash(other) != content_hash(lambda_zip)
    given = existing_stack()
    add_timeout(given, other, architecture=lambda_.Architecture.X86_64)
    assert synthesised(given).function("timeout_handler") == function


def test_the_whole_stack_takes_x86_64_too(
    lambda_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lambda_zip.parents[1])
    stack = HangupStack(cdk.App(), "Hangup", architecture=lambda_.Architecture.X86_64)
    functions = synthesised(stack).of_type("AWS::Lambda::Function").values()
    assert [function["Architectures"] for function in functions] == [["x86_64"]] * 4
    assert len({str(function["Code"]) for function in functions}) == 1


@pytest.mark.parametrize("seconds", [1, 7_200])
def test_accepts_a_timeout_within_the_life_of_a_connection(lambda_zip: Path, seconds: int) -> None:
    add_timeout(existing_stack(), lambda_zip, idle_timeout_seconds=seconds)


@pytest.mark.parametrize("seconds", [0, -1, 7_201, "120", "soon", 90.5, True])
def test_refuses_a_timeout_that_is_no_number_of_seconds_in_bounds(
    lambda_zip: Path, seconds: int | str
) -> None:
    with pytest.raises(ValueError, match=r"idle_timeout_seconds must be .* from 1 to 7200"):
        add_timeout(existing_stack(), lambda_zip, idle_timeout_seconds=seconds)


@pytest.mark.parametrize("seconds", [-1, 120])
def test_refuses_an_activity_resolution_that_reaches_the_timeout(
    lambda_zip: Path, seconds: int
) -> None:
    with pytest.raises(ValueError, match=r"activity_resolution_seconds must be .* from 0 to below"):
        add_timeout(existing_stack(), lambda_zip, activity_resolution_seconds=seconds)


@pytest.mark.parametrize(
    ("argument", "at_least", "at_most"),
    [
        ("closes_per_second", 0, 1_000),
        ("shards", 1, 20),
    ],
)
def test_accepts_what_the_handler_accepts_and_nothing_else(
    lambda_zip: Path, argument: str, at_least: int, at_most: int
) -> None:
    for number in (at_least, at_most):
        add_timeout(existing_stack(), lambda_zip, **{argument: number})
    for other in (at_least - 1, at_most + 1, str(at_most), at_least + 0.5, True, None):
        with pytest.raises(ValueError, match=f"{argument} must be a whole number from {at_least}"):
            add_timeout(existing_stack(), lambda_zip, **{argument: other})


@pytest.mark.parametrize("roles", [["host"], tuple("abcdefghij")])
def test_metrics_name_up_to_ten_roles(lambda_zip: Path, roles: Sequence[str]) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, precise=True, metric_roles=roles)
    resources = synthesised(stack)
    for handler in ("timeout_handler", "close_handler"):
        environment = resources.function(handler)["Environment"]["Variables"]
        assert environment["METRIC_ROLES"] == ",".join(roles)


@pytest.mark.parametrize(
    "roles", [(), tuple("abcdefghijk"), "host", ["a,b"], ["a b"], ["x" * 65], [1], [""], None, 5]
)
def test_refuses_what_are_no_names_of_roles(lambda_zip: Path, roles: object) -> None:
    message = (
        "metric_roles must be a sequence of 1 to 10 names of roles (letters, digits, dots, hyphens"
        f" or underscores), not {roles!r}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(existing_stack(), lambda_zip, metric_roles=roles)


def test_says_what_to_do_when_a_sweep_was_held(existing: Resources) -> None:
    description = existing.alarm("SweepsHeld")["AlarmDescription"]
    assert description.startswith("Critical: ")
    assert '{"overrideGuard": true}' in description


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("precise", "no", "precise must be True or False, not 'no'."),
        ("replicated_table", 1, "replicated_table must be True or False, not 1."),
        ("reserve_concurrency", "no", "reserve_concurrency must be True or False, not 'no'."),
        ("mode", "watch", "mode must be close or observe or a token, not 'watch'."),
        (
            "last_active_counts",
            "server",
            "last_active_counts must be unsettled, client or both or a token, not 'server'.",
        ),
        (
            "connections_table_key",
            "alias/chat",
            (
                "connections_table_key must be an aws_kms.IKey, made here or imported,"
                " not 'alias/chat'."
            ),
        ),
        (
            "log_level",
            "TRACE",
            (
                "log_level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL or a token,"
                " not 'TRACE'."
            ),
        ),
        (
            "hand_over",
            "sometimes",
            "hand_over must be always, if_left, delete or never or a token, not 'sometimes'.",
        ),
        (
            "hand_over",
            "delete",
            (
                "disconnect_handler would never be called with hand_over='delete': leave it out, or"
                " choose always or if_left."
            ),
        ),
        (
            "disconnect_handler",
            "my-fn",
            (
                "disconnect_handler must be an aws_lambda.IFunction, made here or imported,"
                " not 'my-fn'."
            ),
        ),
        (
            "connections_table",
            "chat",
            (
                "connections_table must be an aws_dynamodb.ITable, made here or imported,"
                " not 'chat'."
            ),
        ),
        (
            "api",
            "a1b2c3",
            "api must be an aws_apigatewayv2.IWebSocketApi, made here or imported, not 'a1b2c3'.",
        ),
        (
            "stage",
            "live",
            "stage must be an aws_apigatewayv2.IWebSocketStage, made here or imported, not 'live'.",
        ),
    ],
)
def test_names_an_argument_of_another_kind_and_what_is_accepted(
    lambda_zip: Path, argument: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(existing_stack(), lambda_zip, **{argument: value})


def test_takes_tokens_for_what_a_deployment_may_set(lambda_zip: Path) -> None:
    stack = existing_stack()
    number = cdk.CfnParameter(stack, "Seconds", type="Number")
    level = cdk.CfnParameter(stack, "Level")
    add_timeout(
        stack,
        lambda_zip,
        idle_timeout_seconds=number.value_as_number,
        activity_resolution_seconds=number.value_as_string,
        log_level=level.value_as_string,
        mode=level.value_as_string,
        last_active_counts=level.value_as_string,
        management_endpoint=level.value_as_string,
        deployment=level.value_as_string,
    )
    environment = synthesised(stack).function("timeout_handler")["Environment"]["Variables"]
    assert environment["CONNECTION_IDLE_TIMEOUT_SECONDS"] == {"Ref": "Seconds"}
    assert environment["ACTIVITY_RESOLUTION_SECONDS"] == {"Ref": "Seconds"}
    for name in ("LOG_LEVEL", "MODE", "LAST_ACTIVE_COUNTS", "API_GATEWAY_ENDPOINT"):
        assert environment[name] == {"Ref": "Level"}
    assert readable(environment["METRICS_NAMESPACE"]) == "Hangup/${Level}"
    with pytest.raises(ValueError, match=r"shards must be .* not a token"):
        add_timeout(existing_stack(), lambda_zip, shards=number.value_as_number)


KEY = dynamodb.Attribute(name="connectionId", type=dynamodb.AttributeType.STRING)
OTHER = dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
NUMBER = dynamodb.Attribute(name="connectionId", type=dynamodb.AttributeType.NUMBER)


@pytest.mark.parametrize("kind", [dynamodb.Table, dynamodb.TableV2])
@pytest.mark.parametrize(
    ("keys", "given"),
    [
        ({"partition_key": OTHER}, "id (HASH, S)"),
        ({"partition_key": NUMBER}, "connectionId (HASH, N)"),
        ({"partition_key": KEY, "sort_key": OTHER}, "connectionId (HASH, S), id (RANGE, S)"),
    ],
)
def test_refuses_a_table_with_another_key(
    lambda_zip: Path, kind: type, keys: dict[str, dynamodb.Attribute], given: str
) -> None:
    stack = existing_stack()
    message = (
        "connections_table must have the partition key connectionId (string) and no sort key,"
        f" not {given}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(stack, lambda_zip, connections_table=kind(stack, "Own", **keys))
    other = existing_stack()
    own = kind(other, "Own", partition_key=KEY)
    assert add_timeout(other, lambda_zip, connections_table=own).alarms


@pytest.fixture(scope="module")
def tracked(lambda_zip: Path) -> Resources:
    stack = existing_stack()
    topic = sns.Topic.from_topic_arn(stack, "Topic", TOPIC_ARN)
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
    timeout = add_timeout(
        stack,
        lambda_zip,
        connections_table_key=key,
        activity_resolution_seconds=cdk.Duration.seconds(15),
        idle_timeout_seconds=cdk.Duration.minutes(3),
        alarm_actions=[actions.SnsAction(topic)],
        dashboard=True,
        precise=True,
    )
    alarms = {timeout.track(new_function(stack, name)) for name in ("Message", "Heartbeat")}
    assert len(alarms) == 1
    return synthesised(stack)


def new_function(stack: cdk.Stack, name: str) -> lambda_.Function:
    return lambda_.Function(
        stack,
        name,
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler=f"{name.lower()}.handler",
        code=lambda_.Code.from_inline("def handler(event, context): ..."),
    )


@pytest.mark.parametrize("handler", ["message", "heartbeat"])
def test_a_tracked_function_gets_what_its_decorator_needs(tracked: Resources, handler: str) -> None:
    (function,) = (
        one
        for one in tracked.of_type("AWS::Lambda::Function").values()
        if one["Handler"] == f"{handler}.handler"
    )
    environment = {
        name: readable(value) for name, value in function["Environment"]["Variables"].items()
    }
    assert environment == {"CONNECTIONS_TABLE": "chat", "ACTIVITY_RESOLUTION_SECONDS": "15"}
    (policy,) = (
        one["PolicyDocument"]["Statement"]
        for name, one in tracked.of_type("AWS::IAM::Policy").items()
        if name.startswith(handler.title())
    )
    grants = {str(readable(one["Resource"])): one["Action"] for one in policy}
    assert grants == {
        TABLE_ARN: "dynamodb:UpdateItem",
        KEY_ARN: ["kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
    }


def test_what_tracked_functions_fail_to_record_rings_one_alarm(tracked: Resources) -> None:
    filters = list(tracked.of_type("AWS::Logs::MetricFilter").values())
    assert [one["FilterPattern"] for one in filters] == [
        '{ $.message = "activity not recorded" }'
    ] * 2
    assert len({str(one["LogGroupName"]) for one in filters}) == 2
    (alarm,) = (
        one
        for one in tracked.of_type("AWS::CloudWatch::Alarm").values()
        if one.get("MetricName") == "ActivityNotRecorded"
    )
    for one in filters:
        ((transformation),) = one["MetricTransformations"]
        assert transformation["MetricName"] == alarm["MetricName"]
        assert transformation["MetricNamespace"] == alarm["Namespace"]
    assert alarm["AlarmActions"] == [TOPIC_ARN]


def test_roles_may_have_timeouts_of_their_own(lambda_zip: Path) -> None:
    stack = existing_stack()
    number = cdk.CfnParameter(stack, "Seconds", type="Number")
    by_role = {
        "speaker": 300,
        "listener": cdk.Duration.minutes(2),
        "admin": number.value_as_number,
        "guest": number.value_as_string,
    }
    add_timeout(stack, lambda_zip, precise=True, idle_timeouts_by_role=by_role)
    resources = synthesised(stack)
    environment = resources.function("timeout_handler")["Environment"]["Variables"]
    assert readable(environment["IDLE_TIMEOUTS_BY_ROLE"]) == (
        "speaker=300,listener=120,admin=${Seconds},guest=${Seconds}"
    )
    # Each message of the queue says when its connection is idle.
    closing = resources.function("close_handler")["Environment"]["Variables"]
    assert "IDLE_TIMEOUTS_BY_ROLE" not in closing


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"idle_timeouts_by_role": {}}, "must be a mapping from 1 to 10 names of roles"),
        ({"idle_timeouts_by_role": "speaker=300"}, "must be a mapping from 1 to 10 names of roles"),
        ({"idle_timeouts_by_role": {"a b": 300}}, "must be a mapping from 1 to 10 names of roles"),
        (
            {"idle_timeouts_by_role": dict.fromkeys("abcdefghijk", 300)},
            "must be a mapping from 1 to 10 names of roles",
        ),
        (
            {"idle_timeouts_by_role": {"speaker": 0}},
            r"\['speaker'\] must be a whole number from 1 to 7200 or a token, not 0",
        ),
        (
            {"idle_timeouts_by_role": {"speaker": "300"}},
            r"\['speaker'\] must be a whole number from 1 to 7200 or a token, not '300'",
        ),
        (
            {"idle_timeouts_by_role": {"speaker": cdk.Duration.millis(1_500)}},
            r"\['speaker'\] must be whole seconds, not",
        ),
        (
            {"idle_timeouts_by_role": {"speaker": 300, "listener": 74}, "precise": True},
            r"precise=True needs idle_timeouts_by_role\['listener'\] of at least 75, not 74",
        ),
        (
            {"idle_timeouts_by_role": {"listener": 60}, "activity_resolution_seconds": 60},
            r"below the idle timeout in idle_timeouts_by_role\['listener'\] \(60\)",
        ),
        (
            {"idle_timeouts_by_role": {"speaker": 300}, "schema": TableSchema(role=None)},
            "needs a schema whose role is an attribute, not None",
        ),
    ],
)
def test_refuses_timeouts_by_role_that_would_fail(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        add_timeout(existing_stack(), None, **options)


def test_takes_durations(tracked: Resources) -> None:
    environment = tracked.function("timeout_handler")["Environment"]["Variables"]
    assert environment["CONNECTION_IDLE_TIMEOUT_SECONDS"] == "180"
    assert environment["ACTIVITY_RESOLUTION_SECONDS"] == "15"


def test_an_imported_function_cannot_be_tracked(lambda_zip: Path) -> None:
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip)
    imported = lambda_.Function.from_function_arn(stack, "Imported", FUNCTION_ARN)
    with pytest.raises(ValueError, match="set CONNECTIONS_TABLE where it is made"):
        timeout.track(imported)


def test_every_alarm_names_its_runbook(tracked: Resources) -> None:
    descriptions = [
        one["AlarmDescription"] for one in tracked.of_type("AWS::CloudWatch::Alarm").values()
    ]
    assert len(descriptions) == 15
    for description in descriptions:
        # CloudWatch's own limit.
        assert len(description) <= 1024
        _, _, runbook = description.rpartition(" Runbook: ")
        assert (ROOT / runbook).is_file(), runbook


def test_the_dashboard_shows_every_metric_of_a_sweep(tracked: Resources) -> None:
    (dashboard,) = tracked.of_type("AWS::CloudWatch::Dashboard").values()
    body = readable(dashboard["DashboardBody"])
    documented = {row[0].strip("`") for row in table("Metric", page("operate/metrics"))}
    assert {name for name in documented if name not in body} == set()
    widgets = json.loads(re.sub(r"\$\{[^}]*\}", "x", body))["widgets"]
    assert {widget["width"] for widget in widgets} == {8}
    assert not add_timeout(existing_stack(), None, code=lambda_.Code.from_inline("0")).dashboard
