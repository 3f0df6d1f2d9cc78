"""What idle means, and what a sweep should do about one connection.

1. A connection's deadline is its last activity plus the idle timeout plus the activity resolution.
2. A connection is idle when ``now_ms > deadline_ms``. At exactly the deadline it stays.
3. Without a recorded activity, the time of the connect stands in for it.
4. A record with neither time is adopted: its clock starts now.
5. A record whose deciding time is malformed, or more than a day in the future, is left alone.

The resolution is 0 unless activity writes are coalesced: then a client may have been active up to
one resolution after the recorded time, and the deadline allows for it.
"""

from dataclasses import dataclass

from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.model import Connection, DurationMs, EpochMs

__all__ = ["Adopt", "Close", "Decision", "IdlePolicy", "Keep", "Unreadable", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """How long a connection may be silent. Both durations are milliseconds and not negative."""

    idle_timeout_ms: DurationMs
    activity_resolution_ms: DurationMs

    def deadline_ms(self, last_seen_ms: EpochMs) -> EpochMs:
        """Return the last millisecond at which a connection last seen then is not idle."""
        return EpochMs(last_seen_ms + self.idle_timeout_ms + self.activity_resolution_ms)

    def cutoff_ms(self, now_ms: EpochMs) -> EpochMs:
        """Return the time before which (exclusive) a last activity makes a connection idle now."""
        return EpochMs(now_ms - self.idle_timeout_ms - self.activity_resolution_ms)


@dataclass(frozen=True, slots=True)
class Keep:
    """Not idle; ``deadline_ms`` is the last moment at which that stays true."""

    deadline_ms: EpochMs


@dataclass(frozen=True, slots=True)
class Close:
    """Idle, for ``idle_ms`` by now."""

    idle_ms: DurationMs


@dataclass(frozen=True, slots=True)
class Adopt:
    """No time on record: start its clock."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The deciding times are malformed; ``attributes`` names them. Leave the record alone."""

    attributes: tuple[str, ...]


Decision = Keep | Close | Adopt | Unreadable


def decide(connection: Connection, policy: IdlePolicy, now_ms: EpochMs) -> Decision:
    """Say what the sweep should do about one connection.

    Idle means silent for longer than the timeout: ``now_ms > deadline_ms``. At exactly the
    deadline the connection stays. Times are epoch milliseconds.
    """
    last_seen_ms = connection.last_activity_ms
    if last_seen_ms is None and not connection.malformed:
        last_seen_ms = connection.connected_at_ms
    if last_seen_ms is None:
        # A malformed activity time is not replaced by the connect: the client may be talking,
        # and only the writer of the time be broken.
        return Unreadable(connection.malformed) if connection.malformed else Adopt()
    if last_seen_ms > now_ms + MAX_CLOCK_LEAD_MS:
        return Unreadable(("lastActivityTime",))
    deadline_ms = policy.deadline_ms(last_seen_ms)
    if now_ms > deadline_ms:
        return Close(DurationMs(now_ms - last_seen_ms))
    return Keep(deadline_ms)
