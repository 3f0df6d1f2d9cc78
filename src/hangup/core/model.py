"""What the rules talk about: connections, sessions, roles and times."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

EpochMs = NewType("EpochMs", int)
"""A point in time: whole milliseconds since 1970-01-01 UTC."""

DurationMs = NewType("DurationMs", int)
"""A length of time in whole milliseconds."""


class Role(StrEnum):
    """What a connection is in its session. ``UNKNOWN`` is read, never written."""

    SPEAKER = "speaker"
    LISTENER = "listener"
    UNKNOWN = "unknown"


class TimeoutReason(StrEnum):
    """Why a connection was cleaned up: the ``Reason`` dimension of ``ConnectionTimeout``."""

    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    GONE = "GONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One WebSocket as the connections table has it.

    ``session_id`` is ``None`` and ``role`` is ``UNKNOWN`` in records of other shapes. A time is
    ``None`` where the record has none; ``malformed`` names the time attributes that hold something
    which is no plausible epoch-millisecond number (those times are ``None`` too).
    ``noticed_at_ms`` is when a sweep that could not finish its close had sent the notice.
    """

    connection_id: str
    session_id: str | None = None
    role: Role = Role.UNKNOWN
    connected_at_ms: EpochMs | None = None
    last_activity_ms: EpochMs | None = None
    noticed_at_ms: EpochMs | None = None
    target_language: str | None = None
    malformed: tuple[str, ...] = ()

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One speaker and its listeners. ``ended_at_ms`` is ``None`` while the session is active."""

    session_id: str
    is_active: bool
    speaker_connection_id: str
    listener_count: int
    started_at_ms: EpochMs
    ended_at_ms: EpochMs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """A validated wish to join: who, as what, and in which language a listener wants to listen."""

    session_id: str
    role: Role
    target_language: str | None = None


JsonObject = Mapping[str, object]
"""A decoded JSON object: the shape of every Lambda event and of every message."""
