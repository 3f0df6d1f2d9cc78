"""What check finds, what it does not, and how it mends, on the in-memory fakes."""

from collections.abc import Callable

import pytest

from hangup.core.connection import Connection
from hangup.errors import BackendError
from hangup.sessions.check import PAUSE_MS, CheckReport
from hangup.sessions.invariants import Ghost, Violation, WrongCount
from hangup.sessions.model import Role
from hangup.testing import START_MS
from tests.support.check_world import (
    BREAKAGES,
    World,
    count_too_high,
    ended_with_listeners,
    expired_claim,
    ghost,
    in_order,
    lost_listeners,
    no_speaker,
)


@pytest.fixture
def world() -> World:
    return in_order()


@pytest.mark.parametrize("break_", BREAKAGES)
class TestEveryBreakage:
    def test_is_found(self, world: World, break_: Callable[[World], Violation]) -> None:
        broken = break_(world)
        report = world.check.find()
        assert report.broken == (broken,)
        assert "s1" in str(broken) or "l1" in str(broken)

    def test_is_mended(self, world: World, break_: Callable[[World], Violation]) -> None:
        break_(world)
        assert world.mend().broken == ()
        assert [one.failure for one in world.tried] == [None]
        records = world.connections.records.values()
        listeners = sum(record.connection.role == Role.LISTENER for record in records)
        session = world.sessions.sessions.get("s1")
        assert (session.listener_count if session else 0) == listeners
        # No socket without a record, no record without a socket.
        assert world.gateway.open_ids == set(world.connections.records)

    def test_is_found_in_any_page(self, world: World, break_: Callable[[World], Violation]) -> None:
        world.audit._page_size = 1
        broken = break_(world)
        assert world.check.find().broken == (broken,)


class TestWhatIsNotBroken:
    def test_nothing_is_said_of_a_healthy_session(self, world: World) -> None:
        report = world.check.find()
        assert report == CheckReport(connections=3, sessions=1, broken=())
        assert world.clock.now_ms() == START_MS
        assert world.said == []

    def test_nothing_is_said_of_an_empty_stack(self) -> None:
        assert World().check.find() == CheckReport(connections=0, sessions=0, broken=())

    def test_records_of_other_shapes_are_left_alone(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd"))
        world.gateway.open("odd")
        assert world.check.find().broken == ()

    def test_an_ended_session_without_listeners_is_in_order(self, world: World) -> None:
        world.leave("speaker")
        assert not world.session.is_active
        assert world.check.find().broken == ()

    @pytest.mark.parametrize("break_", [ghost, no_speaker, lost_listeners, ended_with_listeners])
    def test_what_is_cleaned_up_in_between_is_no_breakage(
        self, world: World, break_: Callable[[World], Violation]
    ) -> None:
        break_(world)

        def clean_up() -> None:
            for connection_id in list(world.connections.records):
                world.leave(connection_id)
            world.sessions.sessions.clear()

        world.during_pause(clean_up)
        assert world.check.find().broken == ()

    def test_a_join_under_way_is_no_ghost(self, world: World) -> None:
        world.vanish("l1")
        world.during_pause(lambda: world.gateway.open("l1"))
        assert world.check.find().broken == ()

    def test_a_claim_that_is_taken_over_in_between_is_no_breakage(self, world: World) -> None:
        expired_claim(world)
        world.during_pause(lambda: world.claim("l1", expired_ms_ago=-60_000))
        assert world.check.find().broken == ()

    def test_a_session_that_is_counted_right_in_between_is_no_breakage(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=2))
        assert world.check.find().broken == ()

    def test_a_session_that_is_gone_in_between_has_no_count(self, world: World) -> None:
        world.leave("l1")
        world.leave("l2")
        world.leave("speaker")
        world.change_session(listener_count=1)
        world.during_pause(world.sessions.sessions.clear)
        assert world.check.find().broken == ()

    def test_an_unreadable_session_may_be_readable_by_then(self, world: World) -> None:
        world.audit.unreadable.add("s1")
        world.during_pause(world.audit.unreadable.clear)
        assert world.check.find().broken == ()

    def test_a_speaker_that_is_gone_while_its_listeners_are_closed_is_no_ghost(
        self, world: World
    ) -> None:
        world.vanish("speaker")
        world.change_session(is_active=False, ended_at_ms=world.clock.now_ms())
        assert world.check.find().broken == ()

    def test_a_speaker_of_before_is_a_ghost_even_so(self, world: World) -> None:
        old = Connection(connection_id="old", session_id="s1", role=Role.SPEAKER)
        world.connections.put(old)
        assert world.check.find().broken == (Ghost(old),)

    def test_a_speaker_without_a_session_is_a_ghost_like_any_other(self, world: World) -> None:
        odd = Connection(connection_id="odd", role=Role.SPEAKER)
        world.connections.put(odd)
        assert world.check.find().broken == (Ghost(odd),)

    def test_a_listener_that_only_the_index_still_lists_is_not_on_record(
        self, world: World
    ) -> None:
        world.leave("l2")
        ended_with_listeners(world)

        def lag(operation: str, _key: str) -> None:
            if operation == "Query":
                world.connections.records.pop("l1", None)

        world.during_pause(lambda: setattr(world.faults, "after", lag))
        assert world.check.find().broken == ()


class TestCounting:
    def test_two_looks_have_to_agree(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=6))
        assert world.check.find().broken == (WrongCount("s1", 6, 2),)
        assert world.clock.now_ms() == START_MS + 2 * PAUSE_MS

    def test_a_session_that_changes_in_every_look_is_not_judged(self, world: World) -> None:
        world.change_session(listener_count=50)

        def joins_uncounted(operation: str, key: str) -> None:
            if (operation, key) == ("Scan", "connections"):
                world.change_session(listener_count=world.session.listener_count + 1)

        world.faults.before = joins_uncounted
        report = world.check.find()
        assert report.broken == ()
        assert report.unsettled == ("s1",)

    def test_listeners_that_swap_between_looks_start_it_anew(self, world: World) -> None:
        count_too_high(world)

        def swap() -> None:
            world.leave("l1")
            world.join("l3", Role.LISTENER)

        # After the first of the two looks that would have to agree.
        world.during_pause(lambda: world.during_pause(swap))
        assert world.check.find().broken == (WrongCount("s1", 5, 2),)
        assert world.clock.now_ms() == START_MS + 3 * PAUSE_MS

    def test_a_count_that_changed_since_is_left_alone_and_looked_at_again(
        self, world: World
    ) -> None:
        count_too_high(world)
        report = world.check.find()
        world.join("l3", Role.LISTENER)
        final, tried = world.check.mend(report)
        assert [one.failure is None for one in tried] == [False, True]
        assert final.broken == ()
        assert world.session.listener_count == 3


class TestFailures:
    @pytest.mark.parametrize("operation", ["Scan", "GetConnection"])
    def test_what_cannot_be_read_is_an_error(self, world: World, operation: str) -> None:
        world.faults.fail(operation)
        with pytest.raises(BackendError, match=operation):
            world.check.find()

    def test_says_how_far_it_is_while_it_takes_long(self, world: World) -> None:
        world.audit._page_size = 1

        def slow(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                world.clock.advance(seconds=3)

        world.faults.before = slow
        assert world.check.find().broken == ()
        assert world.said == ["2 connections checked"]
