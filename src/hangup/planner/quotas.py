"""Which quota a fleet meets first.

Defaults of AWS, most of them adjustable on request, and limits of Hangup's own, which are ``ours``:
a change of the code or of an argument moves those. The stage's exists in the reference stack alone.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace

from hangup.core.limits import MAX_CONNECTION_S
from hangup.planner.assumptions import CLEANUP_S, HEARTBEAT_S, SCAN_BUDGET_S, SWEEP_BUDGET_S
from hangup.planner.fleet import MAX_CONNECTIONS, Fleet
from hangup.planner.model import Queue, sweep_of

__all__ = ["STAGE_REQUESTS_PER_SECOND", "Quota", "quotas"]

NEW_CONNECTIONS_PER_SECOND = 500
ACCOUNT_REQUESTS_PER_SECOND = 10_000
STAGE_REQUESTS_PER_SECOND = 5_000
LAMBDA_CONCURRENCY = 1_000
LAMBDA_REQUESTS_PER_SECOND = 10 * LAMBDA_CONCURRENCY
TABLE_UNITS_PER_SECOND = 40_000


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
    cleanups = 2 * ends + closes
    invocations = heartbeats + cleanups + (queue.per_second / queue.batch if queue else 0)
    gateway, functions = "API Gateway developer guide, quotas", "Lambda developer guide, quotas"
    rows = [
        (
            "requests to the API, account",
            heartbeats + ends + 2 * closes,
            ACCOUNT_REQUESTS_PER_SECOND,
            "a second",
            gateway,
        ),
        (
            "Lambda requests, account",
            invocations,
            LAMBDA_REQUESTS_PER_SECOND,
            "a second",
            f"{functions}: ten a second for each unit of concurrency",
        ),
        (
            "heartbeats, joins, leaves at once",
            heartbeats * HEARTBEAT_S + cleanups * CLEANUP_S,
            LAMBDA_CONCURRENCY,
            "",
            f"{functions}: concurrent executions",
        ),
        ("new connections", ends, NEW_CONNECTIONS_PER_SECOND, "a second", gateway),
        (
            "live connections",
            fleet.connections,
            NEW_CONNECTIONS_PER_SECOND * MAX_CONNECTION_S,
            "",
            f"{gateway}: 500 new ones a second for 2 hours",
        ),
        (
            "activity writes, one table",
            heartbeats * fleet.write_units,
            TABLE_UNITS_PER_SECOND,
            "units a second",
            "DynamoDB developer guide, quotas: on-demand table",
        ),
    ]
    ours = [
        (
            "requests, reference stage",
            heartbeats + ends,
            STAGE_REQUESTS_PER_SECOND,
            "a second",
            "hangup.cdk: the throttle of the reference stack",
        )
    ]
    if queue is not None and queue.per_second:
        ours.append(
            (
                "messages to close functions",
                queue.per_second,
                queue.per_second_at_most,
                "a second",
                f"{queue.functions} functions at once at most, limited by {queue.limited_by}",
            )
        )
    found = [
        Quota(
            name=name,
            load=load,
            limit=limit,
            unit=unit,
            reached_at=int(fleet.connections * limit / load),
            ours=(row in ours),
            source=source,
        )
        for row in (*rows, *ours)
        for name, load, limit, unit, source in (row,)
    ]
    return tuple(sorted([*found, _sweep(fleet)], key=lambda quota: (quota.ours, -quota.share)))


def _sweep(fleet: Fleet) -> Quota:
    """Return the time limit of a sweep that is one invocation.

    ``reached_at`` is searched, not scaled: a small table has pages that are not full.
    """

    def one_is_too_few(connections: int) -> bool:
        return not sweep_of(replace(fleet, connections=connections), shards=1).fits

    one = sweep_of(fleet, shards=1)
    # Whichever of the two limits is met first.
    load, limit = max(
        (one.duration_s, SWEEP_BUDGET_S),
        (one.read_by_s, SCAN_BUDGET_S),
        key=lambda time_s: time_s[0] / time_s[1],
    )
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
