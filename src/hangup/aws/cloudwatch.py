"""What CloudWatch knows of a deployment: its metrics by the minute, its alarms, its log lines.

It only reads. Everything here raises ``BackendError``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from hangup.aws.retries import Calls, pages
from hangup.core.connection import EpochMs
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import (
        MetricAlarmTypeDef,
        MetricDataQueryTypeDef,
        MetricOutputTypeDef,
    )
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import FilteredLogEventTypeDef

_PERIOD_S: Final = 60
_NO_GROUP: Final = "ResourceNotFoundException"


class Alarm(NamedTuple):
    """An alarm: its name, its state as CloudWatch calls it, why, and what it is about."""

    name: str
    state: str
    reason: str
    about: str


class DeploymentMetrics:
    """The metrics of one namespace, and the alarms on a deployment."""

    def __init__(self, client: "CloudWatchClient", calls: Calls, *, namespace: str) -> None:
        self._client = client
        self._calls = calls
        self._namespace = namespace

    def by_minute(
        self, names: Sequence[str], *, since_ms: EpochMs, until_ms: EpochMs
    ) -> Mapping[EpochMs, Mapping[str, int]]:
        """Return the sum of each metric in each minute that has any of them, by its start."""
        minutes: dict[EpochMs, dict[str, int]] = {}
        request = {
            "MetricDataQueries": [self._query(place, name) for place, name in enumerate(names)],
            "StartTime": datetime.fromtimestamp(since_ms / 1000, UTC),
            "EndTime": datetime.fromtimestamp(until_ms / 1000, UTC),
        }
        for page in pages(self._calls, "GetMetricData", self._client.get_metric_data, request):
            for result in page["MetricDataResults"]:
                name = names[int(result["Id"][1:])]
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    minute = EpochMs(round(at.timestamp()) * 1000)
                    minutes.setdefault(minute, {})[name] = round(value)
        return dict(sorted(minutes.items()))

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

    def _alarms(self, which: Mapping[str, str]) -> "Iterator[MetricAlarmTypeDef]":
        for page in pages(self._calls, "DescribeAlarms", self._client.describe_alarms, which):
            yield from page["MetricAlarms"]

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


class FunctionLogs:
    """Some log groups. A group that is not there has no lines: its function never ran."""

    def __init__(self, client: "CloudWatchLogsClient", calls: Calls, groups: Sequence[str]) -> None:
        self._client = client
        self._calls = calls
        self._groups = groups

    def events(self, *, since_ms: EpochMs, phrase: str = "") -> Iterator[tuple[int, str, str]]:
        """Yield each line that was stored since then and has the phrase, group by group.

        A line is when it was stored, in epoch milliseconds, its stream and its text. Raises
        ``ValueError`` for a phrase that has a quotation mark.
        """
        if '"' in phrase:
            raise ValueError("a phrase must have no quotation mark")
        for group in self._groups:
            request = {
                "logGroupName": group,
                "startTime": since_ms,
                "filterPattern": f'"{phrase}"' if phrase else "",
            }
            for event in self._events(request):
                if phrase in event["message"]:
                    yield event["timestamp"], event["logStreamName"], event["message"]

    def _events(self, request: Mapping[str, object]) -> "Iterator[FilteredLogEventTypeDef]":
        call = self._client.filter_log_events
        try:
            for page in pages(self._calls, "FilterLogEvents", call, request, more="nextToken"):
                yield from page["events"]
        except BackendError as error:
            if error.code != _NO_GROUP:
                raise
