"""What a repair changes, and what it leaves as it is, on the in-memory fakes."""

from dataclasses import replace

import pytest

from hangup.core.connection import Connection, EpochMs, InvalidTime, RecordedTime
from hangup.core.timing import CLAIM_MS
from hangup.sessions.invariants import UnreadableSession
from hangup.sessions.model import Role
from tests.support.check_world import (
    World,
    expired_claim,
    ghost,
    ghost_speaker,
    in_order,
    lost_listeners,
    no_speaker,
    of_an_earlier_run,
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
        assert tried[0].failure == "changed since the check"
        assert final.violations == ()
        assert world.session.is_active
        assert "speaker2" in world.gateway.open_ids

    def test_a_speaker_that_is_on_record_by_then_is_left_alone(self, world: World) -> None:
        no_speaker(world)
        report = world.check.find()
        world.connections.put(
            Connection(connection_id="speaker", session_id="s1", role=Role.SPEAKER)
        )
        _, tried = world.check.repair(report)
        assert tried[0].failure == "changed since the check"
        assert world.session.is_active

    def test_listeners_of_the_run_that_is_active_stay(self, world: World) -> None:
        of_an_earlier_run(world)
        world.repair()
        assert world.connections.records.keys() == {"speaker2", "l3"}
        assert world.gateway.open_ids == {"speaker2", "l3"}
        assert [m["type"] for m in world.gateway.sent["l1"]] == ["sessionEnded"]

    def test_listeners_that_are_gone_by_then_are_not_repaired(self, world: World) -> None:
        of_an_earlier_run(world)
        report = world.check.find()
        world.leave("l1")
        world.leave("l2")
        _, tried = world.check.repair(report)
        assert tried[0].failure == "changed since the check"

    def test_listeners_of_a_session_that_is_unreadable_by_then_stay(self, world: World) -> None:
        lost_listeners(world)
        report = world.check.find()
        world.store.unreadable.add("s1")
        _, tried = world.check.repair(report)
        assert tried[0].failure == "changed since the check"
        assert {"l1", "l2"} <= world.gateway.open_ids

    def test_somebody_who_is_at_it_is_left_to_it(self, world: World) -> None:
        ghost_speaker(world)
        report = world.check.find()
        now_ms = world.clock.now_ms()
        speaker = world.connections.records["speaker"].connection
        world.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 10 * CLAIM_MS))
        _, tried = world.check.repair(report)
        assert tried[0].failure == "changed since the check"
        assert {"l1", "l2"} <= world.gateway.open_ids

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
        world.faults.fail("DeleteItem", times=10, retryable=False)
        report = world.repair()
        assert [violation.kind for violation in report.violations] == ["ghost"]
        assert len(world.tried) == 3
        assert all("planned" in str(one.failure) for one in world.tried)

    def test_an_unreadable_session_is_reported_and_not_touched(self, world: World) -> None:
        world.store.unreadable.add("s1")
        before = world.session
        world.vanish("l1")
        report = world.repair()
        assert set(report.violations) == {UnreadableSession("s1")}
        failures = {one.violation.kind: one.failure for one in world.tried}
        assert failures["ghost"] is None
        assert "by hand" in str(failures["unreadable session"])
        assert world.session == before
        assert world.connections.records.keys() == {"speaker", "l2"}

    def test_everything_at_once_is_repaired(self, world: World) -> None:
        for number in range(2, 5):
            session_id = f"s{number}"
            world.join(f"speaker{number}", Role.SPEAKER, session_id)
            world.join(f"x{number}", Role.LISTENER, session_id)
            world.join(f"y{number}", Role.LISTENER, session_id)
        ghost(world)
        world.claim("l2", expired_ms_ago=200_000)
        world.lose_record("speaker2")
        world.lose_record("speaker3")
        del world.sessions.sessions["s3"]
        world.lose_record("x4")
        world.vanish("y4")
        assert world.repair().violations == ()
        active = {i: session.is_active for i, session in world.sessions.sessions.items()}
        assert active == {"s1": True, "s2": False, "s4": True}
        assert set(world.connections.records) == {"speaker", "l2", "speaker4"}


def test_a_time_in_another_unit_is_reported_and_not_touched(world: World) -> None:
    record = world.connections.records["l1"]
    invalid = InvalidTime(RecordedTime.LAST_ACTIVITY, "1700000000")
    record.connection = replace(
        record.connection, last_activity_ms=None, connected_at_ms=None, malformed=(invalid,)
    )
    before = record.connection
    report = world.repair()
    (violation,) = report.violations
    assert violation.kind == "unreadable time"
    assert "by hand" in str(world.tried[-1].failure)
    assert world.connections.records["l1"].connection == before
