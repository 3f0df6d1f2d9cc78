"""The shape that the alarms share: they ring when a metric is above a bound, minute by minute."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

MINUTE = cdk.Duration.minutes(1)


def alarm_above(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
    scope: Construct,
    construct_id: str,
    metric: cloudwatch.IMetric,
    *,
    description: str,
    bound: int = 0,
    minutes: int = 1,
    without_data: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
) -> cloudwatch.Alarm:
    """Return an alarm that rings when ``metric`` is above ``bound`` for ``minutes`` in a row.

    By default a minute without data is one without trouble: nothing was invoked, or nothing waits.
    """
    return cloudwatch.Alarm(
        scope,
        construct_id,
        alarm_description=description,
        metric=metric,
        threshold=bound,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        evaluation_periods=minutes,
        treat_missing_data=without_data,
    )


def waiting_alarm(
    scope: Construct, construct_id: str, queue: sqs.IQueue, *, description: str
) -> cloudwatch.Alarm:
    """Return an alarm that rings while anything waits in the queue."""
    return alarm_above(
        scope,
        construct_id,
        queue.metric_approximate_number_of_messages_visible(
            statistic=cloudwatch.Stats.MAXIMUM, period=MINUTE
        ),
        description=description,
        # SQS reports nothing about a queue that nobody has used for six hours. Its messages are
        # still there, so the alarm keeps its state.
        without_data=cloudwatch.TreatMissingData.IGNORE,
    )
