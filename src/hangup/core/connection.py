"""What the rules talk about: connections, their times, and why they end."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import NamedTuple, NewType, TypeGuard

from hangup.core.limits import (
    MAX_CLOCK_LEAD_MS,
    MAX_PLAUSIBLE_EPOCH_MS,
    MIN_PLAUSIBLE_EPOCH_MS,
)

EpochMs = NewType("EpochMs", int)
"""A point in time: whole milliseconds since 1970-01-01 UTC."""

DurationMs = NewType("DurationMs", int)
"""A length of time in whole milliseconds."""

JsonObject = Mapping[str, object]
"""A decoded JSON object: the shape of every Lambda event and of every message."""


class TimeoutReason(StrEnum):
    """Why a connection was cleaned up: the ``Reason`` dimension of ``ConnectionTimeout``."""

    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    GONE = "GONE"


class RecordedTime(Enum):
    """The times of a record that decide when it is idle, whatever its table calls them."""

    CONNECTED_AT = "connect time"
    LAST_ACTIVITY = "last activity"
    GATEWAY_ACTIVE = "last activity by API Gateway's account"


class InvalidTime(NamedTuple):
    """An invalid time of a record: which one, and the start of what the record holds."""

    time: RecordedTime
    value: str


class TimeAttribute(NamedTuple):
    """What a table calls a time, and in words how it is written there."""

    name: str
    written_as: str


class KeyPart(NamedTuple):
    """An attribute of an item's key: name, type (S, N or B), and value as a text (B in base64)."""

    name: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What API Gateway says of a connection that it knows (``GetConnection``).

    ``last_active_ms`` is its own account of the last activity: the client's messages move it, and
    no public source says whether messages to the client do as well. The others are None where it
    did not say.
    """

    last_active_ms: EpochMs
    connected_at_ms: EpochMs | None = None
    source_ip: str | None = None
    user_agent: str | None = None


class NoConnection(Enum):
    """What API Gateway says of a connection that it does not know."""

    GONE = "gone"
    """It has left, or never was (410)."""
    INVALID = "not a connection"
    """The id is of no form that API Gateway gives (400)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One WebSocket as the connections table has it.

    ``session_id`` and ``role`` are labels of the application, ``None`` where the record has none.
    ``session_run`` is the run of its session that a listener joined. A time is ``None`` where the
    record has none. ``malformed`` has the times that hold something else than plausible epoch
    milliseconds; those are ``None`` too.
    ``gateway_active_ms`` is when API Gateway last saw it active, as a sweep wrote it down where the
    record was behind. ``noticed_at_ms`` is when a sweep that could not finish its close had sent
    the notice. ``handovers`` counts how often its cleanup was asked for.
    ``key`` is the key of its item, where that is not the id alone, and ``recorded_as`` its last
    recorded time as it is written, where that is a text. Both are for the table's adapter: they say
    where the record is, and are not compared.
    """

    connection_id: str
    session_id: str | None = None
    role: str | None = None
    session_run: str | None = None
    connected_at_ms: EpochMs | None = None
    last_activity_ms: EpochMs | None = None
    gateway_active_ms: EpochMs | None = None
    noticed_at_ms: EpochMs | None = None
    handovers: int = 0
    target_language: str | None = None
    malformed: tuple[InvalidTime, ...] = ()
    key: tuple[KeyPart, ...] = field(default=(), compare=False)
    recorded_as: str | None = field(default=None, compare=False)

    @property
    def recorded_ms(self) -> EpochMs | None:
        """The last activity on record, or the connect where no activity was recorded yet."""
        return self.connected_at_ms if self.last_activity_ms is None else self.last_activity_ms

    @property
    def last_seen_ms(self) -> EpochMs | None:
        """The later of what is on record and what API Gateway was asked; None without either."""
        recorded_ms, gateway_ms = self.recorded_ms, self.gateway_active_ms
        if recorded_ms is None or gateway_ms is None:
            return gateway_ms if recorded_ms is None else recorded_ms
        return max(recorded_ms, gateway_ms)

    def seen_by_gateway(self, active_ms: EpochMs) -> "Connection":
        """Return it as it is if API Gateway last saw it active then."""
        if self.last_seen_ms is not None and active_ms <= self.last_seen_ms:
            return self
        return replace(self, gateway_active_ms=active_ms)

    @property
    def has_recorded_activity(self) -> bool:
        """Whether the application recorded activity after the connect, as far as it shows."""
        return self.last_activity_ms is not None and (
            self.connected_at_ms is None or self.last_activity_ms > self.connected_at_ms
        )

    @property
    def is_noticed(self) -> bool:
        """Whether the notice was sent for this very silence."""
        return (
            self.noticed_at_ms is not None
            and self.last_seen_ms is not None
            and self.noticed_at_ms >= self.last_seen_ms
        )


def may_be_idle(connection: Connection, *, cutoff_ms: EpochMs, now_ms: EpochMs) -> bool:
    """Return whether a record is a candidate of a sweep, if it is under no claim.

    This is the filter of ``ConnectionsRepository.scan_candidates`` for what is in memory.
    """
    last_ms = connection.last_seen_ms
    if last_ms is None or (connection.last_activity_ms is None and connection.malformed):
        return True
    return not cutoff_ms <= last_ms <= now_ms + MAX_CLOCK_LEAD_MS


def is_claimed(claim_expires_ms: EpochMs | None, *, now_ms: EpochMs) -> bool:
    """Return whether a claim holds: it expires after ``now_ms``, and within a day."""
    return claim_expires_ms is not None and now_ms < claim_expires_ms <= now_ms + MAX_CLOCK_LEAD_MS


def was_active_since(seen: Connection, now: Connection, seen_ms: EpochMs | None) -> bool:
    """Return whether activity was recorded since a connection was seen: after ``seen_ms``."""
    return (
        (now.recorded_ms or 0) > (seen_ms or 0)
        or (now.last_activity_ms is None) != (seen.last_activity_ms is None)
        or (now.connected_at_ms is None) != (seen.connected_at_ms is None)
        or any(time is RecordedTime.LAST_ACTIVITY for time, _ in now.malformed)
    )


def is_epoch_ms(value: object) -> TypeGuard[int]:
    """Return whether this is a plausible whole number of epoch milliseconds."""
    return type(value) is int and MIN_PLAUSIBLE_EPOCH_MS <= value < MAX_PLAUSIBLE_EPOCH_MS
