"""Where cleanups go that failed for good, and who hears of it."""

import pytest

from tests.support.templates import Resources, readable

pytestmark = pytest.mark.infra


def test_keeps_cleanups_that_failed_for_good_in_a_queue(resources: Resources) -> None:
    ((queue_id, queue),) = resources.of_type("AWS::SQS::Queue").items()
    assert queue == {"MessageRetentionPeriod": 14 * 86_400, "SqsManagedSseEnabled": True}
    queue_arn = {"Fn::GetAtt": [queue_id, "Arn"]}
    (policy,) = resources.of_type("AWS::SQS::QueuePolicy").values()
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Action": "sqs:*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Resource": queue_arn,
        }
    ]
    invocations = {
        readable(config["FunctionName"]): config
        for config in resources.of_type("AWS::Lambda::EventInvokeConfig").values()
    }
    disconnect = invocations["${DisconnectHandlerFunction}"]
    # No retries and no age of its own: Lambda's are two retries within six hours.
    assert disconnect == {
        "DestinationConfig": {"OnFailure": {"Destination": queue_arn}},
        "FunctionName": disconnect["FunctionName"],
        "Qualifier": "$LATEST",
    }
    assert "DestinationConfig" not in invocations["${IdleTimeoutTimeoutHandlerFunction}"]


def test_alarms_while_a_failed_cleanup_waits(resources: Resources) -> None:
    (queue_id,) = resources.of_type("AWS::SQS::Queue")
    alarm = resources.alarm("ApproximateNumberOfMessagesVisible")
    assert "then run: hangup redrive. Runbook: " in alarm["AlarmDescription"]
    assert alarm == {
        "AlarmDescription": alarm["AlarmDescription"],
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue_id, "QueueName"]}}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
    }
