"""The rule by which the local stack's alarms change state."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from hangup.local.ministack.patches import alarms
from hangup.local.ministack.patches.alarms import State

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import DatapointTypeDef, MetricAlarmTypeDef

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def _alarm(**changes: object) -> "MetricAlarmTypeDef":
    alarm: Any = {
        "Statistic": "Sum",
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 10,
        "Period": 60,
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "TreatMissingData": "notBreaching",
    }
    return cast("MetricAlarmTypeDef", alarm | changes)


def _sample(age_s: float, *values: float) -> "DatapointTypeDef":
    return {
        "Timestamp": NOW - timedelta(seconds=age_s),
        "SampleCount": len(values),
        "Sum": sum(values),
        "Minimum": min(values),
        "Maximum": max(values),
    }


def next_state(
    alarm: "MetricAlarmTypeDef", samples: "list[DatapointTypeDef]", current: State
) -> State:
    return alarms.next_state(alarm, samples, current, now=NOW)


def test_rings_above_the_threshold_and_not_at_it() -> None:
    assert next_state(_alarm(), [_sample(1, 6), _sample(30, 5)], "OK") == "ALARM"
    assert next_state(_alarm(), [_sample(1, 6), _sample(30, 4)], "ALARM") == "OK"


def test_counts_data_of_its_own_periods_only() -> None:
    assert next_state(_alarm(), [_sample(59.9, 11)], "OK") == "ALARM"
    assert next_state(_alarm(), [_sample(60, 11)], "ALARM") == "OK"


@pytest.mark.parametrize(
    ("missing", "state"),
    [
        ("notBreaching", "OK"),
        ("breaching", "ALARM"),
        ("missing", "INSUFFICIENT_DATA"),
        ("ignore", "ALARM"),
    ],
)
def test_without_data_the_treatment_decides(missing: str, state: State) -> None:
    assert next_state(_alarm(TreatMissingData=missing), [], "ALARM") == state


def test_absence_rings_only_once_every_period_is_empty() -> None:
    alarm = _alarm(
        Statistic="SampleCount",
        ComparisonOperator="LessThanThreshold",
        Threshold=1,
        EvaluationPeriods=5,
        DatapointsToAlarm=5,
        TreatMissingData="breaching",
    )
    assert next_state(alarm, [_sample(299, 0)], "ALARM") == "OK"
    assert next_state(alarm, [_sample(300, 0)], "OK") == "ALARM"


def test_rings_with_enough_breaching_datapoints_among_the_periods() -> None:
    alarm = _alarm(EvaluationPeriods=3, DatapointsToAlarm=2)
    assert next_state(alarm, [_sample(10, 11), _sample(130, 11)], "OK") == "ALARM"
    assert next_state(alarm, [_sample(10, 11), _sample(70, 1)], "ALARM") == "OK"


@pytest.mark.parametrize(
    ("statistic", "threshold"),
    [("SampleCount", 2.5), ("Sum", 17), ("Average", 5.5), ("Minimum", 0.5), ("Maximum", 9.5)],
)
def test_each_statistic_is_over_all_samples_of_a_period(statistic: str, threshold: float) -> None:
    samples = [_sample(1, 1, 10), _sample(2, 7)]
    above = _alarm(Statistic=statistic, Threshold=threshold)
    assert next_state(above, samples, "OK") == "ALARM"
    assert next_state(_alarm(Statistic=statistic, Threshold=threshold + 1), samples, "OK") == "OK"
