"""What CloudWatch knows of a deployment: its metrics by the minute, and its alarms. Read only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from hangup.aws.retries import Calls
from hangup.core.connection import EpochMs

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import (
        MetricAlarmTypeDef,
        MetricDataQueryTypeDef,
        MetricOutputTypeDef,
    )

_PERIOD_S: Final = 60


class _Token(TypedDict, total=False):
    NextToken: str


class _Which(TypedDict, total=False):
    AlarmNamePrefix: str


class Alarm(NamedTuple):
    """An alarm: its name, its state as CloudWatch calls it, why, and what it is about."""

    name: str
    state: str
    reason: str
    about: str


class DeploymentMetrics:
    """The metrics of one namespace. Every method raises ``BackendError``."""

    def __init__(self, client: "CloudWatchClient", calls: Calls, *, namespace: str) -> None:
        self._client = client
        self._calls = calls
        self._namespace = namespace

    def by_minute(
        self, names: Sequence[str], *, since_ms: EpochMs, until_ms: EpochMs
    ) -> Mapping[EpochMs, Mapping[str, int]]:
        """Return the sum of each metric in each minute that has any of them, by its start."""
        minutes: dict[EpochMs, dict[str, int]] = {}
        queries = [self._query(place, name) for place, name in enumerate(names)]
        token: _Token = {}
        while True:
            page = self._calls(
                "GetMetricData",
                lambda token=token: self._client.get_metric_data(  # type: ignore[misc]
                    MetricDataQueries=queries,
                    StartTime=_datetime(since_ms),
                    EndTime=_datetime(until_ms),
                    **token,
                ),
            )
            for result in page["MetricDataResults"]:
                name = names[int(result["Id"][1:])]
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    minute = EpochMs(round(at.timestamp()) * 1000)
                    minutes.setdefault(minute, {})[name] = round(value)
            if not page.get("NextToken"):
                return dict(sorted(minutes.items()))
            token = {"NextToken": page["NextToken"]}

    def alarms(self, *, prefix: str) -> Sequence[Alarm]:
        """Return the alarms whose names begin so."""
        return [_alarm(one) for one in self._alarms({"AlarmNamePrefix": prefix})]

    def alarms_on(self, things: Collection[str]) -> Sequence[Alarm]:
        """Return the alarms on a metric of the namespace, or of one of these things.

        They are functions, queues and the like, by their names. All alarms of the account are read.
        """
        return [
            _alarm(one)
            for one in self._alarms({})
            if any(
                metric.get("Namespace") == self._namespace
                or any(part["Value"] in things for part in metric.get("Dimensions", ()))
                for metric in _metrics_of(one)
            )
        ]

    def _alarms(self, which: "_Which") -> "Iterator[MetricAlarmTypeDef]":
        token: _Token = {}
        while True:
            page = self._calls(
                "DescribeAlarms",
                lambda token=token: self._client.describe_alarms(**which, **token),  # type: ignore[misc]
            )
            yield from page["MetricAlarms"]
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def _query(self, place: int, name: str) -> "MetricDataQueryTypeDef":
        return {
            "Id": f"m{place}",
            "MetricStat": {
                "Metric": {"Namespace": self._namespace, "MetricName": name},
                "Period": _PERIOD_S,
                "Stat": "Sum",
            },
        }


def _alarm(one: "MetricAlarmTypeDef") -> Alarm:
    return Alarm(
        name=one["AlarmName"],
        state=one["StateValue"],
        reason=one.get("StateReason", ""),
        about=one.get("AlarmDescription", ""),
    )


def _metrics_of(alarm: "MetricAlarmTypeDef") -> "Iterator[MetricOutputTypeDef]":
    """Yield the metrics that an alarm is on: one, or those that it computes with."""
    if "MetricName" in alarm:
        yield {
            "Namespace": alarm.get("Namespace", ""),
            "MetricName": alarm["MetricName"],
            "Dimensions": alarm.get("Dimensions", []),
        }
    for query in alarm.get("Metrics", ()):
        if "MetricStat" in query:
            yield query["MetricStat"]["Metric"]


def _datetime(at_ms: EpochMs) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
