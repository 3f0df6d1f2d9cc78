"""The template of the timeout alone: its bounds, its choices, and that it is current."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from hangup import __version__
from hangup.cdk.timeout_parameters import CLOSE_FUNCTIONS, CONDITIONS, PARAMETERS
from hangup.cdk.timeout_template import MAX_TEMPLATE_BYTES, either
from hangup.cdk.timeout_template import timeout_template as synthesised
from hangup.core.limits import SHARDS_OF_TEMPLATE
from hangup.core.pacing import close_functions
from hangup.ops.template import timeout_template

pytestmark = pytest.mark.infra

TEMPLATE: Final[dict[str, Any]] = json.loads(timeout_template())
REQUIRED: Final = {
    "ApiId": "a1b2c3d4e5",
    "StageName": "prod",
    "TableName": "connections",
    "CodeBucket": "artifacts",
    "CodeKey": "hangup.zip",
}
KEY: Final = "arn:aws:kms:eu-west-1:111122223333:key/0d1e2f30-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
FUNCTION: Final = "arn:aws:lambda:eu-west-1:111122223333:function:disconnect"
ABSENT: Final = {"Ref": "AWS::NoValue"}


class Deployed:
    """What CloudFormation makes of the template with some parameters."""

    def __init__(self, **parameters: str) -> None:
        defaults = {n: p["Default"] for n, p in TEMPLATE["Parameters"].items() if "Default" in p}
        self._values = {**defaults, **REQUIRED, **parameters}
        self._holds = {name: self._is(one) for name, one in TEMPLATE["Conditions"].items()}
        self.resources = self._left(TEMPLATE["Resources"])
        self.outputs = self._left(TEMPLATE["Outputs"])
        self.refused = [
            assertion["AssertDescription"]
            for rule in TEMPLATE["Rules"].values()
            if self._is(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self._is(assertion["Assert"])
        ]

    def of_type(self, kind: str) -> list[Any]:
        return [one["Properties"] for one in self.resources.values() if one["Type"] == kind]

    def function(self, name: str) -> Any:
        (found,) = (
            one
            for one in self.of_type("AWS::Lambda::Function")
            if one["Handler"] == f"hangup.handlers.{name}.lambda_handler"
        )
        return found

    def variables(self, name: str) -> dict[str, Any]:
        variables: dict[str, Any] = self.function(name)["Environment"]["Variables"]
        return variables

    def actions(self) -> set[str]:
        found = set()
        for policy in self.of_type("AWS::IAM::Policy"):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                found |= {actions} if isinstance(actions, str) else {*actions}
        return found

    def _left(self, parts: dict[str, Any]) -> dict[str, Any]:
        there = {n: p for n, p in parts.items() if self._holds.get(p.get("Condition"), True)}
        return {name: self._resolved(part) for name, part in there.items()}

    def _is(self, expression: Any) -> bool:
        ((function, arguments),) = expression.items()
        match function:
            case "Fn::Equals":
                first, second = map(self._resolved, arguments)
                return bool(first == second)
            case "Fn::Contains":
                values, value = map(self._resolved, arguments)
                return value in values
            case "Fn::Not":
                return not self._is(arguments[0])
            case "Fn::And":
                return all(map(self._is, arguments))
            case "Fn::Or":
                return any(map(self._is, arguments))
        raise AssertionError(function)

    def _resolved(self, node: Any) -> Any:
        match node:
            case {"Ref": name} if name in self._values:
                return self._values[name]
            case {"Fn::If": [condition, yes, no]}:
                return self._resolved(yes if self._holds[condition] else no)
            case {"Fn::FindInMap": [mapping, key, value]}:
                return TEMPLATE["Mappings"][mapping][self._resolved(key)][value]
            case dict():
                inner = {name: self._resolved(value) for name, value in node.items()}
                return {name: value for name, value in inner.items() if value != ABSENT}
            case list():
                return [one for one in map(self._resolved, node) if one != ABSENT]
        return node


def accepts(parameter: str, value: str) -> bool:
    definition = TEMPLATE["Parameters"][parameter]
    if "AllowedValues" in definition:
        return value in definition["AllowedValues"]
    return re.fullmatch(definition["AllowedPattern"], value) is not None


def test_the_copy_in_the_package_is_current() -> None:
    assert timeout_template() == synthesised(), "run: make synth"


def test_fits_into_a_request_and_has_no_assets() -> None:
    assert len(timeout_template().encode()) < MAX_TEMPLATE_BYTES
    assert "cdk" not in timeout_template().lower()


def test_has_no_fault_that_cfn_lint_knows(tmp_path: Path) -> None:
    file = tmp_path / "timeout.template.json"
    file.write_text(timeout_template())
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([lint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_asks_for_what_it_cannot_know_and_for_nothing_else() -> None:
    assert {one.name for one in PARAMETERS if one.default is None} == REQUIRED.keys()
    for one in PARAMETERS:
        if one.default is not None:
            assert accepts(one.name, one.default), one.name
    for name, value in REQUIRED.items():
        assert accepts(name, value), name


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("IdleTimeoutSeconds", ["1", "74", "75", "7200"], ["0", "7201", "90.5", "", "01", "-1"]),
        ("ActivityResolutionSeconds", ["0", "7200"], ["7201", "1.5", ""]),
        (
            "TimeoutsByRole",
            ["", "speaker=300,listener=60", "a=7200"],
            ["speaker", "speaker=0", "speaker=7201", "speaker=300,", "a b=1"],
        ),
        ("ClosesPerSecond", ["0", "1", "200", "1000"], ["1001", "-1", "1.5", ""]),
        ("Shards", ["1", "2", "4", "8", "16"], ["0", "3", "17"]),
        ("CloseFunctions", ["4", "16"], ["3", "17"]),
        ("TableKeyArn", ["", KEY], ["alias/mine", "arn:aws:kms:eu-west-1:111122223333:alias/a"]),
        ("DisconnectFunctionArn", ["", FUNCTION, f"{FUNCTION}:live"], ["disconnect"]),
        (
            "ManagementEndpoint",
            ["", "https://ws.example.com/chat", "http://127.0.0.1:4566/_aws/execute-api/a/prod"],
            ["wss://ws.example.com/chat", "ws.example.com"],
        ),
        ("TableName", ["abc", "my.table_1-x"], ["ab", "arn:aws:dynamodb:eu:1:table/x"]),
        (
            "TableSchema",
            ["", "{}", '{"role":"kind"}', f'{{"{"x" * 2044}"}}'],
            ["[]", f'{{"{"x" * 2045}"}}'],
        ),
        ("Deployment", ["", "chat", "a/b"], ["a b", "x" * 249]),
        ("MetricRoles", ["host", "host,guest"], ["", "a,,b", ",".join("abcdefghijk")]),
        ("AlarmTopicArn", ["", "arn:aws:sns:eu-west-1:111122223333:alarms"], ["alarms"]),
        ("HandOver", ["always", "if_left", "delete", "never"], ["Always", ""]),
        ("Mode", ["close", "observe"], ["off"]),
    ],
)
def test_bounds_of_parameters(parameter: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not accepts(parameter, value)] == []
    assert [value for value in bad if accepts(parameter, value)] == []


def test_a_number_of_close_functions_can_be_given_for_every_pace() -> None:
    assert {str(close_functions(pace)) for pace in range(1_001)} <= {*CLOSE_FUNCTIONS}


def test_by_default_it_sweeps_and_nothing_more() -> None:
    deployed = Deployed(DisconnectFunctionArn=FUNCTION)
    assert deployed.refused == []
    assert len(deployed.of_type("AWS::Lambda::Function")) == 1
    assert len(deployed.of_type("AWS::CloudWatch::Alarm")) == 10
    assert not deployed.of_type("AWS::SQS::Queue")
    assert not deployed.of_type("AWS::CloudWatch::Dashboard")
    assert deployed.actions() == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "dynamodb:Scan",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "execute-api:ManageConnections",
        "lambda:InvokeFunction",
    }
    variables = deployed.variables("timeout_handler")
    assert "CLOSE_QUEUE_URL" not in variables
    assert variables["API_GATEWAY_ENDPOINT"]["Fn::Sub"].startswith("https://${ApiId}.execute-api.")
    assert deployed.function("timeout_handler")["ReservedConcurrentExecutions"] == "1"
    assert all(not one["AlarmActions"] for one in deployed.of_type("AWS::CloudWatch::Alarm"))


def test_precise_adds_a_queue_a_function_and_alarms() -> None:
    deployed = Deployed(Precise="true", HandOver="never", CloseFunctions="6")
    assert len(deployed.of_type("AWS::Lambda::Function")) == 2
    assert len(deployed.of_type("AWS::SQS::Queue")) == 2
    assert len(deployed.of_type("AWS::CloudWatch::Alarm")) == 14
    (mapping,) = deployed.of_type("AWS::Lambda::EventSourceMapping")
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 6}
    assert deployed.variables("close_handler")["PACE_SHARED_BY"] == "6"
    assert {"Ref"} == deployed.variables("timeout_handler")["CLOSE_QUEUE_URL"].keys()
    assert deployed.outputs.keys() - Deployed().outputs.keys() == {
        "CloseFunctionName",
        "CloseQueueUrl",
        "FailedClosesQueueUrl",
    }


@pytest.mark.parametrize("precise", ["false", "true"])
@pytest.mark.parametrize(
    ("rule", "calls", "deletes"),
    [("always", 1, 0), ("if_left", 1, 0), ("delete", 0, 1), ("never", 0, 0)],
)
def test_grants_what_the_rule_of_handing_over_needs(
    rule: str, calls: int, deletes: int, precise: str
) -> None:
    deployed = Deployed(HandOver=rule, DisconnectFunctionArn=FUNCTION, Precise=precise)
    actions = deployed.actions()
    assert ("lambda:InvokeFunction" in actions, "dynamodb:DeleteItem" in actions) == (
        bool(calls),
        bool(deletes),
    )
    closing = "close_handler" if precise == "true" else "timeout_handler"
    assert deployed.variables(closing)["HAND_OVER"] == rule


@pytest.mark.parametrize("shards", SHARDS_OF_TEMPLATE)
def test_each_shard_has_a_target_and_a_rule_at_most_five(shards: int) -> None:
    deployed = Deployed(Shards=str(shards))
    rules = deployed.of_type("AWS::Events::Rule")
    found = []
    for rule in rules:
        assert 1 <= len(rule["Targets"]) <= 5
        for target in rule["Targets"]:
            said = target["InputTransformer"]["InputTemplate"]["Fn::Sub"]
            found.append(json.loads(said.replace("<id>", "0").replace("${Shards}", str(shards))))
    found.sort(key=lambda event: int(event["shard"]))
    assert found == [{"id": 0, "shard": n, "shards": shards} for n in range(shards)]
    assert len(deployed.of_type("AWS::Lambda::Permission")) == len(rules)
    assert deployed.function("timeout_handler")["ReservedConcurrentExecutions"] == str(shards)
    assert deployed.variables("timeout_handler")["PACE_SHARED_BY"] == str(shards)
    (never,) = (
        one
        for one in deployed.of_type("AWS::CloudWatch::Alarm")
        if one["ComparisonOperator"] == "LessThanThreshold"
    )
    assert never["Threshold"] == str(shards)


def test_the_other_choices_change_what_they_are_about() -> None:
    deployed = Deployed(
        ManagementEndpoint="https://ws.example.com/chat",
        TableKeyArn=KEY,
        AlarmTopicArn="arn:topic",
        Dashboard="true",
        ReserveConcurrency="false",
        Architecture="x86_64",
        Deployment="chat",
        LogRetentionDays="7",
        TableSchema='{"role":"kind"}',
        MetricRoles="host",
        Mode="observe",
        Activity="gateway",
        TimeoutsByRole="host=300",
    )
    assert "kms:Decrypt" in deployed.actions()
    assert all(
        one["AlarmActions"] == ["arn:topic"] for one in deployed.of_type("AWS::CloudWatch::Alarm")
    )
    assert len(deployed.of_type("AWS::CloudWatch::Dashboard")) == 1
    function = deployed.function("timeout_handler")
    assert "ReservedConcurrentExecutions" not in function
    assert function["Architectures"] == ["x86_64"]
    assert [one["RetentionInDays"] for one in deployed.of_type("AWS::Logs::LogGroup")] == ["7"]
    variables = deployed.variables("timeout_handler")
    assert variables["API_GATEWAY_ENDPOINT"] == "https://ws.example.com/chat"
    assert variables["METRICS_NAMESPACE"] == {"Fn::Join": ["", ["Hangup/", "chat"]]}
    assert {
        name: variables[name]
        for name in ("TABLE_SCHEMA", "METRIC_ROLES", "MODE", "ACTIVITY", "IDLE_TIMEOUTS_BY_ROLE")
    } == {
        "TABLE_SCHEMA": '{"role":"kind"}',
        "METRIC_ROLES": "host",
        "MODE": "observe",
        "ACTIVITY": "gateway",
        "IDLE_TIMEOUTS_BY_ROLE": "host=300",
    }


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({"HandOver": "always"}, ["HandOver is always or if_left"]),
        ({"HandOver": "if_left"}, ["HandOver is always or if_left"]),
        ({"HandOver": "delete"}, []),
        ({"HandOver": "never", "Precise": "true", "IdleTimeoutSeconds": "74"}, ["Precise is true"]),
        ({"HandOver": "never", "Precise": "true", "IdleTimeoutSeconds": "75"}, []),
        ({"HandOver": "never", "IdleTimeoutSeconds": "1"}, []),
        ({"HandOver": "never", "Activity": "gateway"}, []),
        (
            {"HandOver": "never", "Activity": "gateway", "LastActiveCounts": "both"},
            ["Activity is gateway"],
        ),
        (
            {"HandOver": "never", "Activity": "gateway", "ActivityResolutionSeconds": "1"},
            ["Activity is gateway"],
        ),
    ],
)
def test_refuses_what_contradicts(parameters: dict[str, str], refused: list[str]) -> None:
    said = Deployed(**parameters).refused
    assert [text.partition(",")[0] for text in said] == refused


def test_an_output_says_which_version_it_is_of() -> None:
    assert Deployed().outputs["HangupVersion"] == {"Value": __version__}


def test_every_alarm_names_its_runbook_and_every_condition_is_used() -> None:
    deployed = Deployed(Precise="true")
    assert all(
        "Runbook: docs/operate/runbooks/" in one["AlarmDescription"]
        for one in deployed.of_type("AWS::CloudWatch::Alarm")
    )
    body = json.dumps(TEMPLATE["Resources"])
    assert [name for name in CONDITIONS if f'"{name}"' not in body] == []


def test_what_only_one_side_has_stands_under_the_condition() -> None:
    part = {"Type": "T", "Properties": {}}
    assert either("C", {"a": part, "b": 1}, {"b": 2}) == {
        "a": {**part, "Condition": "C"},
        "b": {"Fn::If": ["C", 1, 2]},
    }
    assert either("C", [1, 2], [1, 3]) == [
        1,
        {"Fn::If": ["C", 2, ABSENT]},
        {"Fn::If": ["C", ABSENT, 3]},
    ]
    assert either("C", {"Ref": "a"}, {"Ref": "b"}) == {"Fn::If": ["C", {"Ref": "a"}, {"Ref": "b"}]}
    assert either("C", {}, {"x": 1}) == {"x": {"Fn::If": ["C", ABSENT, 1]}}


@pytest.mark.parametrize("precise", ["false", "true"])
def test_a_state_table_takes_what_would_be_written_to_the_connections(precise: str) -> None:
    without = Deployed(Precise=precise)
    assert not without.of_type("AWS::DynamoDB::Table")
    deployed = Deployed(Precise=precise, StateTable="true")
    (table,) = deployed.of_type("AWS::DynamoDB::Table")
    assert "SSESpecification" not in table
    (encrypted,) = Deployed(StateTable="true", TableKeyArn=KEY).of_type("AWS::DynamoDB::Table")
    assert encrypted["SSESpecification"]["KMSMasterKeyId"] == KEY
    for name in ("timeout_handler", *(["close_handler"] if precise == "true" else [])):
        assert "STATE_TABLE" not in without.variables(name)
        state_table = deployed.variables(name)["STATE_TABLE"]
        (kind,) = state_table.items()
        assert kind[0] == "Ref"
        assert deployed.resources[kind[1]]["Type"] == "AWS::DynamoDB::Table"
        # By this name a sweep by hand finds it.
        assert deployed.outputs["StateTableName"]["Value"] == state_table
    assert "StateTableName" not in without.outputs
    assert deployed.actions() - without.actions() >= {"dynamodb:BatchGetItem"}
