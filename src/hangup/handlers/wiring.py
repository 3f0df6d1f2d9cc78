"""What the functions that close connections have in common: the closer and its questions, wired."""

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway, gateway_address
from hangup.aws.http.services import DirectDynamoDb, DirectLambda, DirectManagementApi
from hangup.aws.runtime import calls, clock
from hangup.aws.schema import TableSchema
from hangup.aws.schema_checks import WHAT_IS_MORE
from hangup.config import HAND_OVER, LAST_ACTIVE_COUNTS, TABLE_SCHEMA, CloserSettings
from hangup.core.guard import WHAT_DECIDES
from hangup.core.hand_over import HandOver
from hangup.core.pacing import pace_of_questions
from hangup.errors import ConfigurationError
from hangup.idle.closer import Closer
from hangup.idle.guard import Confirmer
from hangup.idle.pacer import Pacer
from hangup.ports import ConnectionsRepository, Log


def closer_of(settings: CloserSettings, schema: TableSchema, *, log: Log) -> Closer:
    """Return the closer of this process, with its own pace. Raises ``ConfigurationError``."""
    if settings.counts_both and not schema.records_decide:
        raise ConfigurationError(
            f"{LAST_ACTIVE_COUNTS.name} must not be both with this {TABLE_SCHEMA.name}:"
            f" {WHAT_DECIDES}"
        )
    if settings.hand_over is HandOver.DELETE and not schema.table_key.has_id:
        raise ConfigurationError(f"{HAND_OVER.name} must not be delete: {WHAT_IS_MORE}")
    function = settings.disconnect_function
    gateway = ManagementApiGateway(DirectManagementApi(url=settings.endpoint), calls)
    return Closer(
        connections=_connections(settings, schema),
        gateway=gateway,
        functions=LambdaFunctions(DirectLambda(), calls, disconnect_function=function)
        if function
        else None,
        clock=clock,
        log=log,
        address=gateway_address(settings.endpoint),
        pacer=Pacer(clock=clock, pace=settings.pace),
        confirmer=Confirmer(
            gateway=gateway,
            clock=clock,
            counts_both=settings.counts_both,
            activity=settings.activity,
            # Another connection may take over an item that does not have the id in its key.
            records_end=schema.table_key.has_id,
        ),
        metric_roles=settings.metric_roles,
        sockets_lost=calls.sockets_lost,
        acts=settings.acts,
        hand_over=settings.hand_over,
    )


def questions_of(settings: CloserSettings) -> Pacer:
    """Return the pace of this process's questions to API Gateway."""
    return Pacer(clock=clock, pace=pace_of_questions(settings.pace, settings.activity))


def _connections(settings: CloserSettings, schema: TableSchema) -> ConnectionsRepository:
    dynamodb, table, state_table = (
        DirectDynamoDb(),
        settings.connections_table,
        settings.state_table,
    )
    if state_table is None:
        return DynamoDbConnections(dynamodb, calls, table, schema)
    # Not before: a cold start is shorter without them, and most deployments have none.
    from hangup.aws.state_table import StateTableConnections  # noqa: PLC0415
    from hangup.aws.states import DynamoDbStates  # noqa: PLC0415

    return StateTableConnections(
        DynamoDbConnections(dynamodb, calls, table, schema, has_state=False),
        DynamoDbStates(dynamodb, calls, state_table, clock),
        schema.table_key,
    )
