"""Evaluate CloudWatch alarms as CloudWatch does.

MiniStack evaluates an alarm only when somebody calls PutMetricData, over all dimensions at once,
ignores missing data and never lets an alarm recover. So the local engine evaluates them itself,
every few seconds, with nothing but CloudWatch's own API: DescribeAlarms, GetMetricStatistics,
SetAlarmState. ``next_state`` is the rule, and pure.

Not covered, because the stack does not use it: composite alarms, metric math, percentiles, anomaly
bands. Such alarms are left alone. CloudWatch also looks a few periods further back when data is
missing; here exactly ``EvaluationPeriods`` periods count, ending now.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricAlarmTypeDef

__all__ = ["Rule", "Sample", "State", "evaluate_alarms", "next_state"]

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Statistic = Literal["SampleCount", "Sum", "Average", "Minimum", "Maximum"]

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_RESOLUTION_S: Final = 1
"""Width of the buckets asked for, seconds; the periods of a rule are put together from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one bucket of a metric holds, ``age_s`` seconds before now."""

    age_s: float
    count: float
    total: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an alarm watches for: ``datapoints`` breaching periods of the last ``periods``."""

    statistic: Statistic
    comparison: str
    threshold: float
    period_s: int
    periods: int
    datapoints: int
    missing: str
    """TreatMissingData: "missing", "breaching", "notBreaching" or "ignore"."""


def next_state(rule: Rule, samples: Sequence[Sample], current: State) -> State:
    """Return the state that the alarm has now.

    A sample belongs to the period ``age_s // period_s``: periods end now, so that an alarm neither
    waits for a full minute of the clock nor misses data at its turn.
    """
    breaches = _COMPARISONS[rule.comparison]
    verdicts: list[bool] = []
    for period in range(rule.periods):
        within = [s for s in samples if int(s.age_s // rule.period_s) == period]
        if within:
            verdicts.append(breaches(_value(rule.statistic, within), rule.threshold))
        elif rule.missing in ("breaching", "notBreaching"):
            verdicts.append(rule.missing == "breaching")
    if not verdicts:
        return current if rule.missing == "ignore" else "INSUFFICIENT_DATA"
    # With "missing" and "ignore" the periods that have data decide alone, as on CloudWatch.
    return "ALARM" if sum(verdicts) >= min(rule.datapoints, len(verdicts)) else "OK"


def _value(statistic: Statistic, samples: Sequence[Sample]) -> float:
    count = sum(s.count for s in samples)
    total = sum(s.total for s in samples)
    match statistic:
        case "SampleCount":
            return count
        case "Sum":
            return total
        case "Average":
            return total / count
        case "Minimum":
            return min(s.minimum for s in samples)
        case "Maximum":
            return max(s.maximum for s in samples)


def evaluate_alarms(cloudwatch: "CloudWatchClient") -> None:
    """Bring every metric alarm that this module understands into its right state, once."""
    for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"]):
        for alarm in page["MetricAlarms"]:
            rule = _rule(alarm)
            if rule is not None:
                _evaluate(cloudwatch, alarm, rule)


def _rule(alarm: "MetricAlarmTypeDef") -> Rule | None:
    comparison = alarm.get("ComparisonOperator", "")
    if not alarm.get("MetricName") or comparison not in _COMPARISONS:
        return None
    if alarm.get("ExtendedStatistic"):
        return None
    periods = alarm.get("EvaluationPeriods", 1)
    return Rule(
        statistic=alarm.get("Statistic", "Average"),
        comparison=comparison,
        threshold=alarm.get("Threshold", 0.0),
        period_s=alarm.get("Period", 60),
        periods=periods,
        datapoints=alarm.get("DatapointsToAlarm") or periods,
        missing=alarm.get("TreatMissingData") or "missing",
    )


def _evaluate(cloudwatch: "CloudWatchClient", alarm: "MetricAlarmTypeDef", rule: Rule) -> None:
    now = datetime.now(UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace=alarm["Namespace"],
        MetricName=alarm["MetricName"],
        Dimensions=alarm.get("Dimensions", []),
        StartTime=now - timedelta(seconds=rule.period_s * rule.periods),
        # The end is exclusive: without the second on top, what was recorded just now is left out.
        EndTime=now + timedelta(seconds=_RESOLUTION_S),
        Period=_RESOLUTION_S,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
    )
    samples = [
        Sample(
            age_s=max(0.0, (now - point["Timestamp"]).total_seconds()),
            count=point["SampleCount"],
            total=point["Sum"],
            minimum=point["Minimum"],
            maximum=point["Maximum"],
        )
        for point in answer["Datapoints"]
    ]
    current = alarm["StateValue"]
    state = next_state(rule, samples, current)
    if state != current:
        cloudwatch.set_alarm_state(
            AlarmName=alarm["AlarmName"],
            StateValue=state,
            StateReason=(
                f"{state} by the rule {alarm['MetricName']} {rule.statistic} {rule.comparison} "
                f"{rule.threshold:g} in {rule.datapoints} of {rule.periods} x {rule.period_s} s"
            ),
        )
