"""What a repair changes, and what it leaves as it is, on the in-memory fakes."""

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.core.timing import CLAIM_MS
from hangup.sessions.invariants import UnreadableSession
from hangup.sessions.model import Role
from tests.support.check_world import (
    World,
    count_too_high,
    ended_and_forgotten,
    expired_claim,
    ghost,
    ghost_speaker,
    in_order,
    lost_listeners,
    no_speaker,
)


@pytest.fixture
def world() -> World:
    return in_order()


class TestRepair:
    def test_a_ghost_speaker_takes_its_listeners_along(self, world: World) -> None:
        ghost_speaker(world)
        world.repair()
        assert not world.session.is_active
        assert world.gateway.open_ids == set()
        assert [m["type"] for m in world.gateway.sent["l1"]] == ["sessionEnded"]

    def test_the_client_with_an_expired_claim_stays(self, world: World) -> None:
        expired_claim(world)
        world.repair()
        assert world.gateway.open_ids == {"speaker", "l1", "l2"}
        assert world.connections.records["l1"].claim_expires_ms is None

    def test_a_claim_taken_since_is_left_alone(self, world: World) -> None:
        expired_claim(world)
        report = world.check.find()
        world.claim("l1", expired_ms_ago=-60_000)
        _, tried = world.check.repair(report)
        assert world.connections.records["l1"].claim_expires_ms is not None
        assert tried[0].failure is not None

    def test_orphaned_listeners_are_notified_and_closed(self, world: World) -> None:
        no_speaker(world)
        world.repair()
        assert [m["type"] for m in world.gateway.sent["l2"]] == ["sessionEnded"]
        assert world.gateway.open_ids == set()
        assert not world.session.is_active

    def test_a_session_with_another_speaker_since_is_left_alone(self, world: World) -> None:
        no_speaker(world)
        report = world.check.find()
        world.change_session(speaker_connection_id="speaker2")
        world.connections.put(
            Connection(connection_id="speaker2", session_id="s1", role=Role.SPEAKER)
        )
        world.gateway.open("speaker2")
        final, tried = world.check.repair(report)
        assert tried[0].failure is not None
        assert final.violations == ()
        assert {"l1", "l2", "speaker2"} <= world.gateway.open_ids

    def test_listeners_of_a_session_that_starts_again_meanwhile_stay(self, world: World) -> None:
        no_speaker(world)
        report = world.check.find()

        def start_again(operation: str, _key: str) -> None:
            if operation == "Query":
                world.faults.after = lambda _operation, _key: None
                world.change_session(is_active=True, speaker_connection_id="speaker2")
                world.connections.put(
                    Connection(connection_id="speaker2", session_id="s1", role=Role.SPEAKER)
                )
                world.gateway.open("speaker2")

        world.faults.after = start_again
        _, tried = world.check.repair(report)
        assert tried[0].failure is not None
        assert {"l1", "l2"} <= world.gateway.open_ids

    def test_listeners_that_have_a_session_again_stay(self, world: World) -> None:
        lost_listeners(world)
        report = world.check.find()
        world.join("speaker2", Role.SPEAKER)
        world.check.repair(report)
        assert {"l1", "l2"} <= world.gateway.open_ids
        assert world.session.listener_count == 2

    def test_somebody_who_is_at_it_is_left_to_it(self, world: World) -> None:
        ended_and_forgotten(world)
        report = world.check.find()
        now_ms = world.clock.now_ms()
        speaker = world.connections.records["speaker"].connection
        world.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 10 * CLAIM_MS))
        final, tried = world.check.repair(report)
        assert all(one.failure is not None for one in tried)
        assert report.violations[0] in final.violations

    def test_a_notice_that_fails_stops_nothing(self, world: World) -> None:
        no_speaker(world)
        world.faults.fail("PostToConnection")
        assert world.repair().violations == ()
        assert world.log.events("warning") == ["message failed"]

    def test_a_close_that_fails_is_tried_again_with_the_next_look(self, world: World) -> None:
        lost_listeners(world)
        world.faults.fail("DeleteConnection")
        report = world.repair()
        assert [one.failure is None for one in world.tried] == [False, True]
        assert "planned" in str(world.tried[0].failure)
        assert report.violations == ()

    def test_what_cannot_be_repaired_is_reported_with_the_reason(self, world: World) -> None:
        ghost(world)
        world.faults.fail("TransactWriteItems", times=10, retryable=False)
        report = world.repair()
        assert [violation.kind for violation in report.violations] == ["ghost"]
        assert len(world.tried) == 3
        assert all("planned" in str(one.failure) for one in world.tried)

    def test_an_unreadable_session_is_reported_and_nothing_of_it_is_touched(
        self, world: World
    ) -> None:
        world.store.unreadable.add("s1")
        world.vanish("speaker")
        report = world.repair()
        assert {violation.kind for violation in report.violations} == {
            "unreadable session",
            "ghost",
        }
        assert {one.violation for one in world.tried} == {UnreadableSession("s1")}
        assert "session s1" in str(world.tried[0].violation)
        assert "speaker" in world.connections.records

    def test_everything_at_once_is_repaired(self, world: World) -> None:
        for number in range(2, 5):
            session_id = f"s{number}"
            world.join(f"speaker{number}", Role.SPEAKER, session_id)
            world.join(f"x{number}", Role.LISTENER, session_id)
            world.join(f"y{number}", Role.LISTENER, session_id)
        ghost(world)
        count_too_high(world)
        world.claim("l2", expired_ms_ago=200_000)
        world.lose_record("speaker2")
        world.lose_record("speaker3")
        del world.sessions.sessions["s3"]
        world.lose_record("x4")
        world.vanish("y4")
        assert world.repair().violations == ()
        counts = {i: session.listener_count for i, session in world.sessions.sessions.items()}
        assert counts == {"s1": 1, "s2": 0, "s4": 0}
        assert set(world.connections.records) == {"speaker", "l2", "speaker4"}
