"""Which quota a fleet meets first.

Defaults of AWS, most of them adjustable on request, and limits of Hangup's own, which are ``ours``:
a change of the code or of an argument moves those. The stage's exists in the reference stack alone.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace

from hangup.core.limits import MAX_CONNECTION_S
from hangup.planner.assumptions import (
    CLEANUP_S,
    HEARTBEAT_S,
    MAX_CONNECTIONS,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
)
from hangup.planner.fleet import Fleet
from hangup.planner.model import Queue, sweep_of

__all__ = ["STAGE_REQUESTS_PER_SECOND", "Quota", "quotas"]

STAGE_REQUESTS_PER_SECOND = 5_000
"""``hangup.cdk``: the throttle of the reference stack."""

_NEW_CONNECTIONS_PER_SECOND = 500
_LAMBDA_CONCURRENCY = 1_000
_LAMBDA_REQUESTS_PER_SECOND = 10 * _LAMBDA_CONCURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit and this fleet's load on it, in the same ``unit``.

    ``reached_at`` is the number of connections at which it is met, everything else being equal;
    ``ours`` says that Hangup sets it, not AWS.
    """

    name: str
    load: float
    limit: float
    unit: str
    reached_at: int
    ours: bool
    source: str

    @property
    def share(self) -> float:
        """Load divided by limit; above 1 it is exceeded."""
        return self.load / self.limit


def quotas(fleet: Fleet, queue: Queue | None) -> tuple[Quota, ...]:
    """Return every quota of AWS, the one that is met first before the others, and then ours.

    With ``precise`` there is a queue.
    """
    heartbeats, ends = fleet.heartbeats_per_second, fleet.ends_per_second
    closes = fleet.idle_closes_per_second
    # A close has a notice and a delete, and runs the disconnect function twice.
    calls, cleanups = heartbeats + ends + 2 * closes, 2 * ends + closes
    runs = heartbeats + cleanups + (queue.per_second / queue.batch if queue else 0)
    busy = heartbeats * HEARTBEAT_S + cleanups * CLEANUP_S
    writes = heartbeats * fleet.write_units
    stage, live = STAGE_REQUESTS_PER_SECOND, _NEW_CONNECTIONS_PER_SECOND * MAX_CONNECTION_S
    rate, guide = "a second", "developer guide, quotas"
    gateway, functions = f"API Gateway {guide}", f"Lambda {guide}"
    new = f"{gateway}: 500 new ones a second for 2 hours"
    per_concurrency = f"{functions}: ten a second for each unit of concurrency"
    rows: list[tuple[str, float, float, str, str]] = [
        ("API Gateway requests", calls, 10_000, rate, gateway),
        ("Lambda requests", runs, _LAMBDA_REQUESTS_PER_SECOND, rate, per_concurrency),
        ("Lambda functions at once", busy, _LAMBDA_CONCURRENCY, "", f"{functions}: concurrency"),
        ("new connections", ends, _NEW_CONNECTIONS_PER_SECOND, rate, gateway),
        ("live connections", fleet.connections, live, "", new),
        ("activity writes, one table", writes, 40_000, f"units {rate}", f"DynamoDB {guide}"),
    ]
    ours: list[tuple[str, float, float, str, str]] = [
        ("requests, reference stage", heartbeats + ends, stage, rate, "the stage's throttle")
    ]
    if queue is not None and queue.per_second:
        closing = f"{queue.functions} functions at once at most, limited by {queue.limited_by}"
        most = queue.per_second_at_most
        ours.append(("messages to close functions", queue.per_second, most, rate, closing))
    found = [
        Quota(
            name=name,
            load=load,
            limit=limit,
            unit=unit,
            reached_at=int(fleet.connections * limit / load),
            ours=number >= len(rows),
            source=source,
        )
        for number, (name, load, limit, unit, source) in enumerate([*rows, *ours])
    ]
    return tuple(sorted([*found, _sweep(fleet)], key=lambda quota: (quota.ours, -quota.share)))


def _sweep(fleet: Fleet) -> Quota:
    """Return the time limit of a sweep that is one invocation.

    ``reached_at`` is searched, not scaled: a small table has pages that are not full.
    """

    def one_is_too_few(connections: int) -> bool:
        return not sweep_of(replace(fleet, connections=connections), shards=1).fits

    one = sweep_of(fleet, shards=1)
    # Whichever of its two limits it meets first.
    times_s = (one.duration_s, SWEEP_BUDGET_S), (one.read_by_s, SCAN_BUDGET_S)
    load, limit = max(times_s, key=lambda time_s: time_s[0] / time_s[1])
    return Quota(
        name="sweep, one invocation",
        load=load,
        limit=limit,
        unit="s",
        reached_at=bisect_left(range(1, MAX_CONNECTIONS + 1), True, key=one_is_too_few),
        ours=True,
        source="time limit of the function, 60 s, less the sweep's margin (8 s, to read 13 s)"
        " and its report (3 s)",
    )
