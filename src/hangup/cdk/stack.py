"""The reference application as one stack: sessions with a speaker and its listeners."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from aws_cdk.aws_apigatewayv2_integrations import WebSocketLambdaIntegration
from constructs import Construct

from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, LISTENERS_INDEX
from hangup.cdk.alarms import waiting_alarm
from hangup.cdk.code import lambda_code
from hangup.cdk.handler_function import HandlerFunction, allow
from hangup.cdk.idle_connection_timeout import IdleConnectionTimeout
from hangup.cdk.management_api import manage_connections, stage_endpoint
from hangup.cdk.parameters import StackParameters
from hangup.cdk.queues import KEPT_LONGEST, closed_queue
from hangup.core.timing import FUNCTION_TIMEOUT_S

_STAGE = "prod"

# API Gateway waits 29 s for a route's answer, cold start included (developer guide, WebSocket
# quotas). A join must not be recorded after that.
_ROUTE_TIMEOUT_S = 25


class HangupStack(cdk.Stack):
    """WebSocket API, tables, handlers, join secret, and the idle timeout on top.

    - ``precise``: close at the deadline, by a queue, instead of up to a minute after it. The
      parameter ``IdleTimeoutSeconds`` is 75 or more then.
    - ``shards``: 1 to 20 sweeps a minute, each of a part of the table.
    - ``code``: the functions' code; by default the zip that ``hangup.cdk.bundle`` builds.
    - ``architecture``: the functions' processor, ARM_64 by default; ``code`` must fit it.
    - ``alarm_actions``: what each alarm does when it rings.
    - ``log_retention``: how long the functions' log lines are kept.
    - ``table_key``: the customer-managed key of both tables; by default they have DynamoDB's own.
    - ``synthesizer``: CDK's own option.
    """

    def __init__(  # noqa: PLR0913 - constructs take keywords, as CDK's own do
        self,
        scope: Construct,
        construct_id: str,
        *,
        precise: bool = False,
        shards: int = 1,
        code: lambda_.Code | None = None,
        architecture: lambda_.Architecture | None = None,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        table_key: kms.IKey | None = None,
        synthesizer: cdk.IStackSynthesizer | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Hang up on idle WebSocket connections, and clean up after them once",
            synthesizer=synthesizer,
        )
        self._architecture = architecture or lambda_.Architecture.ARM_64
        self._code = code or lambda_code(self._architecture)
        self._log_retention = log_retention
        self._table_keys = [table_key] if table_key is not None else []
        self._parameters = StackParameters(self, precise=precise)
        self._connections = self._connections_table()
        self._sessions = self._table("Sessions", DEFAULT_SESSION_SCHEMA.session_id)
        self._join_secret_arn = self._join_secret()
        # The functions refer to the API, and the routes to the functions. Routes given to the API's
        # constructor would make that a circle, so they are added one by one.
        self._api = apigatewayv2.WebSocketApi(
            self,
            "Api",
            api_name=self.stack_name,
            route_selection_expression="$request.body.action",
        )
        # No access log: it could hold the query string of $connect, which has a join token.
        self._stage = apigatewayv2.WebSocketStage(
            self,
            "Stage",
            web_socket_api=self._api,
            stage_name=_STAGE,
            auto_deploy=True,
            throttle=apigatewayv2.ThrottleSettings(
                rate_limit=self._parameters.stage_rate_limit,
                burst_limit=self._parameters.stage_burst_limit,
            ),
        )
        self._management_endpoint = self._endpoint(self._parameters.emulator_endpoint)

        self._failed_cleanups = closed_queue(self, "FailedCleanups", retention=KEPT_LONGEST)
        cleanups_failed = waiting_alarm(
            self,
            "CleanupsFailed",
            self._failed_cleanups,
            description=(
                "Critical: cleanups failed in all retries and wait in the queue of the output"
                " FailedCleanupsQueueUrl. Read the disconnect function's log, fix the cause, then"
                " run: hangup redrive."
            ),
        )
        connect, message, disconnect = self._handlers()
        for route_key, handler, answers in (
            ("$connect", connect, False),
            ("heartbeat", message, True),
            ("$default", message, True),
            ("$disconnect", disconnect, False),
        ):
            name = f"{route_key.strip('$').title()}Integration"
            self._api.add_route(
                route_key,
                integration=WebSocketLambdaIntegration(name, handler.function),
                return_response=answers,
            )
        for alarm in (
            cleanups_failed,
            *(one.failure_alarm for one in (connect, message, disconnect)),
        ):
            alarm.add_alarm_action(*alarm_actions)

        timeout = IdleConnectionTimeout(
            self,
            "IdleTimeout",
            api=self._api,
            stage=self._stage,
            connections_table=self._connections,
            disconnect_handler=disconnect.function,
            idle_timeout_seconds=self._parameters.idle_timeout_s,
            activity_resolution_seconds=self._parameters.activity_resolution_s,
            log_level=self._parameters.log_level,
            last_active_counts=self._parameters.last_active_counts,
            mode=self._parameters.mode,
            # Not the path: whoever deploys the packaged template names the stack.
            deployment=cdk.Aws.STACK_NAME,
            precise=precise,
            shards=shards,
            management_endpoint=self._management_endpoint,
            code=self._code,
            architecture=self._architecture,
            alarm_actions=alarm_actions,
            log_retention=log_retention,
        )
        self._parameters.reserve_if_wanted(timeout.function, shards)
        outputs = {
            "WebSocketUrl": self._stage.url,
            "ManagementEndpoint": self._management_endpoint,
            "ApiId": self._api.api_id,
            "ConnectionsTable": self._connections.table_name,
            "SessionsTable": self._sessions.table_name,
            "JoinSecretArn": self._join_secret_arn,
            "ConnectFunction": connect.function.function_name,
            "MessageFunction": message.function.function_name,
            "DisconnectFunction": disconnect.function.function_name,
            "TimeoutFunction": timeout.function.function_name,
            "SweepRule": timeout.rule.rule_name,
            "FailedCleanupsQueueUrl": self._failed_cleanups.queue_url,
            "MetricsNamespace": timeout.metrics_namespace,
        }
        if timeout.scheduled_closes is not None:
            outputs |= {
                "CloseFunction": timeout.scheduled_closes.function.function_name,
                "CloseQueueUrl": timeout.scheduled_closes.queue.queue_url,
                "FailedClosesQueueUrl": timeout.scheduled_closes.failed_closes.queue_url,
            }
        for output, value in outputs.items():
            cdk.CfnOutput(self, output, value=value)

    def _connections_table(self) -> dynamodb.Table:
        table = self._table("Connections", DEFAULT_SCHEMA.connection_id)
        table.add_global_secondary_index(
            index_name=LISTENERS_INDEX,
            partition_key=_string(_named(DEFAULT_SCHEMA.session_id)),
            sort_key=_string(_named(DEFAULT_SCHEMA.role)),
            # Not the last activity: then each heartbeat would write to the index too.
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=[_named(DEFAULT_SCHEMA.connected_at)],
        )
        return table

    def _table(self, construct_id: str, key: str) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            construct_id,
            partition_key=_string(key),
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if self._table_keys else None,
            encryption_key=self._table_keys[0] if self._table_keys else None,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute=DEFAULT_SCHEMA.expires_at,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # The records describe sockets of this API. Without the API there are no sockets, so
            # nobody needs the records after the stack.
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    def _join_secret(self) -> str:
        """Create the secret that signs join tokens, and return its ARN."""
        secret = secretsmanager.CfnSecret(
            self,
            "JoinSecret",
            description="Signs the tokens that let a client join a session",
            generate_secret_string=secretsmanager.CfnSecret.GenerateSecretStringProperty(
                password_length=64, exclude_punctuation=True
            ),
        )
        # Tokens live for minutes, and a new stack makes a new secret.
        secret.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        # Not its Ref: that is the ARN on AWS, but the name on emulators, and a grant on a name
        # allows nothing.
        return secret.attr_id

    def _endpoint(self, emulator: str) -> str:
        on_emulator = cdk.CfnCondition(
            self,
            "OnEmulator",
            expression=cdk.Fn.condition_not(cdk.Fn.condition_equals(emulator, "")),
        )
        return cdk.Fn.condition_if(
            on_emulator.logical_id,
            f"{emulator}/_aws/execute-api/{self._api.api_id}/{_STAGE}",
            stage_endpoint(self._api, self._stage),
        ).to_string()

    def _handlers(self) -> tuple[HandlerFunction, HandlerFunction, HandlerFunction]:
        """Return the functions behind the routes: connect, message and disconnect."""
        connect = self._handler(
            "ConnectHandler",
            "connect_handler",
            "Let a client join a session, and record its connection",
            timeout_s=_ROUTE_TIMEOUT_S,
            environment={
                "CONNECTIONS_TABLE": self._connections.table_name,
                "SESSIONS_TABLE": self._sessions.table_name,
                "JOIN_SECRET_ARN": self._join_secret_arn,
            },
            grants=[
                # A speaker's put may find its own record, and a listener's may be taken back.
                allow(
                    ["dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DeleteItem"],
                    self._connections.table_arn,
                ),
                allow(["dynamodb:GetItem", "dynamodb:UpdateItem"], self._sessions.table_arn),
                allow(["secretsmanager:GetSecretValue"], self._join_secret_arn),
            ],
        )
        message = self._handler(
            "MessageHandler",
            "message_handler",
            "Record a client's activity, and answer its message",
            timeout_s=_ROUTE_TIMEOUT_S,
            environment={
                "CONNECTIONS_TABLE": self._connections.table_name,
                "SESSIONS_TABLE": self._sessions.table_name,
                "API_GATEWAY_ENDPOINT": self._management_endpoint,
                "ACTIVITY_RESOLUTION_SECONDS": self._parameters.activity_resolution_s,
                "HEARTBEAT_ACK": self._parameters.heartbeat_ack,
            },
            grants=[
                # A listener whose session has ended is notified, closed and removed.
                allow(["dynamodb:UpdateItem", "dynamodb:DeleteItem"], self._connections.table_arn),
                allow(["dynamodb:GetItem"], self._sessions.table_arn),
                manage_connections(self._api, self._stage, ["POST", "DELETE"]),
            ],
        )
        disconnect = self._handler(
            "DisconnectHandler",
            "disconnect_handler",
            "Clean up after a connection, once, whoever asks",
            # More than a route's timeout: the end of a session closes each of its listeners, and
            # nobody waits for the answer.
            timeout_s=FUNCTION_TIMEOUT_S,
            environment={
                "CONNECTIONS_TABLE": self._connections.table_name,
                "SESSIONS_TABLE": self._sessions.table_name,
                "API_GATEWAY_ENDPOINT": self._management_endpoint,
            },
            grants=[
                allow(["dynamodb:GetItem", "dynamodb:DeleteItem"], self._connections.table_arn),
                allow(["dynamodb:Query"], f"{self._connections.table_arn}/index/{LISTENERS_INDEX}"),
                allow(["dynamodb:GetItem", "dynamodb:UpdateItem"], self._sessions.table_arn),
                manage_connections(self._api, self._stage, ["POST", "DELETE"]),
            ],
            failed_events=self._failed_cleanups,
        )
        return connect, message, disconnect

    def _handler(  # noqa: PLR0913 - keywords for what differs between the handlers
        self,
        construct_id: str,
        handler: str,
        description: str,
        *,
        timeout_s: int,
        environment: Mapping[str, str],
        grants: Sequence[iam.PolicyStatement],
        failed_events: sqs.IQueue | None = None,
    ) -> HandlerFunction:
        return HandlerFunction(
            self,
            construct_id,
            handler=handler,
            description=description,
            code=self._code,
            architecture=self._architecture,
            environment={"LOG_LEVEL": self._parameters.log_level, **environment},
            grants=grants,
            table_keys=self._table_keys,
            timeout_s=timeout_s,
            log_retention=self._log_retention,
            failed_events=failed_events,
        )


def _named(name: str | None) -> str:
    assert name is not None  # noqa: S101 - only other people's tables leave one out
    return name


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
