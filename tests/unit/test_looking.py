"""What ``hangup status``, ``explain`` and ``tail`` ask AWS, and what the answers mean to them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.cloudwatch import DeploymentMetrics, FunctionLogs
from hangup.aws.deployment import DeployedStack, DeployedTimeout, StackOutputs
from hangup.aws.own_functions import (
    DISCONNECT_HANDLER,
    TIMEOUT_HANDLER,
    dead_letters_of,
    failed_events_of,
)
from hangup.aws.records import DeployedRecords
from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.states import DynamoDbStates
from hangup.aws.table_size import TableSize
from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError, ConfigurationError
from hangup.ops.template import timeout_template
from hangup.ops.wiring import environment_by_function
from hangup.testing import FakeClock
from tests.support.aws_stub import AwsStub

NOW_MS = EpochMs(1_700_000_000_000)
ITEM = {
    "connectionId": {"S": "c1"},
    "connectedAt": {"N": str(NOW_MS)},
    "claimExpiresAt": {"N": str(NOW_MS + 5)},
    "joinToken": {"S": "a secret"},
}
ROOMS = TableSchema(
    connection_id="id", key_attributes=(("room", "S"), ("id", "S")), last_activity=None
)


def records(calls: Calls, schema: TableSchema = DEFAULT_SCHEMA, *, state: bool = False) -> Any:
    dynamodb = botocore_client("dynamodb")
    states = DynamoDbStates(dynamodb, calls, "states", FakeClock()) if state else None
    return DeployedRecords(dynamodb, calls, "connections", schema, states)


class TestRecords:
    def test_one_is_read_by_its_key_with_its_claim(self, aws: AwsStub, calls: Calls) -> None:
        aws.answer("GetItem", {"Item": ITEM})
        assert records(calls).records_of("c1") == [
            (Connection(connection_id="c1", connected_at_ms=NOW_MS), NOW_MS + 5)
        ]
        assert aws.operations == ["GetItem"]

    def test_there_may_be_none(self, aws: AwsStub, calls: Calls) -> None:
        assert records(calls).records_of("c1") == []

    def test_an_item_that_is_not_of_this_deployment_is_none(
        self, aws: AwsStub, calls: Calls
    ) -> None:
        schema = TableSchema.from_json('{"only": [["equals", "stage", "prod"]]}')
        aws.answer("GetItem", {"Item": {**ITEM, "stage": {"S": "dev"}}})
        assert records(calls, schema).records_of("c1") == []

    def test_all_are_read_where_the_key_does_not_follow_from_the_id(
        self, aws: AwsStub, calls: Calls
    ) -> None:
        rooms = [{"room": {"S": room}, "id": {"S": "c1"}} for room in "ab"]
        other = {"room": {"S": "a"}, "id": {"S": "c2"}}
        page = {"Count": 2, "ScannedCount": 2}
        aws.answer(
            "Scan",
            {**page, "Items": [rooms[0], other], "LastEvaluatedKey": other},
            {**page, "Items": [other, rooms[1]]},
        )
        found = records(calls, ROOMS)
        assert not found.finds_by_id
        keys = [[part.value for part in one.key] for one, _ in found.records_of("c1")]
        assert keys == [["a", "c1"], ["b", "c1"]]

    def test_the_state_beside_them_counts(self, aws: AwsStub, calls: Calls) -> None:
        state = {
            "connectionId": {"S": "c1"},
            "gatewayActiveAt": {"N": str(NOW_MS + 9)},
            "claimExpiresAt": {"N": str(NOW_MS + 7)},
        }
        aws.answer("GetItem", {"Item": ITEM})
        aws.answer("BatchGetItem", {"Responses": {"states": [state]}})
        ((connection, claim_expires_ms),) = records(calls, state=True).records_of("c1")
        # The claim in the record is not ours.
        assert (connection.gateway_active_ms, claim_expires_ms) == (NOW_MS + 9, NOW_MS + 7)
        page = {"Items": [ITEM], "Count": 1, "ScannedCount": 3}
        aws.answer("Scan", page)
        (seen,) = records(calls, state=True).pages()
        assert (seen.scanned_count, seen.candidates[0].gateway_active_ms) == (3, NOW_MS + 9)

    def test_pages_hold_what_a_sweep_reads_and_no_more(self, aws: AwsStub, calls: Calls) -> None:
        aws.answer("Scan", {"Items": [ITEM], "Count": 1, "ScannedCount": 1})
        (page,) = records(calls).pages()
        assert [one.connection_id for one in page.candidates] == ["c1"]
        (request,) = aws.calls("Scan")
        assert "FilterExpression" not in request
        assert "ProjectionExpression" in request

    def test_the_size_is_dynamodbs(self, aws: AwsStub, calls: Calls) -> None:
        aws.answer("DescribeTable", {"Table": {"ItemCount": 3, "TableSizeBytes": 400}})
        assert records(calls).size() == TableSize(3, 400)


class TestLogs:
    def test_every_page_of_every_group_is_read(self, aws: AwsStub, calls: Calls) -> None:
        def event(text: str) -> dict[str, object]:
            return {"timestamp": 1, "logStreamName": "s", "message": text}

        aws.answer(
            "FilterLogEvents",
            {"events": [event("one c1"), event("of another")], "nextToken": "more"},
            {"events": [event("two c1")]},
            {"events": [event("three c1")]},
        )
        logs = FunctionLogs(botocore_client("logs"), calls, ["/a", "/b"])
        found = list(logs.events(since_ms=NOW_MS, phrase="c1"))
        assert found == [(1, "s", f"{number} c1") for number in ("one", "two", "three")]
        first, second, third = aws.calls("FilterLogEvents")
        assert first == {"logGroupName": "/a", "startTime": NOW_MS, "filterPattern": '"c1"'}
        assert second == {**first, "nextToken": "more"}
        assert third["logGroupName"] == "/b"

    def test_a_function_that_never_ran_has_no_lines(self, aws: AwsStub, calls: Calls) -> None:
        aws.fail("FilterLogEvents", status=400, code="ResourceNotFoundException")
        logs = FunctionLogs(botocore_client("logs"), calls, ["/a"])
        assert list(logs.events(since_ms=NOW_MS)) == []

    def test_a_refusal_is_an_error(self, aws: AwsStub, calls: Calls) -> None:
        aws.fail("FilterLogEvents", status=400, code="AccessDeniedException")
        logs = FunctionLogs(botocore_client("logs"), calls, ["/a"])
        with pytest.raises(BackendError, match="FilterLogEvents failed with AccessDenied"):
            list(logs.events(since_ms=NOW_MS))

    def test_a_phrase_cannot_break_out_of_its_quotes(self, aws: AwsStub, calls: Calls) -> None:
        logs = FunctionLogs(botocore_client("logs"), calls, ["/a"])
        with pytest.raises(ValueError, match="quotation mark"):
            list(logs.events(since_ms=NOW_MS, phrase='" ""'))


class _CloudWatch:
    """CloudWatch's client: what it was asked, and a page an answer."""

    def __init__(self, *pages: Mapping[str, Any]) -> None:
        self.pages = list(pages)
        self.asked: list[Mapping[str, Any]] = []

    def get_metric_data(self, **request: Any) -> Mapping[str, Any]:
        self.asked.append(request)
        return self.pages.pop(0)

    describe_alarms = get_metric_data


class TestMetrics:
    def test_every_page_is_read_and_each_minute_has_its_sums(self, calls: Calls) -> None:
        at = datetime(2026, 11, 29, 3, 5, tzinfo=UTC)
        cloudwatch: Any = _CloudWatch(
            {
                "MetricDataResults": [{"Id": "m0", "Timestamps": [at], "Values": [7.0]}],
                "NextToken": "more",
            },
            {"MetricDataResults": [{"Id": "m1", "Timestamps": [at], "Values": [1.0]}]},
        )
        metrics = DeploymentMetrics(cloudwatch, calls, namespace="Hangup/x")
        minutes = metrics.by_minute(["Checked", "Closed"], since_ms=NOW_MS, until_ms=NOW_MS)
        assert minutes == {round(at.timestamp()) * 1000: {"Checked": 7, "Closed": 1}}
        first, second = cloudwatch.asked
        assert second == {**first, "NextToken": "more"}
        names = [one["MetricStat"]["Metric"]["MetricName"] for one in first["MetricDataQueries"]]
        assert names == ["Checked", "Closed"]

    def test_every_page_of_alarms_is_read(self, calls: Calls) -> None:
        def page(name: str) -> dict[str, Any]:
            return {"MetricAlarms": [{"AlarmName": name, "StateValue": "OK"}]}

        cloudwatch: Any = _CloudWatch({**page("x-1"), "NextToken": "more"}, page("x-2"))
        metrics = DeploymentMetrics(cloudwatch, calls, namespace="Hangup/x")
        assert [one.name for one in metrics.alarms(prefix="x-")] == ["x-1", "x-2"]
        assert [one["AlarmNamePrefix"] for one in cloudwatch.asked] == ["x-", "x-"]

    def test_alarms_are_known_by_what_they_are_on(self, calls: Calls) -> None:
        def on(namespace: str, name: str, dimension: str = "") -> dict[str, Any]:
            dimensions = [{"Name": "FunctionName", "Value": dimension}] if dimension else []
            return {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}

        def alarm(name: str, **about: Any) -> dict[str, Any]:
            return {"AlarmName": name, "StateValue": "OK", **about}

        cloudwatch: Any = _CloudWatch(
            {
                "MetricAlarms": [
                    alarm("held", **on("Hangup/x", "SweepsHeld")),
                    alarm("fails", **on("AWS/Lambda", "Errors", "my-timeout")),
                    alarm("of another", **on("Hangup/y", "SweepsHeld")),
                    alarm("fails too", **on("AWS/Lambda", "Errors", "theirs")),
                    alarm("computed", Metrics=[{"MetricStat": {"Metric": on("Hangup/x", "A")}}]),
                    alarm("expression", Metrics=[{"Expression": "1"}]),
                ]
            }
        )
        metrics = DeploymentMetrics(cloudwatch, calls, namespace="Hangup/x")
        found = metrics.alarms_on(["my-timeout"])
        assert [one.name for one in found] == ["held", "fails", "computed"]
        assert cloudwatch.asked == [{}]


class _Lambda:
    """The functions whose names have ``timeout`` have these variables; an ARN ends with a name."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.queues: list[str] = []

    def list_event_source_mappings(self, *, EventSourceArn: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's
        self.queues.append(EventSourceArn)
        return {"EventSourceMappings": [{"FunctionArn": f"{ARN}my-close"}]}

    def get_function_configuration(self, *, FunctionName: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's
        name = FunctionName.rpartition(":")[2]
        handler, _, _ = name.removeprefix("my-").partition("-")
        return {
            "FunctionName": name,
            "FunctionArn": f"{ARN}{name}",
            "Handler": f"hangup.handlers.{handler}_handler.lambda_handler",
            "Environment": {"Variables": self.variables if "timeout" in name else {}},
            "LoggingConfig": {"LogGroup": f"/aws/lambda/{name}"},
        }


ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"


VARIABLES = {
    "CONNECTIONS_TABLE": "sockets",
    "API_GATEWAY_ENDPOINT": "https://abc.execute-api.eu-west-1.amazonaws.com/prod",
    "HAND_OVER": "never",
    "TABLE_SCHEMA": '{"role": null}',
}


def timeout(outputs: Mapping[str, str], variables: Mapping[str, str]) -> DeployedTimeout:
    return DeployedTimeout.of(
        StackOutputs(stack_name="chat", values=outputs), lambda _service: _Lambda(variables)
    )


class TestTimeout:
    @pytest.mark.parametrize(
        "outputs",
        [
            {"TimeoutFunctionName": "my-timeout", "CloseFunctionName": "my-close"},
            {"TimeoutFunction": "my-timeout", "CloseFunction": "my-close"},
        ],
    )
    def test_is_found_in_both_kinds_of_stack(self, outputs: dict[str, str]) -> None:
        found = timeout({**outputs, "TimeoutFunctionArn": "arn", "ApiId": "abc"}, VARIABLES)
        assert found.settings.connections_table == "sockets"
        assert found.schema.role is None
        assert found.log_groups == ("/aws/lambda/my-timeout", "/aws/lambda/my-close")

    def test_another_stack_is_called_that(self) -> None:
        with pytest.raises(BackendError, match="stack chat has no output TimeoutFunctionName"):
            timeout({"ApiId": "abc"}, VARIABLES)

    def test_a_malformed_environment_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match="CONNECTION_IDLE_TIMEOUT_SECONDS"):
            timeout(
                {"TimeoutFunctionName": "my-timeout"},
                {**VARIABLES, "CONNECTION_IDLE_TIMEOUT_SECONDS": "soon"},
            )


class TestByFunction:
    def found(self, name: str, **variables: str) -> tuple[DeployedTimeout, _Lambda]:
        functions = _Lambda({**VARIABLES, **variables})
        return DeployedTimeout.of_function(name, lambda _service: functions), functions

    @pytest.mark.parametrize("name", ["my-timeout", f"{ARN}my-timeout"])
    def test_its_environment_says_all(self, name: str) -> None:
        found, _ = self.found(name)
        assert (found.name, found.stack_name) == ("my-timeout", None)
        assert found.settings.connections_table == "sockets"
        assert found.log_groups == ("/aws/lambda/my-timeout",)

    def test_a_sweep_by_hand_has_the_whole_pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        functions = _Lambda({**VARIABLES, "PACE_SHARED_BY": "4"})
        monkeypatch.setattr("hangup.aws.clients.client", lambda _service: functions)
        assert environment_by_function("my-timeout") == VARIABLES

    def test_what_closes_for_it_is_behind_its_queue(self) -> None:
        url = "https://sqs.eu-west-1.amazonaws.com/123456789012/closes"
        found, functions = self.found("my-timeout", CLOSE_QUEUE_URL=url)
        assert found.function_names == ("my-timeout", "my-close")
        assert found.log_groups == ("/aws/lambda/my-timeout", "/aws/lambda/my-close")
        assert functions.queues == ["arn:aws:sqs:eu-west-1:123456789012:closes"]

    def test_any_other_function_is_refused(self) -> None:
        with pytest.raises(ConfigurationError) as refused:
            self.found("my-close")
        assert str(refused.value) == (
            "my-close is not a timeout function of Hangup: its handler is"
            " hangup.handlers.close_handler.lambda_handler; name the function whose handler is"
            " hangup.handlers.timeout_handler.lambda_handler"
        )

    def test_a_malformed_environment_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match="MODE must be close or observe"):
            self.found("my-timeout", MODE="sleep")

    def test_a_timeout_alone_has_no_sessions(self) -> None:
        functions = _Lambda(VARIABLES)
        with pytest.raises(ConfigurationError, match=r"my-timeout is .* without sessions"):
            DeployedStack.of_function("my-timeout", lambda _service: functions)

    @pytest.mark.parametrize(
        ("attributes", "name"),
        [
            ({"RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sqs:r:1:failed"}'}, "failed"),
            (None, None),
        ],
    )
    def test_a_queue_may_give_up_nothing(
        self, attributes: dict[str, str] | None, name: str | None
    ) -> None:
        class Queues:
            def get_queue_attributes(self, **_: object) -> Mapping[str, Any]:
                return {} if attributes is None else {"Attributes": attributes}

        queues: Any = Queues()
        assert dead_letters_of(queues, "https://sqs.example/1/closes") == name

    @pytest.mark.parametrize(
        "config",
        [
            {},
            {"DestinationConfig": {"OnSuccess": {}, "OnFailure": {}}},
            {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sns:r:1:failed"}}},
        ],
    )
    def test_without_a_queue_of_failed_events_it_is_said(self, config: dict[str, Any]) -> None:
        class Functions:
            def get_function_event_invoke_config(self, **_: object) -> Mapping[str, Any]:
                return config

        functions: Any = Functions()
        function: Any = {"FunctionName": "my-disconnect"}
        with pytest.raises(ConfigurationError, match="my-disconnect has no queue for the events"):
            failed_events_of(functions, functions, function)

    def test_the_handlers_are_those_that_are_deployed(self) -> None:
        resources = json.loads(timeout_template())["Resources"].values()
        handlers = {one["Properties"].get("Handler") for one in resources}
        assert TIMEOUT_HANDLER in handlers
        for handler in (TIMEOUT_HANDLER, DISCONNECT_HANDLER):
            module, _, name = handler.rpartition(".")
            assert callable(getattr(import_module(module), name))
