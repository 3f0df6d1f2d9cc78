"""Connections that fall due soon: which they are, when, and how a queue carries them.

1. A sweep looks ahead: what falls due before the sweep after it is *due*, as is what is idle.
2. The look-ahead is a sweep's interval and a margin, because the next sweep may start late and may
   come to a connection later than this one did. So two sweeps look ahead into some of the same
   seconds: what both queue is closed once, by the claim.
3. Delays are whole seconds. Rounded down, they bring a message up to a second before the connection
   is idle, and whoever gets it waits for that moment; rounded up, each close would be that late.
4. It carries all that a close needs. What the client said after the sweep makes the claim fail.
"""

import json
from dataclasses import dataclass
from typing import Final

from hangup.core.limits import MAX_QUEUE_DELAY_S
from hangup.core.model import Connection, DurationMs, EpochMs, Role
from hangup.core.policy import Keep
from hangup.core.requests import is_epoch_ms
from hangup.errors import InvalidRequest

__all__ = [
    "LOOK_AHEAD_MS",
    "LOOK_AHEAD_S",
    "Due",
    "as_message",
    "delay_s",
    "falls_due",
    "parse_due",
    "wait_ms",
]

_SWEEP_INTERVAL_S: Final = 60
_MARGIN_S: Final = 15
"""For a tick that comes some seconds late and a table that takes some to read. Not more: with every
second more, more connections whose client is merely between two heartbeats are queued."""

LOOK_AHEAD_S: Final = _SWEEP_INTERVAL_S + _MARGIN_S
LOOK_AHEAD_MS: Final = DurationMs(LOOK_AHEAD_S * 1000)
"""How far a sweep looks ahead. An idle timeout below it makes every connection always due."""


_MAX_SESSION_ID_LENGTH: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A connection as a sweep saw it, and the last millisecond at which it is not idle."""

    connection: Connection
    deadline_ms: EpochMs
    correlation_id: str


def falls_due(decision: Keep, *, now_ms: EpochMs) -> bool:
    """Say whether the connection may be idle before the next sweep has looked at it."""
    return decision.deadline_ms < now_ms + LOOK_AHEAD_MS


def wait_ms(deadline_ms: EpochMs, *, now_ms: EpochMs) -> DurationMs:
    """Return how long it is until the connection is idle, at the least; 0 if it is by now."""
    return DurationMs(max(0, deadline_ms + 1 - now_ms))


def delay_s(deadline_ms: EpochMs, *, now_ms: EpochMs) -> int:
    """Return the delay of a message in whole seconds, rounded down, 0 to 900.

    After it the connection is idle in less than a second, or is by then. A deadline that is further
    away than a queue can wait is delivered early, and waits again.
    """
    return min(wait_ms(deadline_ms, now_ms=now_ms) // 1000, MAX_QUEUE_DELAY_S)


def as_message(due: Due) -> str:
    """Return the message that carries it: a JSON object, times in epoch milliseconds.

    It has less than 20 KB, so that ten are a request: a session's id that is longer than any
    session has is left out.
    """
    connection = due.connection
    session_id = connection.session_id
    if session_id is not None and len(session_id) > _MAX_SESSION_ID_LENGTH:
        session_id = None
    return json.dumps(
        {
            "connectionId": connection.connection_id,
            "sessionId": session_id,
            "role": str(connection.role),
            "connectedAt": connection.connected_at_ms,
            "lastActivityTime": connection.last_activity_ms,
            "noticedAt": connection.noticed_at_ms,
            "deadline": due.deadline_ms,
            "correlationId": due.correlation_id,
        },
        separators=(",", ":"),
    )


def parse_due(body: object) -> Due:
    """Return what a message carries. Raises ``InvalidRequest`` (400) naming what is malformed."""
    message = _object(body)
    connection_id, role = message.get("connectionId"), message.get("role")
    session_id, correlation_id = message.get("sessionId"), message.get("correlationId")
    # Any text: what is no id of API Gateway's is a record that was made up, and is gone there.
    if not isinstance(connection_id, str) or not connection_id:
        raise InvalidRequest(400, "connectionId is missing or malformed")
    if not isinstance(role, str) or role not in list(Role):
        raise InvalidRequest(400, "role is missing or malformed")
    if session_id is not None and not isinstance(session_id, str):
        raise InvalidRequest(400, "sessionId is malformed")
    if not isinstance(correlation_id, str):
        raise InvalidRequest(400, "correlationId is missing or malformed")
    connection = Connection(
        connection_id=connection_id,
        session_id=session_id,
        role=Role(role),
        connected_at_ms=_time(message, "connectedAt"),
        last_activity_ms=_time(message, "lastActivityTime"),
        noticed_at_ms=_time(message, "noticedAt"),
    )
    deadline_ms = _time(message, "deadline")
    if deadline_ms is None or connection.last_seen_ms is None:
        raise InvalidRequest(400, "the deadline, or the activity that it counts from, is missing")
    if deadline_ms <= connection.last_seen_ms:
        raise InvalidRequest(400, "deadline is not after the last activity")
    return Due(connection=connection, deadline_ms=deadline_ms, correlation_id=correlation_id)


def _object(body: object) -> dict[str, object]:
    try:
        message = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequest(400, "the message is no JSON object")
    return message


def _time(message: dict[str, object], name: str) -> EpochMs | None:
    value = message.get(name)
    if value is None:
        return None
    if not is_epoch_ms(value):
        raise InvalidRequest(400, f"{name} is no plausible number of epoch milliseconds")
    return EpochMs(value)
