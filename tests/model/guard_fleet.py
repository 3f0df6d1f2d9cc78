"""A fleet of clients in arrays, and what sweeps see of it: the table, API Gateway, the clean-up.

A client is a slot of the arrays. It connects, sends a message every period, falls silent for good,
and is closed; somebody else connects in its place. What it has sent by some moment is computed when
somebody looks. Times are milliseconds: of the epoch, or lengths of time where the name says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    JsonObject,
    NoConnection,
)
from hangup.core.guard import Sample
from hangup.core.outcomes import CloseOutcome, NotRecorded, PostOutcome
from hangup.ports import ScanPage
from hangup.testing import START_MS, FakeClock

Times = NDArray[np.int64]

NEVER: Final = 2**62
OTHER_ROLE: Final = "other"
_PAGE: Final = 7_000
"""Records in one page of a scan: 1 MB of records of 150 bytes."""
_32_BITS: Final = 0xFFFF_FFFF
_WHOLE_RUN: Final = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Messages that are not recorded, from ``begin_s`` to ``end_s`` after the start of the run.

    It strikes a share of the clients, always the same ones, and a share of their messages.
    """

    begin_s: float = 0
    end_s: float = _WHOLE_RUN
    of_clients: float = 1
    of_messages: float = 1

    def strikes(self, client: Any, message: Any, at_ms: Any) -> Any:
        """Return whether messages are lost; of one client, or of many in arrays."""
        in_time = (at_ms >= START_MS + self.begin_s * 1000) & (at_ms < START_MS + self.end_s * 1000)
        is_among = _chance(client, client * 0) < self.of_clients
        return in_time & is_among & (_chance(client, message) < self.of_messages)


def _chance(client: Any, message: Any) -> Any:
    """Return a number from 0 (inclusive) to 1 (exclusive) that looks random; the same each time."""
    mixed = (client * 2_654_435_761 + message * 40_503_011 + 12_345) & _32_BITS
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 15)) * 1_274_126_177) & _32_BITS
    return (mixed ^ (mixed >> 13)) / 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Clients of another role: how many of the fleet, their timeout, and how often they send."""

    clients: int
    timeout_s: float
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the clients of a fleet do.

    ``together`` lets all send at the same second. ``talkers`` is the share that sends at all;
    nobody else ever does. ``silent_per_minute`` is the share of the talkers that falls silent for
    good each minute; one in five of those leaves, and its clean-up is lost. Every ``push_s`` the
    application sends to each client; 0 is never. ``answers`` is the share that answers the notice,
    before anything else happens. ``counts_pushes`` is whether messages to a client move API
    Gateway's account (meaning B) or not (A). ``others`` are those of the clients that have the role
    ``OTHER_ROLE``.
    """

    clients: int
    timeout_s: float = 120
    period_s: float = 30
    together: bool = False
    talkers: float = 1
    silent_per_minute: float = 0.01
    push_s: float = 0
    answers: float = 0
    counts_pushes: bool = False
    losses: tuple[Loss, ...] = ()
    others: Others | None = None

    @property
    def longest_timeout_s(self) -> float:
        """The longest timeout that a client has."""
        return self.timeout_s if self.others is None else max(self.timeout_s, self.others.timeout_s)

    @property
    def smallest_role(self) -> int:
        """How many clients have the role of the fewest."""
        others = self.others.clients if self.others else 0
        return min(others or self.clients, self.clients - others)


@dataclass(slots=True)
class Tally:
    """What became of the fleet, and what it cost.

    ``cut`` counts closes of clients that had sent something within the timeout, and would have gone
    on. ``early`` counts those that had sent something within the timeout, as it happened the last
    that they ever sent. Of clients that
    were idle, ``closed`` counts those that were closed, and ``delay_ms`` and ``delay_sweeps`` say
    how long after their deadline that was at most: 1 is the first sweep that could. The same with
    ``in_peace`` leaves out those whose deadline was in an outage or soon after it.
    """

    cut: int = 0
    early: int = 0
    closed: int = 0
    delay_ms: int = 0
    delay_sweeps: int = 0
    delay_sweeps_in_peace: int = 0
    questions: int = 0


class Fleet:
    """The clients, and the world they share with the sweeps."""

    def __init__(self, habits: Habits, clock: FakeClock, *, seed: int) -> None:
        n = habits.clients
        self.habits, self.clock, self.tally = habits, clock, Tally()
        self.timeout_ms = np.full(n, round(habits.timeout_s * 1000), np.int64)
        self.sweeps_ms: list[int] = []
        """When each sweep started."""
        self._random = np.random.default_rng(seed)
        period_ms = np.full(n, habits.period_s * 1000)
        self.is_other = np.zeros(n, bool)
        if (others := habits.others) is not None:
            self.is_other[self._random.permutation(n)[: others.clients]] = True
            self.timeout_ms[self.is_other] = round(others.timeout_s * 1000)
            period_ms[self.is_other] = others.period_s * 1000
        # Clients' clocks and networks differ a little: nobody is in step with the sweeps for ever.
        spread = 0 if habits.together else 0.03
        self.period_ms = (period_ms * (1 - spread * self._random.random(n))).astype(np.int64)
        self.is_talker = self._random.permutation(n) < max(1, round(n * habits.talkers))
        self.push_phase_ms = (self._random.random(n) * habits.push_s * 1000).astype(np.int64)
        self.answers = self._random.random(n) < habits.answers
        self.first_ms = np.full(n, START_MS, np.int64)
        self.sent = np.zeros(n, np.int64)
        """Messages of this period's grid that were sent by the moment somebody last looked."""
        self.life = np.zeros(n, np.int64)
        (
            self.connected_ms,
            self.spoke_ms,
            self.answered_ms,
            self.silent_from_ms,
            self.recorded_ms,
            self.noted_ms,
            self.posted_ms,
            self.claimed_until_ms,
            self.noticed_ms,
            self.handovers,
        ) = (np.zeros(n, np.int64) for _ in range(10))
        self.leaves, self.is_open = np.zeros(n, bool), np.zeros(n, bool)
        ages_ms = (self._random.random(n) * period_ms).astype(np.int64)
        for client in range(n):
            self._connect(client, START_MS - ages_ms.item(client))

    def _connect(self, client: int, at_ms: int) -> None:
        """Let a client connect: now, or later."""
        habits = self.habits
        if habits.together:
            period_ms = self.period_ms.item(client)
            self.first_ms[client] = START_MS - period_ms * 2 + self._random.integers(1_000)
            self.sent[client] = (at_ms - self.first_ms.item(client)) // period_ms
        else:
            self.first_ms[client] = at_ms
            self.sent[client] = 0
        self.life[client] += 1
        for last in (self.connected_ms, self.spoke_ms, self.recorded_ms):
            last[client] = at_ms
        for never in (
            self.noted_ms,
            self.posted_ms,
            self.answered_ms,
            self.claimed_until_ms,
            self.noticed_ms,
            self.handovers,
        ):
            never[client] = 0
        silent_ms = NEVER
        if not self.is_talker[client]:
            silent_ms = at_ms
        elif habits.silent_per_minute:
            silent_ms = at_ms + int(self._random.exponential(60_000 / habits.silent_per_minute))
        self.silent_from_ms[client] = silent_ms
        self.leaves[client] = self.is_talker[client] and self._random.random() < 0.2
        self.is_open[client] = True

    def look_at_all(self, part: slice) -> None:
        """Let everything happen that these clients have sent by now."""
        now_ms = self.clock.ms
        until_ms = np.minimum(self.silent_from_ms[part] - 1, now_ms)
        while True:
            at_ms = self.first_ms[part] + (self.sent[part] + 1) * self.period_ms[part]
            is_due = at_ms <= until_ms
            if not is_due.any():
                return
            who, at_ms = np.flatnonzero(is_due) + part.start, at_ms[is_due]
            self.sent[who] += 1
            self.spoke_ms[who] = at_ms
            is_kept = np.ones(len(who), bool)
            for loss in self.habits.losses:
                is_kept &= ~loss.strikes(who, self.sent[who], at_ms)
            self.recorded_ms[who[is_kept]] = at_ms[is_kept]

    def look_at(self, client: int) -> None:
        """Let everything happen that one client has sent by now."""
        until_ms = min(self.silent_from_ms.item(client) - 1, self.clock.ms)
        first_ms, period_ms = self.first_ms.item(client), self.period_ms.item(client)
        while (at_ms := first_ms + (self.sent.item(client) + 1) * period_ms) <= until_ms:
            self.sent[client] += 1
            self.spoke_ms[client] = at_ms
            message = self.sent.item(client)
            if not any(loss.strikes(client, message, at_ms) for loss in self.habits.losses):
                self.recorded_ms[client] = at_ms

    def is_there(self, client: int) -> bool:
        """Return whether the client's socket is open."""
        has_left = self.leaves[client] and self.clock.ms >= self.silent_from_ms.item(client)
        is_connected = self.connected_ms.item(client) <= self.clock.ms
        return bool(self.is_open[client] and is_connected and not has_left)

    def active_ms(self, client: int) -> int:
        """Return the client's last activity by API Gateway's account."""
        self.look_at(client)
        active_ms = max(self.spoke_ms.item(client), self.answered_ms.item(client))
        if not self.habits.counts_pushes:
            return active_ms
        pushed_ms = 0
        if self.habits.push_s:
            since_ms = self.clock.ms - self.push_phase_ms.item(client) - START_MS
            pushed_ms = self.clock.ms - since_ms % round(self.habits.push_s * 1000)
        return max(active_ms, pushed_ms, self.posted_ms.item(client))

    def close(self, client: int) -> None:
        """Close the socket, and judge whether that was right."""
        self.look_at(client)
        self.is_open[client] = False
        if self.clock.ms <= self.spoke_ms.item(client) + self.timeout_ms.item(client):
            is_silent = self.clock.ms >= self.silent_from_ms.item(client)
            self.tally.early += is_silent
            self.tally.cut += not is_silent

    def clean_up(self, client: int) -> None:
        """Drop the record of a client that was closed or had left; another one comes instead."""
        self.look_at(client)
        now_ms, timeout_ms = self.clock.ms, self.timeout_ms.item(client)
        deadline_ms = self.spoke_ms.item(client) + timeout_ms
        is_idle = now_ms > deadline_ms
        if is_idle:
            self._count_delay(now_ms, deadline_ms, timeout_ms)
        soonest_ms, latest_ms = (1_000, 30_000) if is_idle else (1_000, 5_000)
        self._connect(client, now_ms + int(self._random.integers(soonest_ms, latest_ms)))

    def _count_delay(self, now_ms: int, deadline_ms: int, timeout_ms: int) -> None:
        tally, sweeps = self.tally, sum(at_ms > deadline_ms for at_ms in self.sweeps_ms)
        tally.closed += 1
        tally.delay_ms = max(tally.delay_ms, now_ms - deadline_ms)
        tally.delay_sweeps = max(tally.delay_sweeps, sweeps)
        if not self._is_after_outage(deadline_ms, timeout_ms):
            tally.delay_sweeps_in_peace = max(tally.delay_sweeps_in_peace, sweeps)

    def _is_after_outage(self, deadline_ms: int, timeout_ms: int) -> bool:
        """Return whether a deadline is so close to an outage that its close may be held."""
        # One and a half timeouts, at least the timeout and a minute, and the sweep that notices.
        rest_ms = max(timeout_ms * 3 // 2, timeout_ms + 60_000) + 60_000
        # What a process has not watched for so long it does not know either.
        starts_ms = self.sweeps_ms[0] + rest_ms
        return deadline_ms <= starts_ms or any(
            START_MS + loss.begin_s * 1000 - 60_000
            <= deadline_ms
            <= START_MS + loss.end_s * 1000 + rest_ms
            for loss in self.habits.losses
        )

    def unclosed(self, *, sweeps: int) -> int:
        """Return how many clients are on record though idle for more than so many sweeps."""
        return int((self._late_ms() > sweeps * 60_000).sum())

    def most_sweeps_left(self) -> int:
        """Return for how many sweeps a client is on record, though idle, at most."""
        return max(0, int(np.max(self._late_ms())) // 60_000)

    def _late_ms(self) -> Times:
        self.look_at_all(slice(0, self.habits.clients))
        return self.clock.ms - self.spoke_ms - self.timeout_ms


class Table:
    """``ConnectionsRepository`` over the arrays."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def get(self, connection_id: str) -> Connection | None:
        """Return the record."""
        client = self._client(connection_id)
        return None if client is None else self._record(client)

    def reread(self, connection: Connection) -> Connection | None:
        """Return the record of a connection that was read before."""
        return self.get(connection.connection_id)

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record."""
        fleet = self._fleet
        fleet.look_at_all(slice(0, fleet.habits.clients))
        yield from self._records(np.arange(fleet.habits.clients))

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment: a part of the arrays."""
        fleet, clients = self._fleet, self._fleet.habits.clients
        begin, end = (clients * which // total_segments for which in (segment, segment + 1))
        for start in range(begin, max(end, begin + 1), _PAGE):
            page = slice(start, min(start + _PAGE, end))
            fleet.look_at_all(page)
            is_candidate = (
                np.maximum(fleet.recorded_ms[page], fleet.noted_ms[page]) < cutoff_ms
            ) & (fleet.claimed_until_ms[page] <= now_ms)
            yield ScanPage(
                candidates=list(self._records(np.flatnonzero(is_candidate) + start)),
                scanned_count=page.stop - page.start,
                is_last=start + _PAGE >= end,
            )

    def sample_records(self, size: int) -> Sample:
        """Return records from a random place on: neighbours have nothing in common."""
        fleet, clients = self._fleet, self._fleet.habits.clients
        fleet.look_at_all(slice(0, clients))
        start = fleet._random.integers(clients)
        which = (start + np.arange(min(size, clients))) % clients
        return Sample(records=list(self._records(which)), answered_at_ms=fleet.clock.now_ms())

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim, if nothing was recorded since and no other claim holds."""
        client, fleet = self._client(connection.connection_id), self._fleet
        if client is None or self._has_spoken_since(connection, client):
            return False
        if fleet.claimed_until_ms.item(client) > now_ms:
            return False
        fleet.claimed_until_ms[client] = claim_expires_ms
        fleet.handovers[client] = connection.handovers + 1
        return True

    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        """Give the claim back."""
        client, fleet = self._client(connection.connection_id), self._fleet
        if client is not None:
            fleet.claimed_until_ms[client] = 0
            fleet.handovers[client] = connection.handovers + is_handed_over
            fleet.noticed_ms[client] = noticed_at_ms or fleet.noticed_ms.item(client)

    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Say that nobody deletes: every close is handed over here."""
        raise AssertionError(f"{connection.connection_id} was to be deleted by {claim_expires_ms}")

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the client."""
        client, fleet = self._client(connection.connection_id), self._fleet
        if client is None or self._has_spoken_since(connection, client):
            return False
        if active_ms <= fleet.noted_ms.item(client):
            return False
        fleet.noted_ms[client] = active_ms
        return True

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Record a message that is not of the client's period."""
        client, fleet = self._client(connection_id), self._fleet
        before = self.get(connection_id)
        if client is None or before is None:
            return NotRecorded.NO_RECORD
        if fleet.recorded_ms.item(client) > now_ms - max(resolution_ms, 1):
            return NotRecorded.ALREADY_RECORDED
        fleet.recorded_ms[client] = now_ms
        return before

    def _client(self, connection_id: str) -> int | None:
        """Return whose record it is, None if there is none (any more)."""
        client = client_of(self._fleet, connection_id)
        if client is None or self._fleet.connected_ms.item(client) > self._fleet.clock.ms:
            return None
        return client

    def _has_spoken_since(self, seen: Connection, client: int) -> bool:
        self._fleet.look_at(client)
        return self._fleet.recorded_ms.item(client) != seen.last_activity_ms

    def _records(self, clients: NDArray[np.intp]) -> Iterator[Connection]:
        now_ms = self._fleet.clock.ms
        is_there = self._fleet.connected_ms[clients] <= now_ms
        yield from map(self._record, clients[is_there].tolist())

    def _record(self, client: int) -> Connection:
        fleet = self._fleet
        return Connection(
            connection_id=f"{client:x}-{fleet.life.item(client)}",
            role=OTHER_ROLE if fleet.is_other[client] else None,
            connected_at_ms=EpochMs(fleet.connected_ms.item(client)),
            last_activity_ms=EpochMs(fleet.recorded_ms.item(client)),
            gateway_active_ms=EpochMs(fleet.noted_ms.item(client) or 0) or None,
            noticed_at_ms=EpochMs(fleet.noticed_ms.item(client) or 0) or None,
            handovers=fleet.handovers.item(client),
        )


class ApiGateway:
    """``Gateway`` over the arrays."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send the notice; a client that answers does so at once."""
        client, fleet = self._client(connection_id), self._fleet
        if client is None:
            return PostOutcome.GONE
        fleet.posted_ms[client] = fleet.clock.ms
        if fleet.answers[client]:
            fleet.answered_ms[client] = fleet.clock.ms
        return PostOutcome.POSTED

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection."""
        client = self._client(connection_id)
        if client is None:
            return CloseOutcome.ALREADY_GONE
        self._fleet.close(client)
        return CloseOutcome.CLOSED

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Return API Gateway's account."""
        self._fleet.tally.questions += 1
        client = self._client(connection_id)
        if client is None:
            return NoConnection.GONE
        return ConnectionInfo(last_active_ms=EpochMs(self._fleet.active_ms(client)))

    def _client(self, connection_id: str) -> int | None:
        client = client_of(self._fleet, connection_id)
        return client if client is not None and self._fleet.is_there(client) else None


class CleanUp:
    """``Functions`` whose disconnect handler runs at once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Drop the record."""
        context = event["requestContext"]
        assert isinstance(context, Mapping)
        client = client_of(self._fleet, context["connectionId"])
        assert client is not None
        self._fleet.clean_up(client)


def client_of(fleet: Fleet, connection_id: str) -> int | None:
    """Return which client has this connection now, None if its slot is somebody else's by now."""
    client, life = connection_id.split("-")
    return int(client, 16) if fleet.life.item(int(client, 16)) == int(life) else None
