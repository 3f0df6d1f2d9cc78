"""What every ``SessionsRepository`` does, and the join on it, on the fake and on each engine."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError
from hangup.sessions.lifecycle import join
from hangup.sessions.model import EndRefusal, JoinOutcome, JoinRequest, Role, Session
from tests.support.stores import DynamoDbStore, Store, at_once

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = EpochMs(1_700_000_000_000)
LATER_MS = EpochMs(NOW_MS + 60_000)
CLAIM_MS = 60_000
SPEAKER = Connection(
    connection_id="speaker=",
    session_id="s1",
    role=Role.SPEAKER,
    connected_at_ms=NOW_MS,
    last_activity_ms=NOW_MS,
)
SUCCESSOR = replace(SPEAKER, connection_id="successor=", connected_at_ms=LATER_MS)
ACTIVE = Session(
    session_id="s1",
    is_active=True,
    speaker_connection_id="speaker=",
    started_at_ms=NOW_MS,
)
ENDED = replace(ACTIVE, is_active=False, ended_at_ms=LATER_MS)


def listener(number: int = 1, session_id: str = "s1", run: str | None = "speaker=") -> Connection:
    return replace(
        SPEAKER,
        connection_id=f"l{number}=",
        role=Role.LISTENER,
        session_id=session_id,
        session_run=run,
    )


def join_as_listener(store: Store, number: int = 1, session_id: str = "s1") -> JoinOutcome:
    request = JoinRequest(session_id=session_id, role=Role.LISTENER)
    return join(request, f"l{number}=", sessions=store.sessions, now_ms=NOW_MS)


def start(store: Store, listeners: int = 0) -> None:
    """Start a session with its speaker and so many listeners."""
    assert store.sessions.start(SPEAKER) is JoinOutcome.JOINED
    for number in range(1, listeners + 1):
        assert join_as_listener(store, number) is JoinOutcome.JOINED


def end(store: Store, speaker: Connection = SPEAKER, *, late_ms: int = 0) -> EndRefusal | None:
    now_ms = EpochMs(LATER_MS + late_ms)
    return store.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + CLAIM_MS))


class TestGet:
    def test_returns_none_for_a_session_that_never_was(self, store: Store) -> None:
        assert store.sessions.get("s1") is None

    @pytest.mark.parametrize("session", [ACTIVE, ENDED])
    def test_returns_the_session(self, store: Store, session: Session) -> None:
        store.put_session(session)
        assert store.sessions.get("s1") == session


class TestStart:
    def test_writes_the_record_and_the_session(self, store: Store) -> None:
        assert store.sessions.start(SPEAKER) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == ACTIVE
        assert store.connections.get("speaker=") == SPEAKER

    def test_a_second_speaker_is_refused_and_nothing_is_written(self, store: Store) -> None:
        start(store)
        assert store.sessions.start(SUCCESSOR) is JoinOutcome.SPEAKER_PRESENT
        assert store.sessions.get("s1") == ACTIVE
        assert store.connections.get("successor=") is None

    def test_only_one_of_many_speakers_at_once_gets_in(self, store: Store) -> None:
        speakers = [replace(SPEAKER, connection_id=f"speaker{i}=") for i in range(8)]
        outcomes = at_once([partial(store.sessions.start, speaker) for speaker in speakers])
        assert (
            sorted(outcomes, key=lambda o: o.name)
            == [JoinOutcome.JOINED] + [JoinOutcome.SPEAKER_PRESENT] * 7
        )
        session = store.sessions.get("s1")
        assert session is not None
        winner = speakers[outcomes.index(JoinOutcome.JOINED)]
        assert session.run == winner.connection_id

    def test_a_session_that_has_ended_is_started_again(self, store: Store) -> None:
        start(store)
        end(store)
        assert store.sessions.start(SUCCESSOR) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == replace(
            ACTIVE, speaker_connection_id="successor=", started_at_ms=LATER_MS
        )

    def test_repeated_it_changes_nothing_even_when_the_session_has_ended(
        self, store: Store
    ) -> None:
        start(store)
        assert store.sessions.start(SPEAKER) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == ACTIVE
        end(store)
        assert store.sessions.start(SPEAKER) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == ENDED

    @pytest.mark.parametrize("other", [{"session_id": "s2"}, {"role": Role.LISTENER}])
    def test_an_id_of_another_join_is_refused(self, store: Store, other: dict[str, str]) -> None:
        there = replace(SPEAKER, **other)  # type: ignore[arg-type]
        store.put(there)
        assert store.sessions.start(SPEAKER) is JoinOutcome.ID_TAKEN
        assert store.sessions.get("s1") is None
        assert store.connections.get("speaker=") == there


class TestJoin:
    def test_writes_the_record_with_the_run_and_not_the_session(self, store: Store) -> None:
        start(store, listeners=2)
        assert store.sessions.get("s1") == ACTIVE
        assert store.connections.get("l1=") == listener(1)

    def test_listeners_that_join_at_once_all_get_in(self, store: Store) -> None:
        start(store)
        joins = [partial(join_as_listener, store, i) for i in range(8)]
        assert at_once(joins) == [JoinOutcome.JOINED] * 8
        assert store.sessions.count_listeners("s1") == 8

    @pytest.mark.parametrize("session", [None, ENDED])
    def test_is_refused_unless_the_session_is_active(
        self, store: Store, session: Session | None
    ) -> None:
        if session is not None:
            store.put_session(session)
        assert join_as_listener(store) is JoinOutcome.SESSION_NOT_ACTIVE
        assert store.sessions.get("s1") == session
        assert store.connections.get("l1=") is None

    def test_repeated_it_changes_nothing(self, store: Store) -> None:
        start(store, listeners=1)
        assert join_as_listener(store) is JoinOutcome.JOINED
        assert store.connections.get("l1=") == listener()

    @pytest.mark.parametrize(
        "there",
        [listener(session_id="s2"), listener(run="other="), replace(listener(), role="moderator")],
    )
    def test_an_id_of_another_join_is_refused(self, store: Store, there: Connection) -> None:
        start(store)
        store.put(there)
        assert join_as_listener(store) is JoinOutcome.ID_TAKEN
        assert store.connections.get("l1=") == there

    def test_nobody_stays_in_a_session_that_ends_at_once(self, store: Store) -> None:
        start(store)
        actions: list[Callable[[], object]] = [
            *(partial(join_as_listener, store, i) for i in range(8)),
            partial(end, store),
        ]
        outcomes = at_once(actions)[:8]
        joined = [i for i, outcome in enumerate(outcomes) if outcome is JoinOutcome.JOINED]
        assert sorted(store.sessions.listener_ids("s1")) == [f"l{i}=" for i in joined]
        assert join_as_listener(store, 9) is JoinOutcome.SESSION_NOT_ACTIVE


class TestAdd:
    def test_returns_the_record_that_has_the_id(self, store: Store) -> None:
        first, second = listener(), listener(run="successor=")
        assert store.sessions.add(first) == first
        assert store.sessions.add(second) == first
        assert store.connections.get("l1=") == first


class TestRemove:
    @pytest.mark.parametrize(
        "connection",
        [
            SPEAKER,
            listener(),
            Connection(connection_id="odd="),
            Connection(connection_id="odd=", session_id="s1"),
            Connection(connection_id="odd=", role=Role.LISTENER),
            Connection(connection_id="odd=", session_id="s1", role="moderator"),
        ],
    )
    def test_takes_effect_once_however_often_and_touches_no_session(
        self, store: Store, connection: Connection
    ) -> None:
        store.put_session(ACTIVE)
        store.put(connection, listener(2))
        removed = [store.sessions.remove(connection.connection_id) for _ in range(3)]
        assert removed == [True, False, False]
        assert store.connections.get(connection.connection_id) is None
        assert store.connections.get("l2=") == listener(2)
        assert store.sessions.get("s1") == ACTIVE

    def test_takes_effect_once_when_called_eight_times_at_once(self, store: Store) -> None:
        start(store, listeners=2)
        removed = at_once([partial(store.sessions.remove, "l1=")] * 8)
        assert sorted(removed) == [False] * 7 + [True]
        assert store.sessions.count_listeners("s1") == 1


class TestEnd:
    def test_lets_nobody_join_any_more_and_removes_no_record(self, store: Store) -> None:
        start(store, listeners=1)
        assert end(store) is None
        assert store.sessions.get("s1") == ENDED
        assert join_as_listener(store, 3) is JoinOutcome.SESSION_NOT_ACTIVE
        assert store.connections.get("speaker=") == SPEAKER
        assert store.connections.get("l1=") == listener()

    def test_repeated_it_keeps_the_first_time(self, store: Store) -> None:
        start(store)
        for late_ms in (0, CLAIM_MS, 3 * CLAIM_MS):
            assert end(store, late_ms=late_ms) is None
            assert store.sessions.get("s1") == ENDED

    def test_gives_the_session_to_one_caller_at_a_time(self, store: Store) -> None:
        start(store)
        assert end(store) is None
        assert end(store, late_ms=1) is EndRefusal.BEING_ENDED
        assert end(store, late_ms=CLAIM_MS - 1) is EndRefusal.BEING_ENDED
        assert end(store, late_ms=CLAIM_MS) is None

    def test_gives_the_session_to_one_of_eight_at_once(self, store: Store) -> None:
        start(store)
        outcomes = at_once([partial(end, store)] * 8)
        assert outcomes.count(None) == 1
        assert outcomes.count(EndRefusal.BEING_ENDED) == 7

    def test_a_session_that_started_again_can_be_ended_at_once(self, store: Store) -> None:
        start(store)
        end(store)
        store.sessions.start(SUCCESSOR)
        assert end(store, SUCCESSOR, late_ms=1) is None

    def test_does_not_end_what_a_successor_took_over(self, store: Store) -> None:
        start(store)
        end(store)
        store.sessions.start(SUCCESSOR)
        before = store.sessions.get("s1")
        assert end(store) is EndRefusal.NOT_ITS_SPEAKER
        assert store.sessions.get("s1") == before

    @pytest.mark.parametrize(
        "speaker", [SPEAKER, Connection(connection_id="speaker=", session_id="s2")]
    )
    def test_makes_no_session(self, store: Store, speaker: Connection) -> None:
        assert end(store, speaker) is EndRefusal.NOT_ITS_SPEAKER
        assert store.sessions.get("s1") is None
        assert store.sessions.get("s2") is None


class TestListeners:
    def test_a_session_that_never_was_has_none(self, store: Store) -> None:
        assert list(store.sessions.listener_ids("s1")) == []
        assert store.sessions.count_listeners("s1") == 0

    def test_are_those_of_this_session_alone_and_of_every_run(self, store: Store) -> None:
        start(store, listeners=3)
        store.put(listener(4, run="earlier="), listener(5, run=None), listener(9, session_id="s2"))
        assert sorted(store.sessions.listener_ids("s1")) == [f"l{i}=" for i in range(1, 6)]
        assert store.sessions.count_listeners("s1") == 5

    def test_a_listener_that_left_is_not_among_them(self, store: Store) -> None:
        start(store, listeners=2)
        store.sessions.remove("l1=")
        assert list(store.sessions.listener_ids("s1")) == ["l2="]
        assert store.sessions.count_listeners("s1") == 1


class TestTables:
    """What only a table can show."""

    def test_an_ended_session_expires_a_day_later_and_a_restarted_one_does_not(
        self, tables: DynamoDbStore
    ) -> None:
        start(tables)
        end(tables)
        names = tables.schema
        ended = tables.session_item("s1")
        assert ended[names.expires_at] == {"N": str(LATER_MS // 1000 + 86_400)}
        tables.sessions.start(SUCCESSOR)
        restarted = tables.session_item("s1")
        assert not {names.expires_at, names.ended_at} & restarted.keys()

    def test_a_count_that_an_older_version_left_goes_with_the_next_start(
        self, tables: DynamoDbStore
    ) -> None:
        names = tables.schema
        tables.put_session(ENDED)
        old = tables.session_item("s1") | {names.listener_count: {"N": "7"}}
        tables.client.put_item(TableName=tables.sessions_table, Item=old)
        assert tables.sessions.get("s1") == ENDED
        assert tables.sessions.start(SUCCESSOR) is JoinOutcome.JOINED
        assert names.listener_count not in tables.session_item("s1")

    def test_a_count_that_an_older_version_left_goes_with_the_end(
        self, tables: DynamoDbStore
    ) -> None:
        names = tables.schema
        start(tables)
        old = tables.session_item("s1") | {names.listener_count: {"N": "7"}}
        tables.client.put_item(TableName=tables.sessions_table, Item=old)
        assert end(tables) is None
        assert names.listener_count not in tables.session_item("s1")

    @pytest.mark.parametrize("missing", ["is_active", "speaker_connection_id", "started_at"])
    def test_what_is_no_session_is_an_error_that_names_it(
        self, tables: DynamoDbStore, missing: str
    ) -> None:
        tables.put_session(ACTIVE)
        item = tables.session_item("s1")
        del item[getattr(tables.schema, missing)]
        tables.client.put_item(TableName=tables.sessions_table, Item=item)
        with pytest.raises(BackendError, match="session s1 has a missing or invalid attribute"):
            tables.sessions.get("s1")

    def test_what_joins_has_the_names_of_the_schema_alone(self, tables: DynamoDbStore) -> None:
        start(tables)
        tables.sessions.add(replace(listener(), target_language="de"))
        names = tables.schema.connections
        assert tables.item("l1=").keys() == {
            names.connection_id,
            names.session_id,
            names.role,
            names.session_run,
            names.connected_at,
            names.last_activity,
            names.expires_at,
            names.target_language,
            # What says that an item is a connection of this deployment.
            *(condition.attribute for condition in names.only),
        }

    def test_more_listeners_than_fit_one_page_are_all_found(self, tables: DynamoDbStore) -> None:
        # The index holds keys and connectedAt alone, so the ids have to be long.
        put = [replace(listener(), connection_id=f"{i}-{'x' * 1_900}") for i in range(600)]
        tables.put(*put)
        assert len(list(tables.sessions.listener_ids("s1"))) == 600
        assert tables.sessions.count_listeners("s1") == 600
