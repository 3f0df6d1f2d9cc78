"""The shape that the alarms share: they ring when a metric is above a bound, minute by minute."""

import re

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

MINUTE = cdk.Duration.minutes(1)


def with_runbook(description: str, alarm: str) -> str:
    """Return the description of an alarm, and where its runbook is in this repository.

    ``alarm`` is its name in the code: ``NoSweep`` has the page ``no-sweep.md``.
    """
    page = re.sub(r"(?<!^)(?=[A-Z])", "-", alarm).lower()
    return f"{description} Runbook: docs/operate/runbooks/{page}.md"


def alarm_above(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
    scope: Construct,
    construct_id: str,
    metric: cloudwatch.IMetric,
    *,
    description: str,
    runbook: str | None = None,
    bound: int = 0,
    minutes: int = 1,
    without_data: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
) -> cloudwatch.Alarm:
    """Return an alarm that rings when ``metric`` is above ``bound`` for ``minutes`` in a row.

    By default a minute without data is one without trouble: nothing was invoked, or nothing waits.
    ``runbook`` is the alarm that its runbook is about, where ``construct_id`` does not say it.
    """
    return cloudwatch.Alarm(
        scope,
        construct_id,
        alarm_description=with_runbook(description, runbook or construct_id),
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
