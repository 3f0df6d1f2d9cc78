"""The ``$disconnect`` route and the sweep's hand-over: clean up after a closed connection, once.

API Gateway, the sweep, or both call it for one connection, in any order and any number of times.
"""

from functools import cache
from typing import Final

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.choice import concurrency
from hangup.aws.http.services import DirectDynamoDb, DirectManagementApi
from hangup.aws.runtime import Invocation, calls, clock
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.telemetry import StructuredLog
from hangup.config import DisconnectSettings
from hangup.core.events import parse_disconnect
from hangup.errors import InvalidRequest
from hangup.handlers.responses import Answer, accept, begin, refuse
from hangup.sessions.lifecycle import Cleanup

_log = StructuredLog("disconnect_handler")

_LISTENERS_AT_ONCE: Final = 16
"""Closed at once where a session has ended. Each takes 20 ms at least, so they are 800 a second at
most: an index key takes 1,000 writes a second (DynamoDB developer guide, partition key design). At
256 MB the processor manages 145 to 400."""


def lambda_handler(event: object, context: Invocation | None = None) -> Answer:
    """Remove the connection's record, and end a speaker's session.

    400 for an event of another shape.

    Raises ``BackendError`` or ``CleanupIncomplete`` if work is left: an asynchronous invocation
    is then repeated by Lambda, and the next sweep finds what is left of a ``$disconnect``.
    """
    begin(event, context, _log)
    cleanup = _cleanup()
    try:
        connection_id = parse_disconnect(event)
    except InvalidRequest as error:
        return refuse(error, _log)
    cleanup.disconnect(connection_id)
    return accept()


@cache
def _cleanup() -> Cleanup:
    settings = DisconnectSettings.from_env()
    client = DirectDynamoDb()
    return Cleanup(
        connections=DynamoDbConnections(client, calls, settings.connections_table),
        sessions=DynamoDbSessions(
            client,
            calls,
            connections_table=settings.connections_table,
            sessions_table=settings.sessions_table,
        ),
        gateway=ManagementApiGateway(DirectManagementApi(url=settings.endpoint), calls),
        clock=clock,
        log=_log,
        concurrent_map=concurrency(_LISTENERS_AT_ONCE).map,
    )
