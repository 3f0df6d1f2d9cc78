"""What the reference stack creates on AWS."""

import json
import re
from typing import Any

import pytest
from aws_cdk.assertions import Match, Template

from hangup.config import LOG_LEVELS
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.timing import LOOK_AHEAD_S
from hangup.handlers import message_handler
from tests.support.aws_stub import AwsStub
from tests.support.templates import Resources, as_list, readable

pytestmark = pytest.mark.infra

HANDLERS = ("connect_handler", "message_handler", "disconnect_handler", "timeout_handler")
CONNECTIONS = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/prod/"


@pytest.fixture(scope="module")
def stack(template: dict[str, Any]) -> Template:
    return Template.from_json(template)


def test_creates_four_functions_with_a_role_and_a_log_group_each(
    stack: Template, resources: Resources
) -> None:
    for resource_type in (
        "AWS::Lambda::Function",
        "AWS::IAM::Role",
        "AWS::IAM::Policy",
        "AWS::Logs::LogGroup",
    ):
        stack.resource_count_is(resource_type, 4)
    functions = [resources.function(handler) for handler in HANDLERS]
    assert len({readable(function["Role"]) for function in functions}) == 4
    assert len({readable(function["LoggingConfig"]["LogGroup"]) for function in functions}) == 4


@pytest.mark.parametrize(
    ("handler", "timeout_s"),
    [
        ("connect_handler", 25),
        ("message_handler", 25),
        ("disconnect_handler", 60),
        ("timeout_handler", 60),
    ],
)
def test_runs_each_function_on_arm64_with_256_mb(
    resources: Resources, handler: str, timeout_s: int
) -> None:
    function = resources.function(handler)
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["MemorySize"] == 256
    assert function["Timeout"] == timeout_s


def test_runs_one_sweep_at_a_time_and_nothing_else_one_at_a_time(resources: Resources) -> None:
    """By the template alone: no quota of the local engine refuses a reservation."""
    concurrency = {
        handler: resources.function(handler).get("ReservedConcurrentExecutions")
        for handler in HANDLERS
    }
    # Not where the account's quota refuses any reservation.
    reserved = {"Fn::If": ["ReservesConcurrency", 1, {"Ref": "AWS::NoValue"}]}
    assert concurrency == {**dict.fromkeys(HANDLERS), "timeout_handler": reserved}
    assert resources.template["Conditions"]["ReservesConcurrency"] == {
        "Fn::Equals": [{"Ref": "ReserveConcurrency"}, "true"]
    }


def test_gives_each_handler_the_environment_that_it_reads(resources: Resources) -> None:
    endpoint = (
        "OnEmulator ? ${EmulatorEndpoint}/_aws/execute-api/${Api}/prod"
        " : https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/prod"
    )
    environment = {
        handler: {
            name: readable(value)
            for name, value in resources.function(handler)["Environment"]["Variables"].items()
        }
        for handler in HANDLERS
    }
    assert environment == {
        "connect_handler": {
            "CONNECTIONS_TABLE": "${Connections}",
            "SESSIONS_TABLE": "${Sessions}",
            "JOIN_SECRET_ARN": "${JoinSecret.Id}",
            "LOG_LEVEL": "${LogLevel}",
        },
        "message_handler": {
            "ACTIVITY_RESOLUTION_SECONDS": "${ActivityResolutionSeconds}",
            "CONNECTIONS_TABLE": "${Connections}",
            "SESSIONS_TABLE": "${Sessions}",
            "API_GATEWAY_ENDPOINT": endpoint,
            "HEARTBEAT_ACK": "${HeartbeatAck}",
            "LOG_LEVEL": "${LogLevel}",
        },
        "disconnect_handler": {
            "CONNECTIONS_TABLE": "${Connections}",
            "SESSIONS_TABLE": "${Sessions}",
            "API_GATEWAY_ENDPOINT": endpoint,
            "LOG_LEVEL": "${LogLevel}",
        },
        "timeout_handler": {
            "CONNECTION_IDLE_TIMEOUT_SECONDS": "${IdleTimeoutSeconds}",
            "ACTIVITY_RESOLUTION_SECONDS": "${ActivityResolutionSeconds}",
            "CLOSES_PER_SECOND": "200",
            "LAST_ACTIVE_COUNTS": "${LastActiveCounts}",
            "METRICS_NAMESPACE": "Hangup/${AWS::StackName}",
            "MODE": "${Mode}",
            "CONNECTIONS_TABLE": "${Connections}",
            "API_GATEWAY_ENDPOINT": endpoint,
            "DISCONNECT_HANDLER_FUNCTION": "${DisconnectHandlerFunction.Arn}",
            "LOG_LEVEL": "${LogLevel}",
            "METRIC_ROLES": "speaker,listener",
        },
    }


def test_allows_each_role_what_its_handler_calls_and_nothing_else(resources: Resources) -> None:
    write_logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    manage = {"execute-api:ManageConnections"}
    assert {handler: resources.grants(handler) for handler in HANDLERS} == {
        "connect_handler": {
            "${ConnectHandlerLogs.Arn}": write_logs,
            "${Connections.Arn}": {
                "dynamodb:PutItem",
                "dynamodb:GetItem",
                "dynamodb:DeleteItem",
            },
            "${Sessions.Arn}": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
            "${JoinSecret.Id}": {"secretsmanager:GetSecretValue"},
        },
        "message_handler": {
            "${MessageHandlerLogs.Arn}": write_logs,
            "${Connections.Arn}": {"dynamodb:UpdateItem", "dynamodb:DeleteItem"},
            "${Sessions.Arn}": {"dynamodb:GetItem"},
            f"{CONNECTIONS}POST/@connections/*": manage,
            f"{CONNECTIONS}DELETE/@connections/*": manage,
        },
        "disconnect_handler": {
            "${DisconnectHandlerLogs.Arn}": write_logs,
            "${Connections.Arn}": {"dynamodb:GetItem", "dynamodb:DeleteItem"},
            "${Connections.Arn}/index/sessionId-role-index": {"dynamodb:Query"},
            "${Sessions.Arn}": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
            f"{CONNECTIONS}POST/@connections/*": manage,
            f"{CONNECTIONS}DELETE/@connections/*": manage,
            "${FailedCleanups.Arn}": {"sqs:SendMessage"},
        },
        "timeout_handler": {
            "${IdleTimeoutTimeoutHandlerLogs.Arn}": write_logs,
            "${Connections.Arn}": {"dynamodb:Scan", "dynamodb:UpdateItem"},
            f"{CONNECTIONS}POST/@connections/*": manage,
            f"{CONNECTIONS}DELETE/@connections/*": manage,
            f"{CONNECTIONS}GET/@connections/*": manage,
            "${DisconnectHandlerFunction.Arn}": {"lambda:InvokeFunction"},
        },
    }


def test_leaves_only_the_connection_id_open_in_any_grant(resources: Resources) -> None:
    for policy in resources.of_type("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            assert not any("*" in action for action in as_list(statement["Action"]))
            for resource in map(readable, as_list(statement["Resource"])):
                assert "*" not in resource.removesuffix("/@connections/*")


def test_lets_only_lambda_assume_the_roles_and_attaches_no_managed_policy(
    resources: Resources,
) -> None:
    for role in resources.of_type("AWS::IAM::Role").values():
        assert role["AssumeRolePolicyDocument"]["Statement"] == [
            {
                "Action": "sts:AssumeRole",
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
            }
        ]
        assert "ManagedPolicyArns" not in role
        assert "Policies" not in role


def test_sweeps_every_minute_and_forgets_a_tick_that_is_late(
    stack: Template, resources: Resources
) -> None:
    ((rule_id, rule),) = resources.of_type("AWS::Events::Rule").items()
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert rule["State"] == "ENABLED"
    (target,) = rule["Targets"]
    # No Input: the handler gets EventBridge's own event, whose id is the correlation id.
    assert target.keys() == {"Arn", "Id", "RetryPolicy"}
    assert readable(target["Arn"]) == "${IdleTimeoutTimeoutHandlerFunction.Arn}"
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    stack.has_resource_properties(
        "AWS::Lambda::EventInvokeConfig",
        {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0, "Qualifier": "$LATEST"},
    )
    stack.has_resource_properties(
        "AWS::Lambda::Permission",
        {"Principal": "events.amazonaws.com", "SourceArn": {"Fn::GetAtt": [rule_id, "Arn"]}},
    )


def test_keeps_connections_and_sessions_in_tables_that_pay_per_request(
    stack: Template, resources: Resources
) -> None:
    stack.resource_count_is("AWS::DynamoDB::Table", 2)
    keys = []
    for table in resources.of_type("AWS::DynamoDB::Table").values():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
        keys.append(table["KeySchema"])
    assert keys == [
        [{"AttributeName": "connectionId", "KeyType": "HASH"}],
        [{"AttributeName": "sessionId", "KeyType": "HASH"}],
    ]


def test_indexes_connections_by_session_and_role_but_never_their_activity(
    resources: Resources,
) -> None:
    indexes = [
        index
        for table in resources.of_type("AWS::DynamoDB::Table").values()
        for index in table.get("GlobalSecondaryIndexes", [])
    ]
    assert indexes == [
        {
            "IndexName": "sessionId-role-index",
            "KeySchema": [
                {"AttributeName": "sessionId", "KeyType": "HASH"},
                {"AttributeName": "role", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["connectedAt"]},
        }
    ]


def test_sends_each_route_to_its_handler(resources: Resources) -> None:
    integrations = resources.of_type("AWS::ApiGatewayV2::Integration")
    routes = {}
    for route in resources.of_type("AWS::ApiGatewayV2::Route").values():
        integration = integrations[route["Target"]["Fn::Join"][1][1]["Ref"]]
        routes[route["RouteKey"]] = readable(integration["IntegrationUri"]).split("/")[-2]
    assert routes == {
        "$connect": "${ConnectHandlerFunction.Arn}",
        "heartbeat": "${MessageHandlerFunction.Arn}",
        "$default": "${MessageHandlerFunction.Arn}",
        "$disconnect": "${DisconnectHandlerFunction.Arn}",
    }


ROUTES_OF_MESSAGES = {"heartbeat": "heartbeat", "$default": "message"}
"""What a client sends as ``action`` to get to each route."""


def test_every_route_that_carries_messages_records_activity(
    resources: Resources, aws: AwsStub
) -> None:
    """That is what ``LastActiveCounts=both`` rests on: here the records can be believed."""
    integrations = resources.of_type("AWS::ApiGatewayV2::Integration")
    handlers = set()
    routes = {
        route["RouteKey"]: integrations[route["Target"]["Fn::Join"][1][1]["Ref"]]
        for route in resources.of_type("AWS::ApiGatewayV2::Route").values()
        if route["RouteKey"] not in ("$connect", "$disconnect")
    }
    assert routes.keys() == ROUTES_OF_MESSAGES.keys()
    functions = resources.of_type("AWS::Lambda::Function")
    for integration in routes.values():
        (function_id,) = re.findall(r"'Fn::GetAtt': \['(\w+)'", str(integration["IntegrationUri"]))
        handlers.add(functions[function_id]["Handler"])
    assert handlers == {f"{message_handler.__name__}.lambda_handler"}

    for route_key, action in ROUTES_OF_MESSAGES.items():
        aws.reset()
        event = {
            "requestContext": {"connectionId": "ada=", "routeKey": route_key},
            "body": json.dumps({"action": action}),
        }
        assert message_handler.lambda_handler(event)["statusCode"] == 200
        assert aws.writes == ["UpdateItem"]


def test_answers_the_client_on_the_routes_that_carry_messages(resources: Resources) -> None:
    routes = resources.of_type("AWS::ApiGatewayV2::Route")
    answering = {
        routes[response["RouteId"]["Ref"]]["RouteKey"]
        for response in resources.of_type("AWS::ApiGatewayV2::RouteResponse").values()
    }
    assert answering == {"heartbeat", "$default"}


def test_chooses_the_route_by_action_on_a_throttled_stage_without_access_log(
    stack: Template, resources: Resources
) -> None:
    stack.has_resource_properties(
        "AWS::ApiGatewayV2::Api",
        {"ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.action"},
    )
    (stage,) = resources.of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["StageName"] == "prod"
    assert stage["AutoDeploy"] is True
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "StageRateLimit"},
        "ThrottlingBurstLimit": {"Ref": "StageBurstLimit"},
    }
    # A join token travels in the query string, and must not end up in a log.
    assert "AccessLogSettings" not in stage


def test_generates_the_secret_that_signs_join_tokens(stack: Template) -> None:
    stack.has_resource_properties(
        "AWS::SecretsManager::Secret",
        {"GenerateSecretString": {"PasswordLength": 64, "ExcludePunctuation": True}},
    )


def test_keeps_logs_for_a_month(stack: Template) -> None:
    stack.all_resources_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})


@pytest.mark.parametrize(
    ("metric_name", "expected"),
    [
        (
            "IdleConnectionsDetected",
            {
                "Statistic": "Sum",
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 10,
                "EvaluationPeriods": 1,
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "ConnectionsClosed",
            {
                "Statistic": "Sum",
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 50,
                "EvaluationPeriods": 1,
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "SweepsHeld",
            {
                "Statistic": "Sum",
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0,
                "EvaluationPeriods": 1,
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "ConnectionsChecked",
            {
                "Statistic": "SampleCount",
                "ComparisonOperator": "LessThanThreshold",
                "Threshold": 1,
                "EvaluationPeriods": 5,
                "DatapointsToAlarm": 5,
                "TreatMissingData": "breaching",
            },
        ),
    ],
)
def test_alarms_on_many_idle_many_closed_a_held_and_no_sweep(
    resources: Resources, metric_name: str, expected: dict[str, object]
) -> None:
    alarm = resources.alarm(metric_name)
    assert alarm["AlarmDescription"]
    # The namespace to which the functions write, so that two stacks' alarms do not mix.
    environment = resources.function("timeout_handler")["Environment"]["Variables"]
    assert alarm == {
        "AlarmDescription": alarm["AlarmDescription"],
        "Namespace": environment["METRICS_NAMESPACE"],
        "MetricName": metric_name,
        "Period": 60,
        **expected,
    }


@pytest.mark.parametrize(
    "function",
    ["ConnectHandler", "MessageHandler", "DisconnectHandler", "IdleTimeoutTimeoutHandler"],
)
def test_alarms_when_a_handler_fails(stack: Template, function: str) -> None:
    stack.has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {
            "Namespace": "AWS/Lambda",
            "MetricName": "Errors",
            "Dimensions": [
                {
                    "Name": "FunctionName",
                    "Value": {"Ref": Match.string_like_regexp(f"^{function}Function[0-9A-F]*$")},
                }
            ],
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        },
    )
    stack.resource_count_is("AWS::CloudWatch::Alarm", 14)


@pytest.mark.parametrize(
    ("metric_name", "minutes", "causes"),
    [
        (
            "ActivityUnrecorded",
            1,
            ["a route without the recorder?", "dynamodb:UpdateItem", "last_active_counts='both'"],
        ),
        ("ConnectionsUnconfirmed", 3, ["execute-api:ManageConnections", "GET", "throttled"]),
        ("RecordsUnreadable", 1, ["epoch milliseconds", "seconds"]),
        ("HandoversRepeated", 1, ["fails", "does not remove the record"]),
        ("SweepsMostlyGone", 1, ["20 or more", "90 % or more", "$disconnect function"]),
        ("SweepsHeld", 1, ['"sweep held"', '{"overrideGuard": true}', "another stage"]),
    ],
)
def test_an_alarm_says_what_is_probably_wrong(
    resources: Resources, metric_name: str, minutes: int, causes: list[str]
) -> None:
    alarm = resources.alarm(metric_name)
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, minutes)
    assert alarm["TreatMissingData"] == "notBreaching"
    description = alarm["AlarmDescription"]
    assert re.match("(Critical|Warning): ", description)
    assert [cause for cause in causes if cause not in description] == []
    assert len(description) <= 1_024  # CloudWatch API reference, PutMetricAlarm


def test_takes_the_timeout_and_an_emulator_as_parameters(template: dict[str, Any]) -> None:
    parameters = template["Parameters"]
    assert parameters["IdleTimeoutSeconds"]["Default"] == "120"
    assert parameters["ActivityResolutionSeconds"]["Default"] == "0"
    assert parameters["LogLevel"]["Default"] == "INFO"
    assert parameters["LogLevel"]["AllowedValues"] == list(LOG_LEVELS)
    assert parameters["HeartbeatAck"]["Default"] == "true"
    assert parameters["HeartbeatAck"]["AllowedValues"] == ["true", "false"]
    assert parameters["Mode"]["Default"] == "close"
    assert parameters["Mode"]["AllowedValues"] == ["close", "observe"]
    assert parameters["LastActiveCounts"]["Default"] == "both"
    assert parameters["LastActiveCounts"]["AllowedValues"] == ["unsettled", "client", "both"]
    assert parameters["ReserveConcurrency"]["Default"] == "true"
    assert parameters["ReserveConcurrency"]["AllowedValues"] == ["true", "false"]
    assert parameters["StageRateLimit"]["Default"] == "5000"
    assert parameters["StageBurstLimit"]["Default"] == "2500"
    assert parameters["EmulatorEndpoint"]["Type"] == "String"
    assert parameters["EmulatorEndpoint"]["Default"] == ""


@pytest.mark.parametrize(
    ("name", "precise", "at_least"),
    [
        ("IdleTimeoutSeconds", False, 1),
        ("IdleTimeoutSeconds", True, LOOK_AHEAD_S),
        ("ActivityResolutionSeconds", False, 0),
        ("ActivityResolutionSeconds", True, 0),
    ],
)
def test_takes_whole_seconds_up_to_the_life_of_a_connection_and_nothing_else(
    template: dict[str, Any],
    precise_template: dict[str, Any],
    name: str,
    precise: bool,
    at_least: int,
) -> None:
    parameter = (precise_template if precise else template)["Parameters"][name]
    # CloudFormation compares a String with its pattern. A Number has none, and may be 90.5.
    assert parameter["Type"] == "String"
    pattern = re.compile(parameter["AllowedPattern"], re.ASCII)
    # Whatever an engine compares: the whole value, or any part of it.
    for matches in (pattern.fullmatch, pattern.search):
        accepted = [number for number in range(10_000) if matches(str(number))]
        assert accepted == list(range(at_least, MAX_CONNECTION_S + 1))
        for other in ("90.5", "90.0", "-90", "+90", " 90", "0090", "9e1", "90s", "12345", ""):
            assert not matches(other)
    bounds = f"must be a whole number from {at_least} to {MAX_CONNECTION_S}"
    assert parameter["ConstraintDescription"] == bounds


@pytest.mark.parametrize("name", ["StageRateLimit", "StageBurstLimit"])
def test_takes_whole_numbers_as_limits_of_the_stage(template: dict[str, Any], name: str) -> None:
    pattern = re.compile(template["Parameters"][name]["AllowedPattern"], re.ASCII)
    for accepted in ("1", "2500", "999999"):
        assert pattern.search(accepted)
    for other in ("0", "-1", "2500.5", "1000000", "", " 1", "1e3"):
        assert not pattern.search(other)


def test_says_where_everything_is(template: dict[str, Any]) -> None:
    outputs = {name: readable(output["Value"]) for name, output in template["Outputs"].items()}
    assert outputs == {
        "WebSocketUrl": "wss://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/prod",
        "ManagementEndpoint": (
            "OnEmulator ? ${EmulatorEndpoint}/_aws/execute-api/${Api}/prod"
            " : https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/prod"
        ),
        "ApiId": "${Api}",
        "ConnectionsTable": "${Connections}",
        "SessionsTable": "${Sessions}",
        "JoinSecretArn": "${JoinSecret.Id}",
        "ConnectFunction": "${ConnectHandlerFunction}",
        "MessageFunction": "${MessageHandlerFunction}",
        "DisconnectFunction": "${DisconnectHandlerFunction}",
        "TimeoutFunction": "${IdleTimeoutTimeoutHandlerFunction}",
        "SweepRule": "${IdleTimeoutEveryMinute}",
        "FailedCleanupsQueueUrl": "${FailedCleanups}",
        "MetricsNamespace": "Hangup/${AWS::StackName}",
    }


def test_leaves_nothing_behind_when_the_stack_is_deleted(template: dict[str, Any]) -> None:
    for resource in template["Resources"].values():
        assert resource.get("DeletionPolicy", "Delete") == "Delete"
