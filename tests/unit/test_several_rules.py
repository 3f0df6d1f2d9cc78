"""Cases that meet several rules at once: each of them once went wrong."""

from dataclasses import replace

import pytest

from hangup.aws.errors import ServiceError
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.retries import Calls, Deadline
from hangup.core.connection import Connection, DurationMs, EpochMs, NoConnection
from hangup.core.guard import Hold
from hangup.core.outcomes import CloseOutcome
from hangup.core.pacing import Pace
from hangup.core.policy import IdlePolicy
from hangup.errors import BackendError, SweepFailed
from hangup.idle.pacer import Pacer
from hangup.testing import START_MS
from hangup.testing.services import FakeClock
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS, World
from tests.support.precise_world import PreciseWorld

POLICY = IdlePolicy(idle_timeout_ms=IDLE_TIMEOUT_MS, activity_resolution_ms=DurationMs(0))


def beat(world: World, connection_id: str, *, recorded: bool) -> None:
    """Send a message as a client does: API Gateway sees it; the table may."""
    now = world.clock.now_ms()
    world.gateway.active_ms[connection_id] = now
    if recorded:
        world.connections.record_activity(connection_id, now_ms=now, resolution_ms=DurationMs(0))


def test_precise_settled_a_full_outage_cuts_nobody() -> None:
    """100 clients that send every 60 s. The outage begins a second after a sweep found all well."""
    world = PreciseWorld()
    world.closer.confirmer.counts_both = True
    names = [f"c{n:02}" for n in range(100)]
    for n, name in enumerate(names):
        world.connect(name, silent_s=60 * n / 100)
        world.gateway.active_ms[name] = EpochMs(world.clock.now_ms() - 600 * n)
    start = world.clock.now_ms()
    outage_ms = start + 300_000 + 1_000

    def second(t: int) -> None:
        for n, name in enumerate(names):
            if name in world.gateway.open_ids and (t * 1000 + 600 * n) % 60_000 < 1_000:
                beat(world, name, recorded=world.clock.now_ms() < outage_ms)

    for t in range(300 + 240):
        second(t)
        if t % 60 == 0:
            world.run()
        world.deliver()
        world.clock.advance(seconds=1)
    assert len(world.gateway.open_ids) == 100


def test_precise_override_closes_by_the_records() -> None:
    world = PreciseWorld()
    world.connect("c1", silent_s=300)
    beat(world, "c1", recorded=False)
    world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="by hand", override_guard=True
    )
    world.deliver()
    assert world.gateway.open_ids == set()


@pytest.mark.parametrize("hold", [Hold.CLOCK, Hold.OTHER_TABLE])
def test_the_advice_of_a_hold_is_not_to_destroy(hold: Hold) -> None:
    world = World()
    for n in range(20):
        world.connect(f"c{n}", silent_s=5)
    world.connect("idle", silent_s=300)
    if hold is Hold.CLOCK:
        world.connections.answered_at_ms = EpochMs(START_MS - 130_000)
    else:
        world.gateway.open_ids.clear()
    assert world.run()["held"] == hold
    (fields,) = [fields for _, event, fields in world.log.lines if event == "sweep held"]
    assert "overrideGuard" not in str(fields["advice"])


def test_precise_a_hold_for_the_recording_rings() -> None:
    world = PreciseWorld()
    world.closer.confirmer.counts_both = True
    for n in range(20):
        world.connect(f"c{n}", silent_s=600)
        beat(world, f"c{n}", recorded=False)
    world.run()
    for _ in range(5):
        world.deliver()
    assert len(world.gateway.open_ids) == 20
    # The queue delivers ten at a time.
    assert world.metrics.total("SweepsHeld") == 2


def test_turns_given_back_do_not_add_up_to_a_burst() -> None:
    """500 questions a second come to nothing for ten seconds, then all are closes."""
    clock = FakeClock()
    closes, questions = Pacer(clock=clock, pace=Pace(200)), Pacer(clock=clock, pace=Pace(500))
    starts: list[int] = []
    for n in range(10_000):
        questions.wait()
        closes.wait()
        if n < 5_000:
            closes.give_back()
        else:
            starts.append(clock.monotonic_ms())
    worst = max(sum(a <= b < a + 1_000 for b in starts) for a in starts[::50])
    assert worst <= 200 + 64


def test_a_claim_that_came_to_nothing_is_no_handover() -> None:
    """A close failed, and so did the release. Later the client talks, leaves, and is a ghost."""
    world = World()
    world.connect("c1", silent_s=121)
    world.faults.fail("DeleteConnection")

    def fail_release(operation: str, _key: str) -> None:
        asked.append(operation)
        if asked.count("UpdateItem") == 2 and operation == "UpdateItem":
            raise BackendError("UpdateItem", "NoTimeLeft", "planned", retryable=True)

    asked: list[str] = []
    world.faults.before = fail_release
    with pytest.raises(SweepFailed):
        world.run()
    world.faults.before = lambda *_: None
    beat(world, "c1", recorded=True)
    world.clock.advance(seconds=3_600)
    world.gateway.open_ids.clear()
    counts = world.run()
    assert (counts["gone"], counts["idle"]) == (1, 1)


def test_an_answer_is_not_older_than_two_seconds_when_the_claim_takes_effect() -> None:
    world = World()
    world.connect("c1", silent_s=121)

    def slow_claim(operation: str, _key: str) -> None:
        if operation == "UpdateItem":
            # An attempt that timed out, and the next one that did not: what ``Calls`` does.
            world.clock.advance(seconds=4)
            beat(world, "c1", recorded=False)

    world.faults.before = slow_claim
    world.run()
    assert world.gateway.open_ids == {"c1"}


def test_a_record_without_a_time_is_asked_about_some_day() -> None:
    """150 items that are no connections come before it in its segment."""
    world = World()
    world.sweep = replace(world.sweep, total_segments=1)
    for n in range(150):
        world.connections.put(Connection(connection_id=f"item{n}"))
    world.connections.put(Connection(connection_id="real"))
    world.gateway.open("real")
    for _ in range(60):
        world.run()
        world.clock.advance(seconds=60)
    assert world.gateway.open_ids == set()


def test_coalesced_activity_is_not_unrecorded() -> None:
    """Messages at 0 and 20 s, the first one written: with a resolution of 30 s that is right."""
    world = World()
    policy = replace(POLICY, activity_resolution_ms=DurationMs(30_000))
    world.sweep = replace(
        world.sweep, policy=policy, watch=replace(world.sweep.watch, policy=policy)
    )
    world.connect("c1", silent_s=151)
    world.gateway.active_ms["c1"] = EpochMs(START_MS - 131_000)
    counts = world.run()
    assert (counts["activityUnrecorded"], counts["closed"]) == (0, 1)


def test_a_held_sweep_that_ran_out_of_time_says_so() -> None:
    world = World()
    world.closer.confirmer.counts_both = True
    for n in range(10):
        world.connect(f"c{n}", silent_s=300)
        beat(world, f"c{n}", recorded=False)
    left = iter([PLENTY_MS] * 14)
    world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: next(left, DurationMs(0)), correlation_id="t"
    )
    assert world.metrics.total("SweepsHeld") == 1
    assert world.metrics.total("SweepsIncomplete") == 1


def test_left_before_a_throttled_close_is_gone() -> None:
    """429, then 410: nobody was closed here."""
    clock = FakeClock()
    answers = [
        ServiceError("TooManyRequestsException", "slow down", status=429),
        ServiceError("GoneException", "", status=410),
    ]

    class Client:
        def delete_connection(self, **_: object) -> None:
            raise answers.pop(0)

    gateway = ManagementApiGateway(Client(), Calls(clock, Deadline(clock)))  # type: ignore[arg-type]
    assert gateway.delete_connection("c1") is CloseOutcome.ALREADY_GONE


def test_a_table_of_mixed_items_is_not_another_stages() -> None:
    """Twenty items of users are younger than the connections. AWS calls their keys invalid."""
    world = World()
    for n in range(20):
        world.connections.put(
            Connection(connection_id=f"user-{n}", last_activity_ms=EpochMs(START_MS - n))
        )
    for n in range(20):
        world.connect(f"live{n}", silent_s=5)
    world.connect("idle", silent_s=300)
    answer = world.gateway.get_connection

    class Gateway:
        post_to_connection = staticmethod(world.gateway.post_to_connection)
        delete_connection = staticmethod(world.gateway.delete_connection)

        @staticmethod
        def get_connection(connection_id: str) -> object:
            if connection_id.startswith("user-"):
                return NoConnection.INVALID
            return answer(connection_id)

    world.closer.confirmer.gateway = Gateway()  # type: ignore[assignment]
    counts = world.run()
    assert (counts["held"], counts["closed"]) == (None, 1)


def test_timeless_records_without_an_answer_are_one_log_line() -> None:
    world = World()
    for n in range(300):
        world.connections.put(Connection(connection_id=f"c{n}"))
    error = BackendError("GetConnection", "TooManyRequestsException", "planned", retryable=True)
    world.faults.planned["GetConnection"] = [error] * 300
    with pytest.raises(SweepFailed):
        world.run()
    assert len(world.log.events("error")) <= 2


def test_precise_a_message_from_before_the_handover_is_not_counted_again() -> None:
    """The close function is behind, and the cleanup fails: both messages carry no hand-over."""
    world = PreciseWorld()
    connection = world.connect("c1", silent_s=121)
    world.receive_at_once(connection)
    world.clock.advance(seconds=61)
    world.receive_at_once(connection)
    assert world.metrics.total("ConnectionsClosed") == 1
