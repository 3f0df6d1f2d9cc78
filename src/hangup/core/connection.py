"""What the rules talk about: connections, their times, and why they end."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NewType, TypeGuard

from hangup.core.limits import MAX_PLAUSIBLE_EPOCH_MS, MIN_PLAUSIBLE_EPOCH_MS

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

    CONNECTED_AT = auto()
    LAST_ACTIVITY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One WebSocket as the connections table has it.

    ``session_id`` and ``role`` are labels of the application, ``None`` where the record has none. A
    time is ``None`` where the record has none. ``malformed`` says which times hold something else
    than plausible epoch milliseconds; those are ``None`` too.
    ``noticed_at_ms`` is when a sweep that could not finish its close had sent the notice.
    """

    connection_id: str
    session_id: str | None = None
    role: str | None = None
    connected_at_ms: EpochMs | None = None
    last_activity_ms: EpochMs | None = None
    noticed_at_ms: EpochMs | None = None
    target_language: str | None = None
    malformed: tuple[RecordedTime, ...] = ()

    @property
    def last_seen_ms(self) -> EpochMs | None:
        """The last activity, or the connect where no activity was recorded yet."""
        return self.connected_at_ms if self.last_activity_ms is None else self.last_activity_ms

    @property
    def is_noticed(self) -> bool:
        """Whether the notice was sent for this very silence."""
        return (
            self.noticed_at_ms is not None
            and self.last_seen_ms is not None
            and self.noticed_at_ms >= self.last_seen_ms
        )


def is_epoch_ms(value: object) -> TypeGuard[int]:
    """Return whether this is a plausible whole number of epoch milliseconds."""
    return type(value) is int and MIN_PLAUSIBLE_EPOCH_MS <= value < MAX_PLAUSIBLE_EPOCH_MS
