"""Before a batch is closed or queued: if too many look idle, ask API Gateway about a sample.

The rules are in ``core.guard``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hangup.core.connection import Connection, EpochMs
from hangup.core.guard import (
    GuardPolicy,
    Hold,
    ProbeResult,
    judge,
    probe_result,
    probe_result_of_scheduled,
)
from hangup.core.policy import IdlePolicy
from hangup.core.timing import ROTATION_MS
from hangup.errors import BackendError
from hangup.ports import ConcurrentMap, ConnectionsRepository, Gateway, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Stops a sweep that would close too many at once."""

    connections: ConnectionsRepository
    gateway: Gateway
    log: Log
    idle_policy: IdlePolicy
    guard_policy: GuardPolicy

    def check(  # noqa: PLR0913 - what was found, and how to ask
        self,
        found: Sequence[Connection],
        *,
        idle: int,
        checked: int,
        whole_table: bool,
        now_ms: EpochMs,
        has_time: Callable[[], bool],
        concurrent_map: ConcurrentMap,
    ) -> Hold | None:
        """Return a ``Hold`` if the sweep must stop, else None.

        ``found`` are those about to be closed, or queued: each has a time. ``idle`` and ``checked``
        count all so far. Without time to ask, an answer is ``UNKNOWN``.
        """
        if not self.guard_policy.is_suspicious(idle=idle, checked=checked, whole_table=whole_table):
            return None
        sample = self.guard_policy.sample(found, seed=now_ms // ROTATION_MS)
        probe = partial(self._probe, now_ms=now_ms, has_time=has_time)
        return judge(list(concurrent_map(probe, sample)))

    def _probe(
        self, connection: Connection, *, now_ms: EpochMs, has_time: Callable[[], bool]
    ) -> ProbeResult:
        """Return what API Gateway says of it; ``UNKNOWN``, logged, if it gave no answer."""
        if not has_time():
            return ProbeResult.UNKNOWN
        recorded_ms = connection.last_seen_ms
        assert recorded_ms is not None  # noqa: S101 - every idle or due connection has a time
        try:
            last_active_ms = self.gateway.last_active_ms(connection.connection_id)
            if now_ms > self.idle_policy.deadline_ms(recorded_ms):
                return probe_result(last_active_ms, cutoff_ms=self.idle_policy.cutoff_ms(now_ms))
            return self._probe_scheduled(connection, recorded_ms, last_active_ms)
        except BackendError as error:
            self.log.warning(
                "probe failed", connectionId=connection.connection_id, error=str(error)
            )
            return ProbeResult.UNKNOWN

    def _probe_scheduled(
        self, connection: Connection, recorded_ms: EpochMs, last_active_ms: EpochMs | None
    ) -> ProbeResult:
        def result(recorded_ms: EpochMs) -> ProbeResult:
            return probe_result_of_scheduled(
                last_active_ms,
                recorded_ms=recorded_ms,
                activity_resolution_ms=self.idle_policy.activity_resolution_ms,
            )

        seen = result(recorded_ms)
        if seen is not ProbeResult.ACTIVE:
            return seen
        # The client may have spoken since the scan. Read the record again.
        now = self.connections.get(connection.connection_id)
        if now is None:
            return ProbeResult.GONE
        return ProbeResult.UNKNOWN if now.last_seen_ms is None else result(now.last_seen_ms)
