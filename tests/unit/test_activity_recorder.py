"""Recording activity, and closing orphans, on the in-memory fakes."""

import pytest

from hangup.core.connection import Connection, DurationMs
from hangup.core.outcomes import NotRecorded
from hangup.errors import BackendError
from hangup.idle.activity import ActivityRecorder
from hangup.testing import FakeAws


class World(FakeAws):
    """The fakes, and the recorder on them."""

    def __init__(self) -> None:
        super().__init__()
        self.recorder = ActivityRecorder(
            connections=self.connections,
            gateway=self.gateway,
            log=self.log,
            resolution_ms=DurationMs(0),
        )


@pytest.fixture
def world() -> World:
    world = World()
    world.add_connection("l1")
    return world


def test_moves_the_last_activity_forward(world: World) -> None:
    now_ms = world.clock.advance(seconds=30)
    before = world.connections.get("l1")
    assert world.recorder.record("l1", now_ms=now_ms) == before
    assert world.connections.records["l1"].connection.last_activity_ms == now_ms


def test_a_repetition_is_activity_too(world: World) -> None:
    now_ms = world.clock.now_ms()
    assert isinstance(world.recorder.record("l1", now_ms=now_ms), Connection)
    again = world.recorder.record("l1", now_ms=now_ms)
    assert again is NotRecorded.ALREADY_RECORDED
    assert "l1" in world.gateway.open_ids


def test_closes_an_orphan_and_says_so(world: World) -> None:
    world.gateway.open("orphan")
    outcome = world.recorder.record("orphan", now_ms=world.clock.now_ms())
    assert outcome is NotRecorded.NO_RECORD
    assert "orphan" not in world.gateway.open_ids
    assert world.connections.get("orphan") is None
    assert world.log.events("warning") == ["closed an orphan: the connection has no record"]


def test_an_orphan_that_has_left_by_now_is_no_error(world: World) -> None:
    outcome = world.recorder.record("orphan", now_ms=world.clock.now_ms())
    assert outcome is NotRecorded.NO_RECORD


def test_an_outage_is_an_error_and_closes_nobody(world: World) -> None:
    world.faults.fail("UpdateItem")
    with pytest.raises(BackendError):
        world.recorder.record("l1", now_ms=world.clock.now_ms())
    assert "l1" in world.gateway.open_ids
