"""What CloudWatch knows of a deployment: its metrics by the minute, and its alarms. Read only."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from hangup.aws.retries import Calls
from hangup.core.connection import EpochMs

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

_PERIOD_S: Final = 60


class _Token(TypedDict, total=False):
    NextToken: str


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
        alarms: list[Alarm] = []
        token: _Token = {}
        while True:
            page = self._calls(
                "DescribeAlarms",
                lambda token=token: self._client.describe_alarms(  # type: ignore[misc]
                    AlarmNamePrefix=prefix, **token
                ),
            )
            alarms += [
                Alarm(
                    name=one["AlarmName"],
                    state=one["StateValue"],
                    reason=one.get("StateReason", ""),
                    about=one.get("AlarmDescription", ""),
                )
                for one in page["MetricAlarms"]
            ]
            if not page.get("NextToken"):
                return alarms
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


def _datetime(at_ms: EpochMs) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
