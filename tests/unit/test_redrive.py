"""Replaying failed cleanups, on the in-memory fakes."""

import json

import pytest

from hangup.core.connection import Connection, JsonObject
from hangup.core.events import GatewayAddress, disconnect_event
from hangup.errors import BackendError
from hangup.sessions.redrive import Redrive
from hangup.testing import START_MS, FakeAws

ADDRESS = GatewayAddress(domain_name="example.com", stage="prod", api_id="a1")


def event(number: int) -> JsonObject:
    connection = Connection(connection_id=f"c{number}")
    return disconnect_event(connection, None, ADDRESS, now_ms=START_MS, correlation_id="sweep-1")


class World(FakeAws):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.redrive = Redrive(
            letters=self.dead_letters, functions=self.functions, say=self.said.append
        )


@pytest.fixture
def world() -> World:
    return World()


def test_replays_every_event_as_it_was_and_empties_the_queue(world: World) -> None:
    events = [event(number) for number in range(25)]
    for one in events:
        world.dead_letters.add(one)
    report = world.redrive.replay()
    assert (report.replayed, report.left) == (25, {})
    assert world.functions.events == events
    assert world.dead_letters.bodies == {}
    assert world.said[0] == "replayed: the cleanup of connection c0"


def test_an_empty_queue_is_nothing_to_do(world: World) -> None:
    report = world.redrive.replay()
    assert (report.replayed, report.left, world.said) == (0, {}, [])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("no JSON", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "requestPayload is missing"),
        ("{}", "requestPayload is missing"),
        (json.dumps({"requestPayload": "text"}), "requestPayload is missing"),
        (json.dumps({"requestPayload": {}}), "requestContext is missing"),
        (
            json.dumps(
                {"requestPayload": {"requestContext": {"connectionId": "c", "routeKey": "other"}}}
            ),
            "not $disconnect",
        ),
    ],
)
def test_a_message_of_another_kind_stays_and_is_named(world: World, body: str, why: str) -> None:
    odd = world.dead_letters.put(body)
    world.dead_letters.add(event(1))
    report = world.redrive.replay()
    assert report.replayed == 1
    assert list(report.left) == [odd]
    assert why in report.left[odd]
    assert odd in world.said[0]
    assert list(world.dead_letters.bodies) == [odd]
    assert world.dead_letters.hidden == set()


def test_a_message_whose_invocation_fails_stays(world: World) -> None:
    first, _second = world.dead_letters.add(event(1)), world.dead_letters.add(event(2))
    world.faults.fail("Invoke")
    report = world.redrive.replay()
    assert (report.replayed, list(report.left)) == (1, [first])
    assert list(world.dead_letters.bodies) == [first]
    assert world.dead_letters.hidden == set()


def test_a_dry_run_changes_nothing(world: World) -> None:
    for number in range(12):
        world.dead_letters.add(event(number))
    report = world.redrive.replay(dry_run=True)
    assert (report.replayed, report.left) == (12, {})
    assert world.functions.events == []
    assert len(world.dead_letters.bodies) == 12
    assert world.dead_letters.hidden == set()
    assert world.said[11] == "would replay: the cleanup of connection c11"


def test_a_message_is_deleted_only_once_its_event_is_accepted(world: World) -> None:
    calls: list[str] = []
    world.faults.before = lambda operation, _key: calls.append(operation)
    world.dead_letters.add(event(1))
    world.redrive.replay()
    assert calls == ["ReceiveMessage", "Invoke", "DeleteMessage", "ReceiveMessage"]


def test_gives_everything_back_when_the_queue_fails_half_way(world: World) -> None:
    odd = world.dead_letters.put("no JSON")
    world.dead_letters.add(event(1))
    world.faults.fail("DeleteMessage")
    with pytest.raises(BackendError, match="DeleteMessage"):
        world.redrive.replay()
    assert odd in world.dead_letters.bodies
    assert world.dead_letters.hidden == set()


def test_ends_when_all_that_is_left_comes_round_again(world: World) -> None:
    # A pass so long that the messages that it left are visible again.
    odd = world.dead_letters.put("no JSON")
    world.faults.after = lambda _operation, _key: world.dead_letters.hidden.clear()
    report = world.redrive.replay()
    assert list(report.left) == [odd]
    assert len(world.said) == 1
