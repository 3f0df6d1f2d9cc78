"""The idle timeout as one construct, for any stack with a WebSocket API."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from hangup.aws.schema import TableSchema
from hangup.cdk.alarms import CLOSES_FAIL, alarms_of_sweeps
from hangup.cdk.arguments import (
    as_text,
    check,
    check_activity,
    check_api,
    check_construct,
    check_flags,
    check_hand_over,
    check_key,
    check_metric_roles,
    check_place_of_table,
    check_seconds,
    check_table,
    in_seconds,
    timeouts_by_role,
)
from hangup.cdk.code import lambda_code
from hangup.cdk.dashboard import add_dashboard
from hangup.cdk.deployments import namespace_of, refuse_a_second
from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.management_api import manage_connections, stage_endpoint
from hangup.cdk.scheduled_closes import ScheduledCloses
from hangup.cdk.tables import StateTable, checked, environment_of, read_grants
from hangup.cdk.tracking import Recorders
from hangup.config import (
    ACTIVITY,
    ACTIVITY_RESOLUTION_SECONDS,
    CLOSES_PER_SECOND,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    DEFAULT_METRIC_ROLES,
    HAND_OVER,
    LAST_ACTIVE_COUNTS,
    LOG_LEVEL,
    MODE,
)
from hangup.core.bounds import WholeNumber
from hangup.core.guard import Activity
from hangup.core.hand_over import HandOver
from hangup.core.limits import MAX_RULE_TARGETS, MAX_SHARDS
from hangup.core.timing import FUNCTION_TIMEOUT_S

# Until the next tick comes. It is also the least that AWS accepts.
_TICK_AGE_S = 60


class IdleConnectionTimeout(Construct):
    """Close the idle connections of one WebSocket API stage, once a minute.

    The construct creates the sweep's function with its role and log group, the EventBridge rule
    that invokes it, and ten alarms. With ``precise`` it adds two queues, a second function and
    four alarms. It does not change what it is given, so ``api``, ``stage``, ``connections_table``
    and ``disconnect_handler`` may be imported. The table's items need ``connectionId`` (the key, a
    string, with no sort key), ``connectedAt`` and, after the first message, ``lastActivityTime``,
    both in epoch milliseconds; or what ``schema`` says.

    - ``disconnect_handler``: the function that cleans up, called with API Gateway's ``$disconnect``
      event. Needed where ``hand_over`` calls it, refused where it does not.
    - ``hand_over``: what becomes of the record after a close. ``always``: the disconnect handler is
      called, and API Gateway's own event calls it once more. ``if_left``: it is called only where
      the record is still there a minute later, so a handler whose second call shows is called once.
      ``delete``: the record is deleted. ``never``: it is left. A token may become any of them.
    - ``schema``: the ``TableSchema`` of a table that was not made for Hangup, or a token for its
      JSON, which the functions check at each start: then sweeps may read the table and any of its
      indexes. Two deployments may be on one table where their schemas (``only``, ``partition``)
      select different items.
    - ``state_table``: True where nothing is to be written to the connections table, such as one
      with a stream: Hangup's own state is in a table that is made here. Or a table for it, with the
      key ``connectionId`` (a string), the TTL ``expiresAt``, and no other deployment on it.
    - ``idle_timeout_seconds``: 1 to 7,200, a ``cdk.Duration``, or a token such as a CloudFormation
      parameter. A connection is closed when it has been silent for longer.
    - ``idle_timeouts_by_role``: the timeouts of up to 10 roles that have one of their own, each as
      ``idle_timeout_seconds``. Any other role, and a connection without one, has that.
    - ``activity_resolution_seconds``: the ``ACTIVITY_RESOLUTION_SECONDS`` of the functions that
      record activity; below each timeout, a ``cdk.Duration``, or a token. The sweep waits that much
      longer.
    - ``log_level``: the lowest level of log lines: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a
      token.
    - ``closes_per_second``: 0 to 1,000, for all functions together; 0 means unlimited. API Gateway
      accepts 500 new connections a second, from clients that come back. With ``precise`` it also
      decides how many functions close at once (``core.pacing``).
    - ``precise``: close a connection at its deadline instead of up to a minute after it. Sweeps
      look ahead, and a queue with a function of its own closes. The timeout must be 75 seconds or
      more: with less, a connection may be idle before a sweep has seen it.
    - ``shards``: 1 to 20 sweeps a minute at the same time, each of a part of the table. For a table
      that a single sweep cannot read in time.
    - ``last_active_counts``: whose messages move API Gateway's ``lastActiveAt``: ``client``,
      ``both`` (those to the client as well), ``unsettled``, or a token. Say ``both`` only where
      every route records activity: then a connection is closed by its record, even if it is active
      by API Gateway's account.
    - ``activity``: ``recorded``, ``gateway``, or a token. With ``gateway`` nothing has to record
      activity: API Gateway is asked about each connection once a timeout. One function can ask
      some 600 times a second; ``shards`` are for more.
    - ``mode``: ``close``, or ``observe`` to decide and report without closing, or a token.
    - ``metric_roles``: 1 to 10 names of roles that the metrics tell apart. Any other role counts as
      ``other``, and a connection without one as ``unknown``.
    - ``management_endpoint``: the ``@connections`` URL with the stage, where it is not the stage's
      own (an emulator, a custom domain); or a token. An API without its default endpoint needs it.
    - ``connections_table_key``: the customer-managed key of an imported table. The key of a table
      that is made here is known.
    - ``replicated_table``: True for a table with replicas in other Regions. It is right only where
      the clients of a single Region are in the table, and this is the only deployment on it: a
      claim of another Region is not seen in time, and clients of another API look gone.
    - ``reserve_concurrency``: False for an account that cannot reserve executions for the sweep (a
      quota of 10 allows none). Two sweeps may then overlap, which the claims make harmless.
    - ``deployment``: the name that keeps the metrics of several deployments in one account and
      Region apart, by default the construct's path; or a token. They are in the namespace
      ``Hangup/<deployment>``: ``cdk.deployments`` says why.
    - ``code``: the functions' code; by default the zip that ``hangup.cdk.bundle`` builds.
    - ``architecture``: the functions' processor, ARM_64 by default; ``code`` must fit it.
    - ``alarm_actions``: what each alarm does when it rings.
    - ``dashboard``: True for a CloudWatch dashboard ($3 a month above an account's
      first three).
    - ``log_retention``: how long the functions' log lines are kept.

    Raise ValueError for an argument of another type or out of bounds, for a table with another key
    (that of an imported table is unknown here) or in another Region, and for a second deployment of
    the app of one name, or on one table without a schema that tells their connections apart.
    """

    def __init__(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: apigatewayv2.IWebSocketApi,
        stage: apigatewayv2.IWebSocketStage,
        connections_table: dynamodb.ITable,
        disconnect_handler: lambda_.IFunction | None = None,
        hand_over: str = HAND_OVER.default,
        schema: TableSchema | str | None = None,
        state_table: bool | dynamodb.ITable = False,
        idle_timeout_seconds: int | str | cdk.Duration = CONNECTION_IDLE_TIMEOUT_SECONDS.default,
        idle_timeouts_by_role: Mapping[str, int | str | cdk.Duration] | None = None,
        activity_resolution_seconds: int | str | cdk.Duration = ACTIVITY_RESOLUTION_SECONDS.default,
        log_level: str = LOG_LEVEL.default,
        closes_per_second: int = CLOSES_PER_SECOND.default,
        last_active_counts: str = LAST_ACTIVE_COUNTS.default,
        activity: str = ACTIVITY.default,
        mode: str = MODE.default,
        metric_roles: Sequence[str] = DEFAULT_METRIC_ROLES,
        precise: bool = False,
        shards: int = 1,
        management_endpoint: str | None = None,
        connections_table_key: kms.IKey | None = None,
        replicated_table: bool = False,
        reserve_concurrency: bool = True,
        deployment: str | None = None,
        code: lambda_.Code | None = None,
        architecture: lambda_.Architecture | None = None,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        dashboard: bool = False,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
    ) -> None:
        super().__init__(scope, construct_id)
        check_flags(
            precise=precise,
            dashboard=dashboard,
            reserve_concurrency=reserve_concurrency,
            replicated_table=replicated_table,
        )
        idle_timeout_seconds = in_seconds("idle_timeout_seconds", idle_timeout_seconds)
        activity_resolution_seconds = in_seconds(
            "activity_resolution_seconds", activity_resolution_seconds
        )
        check_seconds(idle_timeout_seconds, activity_resolution_seconds, precise=precise)
        check("log_level", log_level, LOG_LEVEL.accepted, or_token=True)
        check("closes_per_second", closes_per_second, CLOSES_PER_SECOND.accepted)
        check_activity(
            activity,
            last_active_counts=last_active_counts,
            activity_resolution=activity_resolution_seconds,
        )
        check("mode", mode, MODE.accepted, or_token=True)
        check_metric_roles(metric_roles)
        check("shards", shards, WholeNumber(at_least=1, at_most=MAX_SHARDS))
        check_api(api, management_endpoint)
        check_construct("stage", stage, "aws_apigatewayv2.IWebSocketStage", "stage_name")
        schema = checked(schema, last_active_counts, shards)
        check_table("connections_table", connections_table, schema)
        check_place_of_table(
            "connections_table",
            connections_table,
            region=cdk.Stack.of(self).region,
            replicated=replicated_table,
        )
        check_key("connections_table_key", connections_table_key)
        check_hand_over(hand_over, disconnect_handler, schema)
        self.metrics_namespace = namespace_of(self, deployment)
        self._state = state = StateTable(
            self,
            state_table,
            table_key=connections_table_key or connections_table.encryption_key,
            replicated=replicated_table,
        )
        refuse_a_second(self, self.metrics_namespace, connections_table, schema, state.table)
        architecture = architecture or lambda_.Architecture.ARM_64
        code = code or lambda_code(architecture)
        common = {
            "LOG_LEVEL": log_level,
            "API_GATEWAY_ENDPOINT": management_endpoint or stage_endpoint(api, stage),
            "CONNECTIONS_TABLE": connections_table.table_name,
            "LAST_ACTIVE_COUNTS": last_active_counts,
            "METRIC_ROLES": ",".join(metric_roles),
            "METRICS_NAMESPACE": self.metrics_namespace,
            "MODE": mode,
            **({} if activity == ACTIVITY.default else {"ACTIVITY": activity}),
            **({} if hand_over == HAND_OVER.default else {"HAND_OVER": hand_over}),
            **environment_of(schema),
            **state.environment,
        }
        if disconnect_handler is not None:
            common["DISCONNECT_HANDLER_FUNCTION"] = disconnect_handler.function_arn
        environment = {
            **common,
            "CLOSES_PER_SECOND": str(closes_per_second),
            "CONNECTION_IDLE_TIMEOUT_SECONDS": as_text(idle_timeout_seconds),
            "ACTIVITY_RESOLUTION_SECONDS": as_text(activity_resolution_seconds),
            **timeouts_by_role(
                idle_timeouts_by_role, activity_resolution_seconds, schema, precise=precise
            ),
            **({"PACE_SHARED_BY": str(shards)} if shards > 1 else {}),
        }
        hand_over_grants = _hand_over_grants(hand_over, disconnect_handler, connections_table)
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
                    allow(
                        sorted({"dynamodb:GetItem", state.record_action}),
                        connections_table.table_arn,
                    ),
                    *state.grants,
                    manage_connections(api, stage, ["POST", "DELETE", "GET"]),
                    *hand_over_grants,
                ],
                table_keys=state.keys,
                log_retention=log_retention,
            )
            alarms_of_closes = (
                CLOSES_FAIL.add_to(self, self.metrics_namespace),
                *self.scheduled_closes.alarms,
            )
            environment["CLOSE_QUEUE_URL"] = self.scheduled_closes.queue.queue_url
            grants = [
                # UpdateItem is for records without a time.
                *read_grants(schema, connections_table, state.record_action),
                *state.grants,
                manage_connections(api, stage, ["GET"]),
                allow(["sqs:SendMessage"], self.scheduled_closes.queue.queue_arn),
            ]
        else:
            grants = [
                *read_grants(schema, connections_table, state.record_action),
                *state.grants,
                manage_connections(api, stage, ["POST", "DELETE", "GET"]),
                *hand_over_grants,
            ]
        handler = HandlerFunction(
            self,
            "TimeoutHandler",
            handler="timeout_handler",
            description="Close the WebSocket connections that have been silent for too long",
            code=code,
            architecture=architecture,
            environment=environment,
            grants=grants,
            table_keys=state.keys,
            timeout_s=FUNCTION_TIMEOUT_S,
            log_retention=log_retention,
            # Two sweeps of one shard at once would only compete for the same claims.
            reserved_concurrency=shards if reserve_concurrency else None,
            asynchronous_event_age_s=_TICK_AGE_S,
        )
        self.function = handler.function
        self.rules = self._rules(shards)
        self.alarms = (
            *alarms_of_sweeps(
                self,
                self.metrics_namespace,
                shards=shards,
                records_decide=None if isinstance(schema, str) else schema.records_decide,
                asks_gateway=None
                if cdk.Token.is_unresolved(activity)
                else activity == Activity.GATEWAY,
            ),
            handler.failure_alarm,
            *alarms_of_closes,
        )
        for alarm in self.alarms:
            alarm.add_alarm_action(*alarm_actions)
        self._recorders = Recorders(
            self,
            namespace=self.metrics_namespace,
            table=connections_table,
            schema=schema,
            table_keys=state.keys,
            activity_resolution_seconds=activity_resolution_seconds,
            alarm_actions=alarm_actions,
        )
        self.dashboard = (
            add_dashboard(self, self.metrics_namespace, self.function, connections_table)
            if dashboard
            else None
        )

    def track(self, *functions: lambda_.IFunction) -> cloudwatch.Alarm:
        """Let functions that have ``tracks_activity`` record activity; return an alarm on failures.

        Each gets the environment of the decorator and ``dynamodb:UpdateItem`` on the table, with
        its key. Its log lines ``activity not recorded`` are counted in the metric
        ``ActivityNotRecorded``, and the alarm rings on any. All functions share the alarm.

        Raise ValueError for an imported function, which takes no environment, and where the schema
        finds no record by an id, or has no last activity.
        """
        return self._recorders.add(functions)

    @property
    def state_table(self) -> dynamodb.ITable | None:
        """The table with Hangup's own state, None if that is in the connections table."""
        return self._state.table

    @property
    def rule(self) -> events.Rule:
        """The first of the rules, and the only one with up to five shards."""
        return self.rules[0]

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


def _hand_over_grants(
    rule: str, disconnect_handler: lambda_.IFunction | None, table: dynamodb.ITable
) -> list[iam.PolicyStatement]:
    grants = []
    if disconnect_handler is not None:
        grants.append(allow(["lambda:InvokeFunction"], disconnect_handler.function_arn))
    if rule == HandOver.DELETE or cdk.Token.is_unresolved(rule):
        grants.append(allow(["dynamodb:DeleteItem"], table.table_arn))
    return grants
