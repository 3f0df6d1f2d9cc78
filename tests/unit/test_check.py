"""What check finds, what it does not, and what a repair leaves, on the in-memory fakes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hangup.core.connection import Connection
from hangup.errors import BackendError
from hangup.sessions.check import PAUSE_MS, CheckReport, findings_as_json, in_words
from hangup.sessions.invariants import Ghost, Violation, WrongCount
from hangup.sessions.model import Role
from hangup.sessions.repair import RepairResult
from hangup.testing import START_MS
from tests.support.check_world import (
    VIOLATIONS,
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


@pytest.mark.parametrize("violate", VIOLATIONS)
class TestEveryViolation:
    def test_is_found(self, world: World, violate: Callable[[World], Violation]) -> None:
        violation = violate(world)
        report = world.check.find()
        assert report.violations == (violation,)
        assert "s1" in str(violation) or "l1" in str(violation)

    def test_is_repaired(self, world: World, violate: Callable[[World], Violation]) -> None:
        violate(world)
        assert world.repair().violations == ()
        assert [one.failure for one in world.tried] == [None]
        records = world.connections.records.values()
        listeners = sum(record.connection.role == Role.LISTENER for record in records)
        session = world.sessions.sessions.get("s1")
        assert (session.listener_count if session else 0) == listeners
        # No socket without a record, no record without a socket.
        assert world.gateway.open_ids == set(world.connections.records)

    def test_is_found_in_any_page(
        self, world: World, violate: Callable[[World], Violation]
    ) -> None:
        world.store._page_size = 1
        violation = violate(world)
        assert world.check.find().violations == (violation,)


class TestWhatIsNoViolation:
    def test_a_healthy_session_has_no_violations(self, world: World) -> None:
        report = world.check.find()
        assert report == CheckReport(connections=3, sessions=1, violations=())
        assert world.clock.now_ms() == START_MS
        assert world.said == []

    def test_an_empty_stack_has_no_violations(self) -> None:
        assert World().check.find() == CheckReport(connections=0, sessions=0, violations=())

    def test_records_of_other_shapes_are_left_alone(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd"))
        world.gateway.open("odd")
        assert world.check.find().violations == ()

    def test_an_ended_session_without_listeners_is_in_order(self, world: World) -> None:
        world.leave("speaker")
        assert not world.session.is_active
        assert world.check.find().violations == ()

    @pytest.mark.parametrize("violate", [ghost, no_speaker, lost_listeners, ended_with_listeners])
    def test_what_is_cleaned_up_in_between_is_no_violation(
        self, world: World, violate: Callable[[World], Violation]
    ) -> None:
        violate(world)

        def clean_up() -> None:
            for connection_id in list(world.connections.records):
                world.leave(connection_id)
            world.sessions.sessions.clear()

        world.during_pause(clean_up)
        assert world.check.find().violations == ()

    def test_a_join_under_way_is_no_ghost(self, world: World) -> None:
        world.vanish("l1")
        world.during_pause(lambda: world.gateway.open("l1"))
        assert world.check.find().violations == ()

    def test_a_claim_that_is_taken_over_in_between_is_no_violation(self, world: World) -> None:
        expired_claim(world)
        world.during_pause(lambda: world.claim("l1", expired_ms_ago=-60_000))
        assert world.check.find().violations == ()

    def test_a_session_that_is_counted_right_in_between_is_no_violation(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=2))
        assert world.check.find().violations == ()

    def test_a_session_that_is_gone_in_between_has_no_count(self, world: World) -> None:
        world.leave("l1")
        world.leave("l2")
        world.leave("speaker")
        world.change_session(listener_count=1)
        world.during_pause(world.sessions.sessions.clear)
        assert world.check.find().violations == ()

    def test_an_unreadable_session_may_be_readable_by_then(self, world: World) -> None:
        world.store.unreadable.add("s1")
        world.during_pause(world.store.unreadable.clear)
        assert world.check.find().violations == ()

    def test_a_speaker_that_is_gone_while_its_listeners_are_closed_is_no_ghost(
        self, world: World
    ) -> None:
        world.vanish("speaker")
        world.change_session(is_active=False, ended_at_ms=world.clock.now_ms())
        assert world.check.find().violations == ()

    def test_a_speaker_of_before_is_a_ghost_even_so(self, world: World) -> None:
        old = Connection(connection_id="old", session_id="s1", role=Role.SPEAKER)
        world.connections.put(old)
        assert world.check.find().violations == (Ghost(old),)

    def test_a_speaker_without_a_session_is_a_ghost_like_any_other(self, world: World) -> None:
        odd = Connection(connection_id="odd", role=Role.SPEAKER)
        world.connections.put(odd)
        assert world.check.find().violations == (Ghost(odd),)

    def test_a_listener_that_only_the_index_still_lists_is_not_on_record(
        self, world: World
    ) -> None:
        world.leave("l2")
        ended_with_listeners(world)

        def lag(operation: str, _key: str) -> None:
            if operation == "Query":
                world.connections.records.pop("l1", None)

        world.during_pause(lambda: setattr(world.faults, "after", lag))
        assert world.check.find().violations == ()


class TestCounting:
    def test_two_looks_have_to_agree(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=6))
        assert world.check.find().violations == (WrongCount("s1", 6, 2),)
        assert world.clock.now_ms() == START_MS + 2 * PAUSE_MS

    def test_a_session_that_changes_in_every_look_is_skipped(self, world: World) -> None:
        world.change_session(listener_count=50)

        def joins_uncounted(operation: str, key: str) -> None:
            if (operation, key) == ("Scan", "connections"):
                world.change_session(listener_count=world.session.listener_count + 1)

        world.faults.before = joins_uncounted
        report = world.check.find()
        assert report.violations == ()
        assert report.skipped == ("s1",)

    def test_listeners_that_swap_between_looks_start_it_anew(self, world: World) -> None:
        count_too_high(world)

        def swap() -> None:
            world.leave("l1")
            world.join("l3", Role.LISTENER)

        # After the first of the two looks that would have to agree.
        world.during_pause(lambda: world.during_pause(swap))
        assert world.check.find().violations == (WrongCount("s1", 5, 2),)
        assert world.clock.now_ms() == START_MS + 3 * PAUSE_MS

    def test_a_count_that_changed_since_is_left_alone_and_looked_at_again(
        self, world: World
    ) -> None:
        count_too_high(world)
        report = world.check.find()
        world.join("l3", Role.LISTENER)
        final, tried = world.check.repair(report)
        assert [one.failure is None for one in tried] == [False, True]
        assert final.violations == ()
        assert world.session.listener_count == 3


class TestFailures:
    @pytest.mark.parametrize("operation", ["Scan", "GetConnection"])
    def test_what_cannot_be_read_is_an_error(self, world: World, operation: str) -> None:
        world.faults.fail(operation)
        with pytest.raises(BackendError, match=operation):
            world.check.find()

    def test_reports_progress_while_it_takes_long(self, world: World) -> None:
        world.store._page_size = 1

        def slow(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                world.clock.advance(seconds=3)

        world.faults.before = slow
        assert world.check.find().violations == ()
        assert world.said == ["connections checked: 2"]


class TestResult:
    WRONG = WrongCount("s1", 7, 1)
    HEALTHY = CheckReport(connections=2, sessions=1, violations=())
    VIOLATED = CheckReport(connections=1, sessions=2, violations=(WRONG,))

    @pytest.mark.parametrize(
        ("report", "tried", "fixed", "words"),
        [
            (HEALTHY, [], False, "Checked 2 connections and 1 session: no violations."),
            (
                VIOLATED,
                [],
                False,
                "Checked 1 connection and 2 sessions: 1 violation. To repair, run: repair it",
            ),
            (
                HEALTHY,
                [RepairResult(WRONG), RepairResult(WRONG, "denied")],
                True,
                "Checked 2 connections and 1 session: no violations left, 1 repaired.",
            ),
            (
                VIOLATED,
                [RepairResult(WRONG, "denied")],
                True,
                "Checked 1 connection and 2 sessions: 1 violation left, 0 repaired.",
            ),
        ],
    )
    def test_in_words(
        self, report: CheckReport, tried: list[RepairResult], *, fixed: bool, words: str
    ) -> None:
        assert in_words(report, tried, fixed=fixed, repair_with="repair it") == words

    def test_in_words_with_skipped_sessions(self) -> None:
        report = replace(self.HEALTHY, skipped=("s1", "s2"))
        assert in_words(report, [], fixed=False, repair_with="repair it").splitlines() == [
            "Checked 2 connections and 1 session: no violations.",
            "Skipped, too busy to count: s1, s2.",
        ]

    def test_as_json(self) -> None:
        tried = [RepairResult(WrongCount("s2", 2, 3)), RepairResult(self.WRONG, "denied")]
        report = replace(self.VIOLATED, skipped=("s3",))
        wrong = {"kind": "wrong count", "what": "session s1 has a listenerCount of 7, expected 1"}
        assert findings_as_json(report, tried) == {
            "connections": 1,
            "sessions": 2,
            "violations": [wrong],
            "repaired": [
                {"kind": "wrong count", "what": "session s2 has a listenerCount of 2, expected 3"}
            ],
            "notRepaired": [wrong | {"why": "denied"}],
            "skipped": ["s3"],
        }
