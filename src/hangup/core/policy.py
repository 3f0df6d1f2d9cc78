"""What idle means, and what a sweep should do about one connection.

1. A connection's deadline is its last activity plus the idle timeout plus the activity resolution.
2. A connection is idle when ``now_ms > deadline_ms``. At exactly the deadline it stays.
3. Without a recorded activity, the time of the connect stands in for it.
4. A record with neither time gets one: its clock starts now.
5. A record whose deciding time is malformed, or more than a day in the future, is left alone.

Rule 2 stands in three more places: the scan's filter (``aws.schema``), the cutoff of the guard
(``core.guard``) and the wait of a scheduled close (``core.scheduled_close``). Change all; tests
compare them.

The resolution is 0 unless activity writes are coalesced. Then a client may have been active up to
one resolution after the recorded time, and the deadline allows for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """How long a connection may be silent. Both durations are milliseconds and not negative."""

    idle_timeout_ms: DurationMs
    activity_resolution_ms: DurationMs

    def deadline_ms(self, last_seen_ms: EpochMs) -> EpochMs:
        """Return the last millisecond at which a connection last seen then is not idle."""
        return EpochMs(last_seen_ms + self.idle_timeout_ms + self.activity_resolution_ms)

    def deadline_of(self, connection: Connection) -> EpochMs:
        """Return the same for a connection on record, which must have a time."""
        assert connection.last_seen_ms is not None  # noqa: S101 - every idle or due connection has a time
        return self.deadline_ms(connection.last_seen_ms)

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
class StartClock:
    """No time on record: start its clock."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """These deciding times are malformed. Leave the record alone."""

    times: tuple[RecordedTime, ...]


Decision = Keep | Close | StartClock | Unreadable


def decide(connection: Connection, policy: IdlePolicy, now_ms: EpochMs) -> Decision:
    """Decide what a sweep does about one connection.

    A connection is idle when it has been silent for longer than the timeout:
    ``now_ms > deadline_ms``. At exactly the deadline it stays. Times are epoch milliseconds.
    """
    last_seen_ms = connection.last_activity_ms
    if last_seen_ms is None and not connection.malformed:
        last_seen_ms = connection.connected_at_ms
    if last_seen_ms is None:
        # A malformed activity time is not replaced by the connect: the client may be talking,
        # and only the writer of the time be broken.
        return Unreadable(connection.malformed) if connection.malformed else StartClock()
    if last_seen_ms > now_ms + MAX_CLOCK_LEAD_MS:
        return Unreadable((RecordedTime.LAST_ACTIVITY,))
    deadline_ms = policy.deadline_ms(last_seen_ms)
    if now_ms > deadline_ms:
        return Close(DurationMs(now_ms - last_seen_ms))
    return Keep(deadline_ms)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Candidates by what a sweep does about them; those to keep are in none of these."""

    found: list[Connection] = field(default_factory=list)
    """Idle, or due soon."""
    without_times: list[Connection] = field(default_factory=list)
    unreadable: list[Connection] = field(default_factory=list)


def sort_candidates(
    candidates: Sequence[Connection],
    policy: IdlePolicy,
    *,
    now_ms: EpochMs,
    looks_ahead_ms: DurationMs,
) -> Sorted:
    """Decide about each candidate.

    A sweep that looks ahead also finds what is due: ``deadline_ms < now_ms + looks_ahead_ms``.
    """
    result = Sorted()
    for connection in candidates:
        match decide(connection, policy, now_ms):
            case Close():
                result.found.append(connection)
            case Keep(deadline_ms):
                if deadline_ms < now_ms + looks_ahead_ms:
                    result.found.append(connection)
            case StartClock():
                result.without_times.append(connection)
            case Unreadable():
                result.unreadable.append(connection)
            case unexpected:
                assert_never(unexpected)
    return result
