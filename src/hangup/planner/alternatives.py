"""What else one could do about idle connections, at the same fleet and the same prices.

Each in its best version, closing as inline sweeps do; only Hangup's own way is the planned one.
"""

import math
from dataclasses import dataclass, replace

from hangup.planner.assumptions import (
    CLEANUP_S,
    HEARTBEAT_S,
    MAX_CONNECTION_S,
    MAX_SEGMENTS,
    MONTH_S,
    OWN_IDLE_TIMEOUT_S,
    SCHEDULER_PRECISION_S,
    SWEEP_BUDGET_S,
    TRANSITIONS_PER_LOOP,
    TTL_S,
)
from hangup.planner.costs import (
    Group,
    Item,
    lambda_usd,
    metrics_and_alarms_usd,
    subtotal_usd,
    sweep_function_usd,
)
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import Distribution, act_interval_ms
from hangup.planner.prices import Prices

__all__ = ["Alternative", "alternatives"]

_PARTITION_WRITES_PER_SECOND = 1_000
_WRITES_PER_KEY_CHANGE = 2  # an index entry whose key changes is deleted and put again
_WRITES_PER_LIFE = 2  # put by the connect function, deleted by the cleanup
_UNITS_PER_QUERY = 0.5  # eventually consistent, up to 4 KB: forty entries of keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to do it: ``usd`` a month on top of being there, ``late`` after the deadline."""

    name: str
    usd: float
    late: str
    catch: str


def alternatives(
    fleet: Fleet, items: tuple[Item, ...], late: Distribution, prices: Prices
) -> tuple[Alternative, ...]:
    """Return Hangup's way first, then the others."""
    usd = {item.name: item.usd for item in items}
    closes = fleet.idle_closes_per_second * MONTH_S
    closing = usd["closes, with notice and cleanup"]
    watching = metrics_and_alarms_usd(prices, precise=False)
    checks = fleet.connections * MONTH_S / fleet.idle_timeout_s
    check = lambda_usd(prices, duration_s=HEARTBEAT_S) + prices.dynamodb_reads
    return (
        Alternative(
            name="Hangup: scan every sweep",
            usd=subtotal_usd(items, Group.ADDED),
            late=f"up to {late.max_s:.0f} s",
            catch="as prompt as SQS and Lambda are" if fleet.precise else "minutes, not seconds",
        ),
        _index(fleet, prices, beside_usd=closing + watching),
        Alternative(
            name="DynamoDB TTL",
            usd=closes * lambda_usd(prices, duration_s=CLEANUP_S),
            late=f"typically within {TTL_S // 3600} h",
            catch="removes the record, leaves the socket open, sends no notice",
        ),
        Alternative(
            name="a schedule per connection",
            usd=checks * (prices.schedules + check) + closing + watching,
            late=f"up to {SCHEDULER_PRECISION_S} s",
            catch="EventBridge Scheduler: one invocation per connection and timeout",
        ),
        Alternative(
            name="Step Functions loop",
            usd=checks * TRANSITIONS_PER_LOOP * prices.state_transitions + closing + watching,
            late="seconds",
            catch=f"{TRANSITIONS_PER_LOOP} transitions per connection and timeout",
        ),
        _nothing(fleet),
    )


def _index(fleet: Fleet, prices: Prices, *, beside_usd: float) -> Alternative:
    """Return the way with an index that has keys only, so an entry is a write unit at any record.

    A sweep queries it for what is idle, and the claim answers with the rest of the record. A write
    that a resolution refuses is charged, and leaves the index as it is.
    """
    moves_per_second = fleet.heartbeats_per_second / fleet.heartbeats_per_write
    writes_per_second = (
        moves_per_second * _WRITES_PER_KEY_CHANGE + fleet.ends_per_second * _WRITES_PER_LIFE
    )
    shards = math.ceil(writes_per_second / _PARTITION_WRITES_PER_SECOND)
    full_at = int(fleet.connections * _PARTITION_WRITES_PER_SECOND / writes_per_second)
    invocations, close_s = _closing(replace(fleet, precise=False))
    duration_s = fleet.page_latency_ms / 1000 + close_s
    return Alternative(
        name="index on the activity time",
        usd=writes_per_second * MONTH_S * prices.dynamodb_writes
        + fleet.sweeps_per_month * shards * _UNITS_PER_QUERY * prices.dynamodb_reads
        + sweep_function_usd(fleet, prices, invocations=invocations, duration_s=duration_s)
        + beside_usd,
        late=f"up to {fleet.sweep_interval_s + duration_s:.0f} s",
        catch=(
            f"two more writes {_each_moved_time(fleet)}; one index partition is full at"
            f" {full_at:,} connections, then it needs shards"
        ),
    )


def _each_moved_time(fleet: Fleet) -> str:
    every = fleet.heartbeats_per_write
    return "for each heartbeat" if every == 1 else f"for one heartbeat in {every}"


def _closing(inline: Fleet) -> tuple[int, float]:
    """Return how many invocations close what is idle in time, and how long each takes, seconds.

    As few as can: 20 at most, whether those have the time or not.
    """
    closes = inline.idle_closes_per_second * inline.sweep_interval_s
    invocations, close_s = 0, math.inf
    while close_s > SWEEP_BUDGET_S and invocations < MAX_SEGMENTS:
        invocations += 1
        interval_ms, _ = act_interval_ms(inline, segments=invocations)
        close_s = closes * interval_ms / 1000 / invocations
    return invocations, close_s


def _nothing(fleet: Fleet) -> Alternative:
    """Return what API Gateway does by itself: 10 minutes without traffic, or 2 hours in all.

    Both may come before the deadline.
    """
    own_s, longest_s = (
        limit_s - fleet.grace_s for limit_s in (OWN_IDLE_TIMEOUT_S, MAX_CONNECTION_S)
    )
    if longest_s <= 0:
        late = "never late"
    elif own_s <= 0:
        late = f"early, or up to {longest_s:,.0f} s"
    else:
        late = f"{own_s:.0f} s, or up to {longest_s:,.0f} s"
    return Alternative(
        name="nothing",
        usd=0.0,
        late=late,
        catch=(
            "API Gateway closes after 10 min without traffic either way, what the server sends"
            " keeps a lost client open, 2 h in all; no notice, and `$disconnect` may be missed"
        ),
    )
