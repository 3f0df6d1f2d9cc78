"""What else one could do about idle connections, at the same fleet and the same prices."""

from dataclasses import dataclass

from hangup.planner.assumptions import (
    CLEANUP_S,
    HEARTBEAT_S,
    MONTH_S,
    OWN_IDLE_TIMEOUT_S,
    SCHEDULER_PRECISION_S,
    TRANSITIONS_PER_LOOP,
    TTL_S,
)
from hangup.planner.costs import Group, Item, lambda_usd, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import Distribution
from hangup.planner.prices import Prices

__all__ = ["Alternative", "alternatives"]

_PARTITION_WRITES_PER_SECOND = 1_000
_WRITES_PER_KEY_CHANGE = 2  # an index entry whose key changes is deleted and put again


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
    watching = usd["metrics and alarms, at most"]
    heartbeats = fleet.heartbeats_per_second * MONTH_S
    index = heartbeats * _WRITES_PER_KEY_CHANGE * fleet.write_units * prices.dynamodb_writes
    index_full_at = int(
        _PARTITION_WRITES_PER_SECOND
        / _WRITES_PER_KEY_CHANGE
        / fleet.write_units
        * fleet.heartbeat_s
    )
    checks = fleet.connections * MONTH_S / fleet.idle_timeout_s
    check = lambda_usd(prices, duration_s=HEARTBEAT_S) + prices.dynamodb_reads
    adds = subtotal_usd(items, Group.ADDED)
    own_s = max(0.0, OWN_IDLE_TIMEOUT_S - fleet.idle_timeout_s)
    return (
        Alternative(
            name="Hangup: scan every sweep",
            usd=adds,
            late=f"up to {late.max_s:.0f} s",
            catch="as prompt as SQS and Lambda are" if fleet.precise else "minutes, not seconds",
        ),
        Alternative(
            name="index on the activity time",
            usd=index + closing + watching + usd["sweep: function"],
            late=f"up to {late.max_s:.0f} s",
            catch=(
                "two more writes for each heartbeat; one index partition is full at"
                f" {index_full_at:,} connections, then it needs shards"
            ),
        ),
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
        Alternative(
            name="nothing",
            usd=0.0,
            late=f"{own_s:.0f} s, or 2 h",
            catch=(
                "API Gateway closes after 10 min without traffic either way, what the server"
                " sends keeps a lost client open; no notice, and `$disconnect` may be missed"
            ),
        ),
    )
