"""A crash at every boundary between two external calls: two sweeps later everything is clean."""

from collections.abc import Callable

import pytest

from hangup.sessions.model import Role
from hangup.testing import Faults
from tests.model.stores import InMemoryStores, StateTableStores
from tests.model.world import CALM, Fault, Script, World
from tests.support.documents import page

pytestmark = pytest.mark.slow

CRASHES = [Fault.CRASH_BEFORE, Fault.CRASH_AFTER]


def silent_session(stores: type[InMemoryStores] = InMemoryStores) -> World:
    """Return a session whose speaker and one listener are idle; the other listener talks."""
    faults = Faults()
    world = World(stores(faults), faults)
    world.join("s1", Role.SPEAKER)
    world.join("s1", Role.LISTENER)
    talking = world.join("s1", Role.LISTENER)
    assert talking is not None
    world.clock.advance(seconds=121)
    world.talk(talking)
    return world


def calls_of(world: World, act: Callable[[World, Script], None]) -> int:
    """Return how many external calls an act makes when nothing goes wrong."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    act(world, Script(meanwhile=dict.fromkeys(range(1_000), count)))
    return calls


def assert_clean_after_two_sweeps(world: World) -> None:
    for _ in range(2):
        world.clock.advance(seconds=61)
        world.sweep()
        while world.disconnects:
            world.disconnect(0)
    assert list(world.stores.connections.scan_all_connections()) == []
    assert [session.is_active for session in world.stores.all_sessions()] == [False]
    assert world.gateway.open_ids == set()
    world.check()


def sweep(world: World, script: Script) -> None:
    world.sweep(script)


def clean_up_after_the_speaker(world: World, script: Script) -> None:
    position = next(i for i, c in enumerate(world.disconnects) if c.startswith("s"))
    world.disconnect(position, script=script)


def clean_up_after_a_listener(world: World, script: Script) -> None:
    position = next(i for i, c in enumerate(world.disconnects) if c.startswith("l"))
    world.disconnect(position, script=script)


SWEEP_CALLS = calls_of(silent_session(), sweep)
STATE_TABLE_SWEEP_CALLS = calls_of(silent_session(StateTableStores), sweep)


def swept() -> World:
    world = silent_session()
    world.sweep()
    return world


SPEAKER_CALLS = calls_of(swept(), clean_up_after_the_speaker)
LISTENER_CALLS = calls_of(swept(), clean_up_after_a_listener)
CASES = len(CRASHES) * (2 * SWEEP_CALLS + 3 * SPEAKER_CALLS + LISTENER_CALLS)
STATE_TABLE_CASES = len(Fault) * 2 * STATE_TABLE_SWEEP_CALLS


def test_the_enumeration_covers_what_the_design_says() -> None:
    # The sample, and two segments of the scan, a page each; the one that is not idle is asked
    # about; question, claim, notice, close and hand-over of two connections.
    assert SWEEP_CALLS == 3 + 1 + 2 * 5
    # State of the sample and of the candidates in each page, and a second read under each claim.
    assert STATE_TABLE_SWEEP_CALLS == SWEEP_CALLS + 3 + 2
    # Record, end of the session, listing, records of two listeners, then notice, close and removal
    # of each, another listing, and the removal of the speaker's record.
    assert SPEAKER_CALLS == 3 + 2 + 2 * 3 + 2
    assert LISTENER_CALLS == 2
    said = f"{CASES} cases, with a state table {STATE_TABLE_CASES} more"
    assert said in page("explanation/reliability")


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("at", range(SWEEP_CALLS))
@pytest.mark.parametrize("events", ["arrive", "are lost"])
def test_a_sweep_that_crashes(at: int, crash: Fault, events: str) -> None:
    world = silent_session()
    world.sweep(Script(faults={at: crash}))
    if events == "are lost":
        world.disconnects.clear()
        world.functions.events.clear()
    assert_clean_after_two_sweeps(world)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("at", range(STATE_TABLE_SWEEP_CALLS))
@pytest.mark.parametrize("events", ["arrive", "are lost"])
def test_a_sweep_with_a_state_table_that_crashes_or_fails(
    at: int, fault: Fault, events: str
) -> None:
    world = silent_session(StateTableStores)
    world.sweep(Script(faults={at: fault}))
    if events == "are lost":
        world.disconnects.clear()
        world.functions.events.clear()
    assert_clean_after_two_sweeps(world)


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("at", range(SPEAKER_CALLS))
@pytest.mark.parametrize("events", ["arrive", "are lost"])
def test_a_speakers_cleanup_that_crashes(at: int, crash: Fault, events: str) -> None:
    world = swept()
    clean_up_after_the_speaker(world, Script(faults={at: crash}))
    if events == "are lost":
        world.disconnects.clear()
    assert_clean_after_two_sweeps(world)


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("at", range(LISTENER_CALLS))
def test_a_listeners_cleanup_that_crashes(at: int, crash: Fault) -> None:
    world = swept()
    clean_up_after_a_listener(world, Script(faults={at: crash}))
    world.disconnects.clear()
    assert_clean_after_two_sweeps(world)


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("at", range(SPEAKER_CALLS))
def test_a_crash_after_a_speaker_left_by_itself(at: int, crash: Fault) -> None:
    faults = Faults()
    world = World(InMemoryStores(faults), faults)
    speaker = world.join("s1", Role.SPEAKER)
    listeners = [world.join("s1", Role.LISTENER) for _ in range(2)]
    assert speaker is not None
    world.vanish(speaker, announced=True)
    world.disconnect(0, script=Script(faults={at: crash}))
    world.disconnects.clear()
    # The listeners talk on: they must be told all the same, once the speaker's record is idle.
    for _ in range(2):
        world.clock.advance(seconds=61)
        for listener in listeners:
            assert listener is not None
            world.talk(listener, CALM)
    assert_clean_after_two_sweeps(world)
