"""One Lambda handler with what every handler has: a role, a log group and an alarm of its own."""

from collections.abc import Iterable, Mapping

import aws_cdk as cdk
import jsii
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from hangup.cdk.alarms import MINUTE, alarm_above


def allow(actions: list[str], resource_arn: str) -> iam.PolicyStatement:
    """Return a grant of ``actions`` on one resource."""
    return iam.PolicyStatement(actions=actions, resources=[resource_arn])


@jsii.implements(lambda_.IDestination)
class _QueueDestination:
    """A queue as the destination of failed events. CDK's own grants more than SendMessage."""

    def __init__(self, queue: sqs.IQueue) -> None:
        self._queue = queue

    def bind(
        self,
        scope: Construct,
        fn: lambda_.IFunction,
        *,
        type: lambda_.DestinationType,  # noqa: A002 - CDK's name
    ) -> lambda_.DestinationConfig:
        """Return where the events go."""
        del scope, fn, type
        return lambda_.DestinationConfig(destination=self._queue.queue_arn)


class HandlerFunction(Construct):
    """The function of ``hangup.handlers.<handler>``, allowed to do only what ``grants`` says.

    - ``code``: must fit ``architecture``.
    - ``table_keys``: the customer-managed keys of the tables that it uses. DynamoDB calls KMS with
      the rights of who calls DynamoDB.
    - ``timeout_s``: seconds, 1 to 900.
    - ``asynchronous_event_age_s``: seconds, 60 to 21,600. Lambda drops asynchronous events that are
      older, and does not retry them. None leaves Lambda's own rule: two retries within six hours.
    - ``failed_events``: the queue for asynchronous events that failed in all retries. Its messages
      hold everything that is needed to send the events again.
    """

    def __init__(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        description: str,
        code: lambda_.Code,
        architecture: lambda_.Architecture,
        environment: Mapping[str, str],
        grants: Iterable[iam.PolicyStatement],
        table_keys: Iterable[kms.IKey] = (),
        timeout_s: int,
        log_retention: logs.RetentionDays,
        reserved_concurrency: int | None = None,
        asynchronous_event_age_s: int | None = None,
        failed_events: sqs.IQueue | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup(
            self,
            "Logs",
            retention=log_retention,
            # Nobody reads the logs of a function that is gone.
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"What {handler} may do, and nothing else",
        )
        # Not AWSLambdaBasicExecutionRole: it may write to every log group of the account.
        log_group.grant_write(role)
        for statement in grants:
            role.add_to_policy(statement)
        for key in table_keys:
            key.grant_encrypt_decrypt(role)
        if failed_events is not None:
            # Lambda delivers the event as the function's own role.
            role.add_to_policy(allow(["sqs:SendMessage"], failed_events.queue_arn))
        self.function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=architecture,
            code=code,
            handler=f"hangup.handlers.{handler}.lambda_handler",
            description=description,
            memory_size=256,
            timeout=cdk.Duration.seconds(timeout_s),
            reserved_concurrent_executions=reserved_concurrency,
            environment=environment,
            role=role,
            log_group=log_group,
            retry_attempts=None if asynchronous_event_age_s is None else 0,
            max_event_age=(
                None
                if asynchronous_event_age_s is None
                else cdk.Duration.seconds(asynchronous_event_age_s)
            ),
            on_failure=None if failed_events is None else _QueueDestination(failed_events),
        )
        self.failure_alarm = alarm_above(
            self,
            "Fails",
            self.function.metric_errors(statistic=cloudwatch.Stats.SUM, period=MINUTE),
            description=f"{handler} failed. Its log group says why.",
            runbook=f"{construct_id}Fails",
        )
