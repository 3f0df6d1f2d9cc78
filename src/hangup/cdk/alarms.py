"""The alarms: the shape that they share, those on what sweeps report, and what each advises."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from hangup.core.report import MIN_MOSTLY_GONE, MOSTLY_GONE_PERCENT

MINUTE = cdk.Duration.minutes(1)
_SILENT_MINUTES = 5

_HELD_ADVICE = (
    'The log line "sweep held" has the reason. If activity is not recorded, look at the functions'
    " that record it; if the table is that of another stage, look at connections_table and stage."
)
_OVERRIDE: Final = (
    ' If the connections are really idle, invoke the sweep\'s function with {"overrideGuard": true}'
)
_OVERRIDDEN: Final = {
    True: f"{_OVERRIDE}.",
    False: " The hold ends by itself when the cause is gone. It cannot be overridden here: the"
    " records cannot decide.",
    None: f"{_OVERRIDE}: refused with Activity=gateway, and where the table schema does not let the"
    " records decide.",
}
"""By whether a hold can be overridden; None where a token says it."""

_UNRECORDED_ADVICE = (
    "API Gateway saw these connections active, and their records do not: they were left open. Is"
    " there a route without the recorder? Decorate its function with tracks_activity. Does a"
    " function lack a grant: dynamodb:UpdateItem, or the key of the table? If every route records,"
    " messages to clients count in API Gateway's lastActiveAt"
)
_SETTLED: Final = {
    True: ": last_active_counts='both' settles that (LastActiveCounts of the reference stack).",
    False: ", and clients that are sent messages stay open: with this table schema their records"
    " cannot decide.",
    None: ": LastActiveCounts=both settles that, where the table schema lets the records decide.",
}
"""By whether records decide; None where a token says it."""

_MOSTLY_GONE_ADVICE = (
    f"One sweep found {MIN_MOSTLY_GONE} or more connections that were over, and"
    f" {MOSTLY_GONE_PERCENT} % or more of them had left before, with their records still there."
    " Does the $disconnect function remove its records? Were many clients disconnected at once? Do"
    " connections_table and stage belong together?"
)
_UNCONFIRMED_ADVICE = (
    "API Gateway did not say whether these connections are active, so they were left open. Is"
    " execute-api:ManageConnections granted for GET, and is the account throttled? The log says"
    " which error it was."
)
_UNREADABLE_ADVICE = (
    "Their timestamps are not what the table schema says (by default epoch milliseconds), so these"
    " records are skipped and their connections stay open. The log says which attribute, what is"
    " expected and what it looks like. Correct the function that writes it or the schema, then"
    " correct or delete these records."
)
_HANDOVERS_ADVICE = (
    "The disconnect handler was called for these connections before, and their records are still"
    " there. It fails, or it does not remove the record: read its log."
)


def metric_of(
    namespace: str, name: str, statistic: str = cloudwatch.Stats.SUM
) -> cloudwatch.Metric:
    """Return a metric of a deployment, minute by minute."""
    return cloudwatch.Metric(
        namespace=namespace, metric_name=name, statistic=statistic, period=MINUTE
    )


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


class CountAlarm(NamedTuple):
    """Rings while more than ``bound`` of a metric are counted a minute, ``minutes`` in a row."""

    construct_id: str
    metric_name: str
    severity: str
    bound: int = 0
    minutes: int = 1
    advice: str = ""

    def add_to(self, scope: Construct, namespace: str) -> cloudwatch.Alarm:
        """Return the alarm on the metric of a deployment."""
        time = "in a minute" if self.minutes == 1 else f"for {self.minutes} minutes"
        said = f"{self.severity}: {self.metric_name} is above {self.bound} {time}. {self.advice}"
        return alarm_above(
            scope,
            self.construct_id,
            # Without a sweep there is no data. That has an alarm of its own.
            metric_of(namespace, self.metric_name),
            description=said.rstrip(),
            bound=self.bound,
            minutes=self.minutes,
        )


CLOSES_FAIL: Final = CountAlarm("ClosesFail", "CloseFailures", "Critical")
"""With ``precise``. A close that fails inline fails the sweep, which has an alarm."""

_ALARMS: Final = (
    CountAlarm("ManyIdle", "IdleConnectionsDetected", "Warning", bound=10),
    CountAlarm("ManyClosed", "ConnectionsClosed", "Critical", bound=50),
    # A single call may fail for a moment. What is refused is refused every minute.
    CountAlarm(
        "Unconfirmed",
        "ConnectionsUnconfirmed",
        "Warning",
        minutes=3,
        advice=_UNCONFIRMED_ADVICE,
    ),
    CountAlarm("Unreadable", "RecordsUnreadable", "Warning", advice=_UNREADABLE_ADVICE),
    CountAlarm("HandedOverAgain", "HandoversRepeated", "Critical", advice=_HANDOVERS_ADVICE),
    CountAlarm("MostlyGone", "SweepsMostlyGone", "Warning", advice=_MOSTLY_GONE_ADVICE),
)


def alarms_of_sweeps(
    scope: Construct,
    namespace: str,
    *,
    shards: int,
    records_decide: bool | None,
    asks_gateway: bool | None,
) -> Sequence[cloudwatch.Alarm]:
    """Return the alarms on a deployment whose sweeps are ``shards`` a minute.

    ``records_decide`` is whether the table schema allows ``last_active_counts='both'``, and
    ``asks_gateway`` whether ``activity`` is ``gateway``; None if it is a token.
    """
    unrecorded = CountAlarm(
        "Unrecorded",
        "ActivityUnrecorded",
        "Critical",
        advice=_UNRECORDED_ADVICE + _SETTLED[records_decide],
    )
    held = CountAlarm(
        "Held",
        "SweepsHeld",
        "Critical",
        advice=_HELD_ADVICE + _OVERRIDDEN[_can_override(records_decide, asks_gateway)],
    )
    alarms = [alarm.add_to(scope, namespace) for alarm in (*_ALARMS, held, unrecorded)]
    return (*alarms, _no_sweep(scope, namespace, shards))


def _can_override(records_decide: bool | None, asks_gateway: bool | None) -> bool | None:
    if records_decide is False or asks_gateway:
        return False
    return None if records_decide is None or asks_gateway is None else True


def _no_sweep(scope: Construct, namespace: str, shards: int) -> cloudwatch.Alarm:
    which = "No sweep" if shards == 1 else f"The sweep of one of the {shards} shards never"
    said = f"{which} finished in {_SILENT_MINUTES} minutes: idle connections stay open."
    return cloudwatch.Alarm(
        scope,
        "NoSweep",
        alarm_description=with_runbook(said, "NoSweep"),
        # Every sweep emits this metric, 0 included, so its samples count the sweeps. A late
        # sweep counts in the minute after, but never for this many minutes in a row.
        metric=metric_of(namespace, "ConnectionsChecked", cloudwatch.Stats.SAMPLE_COUNT),
        threshold=shards,
        comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
        evaluation_periods=_SILENT_MINUTES,
        datapoints_to_alarm=_SILENT_MINUTES,
        treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
    )
