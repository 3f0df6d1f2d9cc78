"""Take back what Hangup has written into somebody's table, once nothing uses it any more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hangup.aws.traces import Traces
from hangup.aws.values import Values
from hangup.core.connection import DurationMs, EpochMs
from hangup.ports import Clock, ConcurrentMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """How many items are as before, and how many are not, since a claim still holds.

    ``held_ms`` is how long the last of these claims holds, 0 without any.
    """

    cleaned: int
    left: int
    held_ms: DurationMs


def clean(
    traces: Traces,
    *,
    clock: Clock,
    concurrent_map: ConcurrentMap,
    progress: Callable[[str], None],
    index_keys: Sequence[str] = (),
) -> Cleaned:
    """Remove Hangup's own attributes from every item that has one. Raises ``BackendError``.

    ``index_keys`` are those of ``Traces.pages``. What was removed stays removed if it fails
    half-way: a second run goes on.
    """
    cleaned = left = read = 0
    held_until_ms = EpochMs(0)

    def remove(key: Values) -> EpochMs | None:
        return traces.remove(key, now_ms=clock.now_ms())

    for page in traces.pages(index_keys=index_keys):
        read += page.scanned_count
        held = [one for one in concurrent_map(remove, page.keys) if one is not None]
        left += len(held)
        cleaned += len(page.keys) - len(held)
        held_until_ms = max(held_until_ms, *held, EpochMs(0))
        progress(f"{read:,} items read, {cleaned:,} cleaned")
    held_ms = DurationMs(max(0, held_until_ms - clock.now_ms()))
    return Cleaned(cleaned=cleaned, left=left, held_ms=held_ms)
