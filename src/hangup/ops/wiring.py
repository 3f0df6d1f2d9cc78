"""Check and redrive, connected to a deployed stack.

Both run with the caller's credentials. In addition to CloudFormation's DescribeStacks they need:

| | |
|---|---|
| check | Scan, GetItem on both tables; Query on the index; GetConnection |
| check with repair | UpdateItem on both tables, DeleteItem on connections |
| | PostToConnection, DeleteConnection |
| redrive | ReceiveMessage, DeleteMessage, ChangeMessageVisibility; Invoke |
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.deployment import DeployedStack
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.queues import SqsDeadLetters
from hangup.aws.runtime import calls, clock
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import DurationMs
from hangup.core.timing import THREADS
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


def redrive_of(stack: DeployedStack, *, say: Callable[[str], None]) -> Redrive:
    """Return a redrive of the stack's failed cleanups."""
    return Redrive(
        letters=SqsDeadLetters(stack.queues, calls, stack.outputs["FailedCleanupsQueueUrl"]),
        functions=LambdaFunctions(
            stack.functions, calls, disconnect_function=stack.outputs["DisconnectFunction"]
        ),
        say=say,
    )
