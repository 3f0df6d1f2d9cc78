"""Joining and leaving a session, on the in-memory fakes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.errors import BackendError, CleanupIncomplete
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinOutcome, JoinRequest, LeaveOutcome, Role, Session
from hangup.testing import START_MS, FakeAws
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
        self.sessions.unlisted.add(connection_id)
        looks: list[str] = []

        def reveal(operation: str, key: str) -> None:
            looks.append(operation)
            if looks.count("Query") == look:
                self.sessions.unlisted.discard(connection_id)

        self.faults.before = reveal

    def meanwhile(self, operation: str, act: Callable[[], object], *, nth: int = 1) -> None:
        """Do something right before the ``nth`` call of an operation from now on."""
        calls: list[str] = []

        def interrupt(called: str, _key: str) -> None:
            calls.append(called)
            if called == operation and calls.count(operation) == nth:
                self.faults.before = lambda _operation, _key: None
                act()

        self.faults.before = interrupt

    def restart(self, speaker_id: str) -> None:
        """End the session without closing its listeners, and start it again."""
        speaker = self.connections.records[self.session.run].connection
        now_ms = self.clock.now_ms()
        self.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=now_ms)
        assert self.join(speaker_id, Role.SPEAKER) is JoinOutcome.JOINED

    @property
    def session(self) -> Session:
        return self.sessions.sessions["s1"]

    @property
    def listeners(self) -> set[str]:
        return set(self.sessions.listener_ids("s1"))


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
            session_run="speaker",
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

    @pytest.mark.parametrize("nth_read", [1, 2])
    def test_a_session_that_ends_meanwhile_is_not_joined(self, world: World, nth_read: int) -> None:
        world.meanwhile("GetItem", lambda: world.cleanup.disconnect("speaker"), nth=nth_read)
        assert world.join("l3", Role.LISTENER) is JoinOutcome.SESSION_NOT_ACTIVE
        assert world.connections.records == {}

    def test_a_session_that_starts_again_meanwhile_is_not_joined(self, world: World) -> None:
        world.meanwhile("PutItem", lambda: world.restart("speaker2"))
        assert world.join("l3", Role.LISTENER) is JoinOutcome.SESSION_NOT_ACTIVE
        assert world.session.is_active
        assert world.connections.get("l3") is None

    def test_a_join_whose_record_cannot_be_taken_back_fails(self, world: World) -> None:
        world.meanwhile("PutItem", lambda: world.restart("speaker2"))
        world.faults.fail("DeleteItem")
        with pytest.raises(BackendError):
            world.join("l3", Role.LISTENER)
        # Its client is refused. The next sweeps find the record.
        assert world.connections.get("l3") is not None

    def test_repeated_after_a_lost_answer_it_is_joined(self, world: World) -> None:
        def lose(operation: str, _key: str) -> None:
            if operation == "PutItem":
                world.faults.after = lambda _operation, _key: None
                raise BackendError("PutItem", "Lost", "planned", retryable=True)

        world.faults.after = lose
        with pytest.raises(BackendError):
            world.join("l3", Role.LISTENER)
        assert world.join("l3", Role.LISTENER) is JoinOutcome.JOINED

    def test_an_id_that_is_on_record_for_another_join_is_refused(self, world: World) -> None:
        assert world.join("speaker2", Role.SPEAKER, session_id="s2") is JoinOutcome.JOINED
        for taken in ("l1", "speaker"):
            before = world.connections.get(taken)
            assert world.join(taken, Role.LISTENER, session_id="s2") is JoinOutcome.ID_TAKEN
            assert world.join(taken, Role.SPEAKER, session_id="s3") is JoinOutcome.ID_TAKEN
            assert world.connections.get(taken) == before


class TestListenerLeaves:
    def test_is_removed_once_however_often_it_leaves(self, world: World) -> None:
        world.close("l1")
        outcomes = [world.cleanup.disconnect("l1") for _ in range(3)]
        assert outcomes == [LeaveOutcome.LEFT] + [LeaveOutcome.ALREADY_LEFT] * 2
        assert world.listeners == {"l2"}
        assert world.session.is_active
        assert world.gateway.open_ids == {"speaker", "l2"}

    def test_each_cleanup_is_one_line(self, world: World) -> None:
        world.cleanup.disconnect("l1")
        world.cleanup.disconnect("l1")
        assert [(event, fields.get("outcome")) for _, event, fields in world.log.lines] == [
            ("connection cleaned up", "LEFT"),
            ("connection was cleaned up before", None),
        ]

    def test_one_that_nobody_knows_is_no_error(self, world: World) -> None:
        assert world.cleanup.disconnect("nobody") is LeaveOutcome.ALREADY_LEFT
        assert world.listeners == {"l1", "l2"}

    def test_a_record_of_another_shape_is_removed(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd"))
        assert world.cleanup.disconnect("odd") is LeaveOutcome.LEFT
        assert world.connections.get("odd") is None

    def test_an_outage_leaves_the_record_to_the_next_attempt(self, world: World) -> None:
        world.faults.fail("DeleteItem")
        with pytest.raises(BackendError):
            world.cleanup.disconnect("l1")
        assert world.cleanup.disconnect("l1") is LeaveOutcome.LEFT
        assert world.listeners == {"l2"}


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
        assert world.sessions.count_listeners("s2") == 1

    def test_a_session_without_listeners_just_ends(self, world: World) -> None:
        for listener in ("l1", "l2"):
            world.cleanup.disconnect(listener)
        world.cleanup.disconnect("speaker")
        assert not world.session.is_active

    def test_listeners_that_are_gone_are_removed_too(self, world: World) -> None:
        world.close("l1")
        world.cleanup.disconnect("speaker")
        assert world.connections.records == {}

    def test_a_notice_that_fails_stops_nothing(self, world: World) -> None:
        world.faults.fail("PostToConnection")
        world.cleanup.disconnect("speaker")
        assert world.gateway.open_ids == {"speaker"}
        assert world.log.events("warning") == ["message failed"]

    def test_listeners_leave_before_the_speakers_own_record_goes(self, world: World) -> None:
        def note(operation: str, key: str) -> None:
            if operation == "DeleteItem":
                left.append(key)

        left: list[str] = []
        world.faults.before = note
        world.cleanup.disconnect("speaker")
        assert left == ["l1", "l2", "speaker"]

    @pytest.mark.parametrize("operation", ["DeleteConnection", "DeleteItem"])
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
        assert world.session.ended_at_ms == ended_at_ms

    @pytest.mark.parametrize(
        "operation", ["GetItem", "UpdateItem", "Query", "DeleteConnection", "DeleteItem"]
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
        assert not world.session.is_active

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
            if operation == "DeleteItem":
                world.connections.records.pop("l1", None)

        world.faults.before = meanwhile
        assert world.cleanup.disconnect("l1") is LeaveOutcome.ALREADY_LEFT
        assert world.log.events("info") == ["connection was cleaned up before"]

    @pytest.mark.parametrize("others", [{"l1"}, set()])
    def test_a_listener_that_the_index_does_not_list_yet_is_found_by_looking_again(
        self, world: World, others: set[str]
    ) -> None:
        for left in {"l1"} - others:
            world.cleanup.disconnect(left)
        world.list_late("l2", look=2)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records == {}
        assert world.gateway.open_ids == {"speaker", *({"l1"} - others)}

    def test_looks_until_a_look_finds_nobody(self, world: World) -> None:
        def list_another(operation: str, _key: str) -> None:
            if operation == "Query":
                world.sessions.unlisted -= {min(world.sessions.unlisted, default="")}

        ids = {f"l{number}" for number in range(3, 9)}
        for connection_id in ids:
            world.join(connection_id, Role.LISTENER)
        world.sessions.unlisted |= ids
        world.faults.before = list_another
        began_ms = world.clock.ms
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records == {}
        assert world.clock.ms - began_ms == 6 * 200

    def test_one_that_the_index_still_lists_is_not_closed_again(self, world: World) -> None:
        world.meanwhile("GetItem", lambda: world.connections.records.pop("l1"), nth=2)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.gateway.sent.keys() == {"l2"}
        assert world.gateway.open_ids == {"speaker", "l1"}

    def test_one_that_the_index_never_lists_does_not_hold_up_the_end(self, world: World) -> None:
        world.sessions.unlisted.add("l2")
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records.keys() == {"l2"}

    def test_listeners_of_an_older_version_have_no_run_and_are_closed_too(
        self, world: World
    ) -> None:
        record = world.connections.records["l1"]
        record.connection = replace(record.connection, session_run=None)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records == {}

    def test_a_restart_in_the_middle_mixes_no_two_runs(self, world: World) -> None:
        def start_again() -> None:
            world.join("speaker2", Role.SPEAKER)
            world.join("l3", Role.LISTENER)

        world.meanwhile("Query", start_again)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.session.run == "speaker2"
        assert world.session.is_active
        assert world.connections.records.keys() == {"speaker2", "l3"}
        assert world.gateway.open_ids == {"speaker", "speaker2", "l3"}
        assert world.gateway.sent.keys() == {"l1", "l2"}

    def test_an_old_speaker_does_not_end_what_its_successor_took_over(self, world: World) -> None:
        world.faults.fail("DeleteConnection", times=2)
        with pytest.raises(CleanupIncomplete):
            world.cleanup.disconnect("speaker")
        world.join("speaker2", Role.SPEAKER)
        world.join("l3", Role.LISTENER)
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.LEFT
        assert world.session.is_active
        # What the first attempt left of the run that has ended, the second one closes.
        assert world.connections.records.keys() == {"speaker2", "l3"}
        assert {"speaker2", "l3"} <= world.gateway.open_ids
        assert not {"l1", "l2"} & world.gateway.open_ids

    def test_an_old_speaker_leaves_listeners_without_a_run_to_the_session(
        self, world: World
    ) -> None:
        record = world.connections.records["l1"]
        record.connection = replace(record.connection, session_run=None)
        world.restart("speaker2")
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.LEFT
        assert world.connections.records.keys() == {"speaker2", "l1"}

    def test_a_session_that_vanished_is_no_error(self, world: World) -> None:
        del world.sessions.sessions["s1"]
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.LEFT
        assert "speaker" not in world.connections.records

    def test_a_session_that_vanishes_meanwhile_is_no_error(self, world: World) -> None:
        world.meanwhile("Query", lambda: world.sessions.sessions.pop("s1"))
        assert world.cleanup.disconnect("speaker") is LeaveOutcome.SESSION_ENDED
        assert world.connections.records == {}

    def test_a_speaker_without_a_session_is_removed(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd", role=Role.SPEAKER))
        assert world.cleanup.disconnect("odd") is LeaveOutcome.LEFT
        assert world.session.is_active


class TestFirstMessageInAMinute:
    def talk(self, world: World, connection_id: str, *, seconds: float) -> bool:
        """Let time pass and the client talk; return whether it was closed."""
        now_ms = world.clock.advance(seconds=seconds)
        before = world.connections.record_activity(
            connection_id, now_ms=now_ms, resolution_ms=DurationMs(0)
        )
        assert isinstance(before, Connection)
        return world.cleanup.close_if_ended(before, now_ms=now_ms)

    def reads(self, world: World) -> list[str]:
        reads: list[str] = []
        world.faults.before = lambda operation, key: reads.append(f"{operation} {key}")
        return reads

    def test_closes_a_listener_whose_session_has_ended(self, world: World) -> None:
        world.sessions.unlisted.add("l2")
        world.cleanup.disconnect("speaker")
        assert self.talk(world, "l2", seconds=60)
        assert world.connections.records == {}
        assert world.gateway.open_ids == {"speaker"}
        (notice,) = world.gateway.sent["l2"]
        assert notice["type"] == "sessionEnded"

    @pytest.mark.parametrize("vanished", [False, True])
    def test_closes_a_listener_of_an_earlier_run_or_of_no_session(
        self, world: World, *, vanished: bool
    ) -> None:
        world.restart("speaker2")
        if vanished:
            del world.sessions.sessions["s1"]
        assert self.talk(world, "l1", seconds=60)
        assert "l1" not in world.gateway.open_ids

    def test_looks_once_in_each_minute_of_the_clock(self, world: World) -> None:
        world.clock.ms = START_MS // 60_000 * 60_000 + 59_998
        self.talk(world, "l1", seconds=0)
        reads = self.reads(world)
        for seconds in (0.001, 0.001, 30, 29.999, 0.001, 0.001):
            assert not self.talk(world, "l1", seconds=seconds)
        looks = [i for i, read in enumerate(r for r in reads if r[0] in "UG") if "GetItem" in read]
        # After the second message and after the fifth: with these a minute begins.
        assert looks == [2, 6]

    def test_looks_where_no_activity_was_recorded_before(self, world: World) -> None:
        record = world.connections.records["l1"]
        record.connection = replace(record.connection, last_activity_ms=None)
        world.restart("speaker2")
        assert self.talk(world, "l1", seconds=0)

    @pytest.mark.parametrize("connection_id", ["speaker", "odd"])
    def test_looks_for_listeners_alone(self, world: World, connection_id: str) -> None:
        world.connections.put(Connection(connection_id="odd", session_id="s1", role="moderator"))
        reads = self.reads(world)
        assert not self.talk(world, connection_id, seconds=60)
        assert reads == [f"UpdateItem {connection_id}"]

    def test_keeps_a_listener_of_an_older_version_while_the_session_is_active(
        self, world: World
    ) -> None:
        record = world.connections.records["l1"]
        record.connection = replace(record.connection, session_run=None)
        assert not self.talk(world, "l1", seconds=60)
        world.sessions.unlisted.add("l1")
        world.cleanup.disconnect("speaker")
        assert self.talk(world, "l1", seconds=60)

    @pytest.mark.parametrize("operation", ["GetItem", "DeleteConnection", "DeleteItem"])
    def test_a_failure_is_logged_and_the_next_minute_looks_again(
        self, world: World, operation: str
    ) -> None:
        world.restart("speaker2")
        world.faults.fail(operation)
        assert not self.talk(world, "l1", seconds=60)
        assert world.log.events("error") == [
            "session of a listener not read" if operation == "GetItem" else "listener not closed"
        ]
        assert not self.talk(world, "l1", seconds=1)
        assert self.talk(world, "l1", seconds=60)
        assert world.connections.get("l1") is None
