"""The idle timeout as one construct, for any stack with a WebSocket API."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from hangup.cdk.alarms import MINUTE, alarm_above
from hangup.cdk.arguments import (
    as_text,
    check,
    check_construct,
    check_flag,
    check_metric_roles,
    check_seconds,
    check_table,
)
from hangup.cdk.code import lambda_code
from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.management_api import manage_connections, stage_endpoint
from hangup.cdk.scheduled_closes import ScheduledCloses
from hangup.config import (
    ACTIVITY_RESOLUTION_SECONDS,
    CLOSES_PER_SECOND,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    DEFAULT_METRIC_ROLES,
    GUARD_AT_LEAST,
    GUARD_SHARE_PERCENT,
    LOG_LEVEL,
)
from hangup.core.bounds import WholeNumber
from hangup.core.limits import MAX_RULE_TARGETS, MAX_SHARDS
from hangup.core.report import NAMESPACE
from hangup.core.timing import FUNCTION_TIMEOUT_S

_MANY_IDLE_A_MINUTE = 10
_MANY_CLOSED_A_MINUTE = 50
_SILENT_MINUTES = 5

_HELD_ADVICE = (
    " So many connections look idle that the recording of activity may be broken, so none was"
    " closed. Check the function that records activity. If the connections are really idle, invoke"
    ' the sweep\'s function with {"overrideGuard": true}.'
)

# Until the next tick comes. It is also the least that AWS accepts.
_TICK_AGE_S = 60


class IdleConnectionTimeout(Construct):
    """Close the idle connections of one WebSocket API stage, once a minute.

    The construct creates the sweep's function with its role and log group, the EventBridge rule
    that invokes it, and five alarms. With ``precise`` it adds two queues, a second function and
    four alarms. It does not change what it is given, so ``api``, ``stage``, ``connections_table``
    and ``disconnect_handler`` may be imported. The table's items need ``connectionId`` (the key, a
    string, with no sort key), ``connectedAt`` and, after the first message, ``lastActivityTime``,
    both in epoch milliseconds.

    - ``idle_timeout_seconds``: 1 to 7,200, or a token such as a CloudFormation parameter. A
      connection is closed when it has been silent for longer.
    - ``activity_resolution_seconds``: the ``ACTIVITY_RESOLUTION_SECONDS`` of the functions that
      record activity; below the timeout, or a token. The sweep waits that much longer.
    - ``log_level``: the lowest level of log lines: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a
      token.
    - ``closes_per_second``: 0 to 1,000, for all functions together; 0 is no limit. API Gateway
      accepts 500 new connections a second, from clients that come back. With ``precise`` it also
      decides how many functions close at once (``core.pacing``).
    - ``precise``: close a connection at its deadline instead of up to a minute after it. Sweeps
      look ahead, and a queue with a function of its own closes. The timeout must be 75 seconds or
      more: with less, a connection may be idle before a sweep has seen it.
    - ``shards``: 1 to 20 sweeps a minute at the same time, each of a part of the table. For a table
      that a single sweep cannot read in time.
    - ``guard_share_percent`` and ``guard_at_least``: the mass-close guard. It acts when a sweep
      finds more than that share of all connections idle (1 to 100; 100 turns it off), and at least
      that many (1 or more). It asks API Gateway about a sample, and the sweep closes nothing unless
      these connections are gone or quiet there too.
    - ``metric_roles``: 1 to 10 names of roles that the metrics tell apart. Any other role counts as
      ``other``, and a connection without one as ``unknown``.
    - ``management_endpoint``: the ``@connections`` URL with the stage, where it is not the stage's
      own (an emulator).
    - ``code``: the functions' code; by default the zip that ``hangup.cdk.bundle`` builds.
    - ``architecture``: the functions' processor, ARM_64 by default; ``code`` must fit it.
    - ``alarm_actions``: what each alarm does when it rings.
    - ``log_retention``: how long the functions' log lines are kept.

    Use one construct per account and Region: the metrics of two have no dimension that tells them
    apart.

    Raise ValueError for an argument of another type or out of bounds, and for a table with another
    key (that of an imported table is unknown here).
    """

    def __init__(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: apigatewayv2.IWebSocketApi,
        stage: apigatewayv2.IWebSocketStage,
        connections_table: dynamodb.ITable,
        disconnect_handler: lambda_.IFunction,
        idle_timeout_seconds: int | str = CONNECTION_IDLE_TIMEOUT_SECONDS.default,
        activity_resolution_seconds: int | str = ACTIVITY_RESOLUTION_SECONDS.default,
        log_level: str = LOG_LEVEL.default,
        closes_per_second: int = CLOSES_PER_SECOND.default,
        guard_share_percent: int = GUARD_SHARE_PERCENT.default,
        guard_at_least: int = GUARD_AT_LEAST.default,
        metric_roles: Sequence[str] = DEFAULT_METRIC_ROLES,
        precise: bool = False,
        shards: int = 1,
        management_endpoint: str | None = None,
        code: lambda_.Code | None = None,
        architecture: lambda_.Architecture | None = None,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
    ) -> None:
        super().__init__(scope, construct_id)
        check_flag("precise", precise)
        check_seconds(idle_timeout_seconds, activity_resolution_seconds, precise=precise)
        check("log_level", log_level, LOG_LEVEL.accepted, or_token=True)
        check("closes_per_second", closes_per_second, CLOSES_PER_SECOND.accepted)
        check("guard_share_percent", guard_share_percent, GUARD_SHARE_PERCENT.accepted)
        check("guard_at_least", guard_at_least, GUARD_AT_LEAST.accepted)
        check_metric_roles(metric_roles)
        check("shards", shards, WholeNumber(at_least=1, at_most=MAX_SHARDS))
        check_construct("api", api, "aws_apigatewayv2.IWebSocketApi", "api_id")
        check_construct("stage", stage, "aws_apigatewayv2.IWebSocketStage", "stage_name")
        check_table("connections_table", connections_table)
        check_construct(
            "disconnect_handler", disconnect_handler, "aws_lambda.IFunction", "function_arn"
        )
        architecture = architecture or lambda_.Architecture.ARM_64
        code = code or lambda_code(architecture)
        common = {
            "LOG_LEVEL": log_level,
            "API_GATEWAY_ENDPOINT": management_endpoint or stage_endpoint(api, stage),
            "CONNECTIONS_TABLE": connections_table.table_name,
            "DISCONNECT_HANDLER_FUNCTION": disconnect_handler.function_arn,
            "METRIC_ROLES": ",".join(metric_roles),
        }
        environment = {
            **common,
            "CLOSES_PER_SECOND": str(closes_per_second),
            "CONNECTION_IDLE_TIMEOUT_SECONDS": as_text(idle_timeout_seconds),
            "ACTIVITY_RESOLUTION_SECONDS": as_text(activity_resolution_seconds),
            "GUARD_SHARE_PERCENT": str(guard_share_percent),
            "GUARD_AT_LEAST": str(guard_at_least),
        }
        hand_over = allow(["lambda:InvokeFunction"], disconnect_handler.function_arn)
        self.scheduled_closes: ScheduledCloses | None = None
        alarms_of_closes: tuple[cloudwatch.Alarm, ...] = ()
        if precise:
            self.scheduled_closes = ScheduledCloses(
                self,
                "ScheduledCloses",
                code=code,
                architecture=architecture,
                environment=common,
                closes_per_second=closes_per_second,
                grants=[
                    allow(["dynamodb:GetItem", "dynamodb:UpdateItem"], connections_table.table_arn),
                    manage_connections(api, stage, ["POST", "DELETE"]),
                    hand_over,
                ],
                log_retention=log_retention,
            )
            # A close that fails inline fails the sweep; the close function leaves it to the next.
            failing = self._more_than("ClosesFail", "CloseFailures", 0, "Critical")
            alarms_of_closes = (failing, *self.scheduled_closes.alarms)
            environment["CLOSE_QUEUE_URL"] = self.scheduled_closes.queue.queue_url
            grants = [
                # GetItem is for the guard, UpdateItem for records without a time.
                allow(
                    ["dynamodb:Scan", "dynamodb:GetItem", "dynamodb:UpdateItem"],
                    connections_table.table_arn,
                ),
                manage_connections(api, stage, ["GET"]),
                allow(["sqs:SendMessage"], self.scheduled_closes.queue.queue_arn),
            ]
        else:
            grants = [
                allow(["dynamodb:Scan", "dynamodb:UpdateItem"], connections_table.table_arn),
                manage_connections(api, stage, ["POST", "DELETE", "GET"]),
                hand_over,
            ]
        if shards > 1:
            environment["PACE_SHARED_BY"] = str(shards)
        handler = HandlerFunction(
            self,
            "TimeoutHandler",
            handler="timeout_handler",
            description="Close the WebSocket connections that have been silent for too long",
            code=code,
            architecture=architecture,
            environment=environment,
            grants=grants,
            timeout_s=FUNCTION_TIMEOUT_S,
            log_retention=log_retention,
            # Two sweeps of one shard at once would only compete for the same claims.
            reserved_concurrency=shards,
            asynchronous_event_age_s=_TICK_AGE_S,
        )
        self.function = handler.function
        self.rules = self._rules(shards)
        self.rule = self.rules[0]
        self.alarms = (
            self._more_than("ManyIdle", "IdleConnectionsDetected", _MANY_IDLE_A_MINUTE, "Warning"),
            self._more_than("ManyClosed", "ConnectionsClosed", _MANY_CLOSED_A_MINUTE, "Critical"),
            self._more_than("Held", "SweepsHeld", 0, "Critical", advice=_HELD_ADVICE),
            self._no_sweep(shards),
            handler.failure_alarm,
            *alarms_of_closes,
        )
        for alarm in self.alarms:
            alarm.add_alarm_action(*alarm_actions)

    def _rules(self, shards: int) -> tuple[events.Rule, ...]:
        """Return the rules that start a sweep of each shard, as few as the quota allows."""
        return tuple(
            events.Rule(
                self,
                "EveryMinute" if first == 0 else f"EveryMinuteFrom{first}",
                description="Look for idle WebSocket connections",
                schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
                targets=[
                    targets.LambdaFunction(
                        self.function,
                        # The id is the tick's, which correlates the logs.
                        event=events.RuleTargetInput.from_object(
                            {"id": events.EventField.event_id, "shard": shard, "shards": shards}
                        )
                        if shards > 1
                        else None,
                        retry_attempts=0,
                        max_event_age=cdk.Duration.seconds(_TICK_AGE_S),
                    )
                    for shard in range(first, min(first + MAX_RULE_TARGETS, shards))
                ],
            )
            for first in range(0, shards, MAX_RULE_TARGETS)
        )

    def _more_than(
        self, construct_id: str, metric_name: str, bound: int, severity: str, *, advice: str = ""
    ) -> cloudwatch.Alarm:
        return alarm_above(
            self,
            construct_id,
            # Without a sweep there is no data. That has an alarm of its own.
            _metric(metric_name, cloudwatch.Stats.SUM),
            description=f"{severity}: {metric_name} is above {bound} in a minute.{advice}",
            bound=bound,
        )

    def _no_sweep(self, shards: int) -> cloudwatch.Alarm:
        which = "No sweep" if shards == 1 else f"The sweep of one of the {shards} shards never"
        return cloudwatch.Alarm(
            self,
            "NoSweep",
            alarm_description=(
                f"{which} finished in {_SILENT_MINUTES} minutes: idle connections stay open."
            ),
            # Every sweep emits this metric, 0 included, so its samples count the sweeps. A late
            # sweep counts in the minute after, but never for this many minutes in a row.
            metric=_metric("ConnectionsChecked", cloudwatch.Stats.SAMPLE_COUNT),
            threshold=shards,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=_SILENT_MINUTES,
            datapoints_to_alarm=_SILENT_MINUTES,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )


def _metric(name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        statistic=statistic,
        period=MINUTE,
    )
