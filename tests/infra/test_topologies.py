"""``precise`` and ``shards``: what they add to the template, and what the sweep then lacks."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from tests.support.existing_stack import (
    FUNCTION_ARN,
    TABLE_ARN,
    add_timeout,
    existing_stack,
    synthesised,
)
from tests.support.templates import Resources, readable

pytestmark = pytest.mark.infra

STAGE = "arn:${AWS::Partition}:execute-api:eu-west-1:111122223333:a1b2c3/live/"
QUEUE = "${IdleTimeoutScheduledClosesQueue}"
MANAGE = {"execute-api:ManageConnections"}


def with_timeout(lambda_zip: Path, **options: Any) -> Resources:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, **options)
    return synthesised(stack)


@pytest.fixture(scope="module")
def due(lambda_zip: Path) -> Resources:
    return with_timeout(lambda_zip, precise=True)


class TestPrecise:
    def test_adds_two_queues_a_function_and_four_alarms(self, due: Resources) -> None:
        types = sorted(resource["Type"] for resource in due.template["Resources"].values())
        assert types == [
            *["AWS::CloudWatch::Alarm"] * 14,
            "AWS::Events::Rule",
            *["AWS::IAM::Policy"] * 2,
            *["AWS::IAM::Role"] * 2,
            "AWS::Lambda::EventInvokeConfig",
            "AWS::Lambda::EventSourceMapping",
            *["AWS::Lambda::Function"] * 2,
            "AWS::Lambda::Permission",
            *["AWS::Logs::LogGroup"] * 2,
            *["AWS::SQS::Queue"] * 2,
            *["AWS::SQS::QueuePolicy"] * 2,
        ]

    def test_the_sweep_may_queue_and_no_longer_close(self, due: Resources) -> None:
        assert due.grants("timeout_handler") == {
            "${IdleTimeoutTimeoutHandlerLogs.Arn}": {"logs:CreateLogStream", "logs:PutLogEvents"},
            TABLE_ARN: {"dynamodb:Scan", "dynamodb:UpdateItem"},
            f"{STAGE}GET/@connections/*": MANAGE,
            "${IdleTimeoutScheduledClosesQueue.Arn}": {"sqs:SendMessage"},
        }
        environment = due.function("timeout_handler")["Environment"]["Variables"]
        assert readable(environment["CLOSE_QUEUE_URL"]) == QUEUE

    def test_the_close_function_may_close_and_not_look_for_whom(self, due: Resources) -> None:
        assert due.grants("close_handler") == {
            "${IdleTimeoutScheduledClosesCloseHandlerLogs.Arn}": {
                "logs:CreateLogStream",
                "logs:PutLogEvents",
            },
            TABLE_ARN: {"dynamodb:GetItem", "dynamodb:UpdateItem"},
            f"{STAGE}POST/@connections/*": MANAGE,
            f"{STAGE}DELETE/@connections/*": MANAGE,
            f"{STAGE}GET/@connections/*": MANAGE,
            FUNCTION_ARN: {"lambda:InvokeFunction"},
            "${IdleTimeoutScheduledClosesQueue.Arn}": {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ChangeMessageVisibility",
            },
        }
        function = due.function("close_handler")
        environment = function["Environment"]["Variables"]
        assert {name: readable(value) for name, value in environment.items()} == {
            "CLOSES_PER_SECOND": "200",
            "PACE_SHARED_BY": "4",
            "API_GATEWAY_ENDPOINT": "https://a1b2c3.execute-api.eu-west-1.${AWS::URLSuffix}/live",
            "CONNECTIONS_TABLE": "chat",
            "DISCONNECT_HANDLER_FUNCTION": FUNCTION_ARN,
            "CLOSE_QUEUE_URL": QUEUE,
            "LAST_ACTIVE_COUNTS": "unsettled",
            "LOG_LEVEL": "INFO",
            "METRICS_NAMESPACE": "Hangup/Chat/IdleTimeout",
            "METRIC_ROLES": "speaker,listener",
            "MODE": "close",
        }
        assert (function["Timeout"], function["MemorySize"]) == (60, 256)
        assert "ReservedConcurrentExecutions" not in function

    def test_takes_ten_at_a_time_at_once_and_only_those_again_that_failed(
        self, due: Resources
    ) -> None:
        (mapping,) = due.of_type("AWS::Lambda::EventSourceMapping").values()
        assert readable(mapping["EventSourceArn"]) == "${IdleTimeoutScheduledClosesQueue.Arn}"
        assert (
            readable(mapping["FunctionName"]) == "${IdleTimeoutScheduledClosesCloseHandlerFunction}"
        )
        assert {name: mapping[name] for name in mapping if name[-4:] not in ("eArn", "Name")} == {
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "MaximumBatchingWindowInSeconds": 0,
            "ScalingConfig": {"MaximumConcurrency": 4},
        }

    @pytest.mark.parametrize(
        ("closes_per_second", "functions"), [(50, 4), (600, 6), (1_000, 9), (0, 16)]
    )
    def test_has_as_many_close_functions_as_the_pace_asks_for(
        self, lambda_zip: Path, closes_per_second: int, functions: int
    ) -> None:
        due = with_timeout(lambda_zip, precise=True, closes_per_second=closes_per_second)
        (mapping,) = due.of_type("AWS::Lambda::EventSourceMapping").values()
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": functions}
        environment = due.function("close_handler")["Environment"]["Variables"]
        assert environment["PACE_SHARED_BY"] == str(functions)
        assert environment["CLOSES_PER_SECOND"] == str(closes_per_second)

    def test_queues_are_encrypted_closed_to_plain_http_and_end_in_failed_closes(
        self, due: Resources
    ) -> None:
        queues = due.of_type("AWS::SQS::Queue")
        (failed_id,) = (name for name in queues if "FailedCloses" in name)
        (queue_id,) = (name for name in queues if "FailedCloses" not in name)
        assert queues == {
            failed_id: {"MessageRetentionPeriod": 14 * 86_400, "SqsManagedSseEnabled": True},
            queue_id: {
                "MessageRetentionPeriod": 3_600,
                "SqsManagedSseEnabled": True,
                # Six times the function's 60 seconds.
                "VisibilityTimeout": 360,
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": [failed_id, "Arn"]},
                    "maxReceiveCount": 5,
                },
            },
        }
        # A message is given up before it is too old: then it is kept where somebody looks.
        assert 5 * 360 < 3_600
        for policy in due.of_type("AWS::SQS::QueuePolicy").values():
            (statement,) = policy["PolicyDocument"]["Statement"]
            assert statement["Effect"] == "Deny"
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_alarms_while_a_failed_close_waits_and_when_the_function_fails(
        self, due: Resources
    ) -> None:
        alarm = due.alarm("ApproximateNumberOfMessagesVisible")
        (failed_id,) = (name for name in due.of_type("AWS::SQS::Queue") if "Failed" in name)
        assert alarm["Dimensions"] == [
            {"Name": "QueueName", "Value": {"Fn::GetAtt": [failed_id, "QueueName"]}}
        ]
        assert (alarm["Threshold"], alarm["TreatMissingData"]) == (0, "ignore")
        assert alarm["AlarmDescription"].startswith("Critical: ")
        failing = [
            readable(alarm["Dimensions"][0]["Value"])
            for alarm in due.of_type("AWS::CloudWatch::Alarm").values()
            if alarm["MetricName"] == "Errors"
        ]
        assert "${IdleTimeoutScheduledClosesCloseHandlerFunction}" in failing

    def test_alarms_when_closes_fail_and_when_none_are_made(self, due: Resources) -> None:
        failures = due.alarm("CloseFailures")
        assert (failures["Threshold"], failures["ComparisonOperator"]) == (
            0,
            "GreaterThanThreshold",
        )
        behind = due.alarm("ApproximateAgeOfOldestMessage")
        (queue_id,) = (name for name in due.of_type("AWS::SQS::Queue") if "Failed" not in name)
        assert behind["Dimensions"] == [
            {"Name": "QueueName", "Value": {"Fn::GetAtt": [queue_id, "QueueName"]}}
        ]
        # Longer than any delay, and shorter than a message is kept.
        assert 75 < behind["Threshold"] < 3_600
        assert behind["TreatMissingData"] == "notBreaching"

    def test_the_mapping_waits_until_the_function_may_receive(self, due: Resources) -> None:
        function_id = next(
            name for name in due.of_type("AWS::Lambda::Function") if "Closes" in name
        )
        depends_on = due.template["Resources"][function_id]["DependsOn"]
        assert any("RoleDefaultPolicy" in name for name in depends_on)

    @pytest.mark.parametrize("seconds", [75, 7_200])
    def test_accepts_a_timeout_that_a_sweep_comes_before(
        self, lambda_zip: Path, seconds: int
    ) -> None:
        with_timeout(lambda_zip, precise=True, idle_timeout_seconds=seconds)

    @pytest.mark.parametrize("seconds", [1, 60, 74])
    def test_refuses_a_timeout_that_may_pass_before_a_sweep_comes(
        self, lambda_zip: Path, seconds: int
    ) -> None:
        with pytest.raises(ValueError, match=r"needs idle_timeout_seconds of at least 75, not"):
            with_timeout(lambda_zip, precise=True, idle_timeout_seconds=seconds)

    def test_cannot_see_a_timeout_that_is_a_parameter(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        parameter = cdk.CfnParameter(stack, "Seconds", type="Number", default=10)
        add_timeout(stack, lambda_zip, precise=True, idle_timeout_seconds=parameter.value_as_string)


class TestReferenceStack:
    def test_is_the_inline_one_and_what_precise_adds(
        self, resources: Resources, precise: Resources
    ) -> None:
        inline, queued = resources.template["Resources"], precise.template["Resources"]
        assert inline.keys() <= queued.keys()
        different = {name for name in inline if inline[name] != queued[name]}
        # The sweep: its variables, and what it may do.
        assert {readable({"Ref": name}) for name in different} == {
            "${IdleTimeoutTimeoutHandlerFunction}",
            "${IdleTimeoutTimeoutHandlerRoleDefaultPolicy}",
        }

    def test_says_where_the_queue_is(self, precise_template: dict[str, Any]) -> None:
        outputs = precise_template["Outputs"]
        assert readable(outputs["CloseFunction"]["Value"]).endswith("CloseHandlerFunction}")
        assert readable(outputs["CloseQueueUrl"]["Value"]) == QUEUE
        assert readable(outputs["FailedClosesQueueUrl"]["Value"]).endswith("FailedCloses}")

    def test_leaves_nothing_behind_when_it_is_deleted(
        self, precise_template: dict[str, Any]
    ) -> None:
        for resource in precise_template["Resources"].values():
            assert resource.get("DeletionPolicy", "Delete") == "Delete"


def rules(resources: Resources) -> list[list[dict[str, Any]]]:
    """Return the targets of each rule."""
    found = resources.of_type("AWS::Events::Rule").values()
    assert {rule["ScheduleExpression"] for rule in found} == {"rate(1 minute)"}
    return [rule["Targets"] for rule in found]


class TestShards:
    def test_one_is_the_plain_form(self, lambda_zip: Path) -> None:
        one = with_timeout(lambda_zip, shards=1)
        assert one.template == with_timeout(lambda_zip).template
        ((target,),) = rules(one)
        assert not target.keys() & {"Input", "InputPath", "InputTransformer"}
        function = one.function("timeout_handler")
        assert function["ReservedConcurrentExecutions"] == 1
        assert "PACE_SHARED_BY" not in function["Environment"]["Variables"]

    @pytest.mark.parametrize(
        ("shards", "sizes"), [(2, [2]), (5, [5]), (6, [5, 1]), (20, [5, 5, 5, 5])]
    )
    def test_has_a_target_for_each_part_in_rules_of_five(
        self, lambda_zip: Path, shards: int, sizes: list[int]
    ) -> None:
        resources = with_timeout(lambda_zip, shards=shards)
        targets = rules(resources)
        assert sorted(map(len, targets), reverse=True) == sizes
        inputs = [target["InputTransformer"] for rule in targets for target in rule]
        # The tick's own id, so that one id leads through the logs of all parts.
        assert all(one["InputPathsMap"] == {"id": "$.id"} for one in inputs)
        assert sorted(one["InputTemplate"] for one in inputs) == sorted(
            f'{{"id":<id>,"shard":{shard},"shards":{shards}}}' for shard in range(shards)
        )
        for rule in targets:
            for target in rule:
                assert target["RetryPolicy"] == {
                    "MaximumEventAgeInSeconds": 60,
                    "MaximumRetryAttempts": 0,
                }
        function = resources.function("timeout_handler")
        assert function["ReservedConcurrentExecutions"] == shards
        assert function["Environment"]["Variables"]["PACE_SHARED_BY"] == str(shards)

    def test_every_rule_may_invoke_the_function(self, lambda_zip: Path) -> None:
        resources = with_timeout(lambda_zip, shards=11)
        rule_ids = set(resources.of_type("AWS::Events::Rule"))
        permissions = resources.of_type("AWS::Lambda::Permission").values()
        assert {p["SourceArn"]["Fn::GetAtt"][0] for p in permissions} == rule_ids

    def test_rings_when_one_of_them_is_missing(self, lambda_zip: Path) -> None:
        alarm = with_timeout(lambda_zip, shards=4).alarm("ConnectionsChecked")
        assert (alarm["Statistic"], alarm["Threshold"]) == ("SampleCount", 4)
        assert alarm["ComparisonOperator"] == "LessThanThreshold"

    def test_goes_together_with_precise(self, lambda_zip: Path) -> None:
        both = with_timeout(lambda_zip, shards=4, precise=True)
        # The sweeps close nothing, so the pace is the close function's to share.
        assert both.function("close_handler")["Environment"]["Variables"]["PACE_SHARED_BY"] == "4"
        assert both.function("timeout_handler")["ReservedConcurrentExecutions"] == 4

    def test_shows_its_rules(self, lambda_zip: Path) -> None:
        timeout = add_timeout(existing_stack(), lambda_zip, shards=6)
        assert len(timeout.rules) == 2
        assert timeout.rule is timeout.rules[0]
