"""The scheduled function: one sweep over all connections.

EventBridge calls it once a minute; it may also be invoked by hand, with any event. The event
``{"overrideGuard": true}`` closes what is idle on record, and asks API Gateway about nothing.
``{"shard": 0, "shards": 4}`` reads the first of four shards of the table, and an event without
these two all of it. It returns the sweep's counts, and raises if a backend error left connections
to the next sweep.
"""

from functools import cache

from hangup.aws.close_queue import SqsCloseQueue
from hangup.aws.http.services import DirectSqs
from hangup.aws.runtime import Invocation, calls, clock, deadline
from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.config import TimeoutSettings
from hangup.core.bounds import WholeNumber
from hangup.core.connection import JsonObject
from hangup.core.limits import MAX_SCAN_SEGMENTS
from hangup.core.shards import WHOLE_TABLE, Shard
from hangup.errors import InvalidRequest
from hangup.handlers.responses import plain_id
from hangup.handlers.sweeping import sweep_of
from hangup.idle.sweep import Sweep

_log = StructuredLog("timeout_handler")


def lambda_handler(event: object, context: Invocation) -> dict[str, object]:
    """Close every connection that is idle by now; return the counts (``SweepReport.as_json``).

    Raises ``ConfigurationError`` if the environment is incomplete, ``InvalidRequest`` for a shard
    that there is not, and ``SweepFailed`` after the metrics are out if a backend error left work to
    the next sweep.
    """
    # The scheduled event's own id, so that both deliveries of one tick carry the same.
    event = event if isinstance(event, dict) else {}
    correlation_id = plain_id(event.get("id")) or context.aws_request_id
    _log.correlate(correlation_id)
    deadline.start(context.get_remaining_time_in_millis())
    sweep = _sweep()
    report = sweep.check_and_close_idle_connections(
        time_left_ms=deadline.left_ms,
        correlation_id=correlation_id,
        override_guard=_override(event),
        shard=_shard(event, most=MAX_SCAN_SEGMENTS // sweep.total_segments),
    )
    return report.as_json()


def _override(event: JsonObject) -> bool:
    """Return whether the event overrides the guard: a misspelt one must not sweep as ever."""
    override = event.get("overrideGuard", False)
    if not isinstance(override, bool):
        raise InvalidRequest(400, "overrideGuard must be true or false")
    return override


def _shard(event: JsonObject, *, most: int) -> Shard:
    """Return the part of the table that the event names, of ``most`` parts at most."""
    if "shard" not in event and "shards" not in event:
        return WHOLE_TABLE
    index, of = event.get("shard"), event.get("shards")
    shards = WholeNumber(at_least=1, at_most=most)
    if not shards.accepts(of):
        raise InvalidRequest(400, f"shards must be {shards}")
    shard = WholeNumber(at_least=0, at_most=of - 1)
    if not shard.accepts(index):
        raise InvalidRequest(400, f"shard must be {shard}, since shards is {of}")
    return Shard(index=index, of=of)


@cache
def _sweep() -> Sweep:
    settings = TimeoutSettings.from_env()
    # Who only observes has nothing to queue: what is idle by now is what it reports.
    queue_url = settings.close_queue_url if settings.acts else None
    return sweep_of(
        settings,
        log=_log,
        metrics=EmfMetrics(settings.metrics_namespace),
        close_queue=SqsCloseQueue(DirectSqs(), calls, clock, queue_url) if queue_url else None,
    )
