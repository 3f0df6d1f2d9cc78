"""The queues of this project, and the alarm on a queue whose messages wait for somebody."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

KEPT_LONGEST = cdk.Duration.days(14)
"""The longest that SQS allows: time to find the cause, and to replay."""


def closed_queue(
    scope: Construct,
    construct_id: str,
    *,
    retention: cdk.Duration,
    visibility_timeout: cdk.Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    """Return a queue that is encrypted, refuses plain HTTP, and is deleted with its stack."""
    return sqs.Queue(
        scope,
        construct_id,
        retention_period=retention,
        visibility_timeout=visibility_timeout,
        dead_letter_queue=dead_letter_queue,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )


def waiting_alarm(
    scope: Construct, construct_id: str, queue: sqs.IQueue, *, description: str
) -> cloudwatch.Alarm:
    """Return an alarm that rings while anything waits in the queue."""
    return cloudwatch.Alarm(
        scope,
        construct_id,
        alarm_description=description,
        metric=queue.metric_approximate_number_of_messages_visible(
            statistic=cloudwatch.Stats.MAXIMUM, period=cdk.Duration.minutes(1)
        ),
        threshold=0,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        evaluation_periods=1,
        # SQS reports nothing about a queue that nobody has used for six hours. Its messages are
        # still there, so the alarm keeps its state.
        treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
    )
