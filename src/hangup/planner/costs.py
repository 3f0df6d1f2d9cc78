"""The bill of 30 days: item by item, and by kind of charge.

Not counted: free tiers, storage, data transfer, logs of the sweeps, retries.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import starmap

from hangup.planner.assumptions import (
    ALARMS,
    CLEANUP_S,
    CLOSE_LOG_BYTES,
    HEARTBEAT_LOG_BYTES,
    HEARTBEAT_S,
    MEMORY_GB,
    MESSAGE_TIER,
    METRICS,
    MONTH_S,
    PRECISE_ALARMS,
    PRECISE_METRICS,
    READ_UNIT_BYTES,
)
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import SweepEstimate
from hangup.planner.prices import Prices
from hangup.planner.queueing import QueueEstimate, estimate_queue

__all__ = [
    "Charges",
    "Group",
    "Item",
    "Kind",
    "by_kind",
    "close_usd",
    "costs",
    "lambda_usd",
    "metrics_and_alarms_usd",
    "subtotal_usd",
    "sweep_function_usd",
]

_TOTAL_BITS = 52
"""One less than a float has, for the total may be rounded up."""


class Group(StrEnum):
    """What an item of the bill is for."""

    THERE = "being there, with or without Hangup"
    COMING_AND_GOING = "coming and going, with or without Hangup"
    ADDED = "what Hangup adds"


class Kind(StrEnum):
    """What AWS charges for."""

    MESSAGES = "messages"
    MINUTES = "connection minutes"
    LAMBDA = "Lambda"
    READS = "DynamoDB reads"
    WRITES = "DynamoDB writes"
    SQS = "SQS"
    LOGS = "logs"
    WATCHING = "metrics and alarms"


Charges = Mapping[Kind, float]
"""US dollars of each kind, a month of them unless it is said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the bill: ``quantity`` times what it is made of, ``charges`` a month."""

    name: str
    group: Group
    quantity: float
    unit: str
    charges: Charges

    @property
    def usd(self) -> float:
        """All its charges, dollars a month."""
        return sum(self.charges.values())


def subtotal_usd(items: tuple[Item, ...], group: Group) -> float:
    """Return the dollars a month of one group."""
    return sum(item.usd for item in items if item.group is group)


def by_kind(items: tuple[Item, ...]) -> dict[Kind, float]:
    """Return the dollars a month of every kind, 0 where there is none of it.

    Their sum is that of the items, to the last bit: see ``costs``.
    """
    return {kind: sum(item.charges.get(kind, 0.0) for item in items) for kind in Kind}


def lambda_usd(prices: Prices, *, duration_s: float) -> float:
    """Return the price of one invocation at 256 MB."""
    return prices.lambda_requests + duration_s * MEMORY_GB * prices.lambda_gb_seconds


def sweep_function_usd(
    fleet: Fleet, prices: Prices, *, invocations: int, duration_s: float
) -> float:
    """Return a month of sweeps of this duration, each of so many invocations."""
    return fleet.sweeps_per_month * invocations * lambda_usd(prices, duration_s=duration_s)


def scan_units(fleet: Fleet, *, segments: int) -> float:
    """Return the read units of one scan, eventually consistent: half a unit for each 4 KB read."""
    parts = segments * fleet.scan_segments
    part_bytes = fleet.connections * fleet.record_bytes / parts
    return parts * math.ceil(part_bytes / READ_UNIT_BYTES) / 2


def cleanup_write_units(fleet: Fleet) -> int:
    """Return the write units of one transaction on a record and its session, and of the index.

    A transaction doubles what it writes; the index on the session has an entry of its own.
    """
    return 2 * (fleet.write_units + 1) + 1


def close_usd(fleet: Fleet, prices: Prices, *, notice_usd: float) -> float:
    """Return one close, dollars."""
    return sum(_close(fleet, prices, notice_usd=notice_usd).values())


def _close(fleet: Fleet, prices: Prices, *, notice_usd: float) -> Charges:
    """Return one close: claim, notice, cleanup, and two runs of the disconnect function.

    Two, because API Gateway's own ``$disconnect`` follows the hand-over; each reads the record.
    """
    return {
        Kind.MESSAGES: notice_usd,
        Kind.LAMBDA: 2 * lambda_usd(prices, duration_s=CLEANUP_S),
        Kind.READS: 2 * _record_read_units(fleet) * prices.dynamodb_reads,
        Kind.WRITES: (fleet.write_units + cleanup_write_units(fleet)) * prices.dynamodb_writes,
    }


def metrics_and_alarms_usd(prices: Prices, *, precise: bool) -> float:
    """Return a month of the metrics and alarms that the construct has at most."""
    metrics, alarms = _metrics_and_alarms(precise=precise)
    return metrics * prices.metrics + alarms * prices.alarms


def _metrics_and_alarms(*, precise: bool) -> tuple[int, int]:
    return (
        METRICS + (PRECISE_METRICS if precise else 0),
        ALARMS + (PRECISE_ALARMS if precise else 0),
    )


_Row = tuple[str, Group, float, str, Charges]
"""What an item is made of, in this order."""


def costs(fleet: Fleet, sweep: SweepEstimate, prices: Prices) -> tuple[Item, ...]:
    """Return the bill of 30 days.

    Its charges are rounded, by less than a billionth, so that floats add them up without an error:
    in whatever order, and by whatever they are grouped, the total is the same to the last bit.
    """
    heartbeats = fleet.heartbeats_per_second * MONTH_S
    ends = fleet.ends_per_second * MONTH_S
    closes = fleet.idle_closes_per_second * MONTH_S
    leaves = ends - closes
    talk = heartbeats * (fleet.message_units + 1)
    talk_usd = messages_usd(prices, talk)
    notices_usd = messages_usd(prices, talk + closes) - talk_usd
    minutes = fleet.connections * MONTH_S / 60
    close = _close(fleet, prices, notice_usd=notices_usd / closes if closes else 0.0)
    activity_writes = heartbeats * fleet.write_units
    cleanup = {
        Kind.LAMBDA: lambda_usd(prices, duration_s=CLEANUP_S),
        Kind.WRITES: cleanup_write_units(fleet) * prices.dynamodb_writes,
    }
    leave = {**cleanup, Kind.READS: _record_read_units(fleet) * prices.dynamodb_reads}
    scanned = scan_units(fleet, segments=sweep.segments) * fleet.sweeps_per_month
    there, coming, added = Group.THERE, Group.COMING_AND_GOING, Group.ADDED
    rows: list[_Row] = [
        ("heartbeats and their answers", there, talk, "messages", {Kind.MESSAGES: talk_usd}),
        (
            "activity writes",
            there,
            activity_writes,
            "write units",
            {Kind.WRITES: activity_writes * prices.dynamodb_writes},
        ),
        (
            "heartbeat function",
            there,
            heartbeats,
            "invocations",
            {Kind.LAMBDA: heartbeats * lambda_usd(prices, duration_s=HEARTBEAT_S)},
        ),
        _logs("heartbeat logs", there, heartbeats * HEARTBEAT_LOG_BYTES, prices),
        (
            "connection minutes",
            there,
            minutes,
            "minutes",
            {Kind.MINUTES: minutes * prices.connection_minutes},
        ),
        ("joins", coming, ends, "joins", _times(ends, cleanup)),
        ("leaves by the client", coming, leaves, "leaves", _times(leaves, leave)),
        _logs(
            "logs of joins and cleanups",
            coming,
            (2 * ends + closes) * HEARTBEAT_LOG_BYTES,
            prices,
        ),
        (
            "sweep: reading the table",
            added,
            scanned,
            "read units",
            {Kind.READS: scanned * prices.dynamodb_reads},
        ),
        (
            "sweep: function",
            added,
            fleet.sweeps_per_month * sweep.segments,
            "invocations",
            {
                Kind.LAMBDA: sweep_function_usd(
                    fleet, prices, invocations=sweep.segments, duration_s=sweep.duration_s
                )
            },
        ),
        ("closes, with notice and cleanup", added, closes, "closes", _times(closes, close)),
        (
            "metrics and alarms, at most",
            added,
            sum(_metrics_and_alarms(precise=fleet.precise)),
            "",
            {Kind.WATCHING: metrics_and_alarms_usd(prices, precise=fleet.precise)},
        ),
    ]
    if fleet.precise:
        rows += _precise(fleet, prices, estimate_queue(fleet))
    return _rounded(tuple(starmap(_item, rows)))


def _precise(fleet: Fleet, prices: Prices, queue: QueueEstimate) -> list[_Row]:
    """Return what the precise topology has beside the closes themselves."""
    added = Group.ADDED
    requests = queue.requests_per_month
    batches = queue.invocations_per_second * MONTH_S
    looks = queue.messages_per_second * MONTH_S * _record_read_units(fleet)
    return [
        (
            "queue of due connections",
            added,
            requests,
            "requests",
            {Kind.SQS: requests * prices.queue_requests},
        ),
        (
            "close function",
            added,
            batches,
            "invocations",
            {Kind.LAMBDA: batches * lambda_usd(prices, duration_s=queue.batch_ms / 1000)},
        ),
        _logs("close function: logs", added, batches * CLOSE_LOG_BYTES, prices),
        (
            "close function: looks at records",
            added,
            looks,
            "read units",
            {Kind.READS: looks * prices.dynamodb_reads},
        ),
    ]


def _logs(name: str, group: Group, logged_bytes: float, prices: Prices) -> _Row:
    return (name, group, logged_bytes / 1e9, "GB", {Kind.LOGS: logged_bytes * prices.logs})


def _times(count: float, charges: Charges) -> Charges:
    return {kind: count * usd for kind, usd in charges.items()}


def _rounded(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items with charges that are whole multiples of one power of two.

    It is the smallest by which the total has 52 bits, so no sum of some of them needs more bits
    than a float has, 53.
    """
    total = sum(item.usd for item in items)
    shift = _TOTAL_BITS - math.frexp(total)[1]

    def on_grid(usd: float) -> float:
        return math.ldexp(round(math.ldexp(usd, shift)), -shift)

    return tuple(
        replace(item, charges={kind: on_grid(usd) for kind, usd in item.charges.items()})
        for item in items
    )


def messages_usd(prices: Prices, messages: float) -> float:
    """Return a month of so many messages: above a billion each costs less."""
    first = min(messages, MESSAGE_TIER)
    return (
        first * prices.messages_first_billion + (messages - first) * prices.messages_above_a_billion
    )


def _record_read_units(fleet: Fleet) -> int:
    return math.ceil(fleet.record_bytes / READ_UNIT_BYTES)


def _item(name: str, group: Group, quantity: float, unit: str, charges: Charges) -> Item:
    return Item(name=name, group=group, quantity=quantity, unit=unit, charges=charges)
