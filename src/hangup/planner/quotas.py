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

STAGE_REQUESTS_PER_SECOND = 5_000
"""``hangup.cdk``: the throttle of the reference stack."""

_NEW_CONNECTIONS_PER_SECOND = 500
_CONCURRENCY = 1_000

_Row = tuple[str, float, float, str, str]
"""Name, load, limit, unit and source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit and this fleet's load on it, in the same ``unit``.

    ``share`` is load divided by limit: above 1 it is exceeded. ``reached_at`` is the number of
    connections at which it is met, everything else being equal; ``ours`` says that Hangup sets it,
    not AWS.
    """

    name: str
    load: float
    limit: float
    unit: str
    share: float
    reached_at: int
    ours: bool
    source: str


def quotas(fleet: Fleet, queue: Queue | None) -> tuple[Quota, ...]:
    """Return every quota of AWS, the one that is met first before the others, and then ours.

    With ``precise`` there is a queue.
    """
    heartbeats, ends = fleet.heartbeats_per_second, fleet.ends_per_second
    closes = fleet.idle_closes_per_second
    # A close has a notice and a delete, and runs the disconnect function twice.
    questions, cleanups = fleet.questions_per_second, 2 * ends + closes
    calls = heartbeats + ends + 2 * closes + questions
    # Where nobody records activity, a heartbeat runs no function.
    beats = 0.0 if fleet.is_asked else heartbeats
    runs = beats + cleanups + (queue.per_second / queue.batch if queue else 0)
    busy = beats * HEARTBEAT_S + cleanups * CLEANUP_S
    writes, live = (
        (beats + questions) * fleet.write_units,
        _NEW_CONNECTIONS_PER_SECOND * MAX_CONNECTION_S,
    )
    guide = "developer guide, quotas"
    each = f"Lambda {guide}: ten a second for each unit of concurrency"
    new = f"API Gateway {guide}: 500 new ones a second for 2 hours"
    of_aws: list[_Row] = [
        ("API Gateway requests", calls, 10_000, "a second", f"API Gateway {guide}"),
        ("Lambda requests", runs, 10 * _CONCURRENCY, "a second", each),
        ("Lambda functions at once", busy, _CONCURRENCY, "", f"Lambda {guide}: concurrency"),
        ("new connections", ends, _NEW_CONNECTIONS_PER_SECOND, "a second", f"API Gateway {guide}"),
        ("live connections", fleet.connections, live, "", new),
        ("activity writes, one table", writes, 40_000, "units a second", f"DynamoDB {guide}"),
    ]
    of_hangup: list[_Row] = [
        (
            "requests, reference stage",
            heartbeats + ends,
            STAGE_REQUESTS_PER_SECOND,
            "a second",
            "the stage's throttle",
        )
    ]
    if queue is not None and queue.per_second:
        of_hangup.append(
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
            share=load / limit,
            reached_at=int(fleet.connections * limit / load),
            ours=rows is of_hangup,
            source=source,
        )
        for rows in (of_aws, of_hangup)
        for name, load, limit, unit, source in rows
    ]
    return tuple(sorted([*found, _sweep(fleet)], key=lambda quota: (quota.ours, -quota.share)))


def _sweep(fleet: Fleet) -> Quota:
    """Return the time limit of a sweep that is one invocation.

    ``reached_at`` is searched, not scaled: a small table has pages that are not full.
    """
    one = sweep_of(fleet, shards=1)
    # Whichever of its two limits it meets first.
    times_s = (one.duration_s, SWEEP_BUDGET_S), (one.read_by_s, SCAN_BUDGET_S)
    load, limit = max(times_s, key=lambda time_s: time_s[0] / time_s[1])
    return Quota(
        name="sweep, one invocation",
        load=load,
        limit=limit,
        unit="s",
        share=load / limit,
        reached_at=bisect_left(
            range(1, MAX_CONNECTIONS + 1),
            True,
            key=lambda n: not sweep_of(replace(fleet, connections=n), shards=1).fits,
        ),
        ours=True,
        source="time limit of the function, 60 s, less the sweep's margin (8 s, to read 13 s)"
        " and its report (3 s)",
    )
