"""The bill of 30 days, item by item.

Not counted: free tiers, storage, data transfer, logs of the sweeps, retries.
"""

import math
from dataclasses import dataclass
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
    READ_UNIT_BYTES,
)
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import SweepEstimate
from hangup.planner.prices import Prices
from hangup.planner.queueing import QueueEstimate, estimate_queue

__all__ = [
    "Group",
    "Item",
    "close_usd",
    "costs",
    "lambda_usd",
    "subtotal_usd",
    "sweep_function_usd",
]


class Group(StrEnum):
    """What an item of the bill is for."""

    THERE = "being there, with or without Hangup"
    COMING_AND_GOING = "coming and going, with or without Hangup"
    ADDED = "what Hangup adds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the bill: ``quantity`` times what it is made of, ``usd`` a month."""

    name: str
    group: Group
    quantity: float
    unit: str
    usd: float


def subtotal_usd(items: tuple[Item, ...], group: Group) -> float:
    """Return the dollars a month of one group."""
    return sum(item.usd for item in items if item.group is group)


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
    """Return one close: claim, notice, cleanup, and two runs of the disconnect function.

    Two, because API Gateway's own ``$disconnect`` follows the hand-over; each reads the record.
    """
    return (
        fleet.write_units * prices.dynamodb_writes
        + notice_usd
        + 2 * _record_read_units(fleet) * prices.dynamodb_reads
        + cleanup_write_units(fleet) * prices.dynamodb_writes
        + 2 * lambda_usd(prices, duration_s=CLEANUP_S)
    )


def costs(fleet: Fleet, sweep: SweepEstimate, prices: Prices) -> tuple[Item, ...]:
    """Return the bill of 30 days."""
    heartbeats = fleet.heartbeats_per_second * MONTH_S
    ends = fleet.ends_per_second * MONTH_S
    closes = fleet.idle_closes_per_second * MONTH_S
    leaves = ends - closes
    talk = heartbeats * (fleet.message_units + 1)
    talk_usd = messages_usd(prices, talk)
    notices_usd = messages_usd(prices, talk + closes) - talk_usd
    minutes = fleet.connections * MONTH_S / 60
    close = close_usd(fleet, prices, notice_usd=notices_usd / closes if closes else 0.0)
    written, read = prices.dynamodb_writes, prices.dynamodb_reads
    cleanup = lambda_usd(prices, duration_s=CLEANUP_S)
    moved = cleanup_write_units(fleet) * written
    scanned = scan_units(fleet, segments=sweep.segments) * fleet.sweeps_per_month
    alarms = ALARMS + (PRECISE_ALARMS if fleet.precise else 0)
    there, coming, added = Group.THERE, Group.COMING_AND_GOING, Group.ADDED
    rows: list[tuple[str, Group, float, str, float]] = [
        ("heartbeats and their answers", there, talk, "messages", talk_usd),
        (
            "activity writes",
            there,
            heartbeats * fleet.write_units,
            "write units",
            heartbeats * fleet.write_units * written,
        ),
        (
            "heartbeat function",
            there,
            heartbeats,
            "invocations",
            heartbeats * lambda_usd(prices, duration_s=HEARTBEAT_S),
        ),
        (
            "heartbeat logs",
            there,
            heartbeats * HEARTBEAT_LOG_BYTES / 1e9,
            "GB",
            heartbeats * HEARTBEAT_LOG_BYTES * prices.logs,
        ),
        (
            "connection minutes",
            there,
            minutes,
            "minutes",
            minutes * prices.connection_minutes,
        ),
        ("joins", coming, ends, "joins", ends * (moved + cleanup)),
        (
            "leaves by the client",
            coming,
            leaves,
            "leaves",
            leaves * (moved + cleanup + _record_read_units(fleet) * read),
        ),
        (
            "logs of joins and cleanups",
            coming,
            (2 * ends + closes) * HEARTBEAT_LOG_BYTES / 1e9,
            "GB",
            (2 * ends + closes) * HEARTBEAT_LOG_BYTES * prices.logs,
        ),
        (
            "sweep: reading the table",
            added,
            scanned,
            "read units",
            scanned * read,
        ),
        (
            "sweep: function",
            added,
            fleet.sweeps_per_month * sweep.segments,
            "invocations",
            sweep_function_usd(
                fleet, prices, invocations=sweep.segments, duration_s=sweep.duration_s
            ),
        ),
        ("closes, with notice and cleanup", added, closes, "closes", closes * close),
        (
            "metrics and alarms, at most",
            added,
            METRICS + alarms,
            "",
            METRICS * prices.metrics + alarms * prices.alarms,
        ),
    ]
    if fleet.precise:
        rows += _precise(fleet, prices, estimate_queue(fleet))
    return tuple(starmap(_item, rows))


def _precise(
    fleet: Fleet, prices: Prices, queue: QueueEstimate
) -> list[tuple[str, Group, float, str, float]]:
    """Return what the precise topology has beside the closes themselves."""
    requests = queue.requests_per_month
    batches = queue.invocations_per_second * MONTH_S
    looks = queue.messages_per_second * MONTH_S * _record_read_units(fleet)
    return [
        (
            "queue of due connections",
            Group.ADDED,
            requests,
            "requests",
            requests * prices.queue_requests,
        ),
        (
            "close function",
            Group.ADDED,
            batches,
            "invocations",
            batches * lambda_usd(prices, duration_s=queue.batch_ms / 1000),
        ),
        (
            "close function: logs",
            Group.ADDED,
            batches * CLOSE_LOG_BYTES / 1e9,
            "GB",
            batches * CLOSE_LOG_BYTES * prices.logs,
        ),
        (
            "close function: looks at records",
            Group.ADDED,
            looks,
            "read units",
            looks * prices.dynamodb_reads,
        ),
    ]


def messages_usd(prices: Prices, messages: float) -> float:
    """Return a month of so many messages: above a billion each costs less."""
    first = min(messages, MESSAGE_TIER)
    return (
        first * prices.messages_first_billion + (messages - first) * prices.messages_above_a_billion
    )


def _record_read_units(fleet: Fleet) -> int:
    return math.ceil(fleet.record_bytes / READ_UNIT_BYTES)


def _item(name: str, group: Group, quantity: float, unit: str, usd: float) -> Item:
    return Item(name=name, group=group, quantity=quantity, unit=unit, usd=usd)
