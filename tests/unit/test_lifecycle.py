"""Joining and leaving a session, on the in-memory fakes."""

from contextlib import suppress
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError, CleanupIncomplete
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinOutcome, JoinRequest, LeaveOutcome, Role, Session
from hangup.testing import FakeAws
from tests.support.cleanup import cleanup_of


class World(FakeAws):
    """The fakes, and the cleanup on them."""

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = cleanup_of(self)

    def join(self, connection_id: str, role: Role, session_id: str = "s1") -> JoinOutcome:
        self.gateway.open(connection_id)
        return join(
            JoinRequest(session_id=session_id, role=role),
            connection_id,
            sessions=self.sessions,
            now_ms=self.clock.now_ms(),
        )

    def close(self, connection_id: str) -> None:
        """Let the client leave by itself."""
        self.gateway.open_ids.discard(connection_id)

    def list_late(self, connection_id: str, *, look: int) -> None:
        """Keep a record from being listed before the index is looked at for so many times."""
        hidden = self.connections.records.pop(connection_id)
        looks: list[str] = []

        def reveal(operation: str, key: str) -> None:
            looks.append(operation)
            if looks.count("Query") == look:
                self.connections.records.setdefault(connection_id, hidden)

        self.faults.before = reveal

    @property
    def session(self) -> Session:
        return self.sessions.sessions["s1"]


@pytest.fixture
def world() -> World:
    """Return a session with a speaker and two listeners."""
    world = World()
    for connection_id, role in (
        ("speaker", Role.SPEAKER),
        ("l1", Role.LISTENER),
        ("l2", Role.LISTENER),
    ):
        assert world.join(connection_id, role) is JoinOutcome.JOINED
    return world


class TestJoin:
    def test_records_the_connection_as_active_from_now(self, world: World) -> None:
        now_ms = world.clock.advance(seconds=5)
        request = JoinRequest(session_id="s1", role=Role.LISTENER, target_language="de")
        join(request, "l3", sessions=world.sessions, now_ms=now_ms)
        assert world.connections.get("l3") == Connection(
            connection_id="l3",
            session_id="s1",
            role=Role.LISTENER,
            target_language="de",
            connected_at_ms=now_ms,
            last_activity_ms=now_ms,
        )

    def test_refuses_a_listener_without_a_session_and_writes_nothing(self, world: World) -> None:
        outcome = world.join("l3", Role.LISTENER, session_id="s2")
        assert outcome is JoinOutcome.SESSION_NOT_ACTIVE
        assert world.connections.get("l3") is None
        assert world.sessions.get("s2") is None

    def test_refuses_a_second_speaker(self, world: World) -> None:
        assert world.join("speaker2", Role.SPEAKER) is JoinOutcome.SPEAKER_PRESENT
        assert world.connections.get("speaker2") is None
        assert world.session.speaker_connection_id == "speaker"


class TestListenerLeaves:
    def test_is_subtracted_once_however_often_it_leaves(self, world: World) -> None:
        world.close("l1")
        outcomes = [world.cleanup.disconnect("l1") for _ in range(3)]
        assert outcomes == [LeaveOutcome.LISTENER_LEFT] + [LeaveOutcome.ALREADY_LEFT] * 2
        assert world.session.listener_count == 1
        assert world.session.is_active
        assert world.gateway.open_ids == {"speaker", "l2"}

    def test_each_cleanup_is_one_line(self, world: World) -> None:
        world.cleanup.disconnect("l1")
        world.cleanup.disconnect("l1")
        assert [(event, fields.get("outcome")) for _, event, fields in world.log.lines] == [
            ("connection cleaned up", "LISTENER_LEFT"),
            ("connection was cleaned up before", None),
        ]

    def test_one_that_nobody_knows_is_no_error(self, world: World) -> None:
        assert world.cleanup.disconnect("nobody") is LeaveOutcome.ALREADY_LEFT
        assert world.session.listener_count == 2

    def test_a_record_of_another_shape_is_removed(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd"))
        assert world.cleanup.disconnect("odd") is LeaveOutcome.SESSION_UNTOUCHED
        assert world.connections.get("odd") is None

    def test_an_outage_leaves_the_record_to_the_next_attempt(self, world: World) -> None:
        world.faults.fail("TransactWriteItems")
        with pytest.raises(BackendError):
            world.cleanup.disconnect("l1")
        assert world.cleanup.disconnect("l1") is LeaveOutcome.LISTENER_LEFT
        assert world.session.listener_count == 1


class TestSpeakerLeaves:
    def test_ends_the_session_and_notifies_closes_and_removes_every_listener(
        self, world: World
    ) -> None:
        world.close("speaker")
        now_ms = world.clock.advance(seconds=10)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.session == Session(
            session_id="s1",
            is_active=False,
            speaker_connection_id="speaker",
            listener_count=0,
            started_at_ms=EpochMs(now_ms - 10_000),
            ended_at_ms=now_ms,
        )
        assert world.gateway.open_ids == set()
        assert world.connections.records == {}
        notice = {"type": "sessionEnded", "sessionId": "s1", "timestamp": now_ms}
        assert world.gateway.sent == {"l1": [notice], "l2": [notice]}

    def test_leaves_other_sessions_alone(self, world: World) -> None:
        world.join("speaker2", Role.SPEAKER, session_id="s2")
        world.join("l3", Role.LISTENER, session_id="s2")
        world.cleanup.disconnect("speaker")
        assert world.gateway.open_ids == {"speaker", "speaker2", "l3"}
        assert world.sessions.sessions["s2"].listener_count == 1

    def test_a_session_without_listeners_just_ends(self, world: World) -> None:
        for listener in ("l1", "l2"):
            world.cleanup.disconnect(listener)
        world.cleanup.disconnect("speaker")
        assert (world.session.is_active, world.session.listener_count) == (False, 0)

    def test_listeners_that_are_gone_are_removed_too(self, world: World) -> None:
        world.close("l1")
        world.cleanup.disconnect("speaker")
        assert world.connections.records == {}
        assert world.session.listener_count == 0

    def test_a_notice_that_fails_stops_nothing(self, world: World) -> None:
        world.faults.fail("PostToConnection")
        world.cleanup.disconnect("speaker")
        assert world.gateway.open_ids == {"speaker"}
        assert world.log.events("warning") == ["message failed"]

    def test_listeners_leave_before_the_speakers_own_record_goes(self, world: World) -> None:
        def note(operation: str, key: str) -> None:
            if operation == "TransactWriteItems":
                left.append(key)

        left: list[str] = []
        world.faults.before = note
        world.cleanup.disconnect("speaker")
        assert left == ["l1", "l2", "speaker"]

    @pytest.mark.parametrize("operation", ["DeleteConnection", "TransactWriteItems"])
    def test_a_listener_that_cannot_be_closed_is_an_error_and_the_others_are_closed(
        self, world: World, operation: str
    ) -> None:
        world.faults.fail(operation)
        with pytest.raises(CleanupIncomplete) as error:
            world.cleanup.disconnect("speaker")
        assert str(error.value) == (
            "session s1 has ended, but 1 of its listeners could not be closed yet; "
            f"first error: {operation} failed with InternalServerError: planned"
        )
        assert world.log.events("error") == ["listener not closed"]
        assert not world.session.is_active
        assert world.session.listener_count == 1
        # Where to start from next time.
        assert world.connections.records.keys() == {"speaker", "l1"}

    def test_a_repetition_goes_on_where_the_first_attempt_ended(self, world: World) -> None:
        world.faults.fail("DeleteConnection", times=2)
        with pytest.raises(CleanupIncomplete, match="2 of its listeners"):
            world.cleanup.disconnect("speaker")
        ended_at_ms = world.session.ended_at_ms
        world.clock.advance(seconds=60)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records == {}
        assert world.session.listener_count == 0
        assert world.session.ended_at_ms == ended_at_ms

    @pytest.mark.parametrize(
        "operation", ["GetItem", "UpdateItem", "Query", "DeleteConnection", "TransactWriteItems"]
    )
    @pytest.mark.parametrize("nth", range(6))
    def test_an_outage_anywhere_leaves_nothing_that_a_repetition_does_not_find(
        self, world: World, operation: str, nth: int
    ) -> None:
        def fail_the_nth(called: str, _key: str) -> None:
            calls.append(called)
            if called == operation and calls.count(operation) == nth + 1:
                world.faults.fail(operation)

        calls: list[str] = []
        world.faults.before = fail_the_nth
        for _ in range(3):
            with suppress(BackendError, CleanupIncomplete):
                world.cleanup.disconnect("speaker")
            # Whoever failed has the session to itself until its claim expires.
            world.clock.advance(seconds=60)
        assert world.connections.records == {}
        assert world.gateway.open_ids == {"speaker"}
        assert (world.session.is_active, world.session.listener_count) == (False, 0)

    def test_while_one_invocation_ends_the_session_another_notifies_nobody_twice(
        self, world: World
    ) -> None:
        others: list[LeaveOutcome] = []

        def meanwhile(operation: str, _key: str) -> None:
            if operation == "DeleteConnection" and not others:
                others.append(LeaveOutcome.LEFT_TO_ANOTHER)
                assert world.cleanup.disconnect("speaker") is LeaveOutcome.LEFT_TO_ANOTHER

        world.faults.before = meanwhile
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert others
        assert [len(messages) for messages in world.gateway.sent.values()] == [1, 1]
        assert world.log.events("info") == [
            "cleanup left to another invocation",
            "connection cleaned up",
        ]

    def test_a_record_that_goes_meanwhile_was_cleaned_up_by_somebody_else(
        self, world: World
    ) -> None:
        def meanwhile(operation: str, _key: str) -> None:
            if operation == "TransactWriteItems":
                world.connections.records.pop("l1", None)

        world.faults.before = meanwhile
        assert world.cleanup.disconnect("l1") is LeaveOutcome.ALREADY_LEFT
        assert world.log.events("info") == ["connection was cleaned up before"]

    @pytest.mark.parametrize("look", [2, 3, 4])
    def test_a_listener_that_the_index_does_not_list_yet_is_found_by_looking_again(
        self, world: World, look: int
    ) -> None:
        world.list_late("l2", look=look)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.session.listener_count == 0
        assert world.gateway.open_ids == {"speaker"}

    def test_an_index_that_lags_for_too_long_is_an_error(self, world: World) -> None:
        world.list_late("l2", look=6)
        began_ms = world.clock.ms
        with pytest.raises(CleanupIncomplete, match="index does not list all its listeners yet"):
            world.cleanup.disconnect("speaker")
        assert world.clock.ms - began_ms <= 1_000
        assert "speaker" in world.connections.records
        world.clock.advance(seconds=60)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.session.listener_count == 0

    def test_after_ten_minutes_the_index_is_believed_and_not_the_count(self, world: World) -> None:
        del world.connections.records["l2"]
        ended_at_ms = world.clock.ms
        for age_ms in (0, 540_000):
            world.clock.ms = ended_at_ms + age_ms
            with pytest.raises(CleanupIncomplete):
                world.cleanup.disconnect("speaker")
        world.clock.ms = ended_at_ms + 600_001
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.log.events("error") == [
            "listenerCount is wrong: it counts listeners that are not on record"
        ]
        assert world.connections.records == {}

    def test_a_count_that_is_too_low_spares_no_listener(self, world: World) -> None:
        world.sessions.sessions["s1"] = replace(world.session, listener_count=0)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.gateway.open_ids == {"speaker"}
        assert world.connections.records == {}

    def test_spares_the_listeners_of_a_session_that_started_again(self, world: World) -> None:
        def start_again(operation: str, key: str) -> None:
            if operation == "Query" and not world.session.is_active:
                world.faults.before = lambda _operation, _key: None
                world.join("speaker2", Role.SPEAKER)

        world.faults.before = start_again
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_UNTOUCHED
        assert world.session.is_active
        assert world.session.listener_count == 2
        assert {"l1", "l2", "speaker2"} <= world.gateway.open_ids
        assert "speaker" not in world.connections.records

    def test_an_old_speaker_does_not_end_what_its_successor_took_over(self, world: World) -> None:
        world.faults.fail("DeleteConnection", times=2)
        with pytest.raises(CleanupIncomplete):
            world.cleanup.disconnect("speaker")
        world.join("speaker2", Role.SPEAKER)
        world.join("l3", Role.LISTENER)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_UNTOUCHED
        assert world.session.is_active
        assert {"l1", "l2", "l3"} <= world.gateway.open_ids
        assert world.session.listener_count == 3

    def test_a_session_that_vanished_is_no_error(self, world: World) -> None:
        del world.sessions.sessions["s1"]
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_UNTOUCHED
        assert "speaker" not in world.connections.records

    def test_a_session_that_vanishes_meanwhile_is_no_error(self, world: World) -> None:
        def vanish(operation: str, key: str) -> None:
            if operation == "Query":
                world.sessions.sessions.pop("s1", None)

        world.faults.before = vanish
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_UNTOUCHED

    def test_a_speaker_without_a_session_is_removed(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd", role=Role.SPEAKER))
        assert world.cleanup.disconnect("odd") is LeaveOutcome.SESSION_UNTOUCHED
        assert world.session.is_active


def test_a_count_that_is_zero_does_not_go_below(world: World) -> None:
    world.sessions.sessions["s1"] = replace(world.session, listener_count=0)
    assert world.cleanup.disconnect("l1") is LeaveOutcome.SESSION_UNTOUCHED
    assert world.session.listener_count == 0
