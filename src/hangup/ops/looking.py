"""What looks into a deployed timeout, connected to AWS. It only reads.

Needed, beside CloudFormation's DescribeStacks and Lambda's GetFunctionConfiguration:

| | |
|---|---|
| status | DescribeTable; Scan, or Query of a partition; GetMetricData, DescribeAlarms |
| by its function | with a queue ListEventSourceMappings, GetQueueAttributes; no DescribeStacks |
| explain | GetItem, or DescribeTable, Scan and Query where the key does not follow from the id |
| | GetConnection; FilterLogEvents |
| tail | FilterLogEvents |
| with a state table | BatchGetItem on it |
"""

from collections.abc import Sequence

from hangup.aws.cloudwatch import Alarm, DeploymentMetrics, FunctionLogs
from hangup.aws.deployment import DeployedTimeout
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.own_functions import dead_letters_of
from hangup.aws.records import DeployedRecords
from hangup.aws.runtime import calls, clock
from hangup.aws.states import DynamoDbStates
from hangup.core.connection import EpochMs, RecordedTime
from hangup.idle.guard import Confirmer
from hangup.ops.explain import Explanation, explain
from hangup.ops.next_sweep import Rules


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
    return DeploymentMetrics(
        timeout.client("cloudwatch"), calls, namespace=timeout.settings.metrics_namespace
    )


def alarms_of(timeout: DeployedTimeout) -> Sequence[Alarm]:
    """Return the alarms of a deployment: those of its stack, else those on what it consists of."""
    metrics = metrics_of(timeout)
    if timeout.stack_name is not None:
        return metrics.alarms(prefix=f"{timeout.stack_name}-")
    queue_url = timeout.settings.close_queue_url
    if queue_url is None:
        return metrics.alarms_on(timeout.function_names)
    dead_letters = dead_letters_of(timeout.client("sqs"), queue_url)
    queues = [queue_url.rpartition("/")[2], *([dead_letters] if dead_letters else [])]
    return metrics.alarms_on((*timeout.function_names, *queues))


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
