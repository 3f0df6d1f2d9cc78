"""Count every message as activity, whichever route it comes in by.

    from hangup.activity import tracks_activity

    @tracks_activity
    def lambda_handler(event, context):
        ...

The function needs ``CONNECTIONS_TABLE`` in its environment and ``dynamodb:UpdateItem`` on that
table; ``ACTIVITY_RESOLUTION_SECONDS`` is optional.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import NamedTuple, TypeVar

from hangup.aws.clients import dynamodb_client
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.process import calls, clock
from hangup.aws.telemetry import StructuredLog
from hangup.config import ActivitySettings
from hangup.core.model import DurationMs
from hangup.core.requests import route_of
from hangup.errors import BackendError, InvalidRequest
from hangup.ports import ActivityOutcome

__all__ = ["tracks_activity"]

Event = TypeVar("Event")
Context = TypeVar("Context")
Answer = TypeVar("Answer")

_log = StructuredLog("tracks_activity")


class _Parts(NamedTuple):
    connections: DynamoDbConnections
    resolution_ms: DurationMs


def tracks_activity(
    handler: Callable[[Event, Context], Answer],
) -> Callable[[Event, Context], Answer]:
    """Record that the client is there, then call the handler with the same event.

    The activity is recorded first, so that a handler that fails does not make its client look
    idle. It is one conditional write, which never moves time back and never makes a record. If it
    fails, or the connection has no record, that is logged and the handler is called all the same.
    """

    @wraps(handler)
    def record_and_handle(event: Event, context: Context) -> Answer:
        try:
            connection_id, _ = route_of(event)
            parts = _parts()
            outcome = parts.connections.record_activity(
                connection_id, now_ms=clock.now_ms(), resolution_ms=parts.resolution_ms
            )
        except (BackendError, InvalidRequest) as error:
            _log.error("activity not recorded", reason=str(error))
        else:
            if outcome is ActivityOutcome.NO_RECORD:
                _log.warning("activity of an orphan: no record", connectionId=connection_id)
        return handler(event, context)

    return record_and_handle


@cache
def _parts() -> _Parts:
    settings = ActivitySettings.from_env()
    return _Parts(
        DynamoDbConnections(dynamodb_client(), calls, settings.connections_table),
        settings.resolution_ms,
    )
