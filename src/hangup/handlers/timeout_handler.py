"""The scheduled function: one sweep over all connections.

EventBridge calls it once a minute; it may also be invoked by hand, with any event. The event
``{"overrideGuard": true}`` closes what looks idle even if the mass-close guard would hold the
sweep. ``{"group": 0, "groups": 4}`` reads the first of four parts of the table, and an event
without these two all of it. It returns the sweep's counts, and raises if a backend error left
connections to the next sweep.
"""

from functools import cache

from hangup.aws.clients import CLOSES_IN_FLIGHT
from hangup.aws.direct import direct_sqs
from hangup.aws.interleaving import Interleaved
from hangup.aws.process import Invocation, calls, clock, deadline
from hangup.aws.queues import SqsDueQueue
from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.config import TimeoutSettings
from hangup.core.limits import MAX_SCAN_SEGMENTS
from hangup.core.model import JsonObject
from hangup.core.segments import WHOLE_TABLE, SegmentGroup
from hangup.errors import InvalidRequest
from hangup.handlers.answers import plain_id
from hangup.handlers.closing import closer_of
from hangup.sweep import Sweep

__all__ = ["lambda_handler"]

_log = StructuredLog("timeout_handler")


def lambda_handler(event: object, context: Invocation) -> dict[str, object]:
    """Close every connection that is idle by now; return the counts (``SweepReport.as_json``).

    Raises ``ConfigurationError`` if the environment is incomplete, ``InvalidRequest`` for a group
    that is none, and ``SweepFailed`` after the metrics are out if a backend error left work to the
    next sweep.
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
        override_guard=event.get("overrideGuard") is True,
        group=_group(event, most=MAX_SCAN_SEGMENTS // sweep.total_segments),
    )
    return report.as_json()


def _group(event: JsonObject, *, most: int) -> SegmentGroup:
    """Return the part of the table that the event names, of ``most`` parts at most."""
    if "group" not in event and "groups" not in event:
        return WHOLE_TABLE
    index, of = event.get("group"), event.get("groups")
    # By its type, because True is a whole number for Python.
    if type(of) is not int or not 1 <= of <= most:
        raise InvalidRequest(400, f"groups must be a whole number from 1 to {most}, not {of!r}")
    if type(index) is not int or not 0 <= index < of:
        raise InvalidRequest(
            400,
            f"group must be a whole number from 0 to {of - 1}, since groups is {of}, not {index!r}",
        )
    return SegmentGroup(index=index, of=of)


@cache
def _sweep() -> Sweep:
    settings = TimeoutSettings.from_env()
    closer = closer_of(settings, log=_log)
    due_queue = None
    if settings.due_queue_url:
        due_queue = SqsDueQueue(direct_sqs(), calls, clock, settings.due_queue_url)
    return Sweep(
        connections=closer.connections,
        gateway=closer.gateway,
        closer=closer,
        metrics=EmfMetrics(),
        clock=clock,
        log=_log,
        policy=settings.policy,
        guard=settings.guard,
        total_segments=settings.total_segments,
        parallel_map=Interleaved(CLOSES_IN_FLIGHT),
        due_queue=due_queue,
    )
