"""Evaluate CloudWatch alarms as CloudWatch does.

MiniStack 1.5.33 evaluates an alarm only when somebody calls PutMetricData, over all dimensions at
once, ignores missing data and never lets an alarm recover. So the engine evaluates them itself,
every few seconds, with nothing but CloudWatch's own API: DescribeAlarms, GetMetricStatistics,
SetAlarmState. ``next_state`` is the rule, and pure.

Not covered, because the stack does not use it: composite alarms, metric math, percentiles, anomaly
bands. Such alarms keep their state. CloudWatch also looks a few periods further back when data is
missing; here exactly ``EvaluationPeriods`` periods count, ending now.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import DatapointTypeDef, MetricAlarmTypeDef

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_STATISTICS: Final[Mapping[str, Callable[[Sequence["DatapointTypeDef"]], float]]] = {
    "SampleCount": lambda points: sum(p["SampleCount"] for p in points),
    "Sum": lambda points: sum(p["Sum"] for p in points),
    "Average": lambda points: sum(p["Sum"] for p in points) / sum(p["SampleCount"] for p in points),
    "Minimum": lambda points: min(p["Minimum"] for p in points),
    "Maximum": lambda points: max(p["Maximum"] for p in points),
}
_RESOLUTION_S: Final = 1
"""Width of the buckets asked for, seconds; an alarm's periods are put together from them."""


def evaluate_alarms(cloudwatch: "CloudWatchClient") -> None:
    """Bring every metric alarm that this module understands into its right state, once."""
    for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"]):
        for alarm in page["MetricAlarms"]:
            known = alarm.get("Statistic") in _STATISTICS and alarm.get("MetricName")
            if known and alarm["ComparisonOperator"] in _COMPARISONS:
                _evaluate(cloudwatch, alarm)


def next_state(
    alarm: "MetricAlarmTypeDef",
    points: Sequence["DatapointTypeDef"],
    current: State,
    *,
    now: datetime,
) -> State:
    """Return the state that the alarm has now.

    A datapoint belongs to the period ``age // Period``: periods end now, so that an alarm neither
    waits for a full minute of the clock nor misses data at its turn.
    """
    breaches, statistic = _COMPARISONS[alarm["ComparisonOperator"]], _STATISTICS[alarm["Statistic"]]
    missing = alarm.get("TreatMissingData")
    aged = [(p, max(0.0, (now - p["Timestamp"]).total_seconds())) for p in points]
    breaching: list[bool] = []
    for period in range(alarm["EvaluationPeriods"]):
        within = [p for p, age_s in aged if age_s // alarm["Period"] == period]
        if within:
            breaching.append(breaches(statistic(within), alarm["Threshold"]))
        elif missing in ("breaching", "notBreaching"):
            breaching.append(missing == "breaching")
    if not breaching:
        return current if missing == "ignore" else "INSUFFICIENT_DATA"
    needed = alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"]
    # With "missing" and "ignore" the periods that have data decide alone, as on CloudWatch.
    return "ALARM" if sum(breaching) >= min(needed, len(breaching)) else "OK"


def _evaluate(cloudwatch: "CloudWatchClient", alarm: "MetricAlarmTypeDef") -> None:
    now = datetime.now(UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace=alarm["Namespace"],
        MetricName=alarm["MetricName"],
        Dimensions=alarm.get("Dimensions", []),
        StartTime=now - timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"]),
        # The end is exclusive: without the second on top, what was recorded just now is left out.
        EndTime=now + timedelta(seconds=_RESOLUTION_S),
        Period=_RESOLUTION_S,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
    )
    state = next_state(alarm, answer["Datapoints"], alarm["StateValue"], now=now)
    if state != alarm["StateValue"]:
        cloudwatch.set_alarm_state(
            AlarmName=alarm["AlarmName"],
            StateValue=state,
            StateReason=(
                f"{state} by the rule {alarm['MetricName']} {alarm['Statistic']}"
                f" {alarm['ComparisonOperator']} {alarm['Threshold']:g}"
                f" in {alarm['EvaluationPeriods']} x {alarm['Period']} s"
            ),
        )
