"""The ``heartbeat`` and ``$default`` routes: whatever a client says proves that it is there.

``{"action": "heartbeat"}`` is answered with ``heartbeatAck`` (unless ``HEARTBEAT_ACK`` is false),
``{"action": "message", ...}`` with ``messageAck``. Anything else is refused and, since nothing is
written for what is refused, does not count as activity.

At most once a minute, a listener's message also looks whether its session has ended: the end closes
the listeners that an index lists, and the index lags.
"""

from functools import cache
from typing import Final

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.services import DirectDynamoDb, DirectManagementApi
from hangup.aws.runtime import Invocation, calls, clock
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.telemetry import StructuredLog
from hangup.config import MessageSettings
from hangup.core.connection import Connection
from hangup.core.events import route_of
from hangup.core.outcomes import NotRecorded
from hangup.errors import InvalidRequest
from hangup.handlers.responses import Answer, accept, begin, refuse
from hangup.idle.activity import ActivityRecorder
from hangup.sessions.lifecycle import Cleanup
from hangup.sessions.messages import heartbeat_ack, message_ack
from hangup.sessions.requests import parse_message

_log = StructuredLog("message_handler")

_ACKS: Final = {"heartbeat": heartbeat_ack, "message": message_ack}


def lambda_handler(event: object, context: Invocation | None = None) -> Answer:
    """Record activity and acknowledge it.

    400 for a malformed message or an unknown action, 413 for one that is too long, 410 for an
    orphan, which is closed so that its client comes back and is recorded, and for a listener whose
    session has ended, which is closed too.
    """
    begin(event, context, _log)
    activity, cleanup, acknowledges_heartbeats = _parts()
    connection_id = None
    try:
        connection_id, _ = route_of(event)
        message = parse_message(event.get("body") if isinstance(event, dict) else None)
        action = str(message["action"])
        if action not in _ACKS:
            raise InvalidRequest(400, "unknown action: use 'heartbeat' or 'message'")
        now_ms = clock.now_ms()
        before = activity.record(connection_id, now_ms=now_ms)
        if before is NotRecorded.NO_RECORD:
            raise InvalidRequest(410, "this connection is not on record: connect again")
        if isinstance(before, Connection) and cleanup.close_if_ended(before, now_ms=now_ms):
            raise InvalidRequest(410, "the session has ended")
    except InvalidRequest as error:
        return refuse(error, _log, connection_id=connection_id)
    # A line for each heartbeat would cost more than all the rest of it.
    _log.debug("activity recorded", connectionId=connection_id, action=action)
    if action == "heartbeat" and not acknowledges_heartbeats:
        return accept()
    return accept(_ACKS[action](now_ms=now_ms))


@cache
def _parts() -> tuple[ActivityRecorder, Cleanup, bool]:
    settings = MessageSettings.from_env()
    client = DirectDynamoDb()
    connections = DynamoDbConnections(client, calls, settings.connections_table)
    gateway = ManagementApiGateway(DirectManagementApi(url=settings.endpoint), calls)
    activity = ActivityRecorder(
        connections=connections, gateway=gateway, log=_log, resolution_ms=settings.resolution_ms
    )
    cleanup = Cleanup(
        connections=connections,
        sessions=DynamoDbSessions(
            client,
            calls,
            connections_table=settings.connections_table,
            sessions_table=settings.sessions_table,
        ),
        gateway=gateway,
        clock=clock,
        log=_log,
        concurrent_map=map,
    )
    return activity, cleanup, settings.acknowledges_heartbeats
