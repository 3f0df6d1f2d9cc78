"""The connection records that the benchmarks sweep over: those that ``connect_handler`` writes.

A speaker and 29 listeners a session. A record follows from its number alone, and which of them are
idle is the choice of the timeout: see ``Idle``.
"""

import base64
import hashlib
import time
from enum import Enum
from typing import Final

from hangup.core.limits import MAX_CONNECTION_S

__all__ = ["Idle", "Item", "connection_id", "record", "record_of_table", "timeout_s"]

_SESSION_SIZE: Final = 30
_LANGUAGES: Final = ("de", "es", "fr", "it", "ja", "ko", "pt-BR", "zh")
_MINUTE_MS: Final = 60_000
_LIVE_LEAD_MS: Final = 120 * _MINUTE_MS
"""Live connections have their last activity ahead, so that a long run finds them live as well."""
_TTL_S: Final = MAX_CONNECTION_S + 3_600

Item = dict[str, dict[str, str]]
"""A record in DynamoDB's JSON."""


class Idle(Enum):
    """Which connections of a table are idle, by how long before its making they were last active.

    The value is in minutes; each has those before it as well.
    """

    TEN = 45
    """Ten, however large the table."""
    THOUSANDTH = 30
    """0.1 %, ten at least."""
    HUNDREDTH = 15
    """1 %, ten at least."""

    def count(self, records: int) -> int:
        """Return how many of ``records`` are idle."""
        share = {Idle.TEN: 0, Idle.THOUSANDTH: records // 1_000, Idle.HUNDREDTH: records // 100}
        return min(max(10, share[self]), records)


def timeout_s(idle: Idle, *, made_at_ms: int) -> int:
    """Return the idle timeout, seconds, by which just those are idle for the next minutes."""
    now_ms = time.time_ns() // 1_000_000
    # Half-way to the next kind: no clock and no long run makes one of the others idle.
    seconds = (now_ms - made_at_ms + (idle.value - 7) * _MINUTE_MS) // 1_000
    if seconds > MAX_CONNECTION_S:
        raise RuntimeError("the table is too old: no idle timeout is that long")
    return seconds


def connection_id(number: int) -> str:
    """Return an id like API Gateway's: 16 characters of base64, the last of them "="."""
    digest = hashlib.blake2b(str(number).encode(), digest_size=11).digest()
    return base64.urlsafe_b64encode(digest).decode()


def record(number: int, *, connected_ms: int, active_ms: int) -> Item:
    """Return the item of a connection, in DynamoDB's JSON."""
    session, place = divmod(number, _SESSION_SIZE)
    item = {
        "connectionId": {"S": connection_id(number)},
        "sessionId": {"S": f"session-{session:06d}"},
        "role": {"S": "listener" if place else "speaker"},
        "connectedAt": {"N": str(connected_ms)},
        "lastActivityTime": {"N": str(active_ms)},
        "expiresAt": {"N": str(connected_ms // 1_000 + _TTL_S)},
    }
    if place:
        item["targetLanguage"] = {"S": _LANGUAGES[place % len(_LANGUAGES)]}
    return item


def record_of_table(number: int, *, records: int, made_at_ms: int) -> Item:
    """Return a record of a table of so many, made at this time (epoch milliseconds)."""
    silent_min = next((idle.value for idle in Idle if number < idle.count(records)), None)
    spread_ms = number * 997 % _MINUTE_MS
    if silent_min is None:
        active_ms = made_at_ms + _LIVE_LEAD_MS + spread_ms
    else:
        active_ms = made_at_ms - silent_min * _MINUTE_MS - spread_ms
    return record(
        number, connected_ms=made_at_ms - 60 * _MINUTE_MS - spread_ms, active_ms=active_ms
    )
