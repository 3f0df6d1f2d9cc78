"""Send the closes that are due before the next sweep to a queue: see ``idle.scheduled``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.outcomes import IDS_PER_LINE
from hangup.core.scheduled_close import ScheduledClose
from hangup.errors import BackendError
from hangup.ports import CloseQueue, ConcurrentMap, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """How many closes are in the queue, how many could not be sent, and the first error."""

    queued: int
    failures: int
    error: BackendError | None


def schedule(
    closes: Sequence[ScheduledClose],
    *,
    queue: CloseQueue,
    log: Log,
    concurrent_map: ConcurrentMap,
    has_time: Callable[[], bool],
) -> Scheduled:
    """Send closes, at least one, to the queue, ten to a request, as long as there is time."""
    log.info(
        "scheduling the closes of connections that are idle or due",
        count=len(closes),
        connectionIds=[close.connection.connection_id for close in closes[:IDS_PER_LINE]],
    )

    def send(request: Sequence[ScheduledClose]) -> Scheduled:
        if not has_time():
            return Scheduled(queued=0, failures=0, error=None)
        left = queue.send(request)
        if left is None:
            return Scheduled(queued=len(request), failures=0, error=None)
        log.error(
            "queueing failed",
            connectionIds=[close.connection.connection_id for close in left.closes],
            error=str(left.error),
        )
        failures = len(left.closes)
        return Scheduled(queued=len(request) - failures, failures=failures, error=left.error)

    requests = [closes[n : n + MAX_QUEUE_BATCH] for n in range(0, len(closes), MAX_QUEUE_BATCH)]
    sent = list(concurrent_map(send, requests))
    return Scheduled(
        queued=sum(one.queued for one in sent),
        failures=sum(one.failures for one in sent),
        error=next((one.error for one in sent if one.error is not None), None),
    )
