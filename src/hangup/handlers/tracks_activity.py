"""Count every message as activity, whichever route it comes in by.

    from hangup import tracks_activity

    @tracks_activity
    def lambda_handler(event, context):
        ...

The function needs ``CONNECTIONS_TABLE`` in its environment and ``dynamodb:UpdateItem`` on that
table; ``ACTIVITY_RESOLUTION_SECONDS`` and ``TABLE_SCHEMA`` are optional. With a schema by which no
record is found by its id alone, it raises ``ConfigurationError``. It calls DynamoDB through libcurl
where that is installed, else through botocore.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Final, NamedTuple, TypeVar

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls
from hangup.aws.runtime import clock, deadline
from hangup.aws.schema import schema_of
from hangup.aws.telemetry import StructuredLog
from hangup.config import TrackingSettings
from hangup.core.connection import DurationMs
from hangup.core.events import client_of
from hangup.core.outcomes import NotRecorded
from hangup.errors import BackendError, InvalidRequest
from hangup.ports import Clock, ConnectionsRepository

Event = TypeVar("Event")
Context = TypeVar("Context")
Answer = TypeVar("Answer")

_log = StructuredLog("tracks_activity")

_ATTEMPTS: Final = 2
"""The user's handler waits meanwhile, and the client's next message is recorded anyway."""


class Recorder(NamedTuple):
    """Where activity is recorded, by which clock, and at most once in how long."""

    connections: ConnectionsRepository
    clock: Clock
    resolution_ms: DurationMs


_instead: list[Recorder] = []


@contextmanager
def recording_by(recorder: Recorder) -> Iterator[None]:
    """Record by this for now, in place of what the environment says: for ``hangup.testing``."""
    _instead.append(recorder)
    try:
        yield
    finally:
        _instead.pop()


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
        _record(event, context)
        return handler(event, context)

    return record_and_handle


def _record(event: object, context: object) -> None:
    remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
    deadline.start(remaining_ms() if callable(remaining_ms) else None)
    try:
        connection_id = client_of(event)
        if connection_id is None:
            return
        recorder = _instead[-1] if _instead else _recorder()
        outcome = recorder.connections.record_activity(
            connection_id, now_ms=recorder.clock.now_ms(), resolution_ms=recorder.resolution_ms
        )
    except (BackendError, InvalidRequest) as error:
        _log.error("activity not recorded", reason=str(error))
    else:
        if outcome is NotRecorded.NO_RECORD:
            _log.warning("activity of an orphan: no record", connectionId=connection_id)


@cache
def _recorder() -> Recorder:
    settings = TrackingSettings.from_env()
    # Lambda's default time limit is 3 s, less than the margins of our own functions. And a client
    # whose activity is not recorded is closed, so the first attempt is made all the same.
    calls = Calls(clock, deadline, max_attempts=_ATTEMPTS, always_tries=True)
    connections = DynamoDbConnections(
        DirectDynamoDb(), calls, settings.connections_table, schema_of(settings.table_schema)
    )
    return Recorder(connections, clock, settings.resolution_ms)
