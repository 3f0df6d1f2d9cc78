"""Take back what Hangup has written into somebody's table, once nothing uses it any more."""

from collections.abc import Callable
from dataclasses import dataclass

from hangup.aws.traces import Traces
from hangup.aws.values import Values
from hangup.ports import Clock, ConcurrentMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """How many items are as before, and how many are not, since a claim still holds."""

    cleaned: int
    left: int


def clean(
    traces: Traces,
    *,
    clock: Clock,
    concurrent_map: ConcurrentMap,
    progress: Callable[[str], None],
) -> Cleaned:
    """Remove Hangup's own attributes from every item that has one. Raises ``BackendError``.

    What was removed stays removed if it fails half-way: a second run goes on.
    """
    cleaned = left = read = 0

    def remove(key: Values) -> bool:
        return traces.remove(key, now_ms=clock.now_ms())

    for page in traces.pages():
        read += page.scanned_count
        removed = list(concurrent_map(remove, page.keys))
        cleaned += sum(removed)
        left += len(removed) - sum(removed)
        progress(f"{read:,} items read, {cleaned:,} cleaned")
    return Cleaned(cleaned=cleaned, left=left)
