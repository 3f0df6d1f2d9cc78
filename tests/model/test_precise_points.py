"""A close function that crashes at any boundary, or whose clock is behind, with a queue."""

import pytest

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.policy import IdlePolicy
from hangup.core.recording import RecordingByTimeout
from hangup.sessions.model import Role
from hangup.testing import Faults
from tests.model.precise import NoLookAtTheClock, PreciseWorld
from tests.model.stores import InMemoryStores, StateTableStores
from tests.model.world import MAX_SKEW_MS, Fault, Script, Violation

pytestmark = pytest.mark.slow

CALLS = 18
"""More than a delivery about two connections makes."""


class AlwaysWell(RecordingByTimeout):
    """Activity is being recorded, and that is known from the first moment."""

    def is_well(self, _policy: IdlePolicy, _now_ms: EpochMs, _timeout_ms: DurationMs) -> bool:
        return True


def queued_session(
    *, is_settled: bool = False, stores: type[InMemoryStores] = InMemoryStores
) -> PreciseWorld:
    """Return a session that fell silent, at the moment that the queue delivers it."""
    faults = Faults()
    world = PreciseWorld(stores(faults), faults)
    if is_settled:
        world.counts_both, world.health = True, AlwaysWell()
    world.join("s1", Role.SPEAKER)
    world.join("s1", Role.LISTENER)
    world.clock.advance(seconds=60.5)
    world.sweep()
    world.wait_for_a_message()
    world.clock.advance(seconds=0.1)  # for both of them
    return world


def test_a_clock_that_is_behind_closes_nobody_early() -> None:
    world = queued_session()
    while world.deliver(Script(skew_ms=-MAX_SKEW_MS)):
        world.wait_for_a_message()
    assert world.gateway.open_ids == set()


@pytest.mark.parametrize("skew_ms", [0, -MAX_SKEW_MS])
def test_without_a_look_at_the_clock_that_is_caught(
    skew_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangup.idle.scheduled.VERDICT_GOOD_MS", 10**6)
    # Where the record decides: else API Gateway's account would keep it, too.
    world = queued_session(is_settled=True)
    world.due_connections = NoLookAtTheClock
    with pytest.raises(Violation, match="I1"):
        world.deliver(Script(skew_ms=skew_ms))


@pytest.mark.parametrize("crash", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("at", range(CALLS))
@pytest.mark.parametrize("stores", [InMemoryStores, StateTableStores])
def test_after_a_crash_two_minutes_without_one_leave_everything_clean(
    stores: type[InMemoryStores], at: int, crash: Fault
) -> None:
    world = queued_session(stores=stores)
    world.deliver(Script(faults={at: crash}))
    for _ in range(2):
        world.fault_free_minute(talking=False)
    assert list(world.stores.connections.scan_all_connections()) == []
    assert [session.is_active for session in world.stores.all_sessions()] == [False]
    assert world.gateway.open_ids == set()
    world.check()


@pytest.mark.parametrize("stores", [InMemoryStores, StateTableStores])
def test_a_delivery_makes_fewer_calls_than_crashes_were_tried_at(
    stores: type[InMemoryStores],
) -> None:
    world = queued_session(stores=stores)
    calls: list[int] = []
    world.deliver(
        Script(meanwhile={n: lambda n=n: calls.append(n) for n in range(100)})  # type: ignore[misc]
    )
    assert 6 <= len(calls) < CALLS
