"""The ``heartbeat`` and ``$default`` routes: whatever a client says proves that it is there.

``{"action": "heartbeat"}`` is answered with ``heartbeatAck``, ``{"action": "message", ...}`` with
``messageAck``. Anything else is refused and, since nothing is written for what is refused, does
not count as activity.
"""

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from hangup.aws.clients import dynamodb_client, management_client
from hangup.aws.clock import SystemClock
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.telemetry import StructuredLog
from hangup.config import HeartbeatSettings
from hangup.core.messages import heartbeat_ack, message_ack
from hangup.core.requests import parse_message, route_of
from hangup.errors import InvalidRequest
from hangup.handlers.answers import Answer, accept, correlation_id, refuse
from hangup.lifecycle import Activity

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

__all__ = ["lambda_handler"]

_log = StructuredLog("heartbeat_handler")

_ACKS: Final = {"heartbeat": heartbeat_ack, "message": message_ack}


class _Parts(NamedTuple):
    activity: Activity
    clock: SystemClock


def lambda_handler(event: object, _context: "LambdaContext | None" = None) -> Answer:
    """Record activity and acknowledge it.

    400 for a malformed message or an unknown action, 413 for one that is too long, 410 for an
    orphan, which is closed so that its client comes back and is recorded.
    """
    _log.correlate(correlation_id(event))
    parts = _parts()
    connection_id = None
    try:
        connection_id, _ = route_of(event)
        message = parse_message(event.get("body") if isinstance(event, dict) else None)
        ack = _ACKS.get(str(message["action"]))
        if ack is None:
            raise InvalidRequest(400, "unknown action: use 'heartbeat' or 'message'")
        now_ms = parts.clock.now_ms()
        if not parts.activity.record(connection_id, now_ms=now_ms):
            raise InvalidRequest(410, "this connection is not on record: connect again")
    except InvalidRequest as error:
        return refuse(error, _log, connection_id=connection_id)
    _log.info("activity recorded", connectionId=connection_id, action=message["action"])
    return accept(ack(now_ms=now_ms))


@cache
def _parts() -> _Parts:
    settings = HeartbeatSettings.from_env()
    activity = Activity(
        connections=DynamoDbConnections(dynamodb_client(), settings.connections_table),
        gateway=ManagementApiGateway(management_client(settings.endpoint)),
        log=_log,
        resolution_ms=settings.resolution_ms,
    )
    return _Parts(activity, SystemClock())
