"""The bill of 30 days, item by item.

Not counted: free tiers, storage, data transfer, logs of the sweeps, retries.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from hangup.config import SCAN_SEGMENTS
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.planner.assumptions import (
    ALARMS,
    CLEANUP_LOG_BYTES,
    CLEANUP_S,
    CLOSE_LOG_BYTES,
    EMPTY_RECEIVES_PER_SECOND,
    HEARTBEAT_LOG_BYTES,
    HEARTBEAT_S,
    MEMORY_GB,
    MESSAGE_TIER,
    MESSAGES_PER_HEARTBEAT,
    METRICS,
    MONTH_S,
    PRECISE_ALARMS,
    PRECISE_METRICS,
    READ_UNIT_BYTES,
)
from hangup.planner.fleet import Fleet
from hangup.planner.model import Queue, Sweep
from hangup.planner.prices import Prices


class Group(StrEnum):
    """What an item of the bill is for."""

    THERE = "being there, with or without Hangup"
    COMING_AND_GOING = "coming and going, with or without Hangup"
    ADDED = "what Hangup adds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the bill: ``quantity`` of something costs ``usd`` dollars a month."""

    name: str
    group: Group
    quantity: float
    unit: str
    usd: float


def subtotal_usd(items: tuple[Item, ...], group: Group) -> float:
    """Return the dollars a month of one group."""
    return sum(item.usd for item in items if item.group is group)


_Row = tuple[str, float, str, float]
"""Name, quantity, unit, and the price of one."""


def costs(fleet: Fleet, sweep: Sweep, queue: Queue | None, prices: Prices) -> tuple[Item, ...]:
    """Return the bill of 30 days; with ``precise`` there is a queue."""
    heartbeats = fleet.heartbeats_per_second * MONTH_S
    ends, sweeps = fleet.ends_per_second * MONTH_S, MONTH_S / fleet.sweep_interval_s
    closes = fleet.idle_closes_per_second * MONTH_S
    talk = heartbeats * (1 if fleet.is_asked else MESSAGES_PER_HEARTBEAT)
    talk_usd = messages_usd(prices, talk)
    notice_usd = (messages_usd(prices, talk + closes) - talk_usd) / closes if closes else 0.0
    # A close runs the disconnect function twice.
    cleanup_log = (2 * ends + closes) * CLEANUP_LOG_BYTES
    # An eventually consistent read of 4 KB is half a unit.
    parts = sweep.shards * SCAN_SEGMENTS.default
    scan_units = parts * math.ceil(fleet.table_bytes / parts / READ_UNIT_BYTES) / 2 * sweeps
    minutes, gb_usd = fleet.connections * MONTH_S / 60, prices["logs"] * 1e9
    write_usd, read_usd = prices["dynamodb_writes"], prices["dynamodb_reads"]
    join_usd = 2 * read_usd + _record_usd(fleet, prices)
    leave_usd = _look_usd(fleet, prices) + _record_usd(fleet, prices)
    # The first heartbeat in a minute looks whether the session of a listener has ended.
    looks = min(minutes, heartbeats)
    a_close_usd = close_usd(fleet, prices, notice_usd=notice_usd)
    sweep_usd = lambda_usd(prices, sweep.duration_s)
    metrics, alarms = (PRECISE_METRICS, PRECISE_ALARMS) if queue else (METRICS, ALARMS)
    watching_usd = metrics * prices["metrics"] + alarms * prices["alarms"]
    heartbeat: list[_Row] = [
        ("heartbeats and their answers", talk, "messages", talk_usd / talk),
        ("activity writes", heartbeats * fleet.write_units, "write units", write_usd),
        ("looks whether the session has ended", looks, "looks", read_usd),
        ("heartbeat function", heartbeats, "invocations", lambda_usd(prices, HEARTBEAT_S)),
        ("heartbeat logs", heartbeats * HEARTBEAT_LOG_BYTES / 1e9, "GB", gb_usd),
    ]
    if fleet.is_asked:
        heartbeat = [("heartbeats, not answered", talk, "messages", talk_usd / talk)]
    rows: dict[Group, list[_Row]] = {
        Group.THERE: [
            *heartbeat,
            ("connection minutes", minutes, "minutes", prices["connection_minutes"]),
        ],
        Group.COMING_AND_GOING: [
            ("joins", ends, "joins", join_usd),
            ("leaves by the client", ends - closes, "leaves", leave_usd),
            ("logs of joins and cleanups", cleanup_log / 1e9, "GB", gb_usd),
        ],
        Group.ADDED: [
            ("sweep: reading the table", scan_units, "read units", read_usd),
            ("sweep: function", sweep.shards * sweeps, "invocations", sweep_usd),
            ("closes, with notice and cleanup", closes, "closes", a_close_usd),
            ("metrics and alarms, at most", 1, "", watching_usd),
        ],
    }
    if fleet.is_asked:
        questions = fleet.questions_per_second * MONTH_S
        rows[Group.ADDED] += [
            # Neither messages nor connection minutes: nothing else is on the price list.
            ("questions to API Gateway, not billed", questions, "questions", 0.0),
            ("times written forward", questions * fleet.write_units, "write units", write_usd),
        ]
    if queue is not None:
        rows[Group.ADDED] += _precise(fleet, queue, prices)
    return tuple(
        Item(name=name, group=group, quantity=quantity, unit=unit, usd=quantity * each_usd)
        for group, items in rows.items()
        for name, quantity, unit, each_usd in items
    )


def _precise(fleet: Fleet, queue: Queue, prices: Prices) -> list[_Row]:
    """Return what the precise topology costs beside the closes themselves."""
    messages = queue.per_second * MONTH_S
    invocations = messages / queue.batch
    # Sweeps send ten at once, or all they have; each invocation has a receive and a delete.
    at_least = min(1 / fleet.sweep_interval_s, queue.per_second)
    sends = max(queue.per_second / MAX_QUEUE_BATCH, at_least) * MONTH_S
    requests = sends + 2 * invocations + EMPTY_RECEIVES_PER_SECOND * MONTH_S
    return [
        ("queue of due connections", requests, "requests", prices["queue_requests"]),
        ("close function", invocations, "invocations", lambda_usd(prices, queue.batch_s)),
        ("close function: logs", invocations * CLOSE_LOG_BYTES / 1e9, "GB", prices["logs"] * 1e9),
        ("close function: looks at records", messages, "looks", _look_usd(fleet, prices)),
    ]


def lambda_usd(prices: Prices, duration_s: float) -> float:
    """Return the price of one invocation at 256 MB."""
    return prices["lambda_requests"] + duration_s * MEMORY_GB * prices["lambda_gb_seconds"]


def messages_usd(prices: Prices, messages: float) -> float:
    """Return the price of a month's messages: those above a billion cost less."""
    above_usd = max(0.0, messages - MESSAGE_TIER) * prices["messages_above_a_billion"]
    return min(messages, MESSAGE_TIER) * prices["messages_first_billion"] + above_usd


def close_usd(fleet: Fleet, prices: Prices, *, notice_usd: float) -> float:
    """Return the price of a close: claim, notice, cleanup, and two runs of the disconnect function.

    Two, because API Gateway's own ``$disconnect`` follows the hand-over; each looks at the record.
    """
    claim_usd = fleet.write_units * prices["dynamodb_writes"]
    runs_usd = _record_usd(fleet, prices) + lambda_usd(prices, CLEANUP_S)
    return claim_usd + notice_usd + 2 * _look_usd(fleet, prices) + runs_usd


def _record_usd(fleet: Fleet, prices: Prices) -> float:
    """Return the price of a run of the connect or disconnect function that writes a record.

    All connections are taken for listeners: they write nothing else. The index on the session has
    an entry of its own.
    """
    return (fleet.write_units + 1) * prices["dynamodb_writes"] + lambda_usd(prices, CLEANUP_S)


def _look_usd(fleet: Fleet, prices: Prices) -> float:
    """Return the price of reading one record."""
    return math.ceil(fleet.record_bytes / READ_UNIT_BYTES) * prices["dynamodb_reads"]
