"""The scheduled function: one sweep over all connections.

EventBridge calls it once a minute; it may also be invoked by hand, with any event. The event
``{"overrideGuard": true}`` closes what looks idle even if the mass-close guard would hold the
sweep. It returns the sweep's counts, and raises if a backend error left connections to the next
sweep.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

from hangup.aws.clients import dynamodb_client
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.direct import direct_dynamodb, direct_lambda, direct_management_api
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.process import Invocation, calls, clock, deadline
from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.closer import Closer, Pacer
from hangup.config import TimeoutSettings, gateway_address
from hangup.core.model import DurationMs
from hangup.handlers.answers import plain_id
from hangup.sweep import Sweep

__all__ = ["lambda_handler"]

_CLAIM_MS = DurationMs(60_000)
"""The function's time limit, and so the longest that anybody can be acting on a claim."""

_CLOSES_IN_FLIGHT = 32
"""They wait for answers, nearly all of the time: at 60 ms for the four calls of a close that is 500
closes a second."""

_log = StructuredLog("timeout_handler")


def lambda_handler(event: object, context: Invocation) -> dict[str, object]:
    """Close every connection that is idle by now; return the counts (``SweepReport.as_json``).

    Raises ``ConfigurationError`` if the environment is incomplete, and ``SweepFailed`` after the
    metrics are out if a backend error left work to the next sweep.
    """
    # The scheduled event's own id, so that both deliveries of one tick carry the same.
    event = event if isinstance(event, dict) else {}
    correlation_id = plain_id(event.get("id")) or context.aws_request_id
    _log.correlate(correlation_id)
    deadline.start(context.get_remaining_time_in_millis())
    report = _sweep().check_and_close_idle_connections(
        time_left_ms=deadline.left_ms,
        correlation_id=correlation_id,
        override_guard=event.get("overrideGuard") is True,
    )
    return report.as_json()


@cache
def _sweep() -> Sweep:
    settings = TimeoutSettings.from_env()
    dynamodb = dynamodb_client()
    connections = DynamoDbConnections(
        dynamodb, calls, settings.connections_table, writer=direct_dynamodb(dynamodb)
    )
    gateway = ManagementApiGateway(direct_management_api(settings.endpoint), calls)
    closer = Closer(
        connections=connections,
        gateway=gateway,
        functions=LambdaFunctions(
            direct_lambda(), calls, disconnect_function=settings.disconnect_function
        ),
        clock=clock,
        log=_log,
        address=gateway_address(settings.endpoint),
        claim_ms=_CLAIM_MS,
        pacer=Pacer(clock=clock, pace=settings.pace),
    )
    return Sweep(
        connections=connections,
        gateway=gateway,
        closer=closer,
        metrics=EmfMetrics(),
        clock=clock,
        log=_log,
        policy=settings.policy,
        guard=settings.guard,
        total_segments=settings.total_segments,
        parallel_map=ThreadPoolExecutor(_CLOSES_IN_FLIGHT).map,
    )
