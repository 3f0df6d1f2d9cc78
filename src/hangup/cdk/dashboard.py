"""A CloudWatch dashboard of one deployment: does it sweep, what does it find, what does it use."""

from typing import Final, NamedTuple

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from hangup.cdk.alarms import MINUTE, metric_of
from hangup.cdk.tracking import ACTIVITY_NOT_RECORDED

_WIDTH: Final = 8
"""Of the dashboard's 24 columns: three graphs a row."""


class _Graph(NamedTuple):
    title: str
    metrics: tuple[str, ...]
    statistic: str = cloudwatch.Stats.SUM


_GRAPHS: Final = (
    _Graph("Sweeps finished", ("ConnectionsChecked",), cloudwatch.Stats.SAMPLE_COUNT),
    _Graph(
        "Sweeps held, incomplete, or with nearly all gone",
        ("SweepsHeld", "SweepsIncomplete", "SweepsMostlyGone"),
    ),
    _Graph("Connections on record", ("ConnectionsChecked",)),
    _Graph("Idle, closed", ("IdleConnectionsDetected", "ConnectionsClosed", "ClosesScheduled")),
    _Graph(
        "Left open",
        ("ActivityUnrecorded", ACTIVITY_NOT_RECORDED, "ConnectionsUnconfirmed", "ClaimsLost"),
    ),
    _Graph("Failed", ("CloseFailures", "NoticesFailed", "HandoversRepeated", "QueueFailures")),
    _Graph("Records skipped", ("RecordsIgnored", "RecordsUnreadable")),
)


def add_dashboard(
    scope: Construct, namespace: str, sweep: lambda_.IFunction, table: dynamodb.ITable
) -> cloudwatch.Dashboard:
    """Return a dashboard on the metrics of a deployment, named by CloudFormation.

    ``sweep`` is its timeout function. How many connections each role has is on no graph: a sweep
    reads only the records that may be idle.
    """
    dashboard = cloudwatch.Dashboard(scope, "Dashboard")
    widgets = [
        _widget(
            graph.title, *(metric_of(namespace, name, graph.statistic) for name in graph.metrics)
        )
        for graph in _GRAPHS
    ]
    by_role = cloudwatch.MathExpression(
        expression=f'SEARCH(\'{{"{namespace}",Role,Reason}} MetricName="ConnectionTimeout"\','
        " 'Sum', 60)",
        label="",
        period=MINUTE,
    )
    late = [
        metric_of(namespace, "CloseLateness", statistic).with_(label=statistic)
        for statistic in (cloudwatch.Stats.p(50), cloudwatch.Stats.p(99))
    ]
    lasts = sweep.metric_duration(statistic=cloudwatch.Stats.SUM, period=MINUTE)
    dashboard.add_widgets(
        *widgets,
        _widget("Closed by role and reason", by_role),
        _widget("Milliseconds from the deadline to the close", *late),
        _widget(
            "What a sweep uses: function seconds, and read units of the table by anybody",
            cloudwatch.MathExpression(
                expression="lasts / 1000",
                using_metrics={"lasts": lasts},
                label="function seconds",
                period=MINUTE,
            ),
            cloudwatch.Metric(
                namespace="AWS/DynamoDB",
                metric_name="ConsumedReadCapacityUnits",
                dimensions_map={"TableName": table.table_name},
                statistic=cloudwatch.Stats.SUM,
                label="read units",
                period=MINUTE,
            ),
        ),
    )
    return dashboard


def _widget(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=_WIDTH)
