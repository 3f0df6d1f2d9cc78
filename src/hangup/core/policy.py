"""What idle means, and what a sweep should do about one connection.

1. A connection's deadline is its last activity plus the idle timeout of its role plus the activity
   resolution. A role without a timeout of its own, or none, has the default one.
2. A connection is idle when ``now_ms > deadline_ms``. At exactly the deadline it stays.
3. Without a recorded activity, the time of the connect stands in for it. Where API Gateway was
   asked and had seen the client later, that time counts.
4. A record without any time is asked about: see ``idle.unjudged``.
5. A record whose deciding time is malformed, or more than a day in the future, is left alone. So is
   one whose id is not of API Gateway's form: it is not a connection.

Rule 2 stands in three more places: the scan's filter (``aws.expressions``), the question to API
Gateway (``core.guard``) and the wait of a scheduled close (``core.scheduled_close``). Change all;
tests compare them. The filter knows no roles: it goes by the shortest timeout, and what it returns
too soon is kept here.

The resolution is 0 unless activity writes are coalesced. Then a client may have been active up to
one resolution after the recorded time, and the deadline allows for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from hangup.core.connection import Connection, DurationMs, EpochMs, InvalidTime, RecordedTime
from hangup.core.events import is_connection_id
from hangup.core.limits import MAX_CLOCK_LEAD_MS

_UNITS: Final = (
    (1e17, "nanoseconds"),
    (1e14, "microseconds"),
    (1e12, "milliseconds"),
    (1e9, "seconds"),
)
"""The least that a time of our days is in each unit."""

_TOO_LARGE: Final = 1e19


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """How long a connection may be silent. All durations are milliseconds and not negative.

    ``by_role`` has the timeouts of the roles that have one of their own.
    """

    idle_timeout_ms: DurationMs
    activity_resolution_ms: DurationMs
    by_role: Mapping[str, DurationMs] = field(default_factory=dict, hash=False)

    @property
    def timeouts_ms(self) -> frozenset[DurationMs]:
        """Every timeout that a connection may have."""
        return frozenset((self.idle_timeout_ms, *self.by_role.values()))

    def timeout_ms(self, role: str | None) -> DurationMs:
        """Return the timeout of a role; of an unlisted one, and without one, it is the default."""
        return self.by_role.get(role or "", self.idle_timeout_ms)

    def deadline_ms(self, last_seen_ms: EpochMs, role: str | None = None) -> EpochMs:
        """Return the last millisecond at which a connection last seen then is not idle."""
        return EpochMs(last_seen_ms + self.timeout_ms(role) + self.activity_resolution_ms)

    def deadline_of(self, connection: Connection) -> EpochMs:
        """Return the same for a connection on record, which must have a time."""
        assert connection.last_seen_ms is not None  # noqa: S101 - every idle or due connection has a time
        return self.deadline_ms(connection.last_seen_ms, connection.role)

    def cutoff_ms(self, now_ms: EpochMs) -> EpochMs:
        """Return the time before which (exclusive) a last activity may make a connection idle now.

        Of the roles with longer timeouts it does not yet.
        """
        return EpochMs(now_ms - min(self.timeouts_ms) - self.activity_resolution_ms)


@dataclass(frozen=True, slots=True)
class Keep:
    """Not idle; ``deadline_ms`` is the last moment at which that stays true."""

    deadline_ms: EpochMs


@dataclass(frozen=True, slots=True)
class Close:
    """Idle, for ``idle_ms`` by now."""

    idle_ms: DurationMs


@dataclass(frozen=True, slots=True)
class WithoutTime:
    """No time on record: API Gateway has to say whether there is such a connection."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The deciding time is malformed, or far in the future. Leave the record alone."""

    time: InvalidTime


@dataclass(frozen=True, slots=True)
class Ignore:
    """No connection, by its id. Leave the record alone."""


Decision = Keep | Close | WithoutTime | Unreadable | Ignore


def decide(connection: Connection, policy: IdlePolicy, now_ms: EpochMs) -> Decision:
    """Decide what a sweep does about one connection.

    A connection is idle when it has been silent for longer than the timeout:
    ``now_ms > deadline_ms``. At exactly the deadline it stays. Times are epoch milliseconds.
    """
    if not is_connection_id(connection.connection_id):
        return Ignore()
    if connection.malformed and connection.last_activity_ms is None:
        # A malformed activity time is not replaced by the connect: the client may be talking,
        # and only the writer of the time be broken.
        return Unreadable(connection.malformed[-1])
    last_seen_ms = connection.last_seen_ms
    if last_seen_ms is None:
        return WithoutTime()
    if last_seen_ms > now_ms + MAX_CLOCK_LEAD_MS:
        return Unreadable(_in_the_future(connection, last_seen_ms))
    deadline_ms = policy.deadline_ms(last_seen_ms, connection.role)
    if now_ms > deadline_ms:
        return Close(DurationMs(now_ms - last_seen_ms))
    return Keep(deadline_ms)


def _in_the_future(connection: Connection, last_seen_ms: EpochMs) -> InvalidTime:
    times = {
        connection.gateway_active_ms: RecordedTime.GATEWAY_ACTIVE,
        connection.connected_at_ms: RecordedTime.CONNECTED_AT,
        connection.last_activity_ms: RecordedTime.LAST_ACTIVITY,
    }
    return InvalidTime(times[last_seen_ms], str(last_seen_ms))


def looks_like(value: str) -> str:
    """Return a guess at what a time that is not plausible epoch milliseconds is instead.

    A number in quotes was written as a text.
    """
    text = value.strip('"')
    if re.match(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return "ISO 8601 text"
    try:
        number = float(text)
    except ValueError:
        return "no time"
    unit = next((unit for bound, unit in _UNITS if bound <= number < _TOO_LARGE), None)
    if unit is None:
        return "no time"
    if text == value:
        return f"{unit} in the future" if unit == "milliseconds" else unit
    return f"{unit} as text"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Candidates by what a sweep does about them; those to keep are in none of these."""

    found: list[Connection] = field(default_factory=list)
    """Idle, or due soon."""
    without_time: list[Connection] = field(default_factory=list)
    unreadable: list[tuple[Connection, InvalidTime]] = field(default_factory=list)
    """Each with its deciding time."""
    ignored: list[Connection] = field(default_factory=list)


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
            case WithoutTime():
                result.without_time.append(connection)
            case Unreadable(time):
                result.unreadable.append((connection, time))
            case Ignore():
                result.ignored.append(connection)
            case unexpected:
                assert_never(unexpected)
    return result


def part_records(
    found: Sequence[Connection], met: set[str]
) -> tuple[Sequence[Connection], Sequence[Connection]]:
    """Part the first record of each connection from further ones; add to the ids that were met.

    Several records may name one connection, in a table whose key is more than the id. Of those that
    a sweep finds idle, the first is acted on: it is claimed, and the client gets one notice. The
    others come after it, and go on only where API Gateway answers that the connection is gone: they
    are handed over, or deleted, as any record of a ghost is. The metrics count one timeout.

    That holds for one sweep, whatever segments they lie in. It does not hold for shards, which are
    swept at the same time, nor for the scheduled closes of two sweeps. There two records may be
    claimed at once, each with a notice; one close then takes effect, and the other finds the
    connection gone. No sweep sees which of the records is the latest, so for such a table API
    Gateway is always asked.
    """
    first: list[Connection] = []
    others: list[Connection] = []
    for connection in found:
        (others if connection.connection_id in met else first).append(connection)
        met.add(connection.connection_id)
    return first, others
