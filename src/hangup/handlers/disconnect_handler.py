"""The ``$disconnect`` route and the sweep's hand-over: clean up after a closed connection, once.

API Gateway, the sweep, or both call it for one connection, in any order and any number of times.
"""

from functools import cache
from typing import TYPE_CHECKING

from hangup.aws.clients import dynamodb_client, management_client
from hangup.aws.clock import SystemClock
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.telemetry import StructuredLog
from hangup.config import DisconnectSettings
from hangup.core.requests import parse_disconnect
from hangup.errors import InvalidRequest
from hangup.handlers.answers import Answer, accept, correlation_id, refuse
from hangup.lifecycle import Cleanup

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

__all__ = ["lambda_handler"]

_log = StructuredLog("disconnect_handler")


def lambda_handler(event: object, _context: "LambdaContext | None" = None) -> Answer:
    """Remove the connection's record and settle its session; 400 for an event of another shape.

    Raises ``BackendError`` or ``CleanupIncomplete`` if work is left: an asynchronous invocation
    is then repeated by Lambda, and the next sweep finds what is left of a ``$disconnect``.
    """
    _log.correlate(correlation_id(event))
    cleanup = _cleanup()
    try:
        connection_id, session_id = parse_disconnect(event)
    except InvalidRequest as error:
        return refuse(error, _log)
    cleanup.disconnect(connection_id, session_id=session_id)
    return accept()


@cache
def _cleanup() -> Cleanup:
    settings = DisconnectSettings.from_env()
    client, clock = dynamodb_client(), SystemClock()
    return Cleanup(
        connections=DynamoDbConnections(client, settings.connections_table),
        sessions=DynamoDbSessions(
            client,
            connections_table=settings.connections_table,
            sessions_table=settings.sessions_table,
            clock=clock,
        ),
        gateway=ManagementApiGateway(management_client(settings.endpoint)),
        clock=clock,
        log=_log,
    )
