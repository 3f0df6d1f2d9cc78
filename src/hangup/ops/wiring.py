"""What looks after a deployed stack, connected to AWS.

All run with the caller's credentials. Check and redrive need, beside CloudFormation's
DescribeStacks:

| | |
|---|---|
| check | Scan, GetItem on both tables; Query on the index; GetConnection |
| check with repair | UpdateItem on both tables, DeleteItem on connections |
| | PostToConnection, DeleteConnection |
| status | GetFunctionConfiguration; DescribeTable, Scan or Query; GetMetricData, DescribeAlarms |
| explain | GetFunctionConfiguration; GetItem, or as status; GetConnection; FilterLogEvents |
| tail | GetFunctionConfiguration; FilterLogEvents |
| redrive | ReceiveMessage, DeleteMessage, ChangeMessageVisibility; Invoke |
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from hangup.aws import clients
from hangup.aws.code_bucket import CodeBucket, account_of
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.deployment import DeployedStack
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.logs import FunctionLogs
from hangup.aws.metrics import DeploymentMetrics
from hangup.aws.queues import SqsDeadLetters
from hangup.aws.records import DeployedRecords
from hangup.aws.runtime import calls, clock
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.stacks import StackEvent, Stacks
from hangup.aws.states import DynamoDbStates
from hangup.aws.timeout import DeployedTimeout
from hangup.aws.traces import Traces
from hangup.core.connection import DurationMs, EpochMs, RecordedTime
from hangup.core.timing import THREADS
from hangup.idle.guard import Confirmer
from hangup.ops.clean import Cleaned, clean
from hangup.ops.deploy import Deployer
from hangup.ops.deployment_file import Deployment
from hangup.ops.explain import Explanation, explain
from hangup.ops.next_sweep import Rules
from hangup.ports import Log
from hangup.sessions.check import PAUSE_MS, Check
from hangup.sessions.lifecycle import Cleanup
from hangup.sessions.redrive import Redrive
from hangup.sessions.repair import Repairer


@contextmanager
def check_of(
    stack: DeployedStack,
    *,
    log: Log,
    progress: Callable[[str], None],
    pause_ms: DurationMs = PAUSE_MS,
) -> Iterator[Check]:
    """Yield a check of the stack. Its threads end with the context."""
    connections_table = stack.outputs["ConnectionsTable"]
    sessions_table = stack.outputs["SessionsTable"]
    store = DynamoDbConsistencyStore(
        stack.dynamodb, calls, connections_table=connections_table, sessions_table=sessions_table
    )
    sessions = DynamoDbSessions(
        stack.dynamodb, calls, connections_table=connections_table, sessions_table=sessions_table
    )
    gateway = ManagementApiGateway(stack.management, calls)
    with ThreadPoolExecutor(THREADS) as threads:
        yield Check(
            store=store,
            gateway=gateway,
            repairer=Repairer(
                store=store,
                gateway=gateway,
                cleanup=Cleanup(
                    connections=DynamoDbConnections(stack.dynamodb, calls, connections_table),
                    sessions=sessions,
                    gateway=gateway,
                    clock=clock,
                    log=log,
                    concurrent_map=threads.map,
                ),
                clock=clock,
            ),
            clock=clock,
            concurrent_map=threads.map,
            progress=progress,
            pause_ms=pause_ms,
        )


def deployer_of(*, happens: Callable[[StackEvent], None], say: Callable[[str], None]) -> Deployer:
    """Return what deploys and removes stacks, with the caller's credentials.

    Raises ``BackendError`` where they, or a Region, are missing.
    """
    # Made within calls, so that a missing Region is an error like any other.
    sts = calls("GetCallerIdentity", lambda: clients.client("sts"))
    s3 = clients.client("s3")
    account = account_of(sts, calls, region=s3.meta.region_name)
    return Deployer(
        stacks=Stacks(clients.client("cloudformation"), calls, clock),
        bucket_of=lambda name: CodeBucket(s3, calls, name=name, account=account),
        happens=happens,
        say=say,
    )


def clean_of(deployment: Deployment, *, progress: Callable[[str], None]) -> Cleaned:
    """Remove Hangup's own attributes from the table of a deployment. Raises ``BackendError``."""
    traces = Traces(
        clients.client("dynamodb"), calls, deployment["table.name"], deployment.table_schema
    )
    with ThreadPoolExecutor(THREADS) as threads:
        return clean(traces, clock=clock, concurrent_map=threads.map, progress=progress)


def records_of(timeout: DeployedTimeout) -> DeployedRecords:
    """Return the records of a deployment, with what Hangup noted of them elsewhere."""
    dynamodb, settings = timeout.client("dynamodb"), timeout.settings
    states = (
        None
        if settings.state_table is None
        else DynamoDbStates(dynamodb, calls, settings.state_table, clock)
    )
    return DeployedRecords(dynamodb, calls, settings.connections_table, timeout.schema, states)


def metrics_of(timeout: DeployedTimeout) -> DeploymentMetrics:
    """Return the metrics and alarms of a deployment."""
    namespace = timeout.settings.metrics_namespace
    return DeploymentMetrics(timeout.client("cloudwatch"), calls, namespace=namespace)


def logs_of(timeout: DeployedTimeout) -> FunctionLogs:
    """Return the logs of a deployment's functions."""
    return FunctionLogs(timeout.client("logs"), calls, timeout.log_groups)


def explained(timeout: DeployedTimeout, connection_id: str, *, since_ms: EpochMs) -> Explanation:
    """Return what is known of one connection of a deployment. Raises ``BackendError``."""
    settings, schema = timeout.settings, timeout.schema
    management = timeout.client("apigatewaymanagementapi", settings.endpoint)
    return explain(
        connection_id,
        records=records_of(timeout),
        confirmer=Confirmer(
            gateway=ManagementApiGateway(management, calls),
            clock=clock,
            counts_both=settings.counts_both,
            activity=settings.activity,
            records_end=schema.table_key.has_id,
        ),
        logs=logs_of(timeout),
        rules=Rules.of(settings, {time: schema.time_attribute(time) for time in RecordedTime}),
        now_ms=clock.now_ms(),
        since_ms=since_ms,
    )


def redrive_of(stack: DeployedStack, *, say: Callable[[str], None]) -> Redrive:
    """Return a redrive of the stack's failed cleanups."""
    return Redrive(
        letters=SqsDeadLetters(stack.queues, calls, stack.outputs["FailedCleanupsQueueUrl"]),
        functions=LambdaFunctions(
            stack.functions, calls, disconnect_function=stack.outputs["DisconnectFunction"]
        ),
        say=say,
    )
