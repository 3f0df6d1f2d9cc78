"""Which quota a fleet meets first.

Defaults of AWS, most of them adjustable on request, and limits of Hangup's own, which are ``ours``:
a change of the code or of an argument moves those, and the stage's is the reference stack's alone.
Every load here grows in step with the number of connections, except where ``reached_at`` is None.
"""

from dataclasses import dataclass, replace

from hangup.core.pacing import close_functions
from hangup.planner.assumptions import (
    CLEANUP_S,
    HEARTBEAT_S,
    MAX_CONNECTION_S,
    PAGE_BYTES,
    QUEUE_BATCH,
    READ_UNIT_BYTES,
    SCAN_BUDGET_S,
    SWEEP_BUDGET_S,
)
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import SweepEstimate, one_sweep_fits, segment_page_ms
from hangup.planner.queueing import estimate_queue

__all__ = ["STAGE_REQUESTS_PER_SECOND", "Quota", "quotas"]

NEW_CONNECTIONS_PER_SECOND = 500
ACCOUNT_REQUESTS_PER_SECOND = 10_000
STAGE_REQUESTS_PER_SECOND = 5_000
LAMBDA_CONCURRENCY = 1_000
TABLE_UNITS_PER_SECOND = 40_000
PARTITION_READS_PER_SECOND = 3_000
QUEUE_IN_FLIGHT = 120_000

_STAGE = "requests, reference stage"
_MESSAGES = "messages to close functions"
_OURS = (_STAGE, _MESSAGES)

_CALLS_PER_CLOSE = 2  # notice and close; the account's request limit has the @connections calls too


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit and this fleet's load on it, in the same ``unit``.

    ``reached_at`` is the number of connections at which it is met, other things being equal;
    ``ours`` says that Hangup sets it, not AWS.
    """

    name: str
    load: float
    limit: float
    unit: str
    reached_at: int | None
    ours: bool
    source: str

    @property
    def share(self) -> float:
        """Load divided by limit; above 1 it is exceeded."""
        return self.load / self.limit


def quotas(fleet: Fleet, sweep: SweepEstimate) -> tuple[Quota, ...]:
    """Return every quota of AWS, the one that is met first before the others, and then ours."""
    requests = fleet.heartbeats_per_second + fleet.ends_per_second
    calls = fleet.idle_closes_per_second * _CALLS_PER_CLOSE
    writes = fleet.heartbeats_per_second * fleet.write_units
    page_units = PAGE_BYTES / READ_UNIT_BYTES / 2
    gateway = "API Gateway developer guide, quotas"
    dynamodb = "DynamoDB developer guide"
    rows: list[tuple[str, float, float, str, str]] = [
        (
            _STAGE,
            requests,
            STAGE_REQUESTS_PER_SECOND,
            "a second",
            "hangup.cdk: the throttle of the reference stack",
        ),
        (
            "requests, account",
            requests + calls,
            ACCOUNT_REQUESTS_PER_SECOND,
            "a second",
            gateway,
        ),
        (
            "new connections",
            fleet.ends_per_second,
            NEW_CONNECTIONS_PER_SECOND,
            "a second",
            gateway,
        ),
        (
            "live connections",
            fleet.connections,
            NEW_CONNECTIONS_PER_SECOND * MAX_CONNECTION_S,
            "",
            f"{gateway}: 500 new ones a second for 2 hours",
        ),
        (
            "heartbeats, joins, leaves at once",
            fleet.heartbeats_per_second * HEARTBEAT_S
            + (2 * fleet.ends_per_second + fleet.idle_closes_per_second) * CLEANUP_S,
            LAMBDA_CONCURRENCY,
            "",
            "Lambda developer guide, quotas: concurrent executions",
        ),
        (
            "activity writes, one table",
            writes,
            TABLE_UNITS_PER_SECOND,
            "units a second",
            f"{dynamodb}, quotas: on-demand table",
        ),
    ]
    if fleet.precise:
        queue = estimate_queue(fleet)
        rows.append(
            (
                _MESSAGES,
                queue.messages_per_second,
                queue.messages_per_second_at_most,
                "a second",
                f"four functions at once at most, limited by {queue.limited_by}",
            )
        )
    found = [
        Quota(
            name=name,
            load=load,
            limit=limit,
            unit=unit,
            reached_at=int(fleet.connections * limit / load),
            ours=name in _OURS,
            source=source,
        )
        for name, load, limit, unit, source in rows
        # With nobody silent there is no message, and no number of connections makes one.
        if load
    ]
    closers = close_functions(fleet.closes_per_second) if fleet.precise else 0
    # Whichever of the two it meets first.
    sweep_s, budget_s = max(
        (sweep.single.duration_s, SWEEP_BUDGET_S),
        (sweep.single.read_by_s, SCAN_BUDGET_S),
        key=lambda time_s: time_s[0] / time_s[1],
    )
    found += [
        Quota(
            name="sweep, one invocation",
            load=sweep_s,
            limit=budget_s,
            unit="s",
            reached_at=_most_for_one_invocation(fleet),
            ours=True,
            source="time limit of the function, 60 s, less the sweep's margin (8 s, to read 13 s)"
            " and its report (3 s)",
        ),
        Quota(
            name="reads of one partition by a scan",
            # Those that are read side by side lie in partitions of their own (``core.segments``).
            load=page_units * 1000 / segment_page_ms(fleet),
            limit=PARTITION_READS_PER_SECOND,
            unit="units a second",
            reached_at=None,
            ours=False,
            source=f"{dynamodb}, partition key design",
        ),
        Quota(
            name="sweeps and close functions at once",
            load=sweep.segments + closers,
            limit=LAMBDA_CONCURRENCY,
            unit="",
            reached_at=None,
            ours=False,
            source="Lambda developer guide, quotas: concurrent executions",
        ),
    ]
    if fleet.precise:
        found.append(
            Quota(
                name="messages in flight, due queue",
                load=closers * QUEUE_BATCH,
                limit=QUEUE_IN_FLIGHT,
                unit="",
                reached_at=None,
                ours=False,
                source="SQS developer guide, quotas: standard queue; delayed messages are not",
            )
        )
    return tuple(sorted(found, key=_urgency))


def _most_for_one_invocation(fleet: Fleet) -> int:
    """Return with how many connections one invocation is still enough, other things being equal.

    Searched, not scaled: a small table has pages that are not full. 0 if it is never enough.
    """
    enough, too_many = 0, fleet.connections
    while one_sweep_fits(replace(fleet, connections=too_many)):
        enough, too_many = too_many, too_many * 2
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if one_sweep_fits(replace(fleet, connections=middle)):
            enough = middle
        else:
            too_many = middle
    return enough


def _urgency(quota: Quota) -> tuple[bool, bool, float]:
    # What does not grow with the fleet cannot be the one that it meets first.
    return quota.ours, quota.reached_at is None, -quota.share
