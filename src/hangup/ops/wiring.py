"""What looks after a deployed stack, connected to AWS.

All run with the caller's credentials. Check and redrive need, beside CloudFormation's
DescribeStacks:

| | |
|---|---|
| check | Scan, GetItem on both tables; Query on the index; GetConnection |
| check with repair | UpdateItem on both tables, DeleteItem on connections |
| | PostToConnection, DeleteConnection |
| redrive | ReceiveMessage, DeleteMessage, ChangeMessageVisibility; Invoke |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from hangup.aws import clients
from hangup.aws.bucket import Bucket, Caller, CodeBucket, caller_of
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.dead_letters import SqsDeadLetters
from hangup.aws.deployment import DeployedStack
from hangup.aws.discovery import Account
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.inspection import Inspection
from hangup.aws.own_functions import timeout_function, variables_of
from hangup.aws.runtime import calls, clock
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.stacks import StackEvent, Stacks
from hangup.aws.table_size import TableSize, index_keys, size_of
from hangup.aws.traces import Traces
from hangup.config import PACE_SHARED_BY, TimeoutSettings
from hangup.core.connection import DurationMs
from hangup.core.timing import THREADS
from hangup.errors import ConfigurationError
from hangup.ops.clean import Cleaned, clean
from hangup.ops.deploy import Deployer
from hangup.ops.deployment_file import Deployment
from hangup.ops.doctor_case import Case
from hangup.ops.sweep import endpoint_of, environment_of
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
                    sessions=DynamoDbSessions(
                        stack.dynamodb,
                        calls,
                        connections_table=connections_table,
                        sessions_table=sessions_table,
                    ),
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
    caller = _caller()
    s3 = clients.client("s3")
    return Deployer(
        stacks=_stacks(),
        bucket_of=lambda name: CodeBucket(s3, calls, name=name, caller=caller),
        happens=happens,
        say=say,
    )


def bucket_of(name: str) -> Bucket:
    """Return a bucket of the caller's. Raises ``BackendError`` where a Region is missing."""
    caller = _caller()
    return Bucket(clients.client("s3"), calls, name=name, caller=caller)


def _caller() -> Caller:
    # Made within a call, so that a missing Region is an error like any other.
    sts = calls("GetCallerIdentity", lambda: clients.client("sts"))
    return caller_of(sts, calls, region=sts.meta.region_name)


def _stacks() -> Stacks:
    # Likewise.
    cloudformation = calls("DescribeStacks", lambda: clients.client("cloudformation"))
    return Stacks(cloudformation, calls, clock)


def case_of(deployment: Deployment) -> Case:
    """Return what the doctor goes by, asked for with the caller's credentials.

    Raises ``BackendError`` where a Region is missing.
    """
    return Case(
        deployment,
        account=Account(calls),
        inspection=Inspection(calls),
        stacks=_stacks(),
        clock=clock,
    )


def clean_of(deployment: Deployment, *, progress: Callable[[str], None]) -> Cleaned:
    """Remove Hangup's own attributes from the table of a deployment. Raises ``BackendError``."""
    client, table = clients.client("dynamodb"), deployment["table.name"]
    schema = deployment.table_schema
    keys: Sequence[str] = ()
    if schema.index is not None and schema.partition is None:
        keys = index_keys(client, calls, table, schema.index)
    with ThreadPoolExecutor(THREADS) as threads:
        return clean(
            Traces(client, calls, table, schema),
            clock=clock,
            concurrent_map=threads.map,
            progress=progress,
            index_keys=keys,
        )


def table_size(table: str) -> TableSize:
    """Return how large a table is. Raises ``BackendError``."""
    client = calls("DescribeTable", lambda: clients.client("dynamodb"))
    return size_of(client, calls, table)


def environment_by_function(name: str) -> Mapping[str, str]:
    """Return the environment of a timeout function, by its name or ARN.

    It has the whole pace: there is one sweep by hand, however many the functions share it among.
    Raises ``BackendError``, and ``ConfigurationError`` if it is another function or its
    environment is malformed.
    """
    client = calls("GetFunctionConfiguration", lambda: clients.client("lambda"))
    environment = variables_of(timeout_function(client, name))
    TimeoutSettings.from_env(environment)
    return {name: value for name, value in environment.items() if name != PACE_SHARED_BY.name}


def environment_by_file(deployment: Deployment, *, needs_state: bool) -> Mapping[str, str]:
    """Return the environment that the timeout function of a deployment has.

    ``needs_state`` is whether the deployment's state table must be there, if it has one: a dry run
    needs none. Raises ``BackendError`` and ``ConfigurationError``.
    """
    state_table = None
    if deployment["timeout.state_table"]:
        name = deployment["stack.name"]
        stack = _stacks().find(name)
        state_table = None if stack is None else stack.outputs.get("StateTableName")
        if needs_state and state_table is None:
            raise ConfigurationError(
                f"the state table is in the stack {name}, which is not deployed: run hangup deploy,"
                " or add --dry-run"
            )
    region = clients.session().get_config_variable("region")
    endpoint = endpoint_of(deployment, region=region)
    return environment_of(deployment, endpoint=endpoint, state_table=state_table)


def redrive_of(stack: DeployedStack, *, say: Callable[[str], None]) -> Redrive:
    """Return a redrive of the stack's failed cleanups."""
    return Redrive(
        letters=SqsDeadLetters(stack.queues, calls, stack.outputs["FailedCleanupsQueueUrl"]),
        functions=LambdaFunctions(
            stack.functions, calls, disconnect_function=stack.outputs["DisconnectFunction"]
        ),
        say=say,
    )
