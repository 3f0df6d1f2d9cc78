"""Everything that belongs to the idle timeout alone, as one construct."""

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

from hangup.cdk.arguments import (
    as_text,
    check_construct,
    check_flag,
    check_log_level,
    check_seconds,
    check_table,
    check_whole_number,
)
from hangup.cdk.code import lambda_code
from hangup.cdk.due_closes import DueCloses
from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.management_api import manage_connections, stage_endpoint
from hangup.core.limits import MAX_RULE_TARGETS, MAX_SEGMENTS
from hangup.core.report import NAMESPACE

__all__ = ["IdleConnectionTimeout"]

_MANY_IDLE_A_MINUTE = 10
_MANY_CLOSED_A_MINUTE = 50
_SILENT_MINUTES = 5

# A tick is worth something until the next one comes. It is also the least that AWS accepts.
_TICK_AGE_S = 60


class IdleConnectionTimeout(Construct):
    """Close the idle connections of one WebSocket API stage, once a minute.

    The construct creates the sweep's function with its role and log group, the EventBridge rule
    that invokes it, and five alarms; with ``precise`` two queues, a second function and four
    alarms more. It changes nothing on what it is given, so ``api``, ``stage``,
    ``connections_table`` and ``disconnect_handler`` may be imported from elsewhere. The table's
    items need ``connectionId`` (the key, a string, with no sort key), ``connectedAt`` and, after
    the first message, ``lastActivityTime``, both in epoch milliseconds.

    - ``idle_timeout_seconds``: 1 to 7,200, or a token (a CloudFormation parameter) for it. A
      connection is closed when it has been silent for longer.
    - ``activity_resolution_seconds``: what the recorders of activity use as
      ``ACTIVITY_RESOLUTION_SECONDS``; below the timeout, or a token. The sweep waits that much
      longer.
    - ``log_level``: from which level on log lines are kept: DEBUG, INFO, WARNING, ERROR, CRITICAL,
      or a token.
    - ``closes_per_second``: 0 to 1,000. So many closes are started a second at most, by all
      functions together; 0 does not pace them. API Gateway lets 500 clients a second come back.
      With ``precise`` it also says how many functions close at once (``core.pacing``).
    - ``precise``: close a connection at its deadline instead of up to a minute after it. Sweeps
      look ahead, and a queue with a function of its own closes. The timeout is 75 seconds or more
      then: with less, some connections would be idle before a sweep has seen them.
    - ``segments``: 1 to 20 sweeps a minute at the same time, each of a part of the table, for one
      that a single sweep cannot read in time.
    - ``guard_share_percent`` and ``guard_at_least``: a sweep that finds more than that share of all
      connections idle (1 to 100; 100 never doubts), and at least that many (1 or more), asks API
      Gateway about a sample, and closes nothing unless they are gone or quiet there too.
    - ``management_endpoint``: the ``@connections`` URL, stage included, where it is not the
      stage's own (an emulator).
    - ``code``: the functions' code; by default the zip that ``hangup.cdk.bundle`` builds.
    - ``architecture``: the function's processor, ARM_64 by default; ``code`` must fit it.
    - ``alarm_actions``: what each alarm does when it rings.
    - ``log_retention``: how long the function's log lines are kept.

    The metrics have no dimensions that tell two of these apart: use one in an account and Region.

    Raise ValueError for an argument of another kind or out of bounds, and for a table with another
    key (that of an imported one cannot be seen).
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
        idle_timeout_seconds: int | str = 120,
        activity_resolution_seconds: int | str = 0,
        log_level: str = "INFO",
        closes_per_second: int = 200,
        guard_share_percent: int = 50,
        guard_at_least: int = 20,
        precise: bool = False,
        segments: int = 1,
        management_endpoint: str | None = None,
        code: lambda_.Code | None = None,
        architecture: lambda_.Architecture | None = None,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
    ) -> None:
        super().__init__(scope, construct_id)
        check_flag("precise", precise)
        check_seconds(idle_timeout_seconds, activity_resolution_seconds, precise=precise)
        check_log_level(log_level)
        check_whole_number("closes_per_second", closes_per_second, at_least=0, at_most=1_000)
        check_whole_number("guard_share_percent", guard_share_percent, at_least=1, at_most=100)
        check_whole_number("guard_at_least", guard_at_least, at_least=1, at_most=10**9)
        check_whole_number("segments", segments, at_least=1, at_most=MAX_SEGMENTS)
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
        self.due_closes: DueCloses | None = None
        if precise:
            self.due_closes = DueCloses(
                self,
                "DueCloses",
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
            environment["CLOSE_QUEUE_URL"] = self.due_closes.queue.queue_url
            grants = [
                # GetItem is for the guard, UpdateItem for records without a time.
                allow(
                    ["dynamodb:Scan", "dynamodb:GetItem", "dynamodb:UpdateItem"],
                    connections_table.table_arn,
                ),
                manage_connections(api, stage, ["GET"]),
                allow(["sqs:SendMessage"], self.due_closes.queue.queue_arn),
            ]
        else:
            grants = [
                allow(["dynamodb:Scan", "dynamodb:UpdateItem"], connections_table.table_arn),
                manage_connections(api, stage, ["POST", "DELETE", "GET"]),
                hand_over,
            ]
        if segments > 1:
            environment["PACE_SHARED_BY"] = str(segments)
        handler = HandlerFunction(
            self,
            "TimeoutHandler",
            handler="timeout_handler",
            description="Close the WebSocket connections that have been silent for too long",
            code=code,
            architecture=architecture,
            environment=environment,
            grants=grants,
            timeout_s=60,
            log_retention=log_retention,
            # Two sweeps of one part at once would only compete for the same claims.
            reserved_concurrency=segments,
            asynchronous_event_age_s=_TICK_AGE_S,
        )
        self.function = handler.function
        self.rules = self._rules(segments)
        self.rule = self.rules[0]
        self.alarms = (
            self._more_than("ManyIdle", "IdleConnectionsDetected", _MANY_IDLE_A_MINUTE, "Warning"),
            self._more_than("ManyClosed", "ConnectionsClosed", _MANY_CLOSED_A_MINUTE, "Critical"),
            self._held(),
            self._no_sweep(segments),
            handler.failure_alarm,
            *self._alarms_about(self.due_closes),
        )
        for alarm in self.alarms:
            alarm.add_alarm_action(*alarm_actions)

    def _rules(self, segments: int) -> tuple[events.Rule, ...]:
        """Return the rules that start a sweep of each part, as few as have room for them."""
        return tuple(
            events.Rule(
                self,
                "EveryMinute" if first == 0 else f"EveryMinuteFrom{first}",
                description="Look for idle WebSocket connections",
                schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
                targets=[
                    targets.LambdaFunction(
                        self.function,
                        event=_part(group, segments) if segments > 1 else None,
                        retry_attempts=0,
                        max_event_age=cdk.Duration.seconds(_TICK_AGE_S),
                    )
                    for group in range(first, min(first + MAX_RULE_TARGETS, segments))
                ],
            )
            for first in range(0, segments, MAX_RULE_TARGETS)
        )

    def _alarms_about(self, due_closes: DueCloses | None) -> tuple[cloudwatch.Alarm, ...]:
        if due_closes is None:
            return ()
        # A sweep that fails to close fails; the close function only leaves it to the next sweep.
        failing = self._more_than("ClosesFail", "CloseFailures", 0, "Critical")
        return (failing, *due_closes.alarms)

    def _held(self) -> cloudwatch.Alarm:
        return self._more_than(
            "Held",
            "SweepsHeld",
            0,
            "Critical",
            advice=(
                " So many connections look idle that activity may not be recorded any more, and"
                " none was closed: find out why the heartbeat function does not write. If they are"
                ' idle indeed, invoke the sweep\'s function with {"overrideGuard": true}.'
            ),
        )

    def _more_than(
        self, construct_id: str, metric_name: str, bound: int, severity: str, *, advice: str = ""
    ) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"{severity}: {metric_name} is above {bound} in a minute.{advice}",
            metric=_metric(metric_name, cloudwatch.Stats.SUM),
            threshold=bound,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            # No data is no sweep, and that has an alarm of its own.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _no_sweep(self, segments: int) -> cloudwatch.Alarm:
        which = "No sweep" if segments == 1 else f"A sweep of one of the {segments} parts never"
        return cloudwatch.Alarm(
            self,
            "NoSweep",
            alarm_description=(
                f"{which} finished in {_SILENT_MINUTES} minutes: idle connections stay open."
            ),
            # Every sweep emits this metric, 0 included, so its samples count the sweeps. A sweep
            # that is late counts in the minute after, but not so for minutes on end.
            metric=_metric("ConnectionsChecked", cloudwatch.Stats.SAMPLE_COUNT),
            threshold=segments,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=_SILENT_MINUTES,
            datapoints_to_alarm=_SILENT_MINUTES,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )


def _part(group: int, groups: int) -> events.RuleTargetInput:
    """Return the event of one part's sweep: it keeps the tick's id, which correlates its logs."""
    return events.RuleTargetInput.from_object(
        {"id": events.EventField.event_id, "group": group, "groups": groups}
    )


def _metric(name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        statistic=statistic,
        period=cdk.Duration.minutes(1),
    )
