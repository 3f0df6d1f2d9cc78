"""What every ``SessionsRepository`` does, on the fake and on each engine."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.stores import DynamoDbStore, Store, at_once

if TYPE_CHECKING:
    from collections.abc import Callable

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Role, Session

NOW_MS = EpochMs(1_700_000_000_000)
LATER_MS = EpochMs(NOW_MS + 60_000)
SPEAKER = Connection(
    connection_id="speaker=",
    session_id="s1",
    role=Role.SPEAKER,
    connected_at_ms=NOW_MS,
    last_activity_ms=NOW_MS,
)
ACTIVE = Session(
    session_id="s1",
    is_active=True,
    speaker_connection_id="speaker=",
    listener_count=0,
    started_at_ms=NOW_MS,
)
ENDED = replace(ACTIVE, is_active=False, ended_at_ms=LATER_MS)


def listener(number: int = 1, session_id: str = "s1") -> Connection:
    return replace(SPEAKER, connection_id=f"l{number}=", role=Role.LISTENER, session_id=session_id)


def start(store: Store, listeners: int = 0) -> None:
    """Start a session with its speaker and so many listeners."""
    for connection in (SPEAKER, *map(listener, range(1, listeners + 1))):
        assert store.sessions.join(connection) is JoinOutcome.JOINED


def count(store: Store) -> int:
    session = store.sessions.get("s1")
    assert session is not None
    return session.listener_count


def leave(store: Store, connection: Connection) -> LeaveOutcome:
    return store.sessions.leave(connection, now_ms=LATER_MS)


class TestGet:
    def test_returns_none_for_a_session_that_never_was(self, store: Store) -> None:
        assert store.sessions.get("s1") is None

    @pytest.mark.parametrize("session", [ACTIVE, ENDED, replace(ENDED, listener_count=3)])
    def test_returns_the_session(self, store: Store, session: Session) -> None:
        store.put_session(session)
        assert store.sessions.get("s1") == session


class TestJoin:
    def test_a_speaker_starts_the_session(self, store: Store) -> None:
        assert store.sessions.join(SPEAKER) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == ACTIVE
        assert store.connections.get("speaker=") == SPEAKER

    def test_a_second_speaker_is_refused_and_nothing_is_written(self, store: Store) -> None:
        start(store)
        second = replace(SPEAKER, connection_id="second=")
        assert store.sessions.join(second) is JoinOutcome.SPEAKER_PRESENT
        assert store.sessions.get("s1") == ACTIVE
        assert store.connections.get("second=") is None

    def test_only_one_of_many_speakers_at_once_gets_in(self, store: Store) -> None:
        speakers = [replace(SPEAKER, connection_id=f"speaker{i}=") for i in range(8)]
        outcomes = at_once([partial(store.sessions.join, speaker) for speaker in speakers])
        assert (
            sorted(outcomes, key=lambda o: o.name)
            == [JoinOutcome.JOINED] + [JoinOutcome.SPEAKER_PRESENT] * 7
        )
        session = store.sessions.get("s1")
        assert session is not None
        winner = speakers[outcomes.index(JoinOutcome.JOINED)]
        assert session.speaker_connection_id == winner.connection_id

    def test_a_listener_is_counted(self, store: Store) -> None:
        start(store, listeners=2)
        assert store.sessions.get("s1") == replace(ACTIVE, listener_count=2)

    def test_listeners_that_join_at_once_are_all_counted(self, store: Store) -> None:
        start(store)
        joins = [partial(store.sessions.join, listener(i)) for i in range(8)]
        assert at_once(joins) == [JoinOutcome.JOINED] * 8
        assert count(store) == 8

    def test_a_listener_of_a_session_that_never_was_is_refused(self, store: Store) -> None:
        assert store.sessions.join(listener()) is JoinOutcome.SESSION_NOT_ACTIVE
        assert store.sessions.get("s1") is None
        assert store.connections.get("l1=") is None

    def test_a_listener_of_an_ended_session_is_refused(self, store: Store) -> None:
        store.put_session(ENDED)
        assert store.sessions.join(listener()) is JoinOutcome.SESSION_NOT_ACTIVE
        assert store.sessions.get("s1") == ENDED
        assert store.connections.get("l1=") is None

    def test_repeating_a_join_changes_nothing(self, store: Store) -> None:
        start(store, listeners=1)
        for connection in (SPEAKER, listener()):
            assert store.sessions.join(connection) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == replace(ACTIVE, listener_count=1)

    def test_repeating_a_join_is_no_refusal_even_when_the_session_has_ended(
        self, store: Store
    ) -> None:
        start(store, listeners=1)
        leave(store, SPEAKER)
        assert store.sessions.join(listener()) is JoinOutcome.JOINED
        assert count(store) == 1

    def test_started_again_a_session_keeps_its_count(self, store: Store) -> None:
        start(store, listeners=2)
        leave(store, SPEAKER)
        successor = replace(SPEAKER, connection_id="successor=", connected_at_ms=LATER_MS)
        assert store.sessions.join(successor) is JoinOutcome.JOINED
        assert store.sessions.get("s1") == replace(
            ACTIVE,
            speaker_connection_id="successor=",
            listener_count=2,
            started_at_ms=LATER_MS,
        )


class TestLeave:
    def test_a_listener_is_removed_and_subtracted(self, store: Store) -> None:
        start(store, listeners=2)
        assert leave(store, listener()) is LeaveOutcome.LISTENER_LEFT
        assert count(store) == 1
        assert store.connections.get("l1=") is None
        assert store.connections.get("l2=") == listener(2)

    def test_takes_effect_once_however_often(self, store: Store) -> None:
        start(store, listeners=2)
        outcomes = [leave(store, listener()) for _ in range(3)]
        assert outcomes == [LeaveOutcome.LISTENER_LEFT] + [LeaveOutcome.ALREADY_LEFT] * 2
        assert count(store) == 1

    def test_takes_effect_once_when_called_eight_times_at_once(self, store: Store) -> None:
        start(store, listeners=3)
        outcomes = at_once([partial(leave, store, listener())] * 8)
        assert outcomes.count(LeaveOutcome.LISTENER_LEFT) == 1
        assert outcomes.count(LeaveOutcome.ALREADY_LEFT) == 7
        assert count(store) == 2

    def test_listeners_that_leave_at_once_are_all_subtracted(self, store: Store) -> None:
        start(store, listeners=8)
        outcomes = at_once([partial(leave, store, listener(i)) for i in range(1, 9)])
        assert outcomes == [LeaveOutcome.LISTENER_LEFT] * 8
        assert count(store) == 0

    def test_a_speaker_ends_the_session(self, store: Store) -> None:
        start(store, listeners=1)
        assert leave(store, SPEAKER) is LeaveOutcome.SESSION_ENDED
        assert store.sessions.get("s1") == replace(ENDED, listener_count=1)
        assert store.connections.get("speaker=") is None
        assert store.connections.get("l1=") == listener()

    def test_a_speaker_ends_it_once_when_called_eight_times_at_once(self, store: Store) -> None:
        start(store)
        outcomes = at_once([partial(leave, store, SPEAKER)] * 8)
        assert outcomes.count(LeaveOutcome.SESSION_ENDED) == 1
        assert outcomes.count(LeaveOutcome.ALREADY_LEFT) == 7

    def test_an_old_speaker_does_not_end_what_its_successor_took_over(self, store: Store) -> None:
        start(store)
        taken_over = replace(ACTIVE, speaker_connection_id="successor=")
        store.put_session(taken_over)
        assert leave(store, SPEAKER) is LeaveOutcome.SESSION_UNTOUCHED
        assert store.sessions.get("s1") == taken_over
        assert store.connections.get("speaker=") is None

    def test_a_speaker_whose_session_has_ended_leaves_it_as_it_ended(self, store: Store) -> None:
        start(store)
        ended_before = replace(ENDED, ended_at_ms=NOW_MS)
        store.put_session(ended_before)
        assert leave(store, SPEAKER) is LeaveOutcome.SESSION_ENDED
        assert store.sessions.get("s1") == ended_before
        assert store.connections.get("speaker=") is None

    @pytest.mark.parametrize("connection", [SPEAKER, listener()])
    def test_the_record_goes_even_where_the_session_is_missing(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert leave(store, connection) is LeaveOutcome.SESSION_UNTOUCHED
        assert store.connections.get(connection.connection_id) is None
        assert store.sessions.get("s1") is None
        assert leave(store, connection) is LeaveOutcome.ALREADY_LEFT

    def test_a_count_of_zero_stays_zero(self, store: Store) -> None:
        store.put_session(ACTIVE)
        store.put(listener())
        assert leave(store, listener()) is LeaveOutcome.SESSION_UNTOUCHED
        assert count(store) == 0
        assert store.connections.get("l1=") is None

    def test_a_listener_of_an_ended_session_is_subtracted(self, store: Store) -> None:
        start(store, listeners=1)
        leave(store, SPEAKER)
        assert leave(store, listener()) is LeaveOutcome.LISTENER_LEFT
        assert count(store) == 0

    @pytest.mark.parametrize(
        "connection",
        [
            Connection(connection_id="odd="),
            Connection(connection_id="odd=", session_id="s1"),
            Connection(connection_id="odd=", role=Role.LISTENER),
            Connection(connection_id="odd=", role=Role.SPEAKER),
            Connection(connection_id="odd=", session_id="s1", role="moderator"),
        ],
    )
    def test_a_record_of_another_shape_is_removed_and_touches_no_session(
        self, store: Store, connection: Connection
    ) -> None:
        start(store, listeners=1)
        store.put(connection)
        assert leave(store, connection) is LeaveOutcome.SESSION_UNTOUCHED
        assert leave(store, connection) is LeaveOutcome.ALREADY_LEFT
        assert store.connections.get("odd=") is None
        assert store.sessions.get("s1") == replace(ACTIVE, listener_count=1)

    def test_joining_and_leaving_at_once_never_lose_count(self, store: Store) -> None:
        start(store, listeners=4)
        leaving: list[Callable[[], object]] = [
            partial(leave, store, listener(i)) for i in range(1, 5)
        ]
        joining: list[Callable[[], object]] = [
            partial(store.sessions.join, listener(i)) for i in range(5, 9)
        ]
        at_once([*leaving, *joining])
        assert count(store) == 4
        assert len(list(store.sessions.listeners("s1"))) == 4


CLAIM_MS = 60_000


def end(store: Store, speaker: Connection, *, late_ms: int = 0) -> Session | EndRefusal:
    now_ms = EpochMs(LATER_MS + late_ms)
    return store.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + CLAIM_MS))


class TestEnd:
    def test_lets_nobody_join_any_more_and_returns_the_session(self, store: Store) -> None:
        start(store, listeners=2)
        ended = replace(ENDED, listener_count=2)
        assert end(store, SPEAKER) == ended
        assert store.sessions.get("s1") == ended
        assert store.sessions.join(listener(3)) is JoinOutcome.SESSION_NOT_ACTIVE

    def test_removes_no_record(self, store: Store) -> None:
        start(store, listeners=1)
        end(store, SPEAKER)
        assert store.connections.get("speaker=") == SPEAKER
        assert store.connections.get("l1=") == listener()

    def test_repeated_it_keeps_the_first_time(self, store: Store) -> None:
        start(store)
        for late_ms in (0, CLAIM_MS, 3 * CLAIM_MS):
            assert end(store, SPEAKER, late_ms=late_ms) == ENDED
        assert leave(store, SPEAKER) is LeaveOutcome.SESSION_ENDED
        assert store.sessions.get("s1") == ENDED

    def test_gives_the_session_to_one_caller_at_a_time(self, store: Store) -> None:
        start(store, listeners=1)
        assert end(store, SPEAKER) == replace(ENDED, listener_count=1)
        assert end(store, SPEAKER, late_ms=1) is EndRefusal.BEING_ENDED
        assert end(store, SPEAKER, late_ms=CLAIM_MS - 1) is EndRefusal.BEING_ENDED
        assert end(store, SPEAKER, late_ms=CLAIM_MS) == replace(ENDED, listener_count=1)

    def test_a_session_that_started_again_can_be_ended_at_once(self, store: Store) -> None:
        start(store)
        end(store, SPEAKER)
        successor = replace(SPEAKER, connection_id="successor=")
        store.sessions.join(successor)
        assert isinstance(end(store, successor, late_ms=1), Session)

    def test_does_not_end_what_a_successor_took_over(self, store: Store) -> None:
        start(store)
        end(store, SPEAKER)
        successor = replace(SPEAKER, connection_id="successor=")
        assert store.sessions.join(successor) is JoinOutcome.JOINED
        assert end(store, SPEAKER) is EndRefusal.NOT_ITS_SPEAKER
        session = store.sessions.get("s1")
        assert session == replace(ACTIVE, speaker_connection_id="successor=")

    @pytest.mark.parametrize(
        "speaker", [SPEAKER, Connection(connection_id="speaker=", session_id="s2")]
    )
    def test_makes_no_session(self, store: Store, speaker: Connection) -> None:
        assert end(store, speaker) is EndRefusal.NOT_ITS_SPEAKER
        assert store.sessions.get("s1") is None
        assert store.sessions.get("s2") is None

    def test_loses_no_listener_that_joins_or_leaves_at_once(self, store: Store) -> None:
        start(store, listeners=4)
        ending = partial(end, store, SPEAKER)
        leaving = [partial(leave, store, listener(i)) for i in range(1, 4)]
        joining = [partial(store.sessions.join, listener(i)) for i in range(5, 9)]
        actions: list[Callable[[], object]] = [ending, *leaving, *joining, ending]
        joined = at_once(actions).count(JoinOutcome.JOINED)
        assert count(store) == 1 + joined
        assert len(list(store.sessions.listeners("s1"))) == 1 + joined


class TestListeners:
    def test_a_session_that_never_was_has_none(self, store: Store) -> None:
        assert list(store.sessions.listeners("s1")) == []

    def test_yields_the_listeners_of_this_session_alone(self, store: Store) -> None:
        start(store, listeners=3)
        store.sessions.join(replace(SPEAKER, connection_id="speaker2=", session_id="s2"))
        store.sessions.join(listener(9, session_id="s2"))
        found = {(c.connection_id, c.session_id, c.role) for c in store.sessions.listeners("s1")}
        assert found == {(f"l{i}=", "s1", Role.LISTENER) for i in (1, 2, 3)}

    def test_a_listener_that_left_is_not_among_them(self, store: Store) -> None:
        start(store, listeners=2)
        leave(store, listener(1))
        assert [c.connection_id for c in store.sessions.listeners("s1")] == ["l2="]

    def test_a_listener_from_the_index_can_leave(self, store: Store) -> None:
        start(store, listeners=1)
        (found,) = store.sessions.listeners("s1")
        assert leave(store, found) is LeaveOutcome.LISTENER_LEFT
        assert count(store) == 0


class TestTables:
    """What only a table can show."""

    def test_an_ended_session_expires_a_day_later_and_a_restarted_one_does_not(
        self, tables: DynamoDbStore
    ) -> None:
        start(tables)
        leave(tables, SPEAKER)
        names = tables.schema
        ended = tables.session_item("s1")
        assert ended[names.expires_at] == {"N": str(LATER_MS // 1000 + 86_400)}
        tables.sessions.join(replace(SPEAKER, connection_id="successor="))
        restarted = tables.session_item("s1")
        assert not {names.expires_at, names.ended_at} & restarted.keys()

    def test_what_joins_has_the_names_of_the_schema_alone(self, tables: DynamoDbStore) -> None:
        start(tables)
        tables.sessions.join(replace(listener(), target_language="de"))
        names = tables.schema.connections
        assert tables.item("l1=").keys() == {
            names.connection_id,
            names.session_id,
            names.role,
            names.connected_at,
            names.last_activity,
            names.expires_at,
            names.target_language,
        }

    def test_more_listeners_than_fit_one_page_are_all_found(self, tables: DynamoDbStore) -> None:
        # The index holds keys and connectedAt alone, so the ids have to be long.
        put = [
            replace(listener(), connection_id=f"{i}-{'x' * 1_900}", session_id="s1")
            for i in range(600)
        ]
        tables.put(*put)
        assert len(list(tables.sessions.listeners("s1"))) == 600
