"""Crowds that look idle, and the pace of a sweep, at 20 connections and at 100,000."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hangup.aws.http.loop import Loop, sleep
from hangup.aws.http.threads import Threads
from hangup.aws.runtime import SystemClock
from hangup.config import CLOSES_PER_SECOND
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.pacing import Pace, pace_of_questions
from hangup.core.shards import segments_from
from hangup.core.timing import BATCH_SIZE, SCAN_MARGIN_MS, SEGMENTS_AT_ONCE, STOP_MARGIN_MS
from hangup.errors import SweepFailed
from hangup.idle.pacer import Pacer
from hangup.ports import Concurrency, ConcurrentMap
from hangup.sessions.model import Role
from hangup.testing import START_MS, InMemoryConnections, Sequential
from tests.support.idle_world import PLENTY_MS, World

A_HUNDRED_THOUSAND = pytest.param(100_000, marks=pytest.mark.slow)


@pytest.fixture
def world() -> World:
    return World()


def crowd(world: World, size: int, *, talking: bool) -> None:
    """Connect so many that look idle; by API Gateway's account they talk, or do not."""
    for number in range(size):
        connection = world.connect(f"c{number:06}", silent_s=300)
        if talking:
            world.gateway.active_ms[connection.connection_id] = world.clock.now_ms()


@pytest.mark.parametrize("size", [1, 19, 20, BATCH_SIZE, A_HUNDRED_THOUSAND])
def test_a_broken_heartbeat_path_disconnects_nobody(world: World, size: int) -> None:
    crowd(world, size, talking=True)
    counts = world.run()
    assert len(world.gateway.open_ids) == size
    assert world.gateway.sent == {}
    assert (counts["idle"], counts["closed"], counts["activityUnrecorded"]) == (0, 0, size)
    assert world.metrics.total("ActivityUnrecorded") == size
    # Each is asked about once in a timeout.
    world.clock.advance(seconds=60)
    assert world.run()["activityUnrecorded"] == 0


@pytest.mark.parametrize("size", [20, A_HUNDRED_THOUSAND])
def test_a_real_mass_departure_goes_through(world: World, size: int) -> None:
    crowd(world, size, talking=False)
    # Every other one has gone, the others are there and quiet.
    for connection_id in sorted(world.gateway.open_ids)[::2]:
        world.gateway.open_ids.remove(connection_id)
    counts = world.run()
    assert counts["held"] is None
    assert (counts["closed"], counts["gone"]) == (size // 2, size // 2)
    assert world.gateway.open_ids == set()


def test_an_override_closes_what_is_idle_on_record_and_asks_nobody(world: World) -> None:
    crowd(world, 20, talking=True)
    asked: list[str] = []
    world.faults.before = lambda operation, _key: asked.append(operation)
    report = world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="by hand", override_guard=True
    )
    assert (report.closes.closed, report.hold) == (20, None)
    assert "GetConnection" not in asked
    crowd(world, 20, talking=True)
    assert world.run()["activityUnrecorded"] == 20


def test_closes_never_exceed_the_pace_whatever_the_workers(world: World) -> None:
    world.closer.pacer.pace = Pace(200)
    for number in range(1_000):
        world.connections.put(
            Connection(
                connection_id=f"c{number}",
                role=Role.LISTENER,
                last_activity_ms=EpochMs(world.clock.ms - 300_000),
            )
        )
        world.gateway.open(f"c{number}")
    starts: list[int] = []
    world.faults.before = lambda operation, _key: (
        starts.append(world.clock.ms) if operation == "DeleteConnection" else None
    )
    world.sweep.check_and_close_idle_connections(time_left_ms=lambda: PLENTY_MS, correlation_id="t")
    assert len(starts) == 1_000
    for second in range(starts[0], starts[-1], 100):
        assert sum(second <= start < second + 1_000 for start in starts) <= 200
    # A crowd that is closed spread out comes back spread out.
    assert starts[-1] - starts[0] >= 4_900


def test_questions_keep_their_pace_where_each_is_answered_with_active(world: World) -> None:
    """Such a client gives back its turn of the closes, so that pace bounds no questions."""
    closes = Pace(CLOSES_PER_SECOND.default)
    world.closer.pacer.pace = closes
    questions = Pacer(clock=world.clock, pace=pace_of_questions(closes))
    world.sweep = replace(world.sweep, questions=questions)
    crowd(world, 1_000, talking=True)
    asked_ms: list[int] = []
    world.faults.before = lambda operation, _key: (
        asked_ms.append(world.clock.ms) if operation == "GetConnection" else None
    )
    assert world.run()["activityUnrecorded"] == len(asked_ms) == 1_000
    # Clients share the account's throttle.
    assert max(sum(first <= at < first + 1_000 for at in asked_ms) for first in asked_ms) <= 500


def interleave(world: World, *, page_size: int, total_segments: int) -> None:
    """Let the world's sweep wait for eight calls at once, over pages of so many records."""
    connections = InMemoryConnections(world.faults, page_size=page_size)
    world.connections = connections
    world.sweep = replace(
        world.sweep,
        closer=replace(world.closer, connections=connections),
        concurrency=Loop(8),
        total_segments=total_segments,
    )


@pytest.mark.slow
def test_the_next_batch_is_read_while_one_is_closed(world: World) -> None:
    interleave(world, page_size=500, total_segments=1)
    crowd(world, 3_000, talking=False)
    calls: list[str] = []

    def answer_after_a_while(operation: str, _key: str) -> None:
        calls.append(operation)
        sleep(0.0005)

    world.faults.before = answer_after_a_while
    world.run()
    claims = [position for position, call in enumerate(calls) if call == "UpdateItem"]
    pages = [position for position, call in enumerate(calls) if call == "Scan"][1:]
    assert len(claims) == 3_000
    asked = [position for position, call in enumerate(calls) if call == "GetConnection"]
    # Closes had begun, and were not done, when the next batch's pages were read.
    assert asked[0] < pages[3] < claims[999]
    assert asked[1_000] < pages[5] < claims[1_999]


def watch_reading(world: World, *, failing: int = 0) -> list[list[str]]:
    """Return a list that gets the segments under way at each read; the first reads fail."""
    under_way: list[str] = []
    seen: list[list[str]] = []

    def answer_after_a_while(operation: str, key: str) -> None:
        if operation == "Scan" and key != "sample":
            under_way.append(key)
            seen.append(list(under_way))
            sleep(0.001)
            under_way.remove(key)
            if len(seen) - len(under_way) <= failing:
                world.faults.fail("Scan")

    world.faults.before = answer_after_a_while
    return seen


def test_four_segments_are_read_side_by_side(world: World) -> None:
    interleave(world, page_size=10, total_segments=8)
    crowd(world, 200, talking=False)
    seen = watch_reading(world)
    counts = world.run()
    assert (counts["checked"], counts["closed"], counts["complete"]) == (200, 200, True)
    # Never the same segment twice at once.
    assert max(len(set(segments)) for segments in seen) == SEGMENTS_AT_ONCE
    assert all(len(set(segments)) == len(segments) for segments in seen)


def test_fewer_are_read_side_by_side_after_one_that_fails(world: World) -> None:
    interleave(world, page_size=10, total_segments=16)
    crowd(world, 200, talking=False)
    seen = watch_reading(world, failing=2)
    with pytest.raises(SweepFailed, match="Scan failed"):
        world.run()
    side_by_side = [len(segments) for segments in seen]
    assert side_by_side[:4] == [1, 2, 3, 4]
    assert max(side_by_side[4:]) == 2


def test_fewer_are_read_side_by_side_for_the_rest_of_a_sweep(world: World) -> None:
    interleave(world, page_size=50, total_segments=16)
    crowd(world, 3 * BATCH_SIZE, talking=False)
    seen = watch_reading(world, failing=3)
    with pytest.raises(SweepFailed, match="could not read 3 of 16 segments"):
        world.run()
    assert max(len(segments) for segments in seen[4:]) == 1


@pytest.mark.parametrize("failing", [1, 3, 4, 8])
def test_however_many_fail_the_others_are_read(world: World, failing: int) -> None:
    interleave(world, page_size=10, total_segments=16)
    crowd(world, 400, talking=False)
    failed = set(list(segments_from(START_MS, 16))[:failing])
    unread = set()
    for segment in failed:
        for page in world.connections.scan_candidates(
            cutoff_ms=START_MS, now_ms=START_MS, segment=segment, total_segments=16
        ):
            unread |= {connection.connection_id for connection in page.candidates}

    def fail(operation: str, key: str) -> None:
        if operation == "Scan" and key != "sample" and int(key) in failed:
            world.faults.fail("Scan")

    world.faults.before = fail
    with pytest.raises(SweepFailed, match=f"could not read {failing} of 16 segments"):
        world.run()
    assert world.gateway.open_ids == unread != set()


def test_what_is_gone_or_spoke_in_time_is_not_left(world: World) -> None:
    crowd(world, 10, talking=False)
    world.gateway.open_ids.remove("c000001")
    world.faults.before = lambda operation, key: (
        world.faults.fail("DeleteConnection", times=1)
        if (operation, key) == ("DeleteConnection", "c000002")
        else speak(world, "c000003")
        if (operation, key) == ("UpdateItem", "c000003")
        else None
    )
    with pytest.raises(
        SweepFailed, match="the sweep left 1 of 10 idle connections to the next one"
    ):
        world.run()
    assert world.gateway.open_ids == {"c000002", "c000003"}


def speak(world: World, connection_id: str) -> None:
    record = world.connections.records[connection_id]
    record.connection = replace(record.connection, last_activity_ms=world.clock.now_ms())


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [Sequential(), Loop(8), Threads(8)])
def test_a_scan_that_fails_while_a_batch_is_closed_costs_none_that_was_found(
    world: World, concurrency: Concurrency
) -> None:
    crowd(world, 3_000, talking=False)
    pages = 0

    def fail_after_1_500(operation: str, _key: str) -> None:
        nonlocal pages
        pages += operation == "Scan"
        if operation == "Scan" and pages == 17:  # the first is the sample
            world.faults.fail("Scan")

    world.faults.before = fail_after_1_500
    world.sweep = replace(world.sweep, concurrency=concurrency)
    with pytest.raises(SweepFailed, match="Scan failed"):
        world.run()
    assert world.metrics.total("SweepsIncomplete") == 1
    assert world.metrics.total("ConnectionsClosed") == 3_000 - len(world.gateway.open_ids)
    assert len(world.gateway.open_ids) == 3_000 - world.metrics.total("ConnectionsChecked")
    assert 1_400 <= world.metrics.total("ConnectionsChecked") <= 1_500


def test_what_is_gathered_does_not_outgrow_two_batches(world: World) -> None:
    watched = InMemoryConnections(world.faults, page_size=300)
    world.connections = watched
    crowd(world, 5_000, talking=False)
    gathered = most = 0

    def count(operation: str, key: str) -> None:
        nonlocal gathered, most
        # A page brings 300 idle ones, a claim takes one away.
        if key != "sample":
            gathered += {"Scan": 300, "UpdateItem": -1}.get(operation, 0)
        most = max(most, gathered)

    world.faults.before = count
    closer = replace(world.closer, connections=watched)
    report = replace(world.sweep, closer=closer).check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="t"
    )
    assert report.closes.closed == 5_000
    # One batch that is being closed, and the next.
    # The last page of each of the two segments has less than 300.
    assert most <= 2 * BATCH_SIZE + 300 + 2 * 300


def test_pacing_sleeps_until_its_turn(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(100)
    before = world.clock.ms
    for _ in range(11):
        pacer.wait()
    assert world.clock.ms - before == 100
    assert DurationMs(world.clock.ms - before) == 100


def test_a_clock_that_is_set_back_does_not_stop_the_closes(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(100)
    pacer.wait()
    world.clock.ms -= 600_000
    before_ms = world.clock.ms
    pacer.wait()
    assert world.clock.ms - before_ms == 10


def test_a_turn_that_is_given_back_is_taken_at_once_and_once(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(1)
    pacer.wait()
    began_ms = world.clock.ms
    pacer.give_back()
    assert pacer.wait()
    assert world.clock.ms == began_ms
    assert pacer.wait()
    assert world.clock.ms == began_ms + 1_000


def test_what_was_given_back_before_a_rest_is_not_made_up_for(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(1)
    pacer.wait()
    for _ in range(9):
        pacer.give_back()
    world.clock.advance(seconds=60)
    starts_ms = [world.clock.ms for _ in range(3) if pacer.wait()]
    assert [ms - starts_ms[0] for ms in starts_ms] == [0, 1_000, 2_000]


def test_who_is_left_takes_no_turn_from_who_is_closed(world: World) -> None:
    """At one close a second, 30 that talk hold up nobody."""
    world.closer.pacer.pace = Pace(1)
    crowd(world, 30, talking=True)
    for number in range(5):
        world.connect(f"zz{number}", silent_s=300)
    began_ms = world.clock.ms
    counts = world.run()
    assert (counts["activityUnrecorded"], counts["closed"]) == (30, 5)
    assert world.clock.ms - began_ms <= 5_000


def test_what_waits_for_a_slow_pace_does_not_hold_up_the_end(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(1)
    crowd(world, 10, talking=False)
    # Time to read the table, and then for five and a half closes.
    ends_ms = world.clock.ms + SCAN_MARGIN_MS + 500
    report = world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms), correlation_id="t"
    )
    assert (report.closes.closed, report.complete) == (6, False)
    assert len(world.gateway.sent) == 6
    # The seventh waited for its turn, which was too late, and those after it for none.
    assert 0 <= world.clock.ms - (ends_ms - STOP_MARGIN_MS) <= 1_000


def test_a_turn_that_comes_after_the_end_is_not_waited_for(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(1, shared_by=20)
    crowd(world, 10, talking=False)
    ends_ms = world.clock.ms + 60_000
    report = world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms), correlation_id="t"
    )
    # At 0, 20 and 40 s, as far as there is time for them.
    assert report.closes.closed == 1 + (60_000 - STOP_MARGIN_MS) // 20_000
    assert not report.complete
    assert 0 <= world.clock.ms - (ends_ms - STOP_MARGIN_MS) <= 1_000


def test_a_turn_that_was_not_taken_is_left_to_the_next(world: World) -> None:
    pacer = world.closer.pacer
    pacer.pace = Pace(1, shared_by=20)
    assert pacer.wait()
    began_ms = world.clock.ms
    assert not pacer.wait(lambda: world.clock.ms < began_ms + 5_000)
    assert pacer.wait()
    assert world.clock.ms == began_ms + 20_000


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_without_the_time_to_ask_the_sweep_is_incomplete_and_not_held(
    world: World, turns: int
) -> None:
    crowd(world, 20, talking=False)
    # For the sample, two pages, to begin, and for one of the two paces.
    left = iter([PLENTY_MS] * (4 + turns))
    report = world.sweep.check_and_close_idle_connections(
        time_left_ms=lambda: next(left, DurationMs(STOP_MARGIN_MS - 1)), correlation_id="t"
    )
    assert (report.hold, report.complete) == (None, False)
    assert len(world.gateway.open_ids) == 20


# One thing after the other, no batch is read beside the closes of another.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("concurrency", "at_least"), [(Sequential(), 2_000), (Loop(8), 2_001), (Threads(8), 2_000)]
)
def test_a_sweep_of_many_that_runs_out_of_time_is_not_held(
    world: World, concurrency: Concurrency, at_least: int
) -> None:
    crowd(world, 5_000, talking=False)
    ends_ms = world.clock.now_ms() + 20_000
    world.closer.pacer.pace = Pace(200)
    report = replace(world.sweep, concurrency=concurrency).check_and_close_idle_connections(
        time_left_ms=lambda: DurationMs(ends_ms - world.clock.now_ms()), correlation_id="t"
    )
    assert (report.hold, report.complete) == (None, False)
    assert at_least <= report.closes.closed < 3_000


@pytest.mark.parametrize("concurrent_map", [ThreadPoolExecutor(8).map, Loop(8).map, Threads(8).map])
def test_eight_at_once_keep_one_pace(concurrent_map: ConcurrentMap) -> None:
    clock = SystemClock()
    pacer = Pacer(clock=clock, pace=Pace(250))
    before_ms = clock.monotonic_ms()
    starts_ms = list(concurrent_map(lambda _: pacer.wait() and clock.monotonic_ms(), range(50)))
    # In the order of their turns, none is early.
    for turn, start_ms in enumerate(sorted(starts_ms)):
        assert start_ms - before_ms >= 4 * turn
