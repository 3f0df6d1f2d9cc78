"""A sweep of several batches: what is done once, what stops it, and what it says at the end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from hangup.core.connection import Connection
from hangup.core.guard import CONTROL_SIZE, MAX_REFUSALS
from hangup.errors import BackendError, SweepFailed
from hangup.testing.services import Sequential, SequentialTask
from tests.support.idle_world import World
from tests.support.precise_world import PreciseWorld

_PAGE: Final = 100
"""Records of one page of the fake, in the order of their ids; each fills a batch here."""


@pytest.fixture(autouse=True)
def a_page_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangup.idle.scan.BATCH_SIZE", 1)


@pytest.fixture
def world() -> World:
    world = World()
    world.sweep = replace(world.sweep, total_segments=1)
    return world


class ReadsAhead(Sequential):
    """Reads the next batch before this one is acted on, as far ahead as there is a reader."""

    def start(self, function: Callable[[], None], /) -> SequentialTask:
        function()
        return SequentialTask(lambda: None)


def put_without_time(world: World, first: int, count: int) -> None:
    for number in range(first, first + count):
        world.connections.put(Connection(connection_id=f"c{number:04}"))
        world.gateway.open(f"c{number:04}")


def connect(world: World, first: int, count: int, *, silent_s: float) -> None:
    for number in range(first, first + count):
        world.connect(f"c{number:04}", silent_s=silent_s)


def fails(*calls: tuple[str, str]) -> Callable[[str, str], None]:
    """Return what fails these calls of an operation on a key."""

    def before(operation: str, key: str) -> None:
        if (operation, key) in calls:
            raise BackendError(operation, "Planned", key, retryable=True)

    return before


def test_what_was_read_ahead_when_it_was_stopped_is_not_checked(world: World) -> None:
    put_without_time(world, 0, 3 * _PAGE)
    world.sweep = replace(world.sweep, concurrency=ReadsAhead())
    asked: list[str] = []

    def refuse(operation: str, key: str) -> None:
        if operation == "GetConnection":
            asked.append(key)
            raise BackendError(operation, "ForbiddenException", key, retryable=False)

    world.faults.before = refuse
    with pytest.raises(SweepFailed, match="execute-api:ManageConnections"):
        world.run()
    assert len(asked) == MAX_REFUSALS
    assert world.metrics.total("ConnectionsChecked") == _PAGE


@pytest.mark.parametrize(
    ("calls", "first"),
    [
        ([("UpdateItem", "c0000"), ("GetConnection", "c0100")], "UpdateItem"),
        ([("Scan", "sample"), ("UpdateItem", "c0000")], "Scan"),
    ],
)
def test_the_error_that_came_first_is_named(
    world: World, calls: list[tuple[str, str]], first: str
) -> None:
    connect(world, 0, 1, silent_s=300)
    connect(world, 1, _PAGE - 1, silent_s=125)
    put_without_time(world, _PAGE, 1)
    world.faults.before = fails(*calls)
    with pytest.raises(SweepFailed, match=f"first error: {first} failed"):
        world.run()


@pytest.mark.parametrize(
    ("calls", "first"),
    [
        ([("GetConnection", "c2"), ("SendMessageBatch", "")], "GetConnection"),
        ([("SendMessageBatch", "")], "SendMessageBatch"),
    ],
)
def test_the_first_error_of_a_sweep_that_queues_is_named(
    calls: list[tuple[str, str]], first: str
) -> None:
    world = PreciseWorld()
    world.connect("c1", silent_s=300)
    world.connections.put(Connection(connection_id="c2"))
    world.gateway.open("c2")
    world.faults.before = fails(*calls)
    with pytest.raises(SweepFailed, match=f"first error: {first} failed"):
        world.run()
    assert world.metrics.total("QueueFailures") == 1


def test_the_control_group_is_asked_once(world: World) -> None:
    connect(world, 0, 3 * _PAGE, silent_s=300)
    for number in range(50):
        world.connect(f"live{number}", silent_s=5)
    asked: list[str] = []

    def note(operation: str, key: str) -> None:
        if operation == "GetConnection" and key.startswith("live"):
            asked.append(key)

    world.faults.before = note
    assert world.run()["closed"] == 3 * _PAGE
    # As many at most: a sample of the whole table holds fewer that talk.
    assert 0 < len(asked) == len(set(asked)) <= CONTROL_SIZE


def test_an_observer_counts_once_what_it_is_told(world: World) -> None:
    put_without_time(world, 0, 2 * _PAGE)
    for number in range(2 * _PAGE):
        world.gateway.active_ms[f"c{number:04}"] = world.clock.now_ms()
    world.clock.advance(seconds=121)
    world.sweep = world.make_sweep(closer=replace(world.closer, acts=False))
    counts = world.run()
    assert (counts["wouldClose"], counts["idle"]) == (2 * _PAGE, 2 * _PAGE)


def test_its_line_comes_last(world: World) -> None:
    connect(world, 0, 1, silent_s=300)
    world.connections.put(Connection(connection_id="no id"))
    world.run()
    events = [event for _, event, _ in world.log.lines]
    assert "ignored records that are not connections" in events
    assert events[-1] == "sweep done"
