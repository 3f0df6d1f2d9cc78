"""Take back what Hangup has written into somebody's table, once nothing uses it any more."""

from collections.abc import Callable
from dataclasses import dataclass

from hangup.aws.traces import Traces
from hangup.core.connection import Connection
from hangup.ports import Clock, ConcurrentMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """How many records were as before, and how many are not: they left, or a claim still holds."""

    cleaned: int
    left: int


def clean(
    traces: Traces,
    *,
    clock: Clock,
    concurrent_map: ConcurrentMap,
    progress: Callable[[str], None],
) -> Cleaned:
    """Remove Hangup's own attributes from every record that has one. Raises ``BackendError``.

    What was removed stays removed if it fails half-way: a second run goes on.
    """
    cleaned = left = read = 0

    def remove(connection: Connection) -> bool:
        return traces.remove(connection, now_ms=clock.now_ms())

    for page in traces.pages():
        read += page.scanned_count
        removed = list(concurrent_map(remove, page.candidates))
        cleaned += sum(removed)
        left += len(removed) - sum(removed)
        progress(f"{read:,} items read, {cleaned:,} cleaned")
    return Cleaned(cleaned=cleaned, left=left)
