"""Hangup's own state in a table of its own, beside a connections table that it only reads.

For a table with a stream, or with another owner. There a sweep writes nothing, but for the rule
``delete``, which deletes the record. State is by connection id, so that of an earlier connection in
the same item does not count.

No condition spans both tables, and a transaction over both would make the application's own writes
fail. So:

1. A claim is taken in the state table. Then the record is read again, consistently. If activity was
   recorded since, or the record is gone or another connection's, the claim is given back.
2. Whoever closes asked API Gateway before. That answer must still be young after the claim: see
   ``idle.closer``. So nobody is closed who was active by the record when it was read under the
   claim, or by API Gateway's account.
3. A write of the application after that is not seen, as after a claim in one table. A note of API
   Gateway's account, and the check of a claim before a delete, come before or after what the
   application writes at the same time. A note never counts as recorded activity, and the delete is
   refused if the record has changed.
4. DynamoDB's filter knows no state. Records without a time, and those whose own times are old while
   API Gateway's account is not, cross the wire in each sweep. ``MAX_STATES`` bounds how many.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from os import urandom
from typing import Final, NamedTuple, Protocol

from hangup.aws.keys import TableKey
from hangup.core.connection import (
    Connection,
    DurationMs,
    EpochMs,
    is_claimed,
    may_be_idle,
    was_active_since,
)
from hangup.core.events import is_connection_id
from hangup.core.guard import Sample
from hangup.core.outcomes import NotRecorded
from hangup.errors import BackendError
from hangup.ports import ScanPage

STATES_AT_ONCE: Final = 100
"""Most items of a BatchGetItem. DynamoDB API reference, BatchGetItem."""

MAX_STATES: Final = 100_000
"""Records whose state one sweep reads. A hundred take 1.3 ms of CPU, state or none (measured with
libcurl and DynamoDB Local), and so about 10 ms with the 0.15 of a CPU that 256 MB have: 10 s of the
44 in which a sweep reads. In memory are never more than the pages being read."""


class State(NamedTuple):
    """What Hangup knows of a connection beside its record.

    ``handovers`` are those since ``recorded_ms``, the last recorded activity that was seen then.
    """

    gateway_active_ms: EpochMs | None = None
    noticed_at_ms: EpochMs | None = None
    handovers: int = 0
    recorded_ms: EpochMs | None = None
    claim_expires_ms: EpochMs | None = None


NO_STATE: Final = State()


class Items(Protocol):
    """The connections table. Its scan finds candidates by the application's own times alone."""

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written."""

    def reread(self, connection: Connection) -> Connection | None:
        """Return a record as last written, ``None`` if it is this connection's no more."""

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record."""

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment."""

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records."""

    def delete_unchanged(self, connection: Connection) -> bool:
        """Delete a record if it is as it was seen; return whether it was."""

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the last activity forward."""


class States(Protocol):
    """The state table, by ``place``: a text for each record. State need not be there yet."""

    def get_many(self, places: Sequence[str], *, consistent: bool) -> Mapping[str, State]:
        """Return the state of up to 100 places, of those that have any."""

    def claim(
        self,
        place: str,
        connection: Connection,
        *,
        now_ms: EpochMs,
        claim_expires_ms: EpochMs,
        token: str,
    ) -> bool:
        """Take the claim, by the conditions of ``ConnectionsRepository.claim`` that it can see."""

    def release(
        self, place: str, connection: Connection, *, noticed_at_ms: EpochMs | None, handovers: int
    ) -> None:
        """Give a claim back, and set the count of hand-overs."""

    def give_back(self, place: str, connection: Connection, *, token: str) -> None:
        """Undo a claim, if it still is the one with this token."""

    def note(self, place: str, *, active_ms: EpochMs, now_ms: EpochMs) -> bool:
        """Note when API Gateway last saw the connection active, never an earlier time."""


class StateTableConnections:
    """``ConnectionsRepository`` over a connections table and a state table."""

    def __init__(
        self, items: Items, states: States, table_key: TableKey, *, max_states: int = MAX_STATES
    ) -> None:
        self._items = items
        self._states = states
        self._key = table_key
        self._max_states = max_states
        self._sweep_ms: EpochMs | None = None
        self._read_by_sweep = 0

    def get(self, connection_id: str) -> Connection | None:
        """Return the record as last written, ``None`` if there is none."""
        return self._with_state(self._items.get(connection_id))

    def reread(self, connection: Connection) -> Connection | None:
        """Return a record as last written, ``None`` if it is this connection's no more."""
        return self._with_state(self._items.reread(connection))

    def scan_all_connections(self) -> Iterator[Connection]:
        """Yield every record of the table."""
        read = self._with_states(self._items.scan_all_connections())
        return (connection for connection, _ in read)

    def scan_candidates(
        self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
    ) -> Iterator[ScanPage]:
        """Yield the pages of one segment, in parts of as many as are read at once."""
        pages = self._items.scan_candidates(
            cutoff_ms=cutoff_ms, now_ms=now_ms, segment=segment, total_segments=total_segments
        )
        for page in pages:
            read = page.candidates[: self._take(len(page.candidates), now_ms)]
            *parts, last = [*_parts(read)] or [[]]
            for part in parts:
                found = self._candidates(part, cutoff_ms, now_ms)
                yield ScanPage(candidates=found, scanned_count=0, is_last=False)
            yield replace(
                page,
                candidates=self._candidates(last, cutoff_ms, now_ms),
                left=len(page.candidates) - len(read),
            )

    def _take(self, wanted: int, now_ms: EpochMs) -> int:
        """Return how many more states the sweep that began at ``now_ms`` may read."""
        if now_ms != self._sweep_ms:
            self._sweep_ms, self._read_by_sweep = now_ms, 0
        taken = min(wanted, self._max_states - self._read_by_sweep)
        self._read_by_sweep += taken
        return taken

    def _candidates(
        self, found: Sequence[Connection], cutoff_ms: EpochMs, now_ms: EpochMs
    ) -> list[Connection]:
        return [
            connection
            for connection, state in self._with_states(found)
            if not is_claimed(state.claim_expires_ms, now_ms=now_ms)
            and may_be_idle(connection, cutoff_ms=cutoff_ms, now_ms=now_ms)
        ]

    def sample_records(self, size: int) -> Sample:
        """Return up to ``size`` records, from a random place of the table on."""
        sample = self._items.sample_records(size)
        records = [connection for connection, _ in self._with_states(sample.records)]
        return replace(sample, records=records)

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        """Take the claim, then read the record again; give it back if that has changed."""
        place, seen_ms = self._place(connection), connection.last_seen_ms
        if place is None or seen_ms is None:
            return False
        token = urandom(16).hex()
        is_taken = self._states.claim(
            place, connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms, token=token
        )
        if not is_taken:
            return False
        try:
            now = self._items.reread(connection)
        except BackendError:
            self._states.give_back(place, connection, token=token)
            raise
        if now is not None and not was_active_since(connection, now, seen_ms):
            return True
        self._states.give_back(place, connection, token=token)
        return False

    def release(
        self, connection: Connection, *, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        """Give a claim back, and remember when the notice was sent."""
        place = self._place(connection)
        if place is not None:
            handovers = connection.handovers + is_handed_over
            self._states.release(
                place, connection, noticed_at_ms=noticed_at_ms, handovers=handovers
            )

    def delete_claimed(self, connection: Connection, *, claim_expires_ms: EpochMs) -> bool:
        """Delete the record if it is as it was seen; the claim is checked just before."""
        place = self._place(connection)
        if place is None:
            return False
        state = self._states.get_many([place], consistent=True).get(place, NO_STATE)
        is_claimed_by_us = state.claim_expires_ms == claim_expires_ms
        return is_claimed_by_us and self._items.delete_unchanged(connection)

    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        """Note when API Gateway last saw the connection active, if the record is as it was seen."""
        place = self._place(connection)
        if place is None:
            return False
        now = self._items.reread(connection)
        if now is None or was_active_since(connection, now, connection.recorded_ms):
            return False
        return self._states.note(place, active_ms=active_ms, now_ms=now_ms)

    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        """Move the last activity forward in the connections table."""
        before = self._items.record_activity(
            connection_id, now_ms=now_ms, resolution_ms=resolution_ms
        )
        if isinstance(before, NotRecorded):
            return before
        ((before, _),) = self._with_states([before], consistent=True)
        return before

    def _place(self, connection: Connection) -> str | None:
        return place_of(connection, self._key)

    def _with_state(self, connection: Connection | None) -> Connection | None:
        if connection is None:
            return None
        ((with_state, _),) = self._with_states([connection], consistent=True)
        return with_state

    def _with_states(
        self, connections: Iterable[Connection], *, consistent: bool = False
    ) -> Iterator[tuple[Connection, State]]:
        return with_states(connections, self._states, self._key, consistent=consistent)


def with_states(
    connections: Iterable[Connection], states: States, table_key: TableKey, *, consistent: bool
) -> Iterator[tuple[Connection, State]]:
    """Yield connections with what the state table says of them, and that; 100 are read at once."""
    for some in _parts(connections):
        places = [place_of(connection, table_key) for connection in some]
        known = list(dict.fromkeys(filter(None, places)))
        found = states.get_many(known, consistent=consistent) if known else {}
        for connection, place in zip(some, places, strict=True):
            state = found.get(place or "", NO_STATE)
            yield _merged(connection, state), state


def place_of(connection: Connection, table_key: TableKey) -> str | None:
    """Return where the state of a record is, None if it cannot be a connection's.

    The id alone says it, but where a connection may have several records: each has state of its
    own there.
    """
    connection_id = connection.connection_id
    if not is_connection_id(connection_id):
        return None
    if table_key.follows_from_id:
        return connection_id
    # Not before: it loads OpenSSL, and most tables need none.
    from hashlib import sha256  # noqa: PLC0415

    # Two attributes may be longer together than the key of another table may be.
    key = json.dumps([part.value for part in connection.key])
    return f"{connection_id} {sha256(key.encode()).hexdigest()}"


def _merged(connection: Connection, state: State) -> Connection:
    """Return a connection with what its state says."""
    # An attribute of the record that has the name of one of ours is not ours.
    is_of_this_silence = (connection.recorded_ms or 0) <= (state.recorded_ms or 0)
    return replace(
        connection,
        gateway_active_ms=state.gateway_active_ms,
        noticed_at_ms=state.noticed_at_ms,
        handovers=state.handovers if is_of_this_silence else 0,
    )


def _parts(connections: Iterable[Connection]) -> Iterator[list[Connection]]:
    left = iter(connections)
    while part := list(islice(left, STATES_AT_ONCE)):
        yield part
