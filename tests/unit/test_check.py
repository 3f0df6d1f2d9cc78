"""What check finds, what it does not, and what a repair leaves, on the in-memory fakes."""

from collections.abc import Callable

import pytest

from hangup.core.connection import Connection, RecordedTime
from hangup.errors import BackendError
from hangup.sessions.check import PAUSE_MS, CheckReport, findings_as_json, in_words
from hangup.sessions.invariants import Ghost, LostListeners, UnreadableTime, Violation
from hangup.sessions.model import Role, has_ended
from hangup.sessions.repair import RepairResult
from hangup.testing import START_MS
from tests.support.check_world import (
    VIOLATIONS,
    World,
    ended_with_listeners,
    expired_claim,
    ghost,
    in_order,
    lost_listeners,
    no_speaker,
    of_an_earlier_run,
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

    def test_names_in_json_whom_it_concerns(
        self, world: World, violate: Callable[[World], Violation]
    ) -> None:
        violation = violate(world)
        found = findings_as_json(world.check.find(), ())["violations"]
        assert isinstance(found, list)
        (fields,) = found
        assert (fields.pop("kind"), fields.pop("what")) == (violation.kind, str(violation))
        assert {"s1", "l1"} & set(fields.values())
        # Whoever it is, the sentence says the same.
        assert all(str(value) in str(violation) for name, value in fields.items() if "Id" in name)

    def test_is_repaired(self, world: World, violate: Callable[[World], Violation]) -> None:
        violate(world)
        assert world.repair().violations == ()
        assert [one.failure for one in world.tried] == [None]
        session = world.sessions.sessions.get("s1")
        for record in world.connections.records.values():
            listener = record.connection
            assert listener.role != Role.LISTENER or not has_ended(session, listener.session_run)
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

    @pytest.mark.parametrize(
        "violate", [ghost, no_speaker, lost_listeners, ended_with_listeners, of_an_earlier_run]
    )
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

    def test_a_join_that_meets_the_end_of_its_session_is_no_lost_listener(
        self, world: World
    ) -> None:
        of_an_earlier_run(world)

        def take_back() -> None:
            world.lose_record("l1")
            world.lose_record("l2")

        world.during_pause(take_back)
        assert world.check.find().violations == ()

    @pytest.mark.parametrize("after_ms", [0, 60_000])
    def test_listeners_of_a_run_that_is_being_cleaned_up_are_not_lost(
        self, world: World, after_ms: int
    ) -> None:
        of_an_earlier_run(world)
        old = Connection(
            connection_id="speaker", session_id="s1", role=Role.SPEAKER, connected_at_ms=START_MS
        )
        world.connections.put(old)
        world.clock.ms += after_ms - PAUSE_MS
        # The record of their speaker goes last.
        assert world.check.find().violations == ()
        world.clock.ms += 1
        assert LostListeners("s1") in world.check.find().violations or not after_ms

    def test_listeners_of_an_unreadable_session_are_not_judged(self, world: World) -> None:
        lost_listeners(world)
        world.during_pause(lambda: world.store.unreadable.add("s1"))
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
        old = Connection(
            connection_id="old", session_id="s1", role=Role.SPEAKER, connected_at_ms=START_MS
        )
        world.connections.put(old)
        world.clock.advance(seconds=60)
        assert world.check.find().violations == (Ghost(old),)

    def test_a_speaker_without_a_session_is_a_ghost_like_any_other(self, world: World) -> None:
        odd = Connection(connection_id="odd", role=Role.SPEAKER, connected_at_ms=START_MS)
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
    LOST = LostListeners("s1")
    HEALTHY = CheckReport(connections=2, sessions=1, violations=())
    VIOLATED = CheckReport(connections=1, sessions=2, violations=(LOST,))

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
                [RepairResult(LOST), RepairResult(LOST, "denied")],
                True,
                "Checked 2 connections and 1 session: no violations left, 1 repaired.",
            ),
            (
                VIOLATED,
                [RepairResult(LOST, "denied")],
                True,
                "Checked 1 connection and 2 sessions: 1 violation left, 0 repaired.",
            ),
        ],
    )
    def test_in_words(
        self, report: CheckReport, tried: list[RepairResult], *, fixed: bool, words: str
    ) -> None:
        assert in_words(report, tried, fixed=fixed, repair_with="repair it") == words

    def test_as_json(self) -> None:
        tried = [RepairResult(LostListeners("s2")), RepairResult(self.LOST, "denied")]
        lost = {"kind": "lost listeners", "sessionId": "s1", "what": str(self.LOST)}
        assert findings_as_json(self.VIOLATED, tried) == {
            "connections": 1,
            "sessions": 2,
            "violations": [lost],
            "repaired": [
                {"kind": "lost listeners", "sessionId": "s2", "what": str(LostListeners("s2"))}
            ],
            "notRepaired": [lost | {"why": "denied"}],
        }

    def test_an_unreadable_time_in_json(self) -> None:
        seconds = UnreadableTime("c1", RecordedTime.LAST_ACTIVITY, "1700000000")
        report = CheckReport(connections=1, sessions=0, violations=(seconds,))
        assert findings_as_json(report, ())["violations"] == [
            {
                "kind": "unreadable time",
                "connectionId": "c1",
                "time": RecordedTime.LAST_ACTIVITY.value,
                "value": "1700000000",
                "what": str(seconds),
            }
        ]
