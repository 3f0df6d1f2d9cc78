"""The ``heartbeat`` and ``$default`` routes: whatever a client says proves that it is there.

``{"action": "heartbeat"}`` is answered with ``heartbeatAck``, ``{"action": "message", ...}`` with
``messageAck``. Anything else is refused and, since nothing is written for what is refused, does
not count as activity.
"""

from functools import cache
from typing import Final

from hangup.aws.clients import dynamodb_client, management_client
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.process import Invocation, calls, clock
from hangup.aws.telemetry import StructuredLog
from hangup.config import HeartbeatSettings
from hangup.core.messages import heartbeat_ack, message_ack
from hangup.core.requests import parse_message, route_of
from hangup.errors import InvalidRequest
from hangup.handlers.answers import Answer, accept, begin, refuse
from hangup.lifecycle import Activity

__all__ = ["lambda_handler"]

_log = StructuredLog("message_handler")

_ACKS: Final = {"heartbeat": heartbeat_ack, "message": message_ack}


def lambda_handler(event: object, context: Invocation | None = None) -> Answer:
    """Record activity and acknowledge it.

    400 for a malformed message or an unknown action, 413 for one that is too long, 410 for an
    orphan, which is closed so that its client comes back and is recorded.
    """
    begin(event, context, _log)
    activity = _activity()
    connection_id = None
    try:
        connection_id, _ = route_of(event)
        message = parse_message(event.get("body") if isinstance(event, dict) else None)
        ack = _ACKS.get(str(message["action"]))
        if ack is None:
            raise InvalidRequest(400, "unknown action: use 'heartbeat' or 'message'")
        now_ms = clock.now_ms()
        if not activity.record(connection_id, now_ms=now_ms):
            raise InvalidRequest(410, "this connection is not on record: connect again")
    except InvalidRequest as error:
        return refuse(error, _log, connection_id=connection_id)
    _log.info("activity recorded", connectionId=connection_id, action=message["action"])
    return accept(ack(now_ms=now_ms))


@cache
def _activity() -> Activity:
    settings = HeartbeatSettings.from_env()
    return Activity(
        connections=DynamoDbConnections(dynamodb_client(), calls, settings.connections_table),
        gateway=ManagementApiGateway(management_client(settings.endpoint), calls),
        log=_log,
        resolution_ms=settings.resolution_ms,
    )
