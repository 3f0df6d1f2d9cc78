"""What every ``ConsistencyStore`` does, on the fake and on each engine."""

from dataclasses import replace

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.invariants import StoredConnection
from hangup.sessions.model import Role, Session
from tests.support.stores import DynamoDbStore, Store

NOW_MS = EpochMs(1_700_000_000_000)
UNTIL_MS = EpochMs(NOW_MS + 60_000)
LISTENER = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    session_run="speaker=",
    connected_at_ms=EpochMs(NOW_MS - 900_000),
    last_activity_ms=EpochMs(NOW_MS - 300_000),
)
SESSION = Session(
    session_id="s1",
    is_active=True,
    speaker_connection_id="speaker=",
    started_at_ms=NOW_MS,
)


def claim(store: Store, *, now_ms: EpochMs = NOW_MS) -> bool:
    return store.connections.claim(LISTENER, now_ms=now_ms, claim_expires_ms=UNTIL_MS)


CLAIMED = replace(LISTENER, handovers=1)


class TestReads:
    def test_yields_every_record_with_its_claim(self, store: Store) -> None:
        other = replace(LISTENER, connection_id="c2=")
        store.put(LISTENER, other)
        assert claim(store)
        pages = store.consistency.connection_pages()
        found = {stored.connection.connection_id: stored for page in pages for stored in page}
        assert found == {
            "c1=": StoredConnection(connection=CLAIMED, claim_expires_ms=UNTIL_MS),
            "c2=": StoredConnection(connection=other, claim_expires_ms=None),
        }

    def test_yields_every_session(self, store: Store) -> None:
        ended = replace(SESSION, session_id="s2", is_active=False, ended_at_ms=UNTIL_MS)
        store.put_session(SESSION)
        store.put_session(ended)
        found = [session for page in store.consistency.session_pages() for session in page]
        assert sorted(found, key=lambda session: session.session_id) == [SESSION, ended]

    def test_returns_one_record_or_none(self, store: Store) -> None:
        store.put(LISTENER)
        assert claim(store)
        expected = StoredConnection(connection=CLAIMED, claim_expires_ms=UNTIL_MS)
        assert store.consistency.connection("c1=") == expected
        assert store.consistency.connection("c2=") is None

    def test_returns_one_session_or_none(self, store: Store) -> None:
        store.put_session(SESSION)
        assert store.consistency.session("s1") == SESSION
        assert store.consistency.session("s2") is None


class TestDropClaim:
    def test_frees_a_claim_that_nobody_released(self, store: Store) -> None:
        store.put(LISTENER)
        assert claim(store)
        assert store.consistency.drop_claim("c1=", seen_ms=UNTIL_MS)
        assert store.consistency.connection("c1=") == StoredConnection(
            connection=LISTENER, claim_expires_ms=None
        )
        assert claim(store)

    @pytest.mark.parametrize("seen_ms", [UNTIL_MS - 1, UNTIL_MS + 1])
    def test_leaves_any_other_claim(self, store: Store, seen_ms: int) -> None:
        store.put(LISTENER)
        assert claim(store)
        assert not store.consistency.drop_claim("c1=", seen_ms=EpochMs(seen_ms))
        assert not claim(store)

    def test_makes_no_record(self, store: Store) -> None:
        assert not store.consistency.drop_claim("c1=", seen_ms=UNTIL_MS)
        assert store.consistency.connection("c1=") is None

    def test_leaves_nothing_of_the_claim(self, tables: DynamoDbStore) -> None:
        tables.put(LISTENER)
        before = tables.item("c1=")
        assert claim(tables)
        assert tables.item("c1=") != before
        assert tables.consistency.drop_claim("c1=", seen_ms=UNTIL_MS)
        assert tables.item("c1=") == before
