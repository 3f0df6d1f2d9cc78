"""Whether activity is being recorded, where connections have timeouts by role.

1. Clients with one timeout are judged together, by that timeout: ``core.guard`` has the signs. A
   role whose clients never send holds the closes of no other.
2. A silence of everybody, by the shortest timeout, is an outage for all. It is remembered for as
   long as each timeout needs. Where a sample has few clients with a timeout, this alone decides.
3. In a sample that is small altogether, each age is taken as a share of its own timeout.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import (
    LAG_MS,
    MISSING_PERCENT,
    PAUSE,
    SHORT_PAUSE,
    SOME,
    TOGETHER,
    RecordingHealth,
    memory_ms,
    recorded_times,
)
from hangup.core.policy import IdlePolicy

_AS_MANY: Final = 10
"""If this many were recorded in a length of time, and nobody in as long a time after it, that is
chance once in a thousand times at most."""


@dataclass(slots=True)
class RecordingByTimeout:
    """``RecordingHealth`` of the clients of each timeout, as one process has seen it."""

    _healths: dict[DurationMs, RecordingHealth] = field(default_factory=dict)

    def watch(
        self,
        records: Sequence[Connection],
        policy: IdlePolicy,
        now_ms: EpochMs,
        *,
        others: int = 0,
    ) -> None:
        """Judge a sample of the table, read now, among ``others`` that are not connections."""
        for timeout_ms in policy.timeouts_ms:
            own = [one for one in records if policy.timeout_ms(one.role) == timeout_ms]
            alone = replace(policy, idle_timeout_ms=timeout_ms, by_role={})
            health = self._healths.setdefault(timeout_ms, RecordingHealth())
            if len(own) == len(records):
                health.watch(own, alone, now_ms, others=others)
                continue
            if len(records) < SOME:
                scaled = [_scaled(one, policy, alone, now_ms) for one in records]
                health.watch(scaled, alone, now_ms, others=others)
                continue
            recorded_ms = recorded_times(records)
            silence = _Silence(recorded_ms, policy, alone, now_ms)
            if len(own) >= SOME:
                health.watch(own, alone, now_ms, ill_ms=silence.ill_ms)
                continue
            health.note(
                recorded_ms,
                alone,
                now_ms,
                ill_ms=silence.ill_ms or silence.nobody_on_time_ms,
                is_doubtful=silence.is_short_pause,
            )

    def is_well(self, policy: IdlePolicy, now_ms: EpochMs, timeout_ms: DurationMs) -> bool:
        """Return whether it was well, for those with this timeout, as long as that is remembered.

        False for a timeout that no sample was judged by.
        """
        alone = replace(policy, idle_timeout_ms=timeout_ms, by_role={})
        health = self._healths.get(timeout_ms)
        return health is not None and health.is_well(alone, now_ms)


def _scaled(
    record: Connection, policy: IdlePolicy, alone: IdlePolicy, now_ms: EpochMs
) -> Connection:
    """Return a record whose age is the same share of the other timeout as it is of its own."""
    if not (record.has_recorded_activity and record.last_activity_ms):
        return record
    own_ms, other_ms = policy.deadline_ms(EpochMs(0), record.role), alone.deadline_ms(EpochMs(0))
    age_ms = (now_ms - record.last_activity_ms) * other_ms // own_ms
    return replace(record, connected_at_ms=None, last_activity_ms=EpochMs(now_ms - age_ms))


class _Silence:
    """What the newest activity of everybody, on record, says to a few who are ``alone``.

    How often the others send is unknown, so a pause counts only where many sent in as long a time
    before it. Ages of clients that send on their own are never rarer there than in the pause.
    """

    def __init__(
        self,
        recorded_ms: Sequence[EpochMs],
        policy: IdlePolicy,
        alone: IdlePolicy,
        now_ms: EpochMs,
    ) -> None:
        self._now_ms, self._own_ms = now_ms, alone.deadline_ms(EpochMs(0))
        self._shortest_ms = now_ms - policy.cutoff_ms(now_ms)
        self._memory_ms = memory_ms(alone)
        self._ages = sorted(now_ms - ms for ms in recorded_ms if now_ms - ms >= -LAG_MS)

    @property
    def ill_ms(self) -> EpochMs | None:
        """When activity was last not recorded; None if it was, as far as this shows."""
        if not self._ages:
            return None
        is_pause = self._ages[0] * PAUSE > self._shortest_ms and not self._is_together
        if is_pause and self._is_sudden(0, self._ages[0]):
            return self._now_ms
        ages = self._ages[: bisect_left(self._ages, self._memory_ms)]
        for place, (before_ms, age_ms) in enumerate(pairwise(ages), start=1):
            is_long = (age_ms - before_ms) * 5 > self._shortest_ms * 2
            is_many = (len(ages) - place) * 100 >= len(ages) * MISSING_PERCENT
            if is_long and is_many and self._is_sudden(before_ms, age_ms):
                return EpochMs(self._now_ms - before_ms)
        return None

    @property
    def nobody_on_time_ms(self) -> EpochMs | None:
        """The time of this look if nobody at all was recorded within the few's own time."""
        is_late = not self._ages or self._ages[0] * 10 > self._own_ms * 9
        return self._now_ms if is_late else None

    @property
    def is_short_pause(self) -> bool:
        """Whether nobody at all was recorded just now, by chance or not."""
        is_pause = bool(self._ages) and self._ages[0] * SHORT_PAUSE > self._own_ms
        return is_pause and not self._is_together

    @property
    def _is_together(self) -> bool:
        """Return whether most speak at the same moment: then a pause says nothing."""
        newest_ms, old_ms = self._ages[0], self._ages[len(self._ages) * 3 // 4]
        return (old_ms - newest_ms) * TOGETHER <= self._shortest_ms

    def _is_sudden(self, since_ms: int, until_ms: int) -> bool:
        """Return whether many were recorded in as long a time before a pause."""
        end_ms = 2 * until_ms - since_ms
        return bisect_left(self._ages, end_ms) - bisect_left(self._ages, until_ms) >= _AS_MANY
