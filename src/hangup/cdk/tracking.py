"""What functions of the application need to record activity, and an alarm where one fails."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from hangup.aws.schema import TableSchema
from hangup.cdk.alarms import alarm_above, metric_of
from hangup.cdk.arguments import as_text
from hangup.cdk.handler_function import allow
from hangup.cdk.tables import environment_of
from hangup.config import ACTIVITY_RESOLUTION_SECONDS

ACTIVITY_NOT_RECORDED = "ActivityNotRecorded"
"""The metric of the log lines that a recorder writes where it fails."""

_ADVICE = (
    "A function could not record a client's activity, so that client looks idle. Its log line"
    ' "activity not recorded" has the reason.'
)


class Recorders:
    """The functions of one deployment that record activity.

    Nothing is created in ``scope`` before the first of them is added.
    """

    def __init__(  # noqa: PLR0913 - keywords for what the functions get
        self,
        scope: Construct,
        *,
        namespace: str,
        table: dynamodb.ITable,
        schema: TableSchema | str,
        table_keys: Sequence[kms.IKey],
        activity_resolution_seconds: int | str,
        alarm_actions: Sequence[cloudwatch.IAlarmAction],
    ) -> None:
        self._scope = scope
        self._namespace = namespace
        self._table = table
        self._table_keys = table_keys
        self._schema = schema
        self._environment = {"CONNECTIONS_TABLE": table.table_name, **environment_of(schema)}
        if activity_resolution_seconds != ACTIVITY_RESOLUTION_SECONDS.default:
            self._environment[ACTIVITY_RESOLUTION_SECONDS.name] = as_text(
                activity_resolution_seconds
            )
        self._alarm_actions = alarm_actions
        self._alarm: cloudwatch.Alarm | None = None
        self._added: list[lambda_.Function] = []

    def add(self, functions: Sequence[lambda_.IFunction]) -> cloudwatch.Alarm:
        """Give functions what a recorder needs; return the alarm that all of them share.

        Raise ValueError for an imported function: nothing can be added to that. Raise it also where
        no activity can be recorded by the id alone, or where that is not known.
        """
        if isinstance(self._schema, str):
            raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
                "track needs a schema that is known at synthesis, and this one is a token: set"
                f" {' and '.join(self._environment)} where the functions are made."
            )
        if self._schema.last_activity is None or not self._schema.table_key.follows_from_id:
            raise ValueError(
                "track needs a schema with a last_activity, and with a key that follows from the"
                " connection id: record activity in your functions, which know the key."
            )
        for function in functions:
            if not isinstance(function, lambda_.Function):
                raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
                    "track needs an aws_lambda.Function of this app. An imported one takes no"
                    f" environment: set {' and '.join(self._environment)} where it is made, and"
                    f" grant it dynamodb:UpdateItem on the table. This is {function!r}."
                )
            if function not in self._added:
                self._added.append(function)
                self._add(function)
        if self._alarm is None:
            self._alarm = alarm_above(
                self._scope,
                "NotRecorded",
                metric_of(self._namespace, ACTIVITY_NOT_RECORDED),
                description=f"Critical: {ACTIVITY_NOT_RECORDED} is above 0 in a minute. {_ADVICE}",
            )
            self._alarm.add_alarm_action(*self._alarm_actions)
        return self._alarm

    def _add(self, function: lambda_.Function) -> None:
        for name, value in self._environment.items():
            function.add_environment(name, value)
        function.add_to_role_policy(allow(["dynamodb:UpdateItem"], self._table.table_arn))
        for key in self._table_keys:
            key.grant_encrypt_decrypt(function)
        logs.MetricFilter(
            self._scope,
            f"NotRecordedBy{cdk.Names.unique_resource_name(function, max_length=100)}",
            log_group=function.log_group,
            filter_pattern=logs.FilterPattern.string_value(
                "$.message", "=", "activity not recorded"
            ),
            metric_namespace=self._namespace,
            metric_name=ACTIVITY_NOT_RECORDED,
            metric_value="1",
        )
