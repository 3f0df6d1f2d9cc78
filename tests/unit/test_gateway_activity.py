"""``ACTIVITY`` = ``gateway``: nobody records activity, and API Gateway's account decides."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from hangup.aws.http.loop import Loop, sleep
from hangup.aws.http.threads import Threads
from hangup.aws.http.threads import sleep as threads_sleep
from hangup.core.connection import Connection, DurationMs, EpochMs, NoConnection
from hangup.core.guard import CONTROL_SIZE, MAX_REFUSALS, Activity, Hold
from hangup.core.pacing import Pace, pace_of_questions
from hangup.core.report import CloseStatus, SweepReport
from hangup.core.scheduled_close import as_message
from hangup.core.timing import SCAN_MARGIN_MS, STOP_MARGIN_MS
from hangup.errors import BackendError, InvalidRequest, SweepFailed
from hangup.idle.asking import Asking
from hangup.idle.closes import Closes
from hangup.idle.guard import Guard
from hangup.idle.pacer import Pacer
from hangup.idle.scheduled import Message
from hangup.idle.sweep import Sweep
from hangup.ports import Concurrency
from hangup.testing import START_MS, FakeAws, InMemoryConnections
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS, World
from tests.support.precise_world import PreciseWorld
from tests.support.schemas import SHAPES, item_of

ROOMS = SHAPES["E, room and connection"]


class _Asked:
    """What was asked, of whom and when, and what else was called."""

    def __init__(self, world: FakeAws) -> None:
        self.questions: list[tuple[str, int]] = []
        self.calls: list[str] = []
        self._clock = world.clock
        world.faults.before = self._note

    def _note(self, operation: str, key: str) -> None:
        self.calls.append(operation)
        if operation == "GetConnection":
            self.questions.append((key, self._clock.ms))

    def about(self, connection_id: str) -> list[int]:
        """When this one was asked about, since the start, in milliseconds."""
        return [ms - START_MS for asked, ms in self.questions if asked == connection_id]


@pytest.fixture
def world() -> World:
    world = World()
    world.activity = world.closer.confirmer.activity = Activity.GATEWAY
    return world


def join(world: FakeAws, connection_id: str, *, age_s: float = 300, silent_s: float = 0) -> None:
    """Put a connection on record by its connect alone; API Gateway saw it active later."""
    now_ms = world.clock.now_ms()
    world.connections.put(
        Connection(
            connection_id=connection_id, connected_at_ms=EpochMs(now_ms - round(age_s * 1000))
        )
    )
    world.gateway.open(connection_id)
    talk(world, connection_id, silent_s=silent_s)


def talk(world: FakeAws, connection_id: str, *, silent_s: float = 0) -> None:
    now_ms = world.clock.now_ms()
    world.gateway.active_ms[connection_id] = EpochMs(now_ms - round(silent_s * 1000))


def record_of(world: FakeAws, connection_id: str) -> Connection:
    record = world.record_of(connection_id)
    assert record is not None
    return record


class TestKept:
    def test_who_is_active_there_is_kept_and_the_time_is_written_forward(
        self, world: World
    ) -> None:
        join(world, "c1", silent_s=10)
        asked = _Asked(world)
        counts = world.run()
        assert (counts["kept"], counts["idle"], counts["complete"]) == (1, 0, True)
        record = record_of(world, "c1")
        # Ours, and not the application's: nothing was recorded.
        assert (record.last_activity_ms, record.gateway_active_ms) == (None, START_MS - 10_000)
        assert asked.calls.count("UpdateItem") == len(asked.questions) == 1

    def test_it_is_the_normal_case_and_rings_no_alarm(self, world: World) -> None:
        join(world, "c1")
        counts = world.run()
        assert counts["activityUnrecorded"] == 0
        assert world.metrics.total("ActivityUnrecorded") == 0
        assert world.log.events("warning") == world.log.events("error") == []

    @pytest.mark.parametrize(("silent_ms", "closed"), [(120_000, 0), (120_001, 1)])
    def test_it_is_idle_a_millisecond_after_the_timeout(
        self, world: World, silent_ms: int, closed: int
    ) -> None:
        join(world, "c1", silent_s=silent_ms / 1000)
        assert world.run()["closed"] == closed

    def test_who_is_quiet_is_closed_after_one_question(self, world: World) -> None:
        join(world, "c1", silent_s=150)
        asked = _Asked(world)
        assert world.run()["closed"] == 1
        assert asked.calls[-5:] == [
            "GetConnection",
            "UpdateItem",
            "PostToConnection",
            "DeleteConnection",
            "Invoke",
        ]
        assert asked.calls.count("GetConnection") == 1
        # It was active after what is on record: that is how long it was idle.
        assert world.gateway.sent["c1"][0]["idleSeconds"] == 150
        assert world.metrics.values_ms("CloseLateness") == [30_000]

    def test_what_the_application_recorded_counts_as_well(self, world: World) -> None:
        join(world, "c1", silent_s=200)
        world.connections.record_activity(
            "c1", now_ms=EpochMs(START_MS - 5_000), resolution_ms=DurationMs(0)
        )
        asked = _Asked(world)
        assert world.run()["closed"] == 0
        assert asked.questions == []

    def test_who_is_there_has_not_been_handed_over(self, world: World) -> None:
        """Else ``if_left`` would call the handler at once, and API Gateway's event once more."""
        join(world, "c1=", silent_s=121)
        now_ms = world.clock.now_ms()
        claimed = world.repository.claim(
            record_of(world, "c1="), now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 60_000)
        )
        assert claimed  # and the sweep's process ended
        world.clock.advance(seconds=61)
        talk(world, "c1=")
        assert record_of(world, "c1=").handovers == 1
        world.run()
        assert record_of(world, "c1=").handovers == 0

    def test_who_speaks_between_the_question_and_the_note_is_no_failure(self, world: World) -> None:
        join(world, "c1")

        def record(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                now_ms = world.clock.now_ms()
                world.connections.record_activity("c1", now_ms=now_ms, resolution_ms=DurationMs(0))

        world.faults.after = record
        counts = world.run()
        assert (counts["kept"], counts["claimsLost"]) == (0, 1)
        assert world.gateway.open_ids == {"c1"}

    def test_an_observer_asks_and_writes_nothing(self, world: World) -> None:
        join(world, "active")
        join(world, "quiet", silent_s=150)
        before = dict(world.connections.records)
        world.sweep = replace(world.sweep, closer=replace(world.closer, acts=False))
        counts = world.run()
        assert (counts["kept"], counts["wouldClose"]) == (1, 1)
        assert world.connections.records == before
        assert world.gateway.open_ids == {"active", "quiet"}

    def test_an_observer_judges_a_record_without_a_time_at_once(self, world: World) -> None:
        for one, silent_s in (("active", 60), ("due", 120), ("quiet", 121)):
            join(world, one, silent_s=silent_s)
            world.connections.put(Connection(connection_id=one))
        before = dict(world.connections.records)
        world.sweep = replace(world.sweep, closer=replace(world.closer, acts=False))
        counts = world.run()
        assert (counts["idle"], counts["wouldClose"], counts["clocksStarted"]) == (1, 1, 0)
        assert world.connections.records == before
        assert world.gateway.open_ids == {"active", "due", "quiet"}


class TestQuestions:
    @pytest.mark.parametrize("period_s", [7, 30, 59, 60, 61, 90, 110, 120])
    @pytest.mark.parametrize("has_time", [True, False])
    def test_the_next_comes_when_it_is_due_by_the_last_answer(
        self, world: World, period_s: int, *, has_time: bool
    ) -> None:
        """One question for a connection and timeout, over an hour of sweeps."""
        join(world, "c1", age_s=0)
        if not has_time:
            world.connections.put(Connection(connection_id="c1"))
        asked = _Asked(world)
        due_ms = -1
        for second in range(1, 3_600):
            now_ms = world.clock.advance(seconds=1)
            if second % period_s == 0:
                talk(world, "c1")
            if second % 60:
                continue
            before = len(asked.questions)
            world.run()
            if len(asked.questions) > before:
                assert len(asked.questions) == before + 1
                assert now_ms > due_ms
                due_ms = world.gateway.active_ms["c1"] + IDLE_TIMEOUT_MS
        assert world.gateway.open_ids == {"c1"}
        times = asked.about("c1")
        assert len(times) >= 3_600 // 180 - 1
        # Of any three, the last comes a timeout or more after the first.
        assert all(
            third - first > IDLE_TIMEOUT_MS for first, third in zip(times, times[2:], strict=False)
        )
        if period_s <= 60:
            assert len(times) <= 3_600 // 120

    @pytest.mark.parametrize(("is_written", "questions"), [(True, 5), (False, 10)])
    def test_it_is_the_time_written_forward_that_spares_the_next(
        self, world: World, monkeypatch: pytest.MonkeyPatch, *, is_written: bool, questions: int
    ) -> None:
        """The count above has teeth: without the write each sweep asks."""
        if not is_written:
            monkeypatch.setattr(
                InMemoryConnections, "record_gateway_activity", lambda *_, **__: True
            )
        join(world, "c1")
        asked = _Asked(world)
        for _ in range(10):
            talk(world, "c1", silent_s=1)
            world.run()
            world.clock.advance(seconds=60)
        assert len(asked.questions) == questions

    def test_a_crash_before_the_time_is_written_costs_a_question(self, world: World) -> None:
        join(world, "c1", silent_s=10)
        asked = _Asked(world)
        world.faults.fail("UpdateItem")
        with pytest.raises(SweepFailed, match="UpdateItem failed"):
            world.run()
        assert world.gateway.open_ids == {"c1"}
        assert record_of(world, "c1").gateway_active_ms is None
        world.clock.advance(seconds=60)
        assert world.run()["kept"] == 1
        assert len(asked.questions) == 2
        world.clock.advance(seconds=30)
        world.run()
        assert len(asked.questions) == 2

    def test_no_answer_leaves_it(self, world: World) -> None:
        join(world, "c1", silent_s=300)
        world.faults.fail("GetConnection")
        counts = world.run()
        assert (counts["unconfirmed"], counts["closed"]) == (1, 0)
        assert world.run()["closed"] == 1

    def test_an_id_that_is_none_is_ignored(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        join(world, "c1")
        asked = _Asked(world)
        monkeypatch.setattr(world.gateway, "get_connection", lambda _id: NoConnection.INVALID)
        assert world.run()["ignored"] == 1
        assert set(asked.calls) == {"Scan"}

    def test_refused_ones_stop_the_sweep_and_name_the_grant(self, world: World) -> None:
        for number in range(50):
            join(world, f"c{number:02}")
        error = BackendError("GetConnection", "ForbiddenException", "planned", retryable=False)
        world.faults.planned["GetConnection"] = [error] * 50
        asked = _Asked(world)
        with pytest.raises(SweepFailed, match=r"execute-api:ManageConnections on GET"):
            world.run()
        assert len(asked.questions) == MAX_REFUSALS
        assert world.metrics.total("SweepsIncomplete") == 1


class TestWithoutTimes:
    def test_the_first_question_notes_the_time_and_the_next_comes_when_it_is_due(
        self, world: World
    ) -> None:
        world.connections.put(Connection(connection_id="c1"))
        world.gateway.open("c1")
        talk(world, "c1", silent_s=30)
        asked = _Asked(world)
        for _ in range(3):
            world.run()
            world.clock.advance(seconds=45)
        assert asked.about("c1") == [0]
        world.run()
        assert asked.about("c1") == [0, 135_000]
        assert world.gateway.open_ids == set()

    def test_records_that_name_nobody_hide_no_client(self, world: World) -> None:
        """A thousand are left from clients that went away; some live ones are among them."""
        for number in range(1_000):
            world.connections.put(Connection(connection_id=f"left{number:03}"))
        live = [f"live{number}" for number in range(5)]
        for connection_id in live:
            world.connections.put(Connection(connection_id=connection_id))
            world.gateway.open(connection_id)
            talk(world, connection_id)
        asked, most = _Asked(world), 0
        for _ in range(30):
            before = len(asked.questions)
            world.run()
            most = max(most, len(asked.questions) - before)
            world.clock.advance(seconds=60)
        assert all(asked.about(connection_id) for connection_id in live)
        assert most <= 100 + 11 * len(live)
        left = [one for one in world.connections.records if one.startswith("left")]
        assert all(world.record_of(one) == Connection(connection_id=one) for one in left)

    def test_clients_among_them_are_all_asked_about_where_they_are_many(self, world: World) -> None:
        for number in range(1_000):
            world.connections.put(Connection(connection_id=f"c{number:03}"))
            if number % 5 == 0:
                world.gateway.open(f"c{number:03}")
                talk(world, f"c{number:03}")
        assert world.run()["clocksStarted"] == 200


class TestPace:
    def test_who_is_kept_takes_no_turn_and_waits_for_none(self, world: World) -> None:
        """One close a second: with turns for the kept, a sweep would ask about sixty."""
        world.closer.pacer.pace = Pace(1)
        pace_questions(world)
        for number in range(4_000):
            join(world, f"c{number:04}", silent_s=150 if number % 2_000 == 1_000 else 0)
        counts = world.run()
        assert (counts["kept"], counts["closed"]) == (3_998, 2)
        # 2,000 a second: ten every five milliseconds.
        assert 1_980 <= world.clock.ms - START_MS <= 2_020

    def test_closes_keep_their_pace_beside_the_questions(self, world: World) -> None:
        world.closer.pacer.pace = Pace(200)
        pace_questions(world)
        for number in range(2_000):
            join(world, f"c{number:04}", silent_s=150 if number % 4 == 0 else 0)
        starts: list[int] = []
        world.faults.before = lambda operation, _key: (
            starts.append(world.clock.ms) if operation == "DeleteConnection" else None
        )
        counts = world.run()
        assert (counts["kept"], counts["closed"]) == (1_500, 500)
        assert max(at_once(starts)) <= 200
        # While it was asked, a second, closes went on at their pace.
        assert sum(start < START_MS + 1_000 for start in starts) >= 190

    def test_who_speaks_while_its_close_waits_for_a_turn_is_kept(self, world: World) -> None:
        world.closer.pacer.pace = Pace(1)
        for number in range(10):
            join(world, f"c{number}", silent_s=150)

        def speak(operation: str, _key: str) -> None:
            if operation == "DeleteConnection":
                for connection_id in world.gateway.open_ids:
                    talk(world, connection_id)

        world.faults.after = speak
        counts = world.run()
        assert (counts["closed"], counts["kept"]) == (1, 9)
        assert len(world.gateway.open_ids) == 9
        assert all(not world.gateway.sent.get(one) for one in world.gateway.open_ids)

    def test_what_is_not_asked_in_time_is_left_and_said(self, world: World) -> None:
        pace_questions(world)
        for number in range(4_000):
            join(world, f"c{number:04}")
        ends_ms = START_MS + 9_000
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms + 5_000),
            correlation_id="sweep",
        )
        assert not report.complete
        assert 0 < report.closes.statuses[CloseStatus.KEPT] < 4_000
        assert world.metrics.total("SweepsIncomplete") == 1

    def test_a_close_that_gets_no_turn_in_time_is_left_and_said(self, world: World) -> None:
        world.closer.pacer.pace = Pace(1)
        for number in range(20):
            join(world, f"c{number:02}", silent_s=150)
        ends_ms = START_MS + SCAN_MARGIN_MS + 5_000
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms), correlation_id="sweep"
        )
        assert 5 <= report.closes.closed <= 15
        assert not report.complete

    @pytest.mark.parametrize("concurrency", [Loop(64), Threads(8)])
    def test_it_is_the_same_where_answers_come_out_of_order(
        self, world: World, concurrency: Concurrency
    ) -> None:
        world.sweep = replace(world.sweep, concurrency=concurrency)
        wait = sleep if isinstance(concurrency, Loop) else threads_sleep
        for number in range(300):
            join(world, f"c{number:03}", silent_s=150 if number % 10 == 0 else 0)
        world.faults.before = lambda operation, _key: (
            wait(0.0005) if operation == "GetConnection" else None
        )
        counts = world.run()
        assert (counts["kept"], counts["closed"]) == (270, 30)


def pace_questions(world: World) -> None:
    pace = pace_of_questions(Pace(200), Activity.GATEWAY)
    world.sweep = replace(world.sweep, questions=Pacer(clock=world.clock, pace=pace))


def at_once(starts: Sequence[int]) -> Sequence[int]:
    """How many starts each second has that begins with one."""
    return [sum(begin <= start < begin + 1_000 for start in starts) for begin in starts]


class TestAnothersTable:
    def test_nobody_but_candidates_is_asked_while_none_is_gone(self, world: World) -> None:
        for number in range(10):
            join(world, f"fresh{number}", age_s=10)
            join(world, f"old{number}", silent_s=150 if number == 3 else 0)
        asked = _Asked(world)
        world.run()
        assert sorted(one for one, _ in asked.questions) == [f"old{n}" for n in range(10)]

    def test_the_first_that_is_gone_makes_the_sweep_ask_about_some_that_are_fresh(
        self, world: World
    ) -> None:
        for number in range(30):
            join(world, f"fresh{number}", age_s=10)
            join(world, f"gone{number}")
            world.gateway.open_ids.remove(f"gone{number}")
        asked = _Asked(world)
        counts = world.run()
        assert (counts["gone"], counts["held"]) == (30, None)
        fresh = [one for one, _ in asked.questions if one.startswith("fresh")]
        assert len(fresh) == CONTROL_SIZE
        assert len(asked.questions) == 30 + CONTROL_SIZE

    def test_those_that_are_gone_are_handed_over_side_by_side(self, world: World) -> None:
        world.sweep = replace(world.sweep, concurrency=Loop(64))
        for number in range(20):
            join(world, f"gone{number:02}")
        world.gateway.open_ids.clear()
        calls: list[str] = []

        def note(operation: str, _key: str) -> None:
            calls.append(operation)
            sleep(0.0005)

        world.faults.before = note
        assert world.run()["gone"] == 20
        # Claims had begun before the first was handed over.
        assert calls[: calls.index("Invoke")].count("UpdateItem") > 1

    def test_another_stages_table_is_held_and_nothing_is_handed_over(self, world: World) -> None:
        for number in range(30):
            join(world, f"fresh{number}", age_s=10)
            join(world, f"gone{number}")
        world.gateway.open_ids.clear()
        before = dict(world.connections.records)
        with_two_batches = replace(world.sweep, total_segments=16)
        world.sweep = with_two_batches
        counts = world.run()
        assert (counts["held"], counts["gone"], counts["complete"]) == (
            Hold.OTHER_TABLE,
            0,
            False,
        )
        assert world.connections.records == before
        assert world.functions.events == []

    def test_a_clock_that_is_off_still_holds(self, world: World) -> None:
        join(world, "c1", silent_s=300)
        world.connections.answered_at_ms = EpochMs(START_MS + 30_001)
        assert world.run()["held"] == Hold.CLOCK
        assert world.gateway.open_ids == {"c1"}

    def test_there_is_no_recording_to_judge(self, world: World) -> None:
        """A table in which nobody was recorded for an hour holds no sweep."""
        for number in range(100):
            join(world, f"c{number:02}", age_s=3_600, silent_s=150 if number < 10 else 0)
        counts = [world.run() for _ in range(3)]
        assert [one["held"] for one in counts] == [None] * 3
        assert counts[0]["closed"] == 10
        assert not world.sweep.watch.is_well(world.clock.now_ms(), IDLE_TIMEOUT_MS)


class TestSeveralRecords:
    def make(self, *, silent_s: float) -> FakeAws:
        world = FakeAws(schema=ROOMS)
        world.activity = Activity.GATEWAY
        world.gateway.open("c1=")
        talk(world, "c1=", silent_s=silent_s)
        for room in ("r1", "r2", "r3"):
            record = Connection(connection_id="c1=", gateway_active_ms=EpochMs(START_MS - 300_000))
            world.connections.put_item(item_of(record, ROOMS) | {"room": {"S": room}})
        return world

    def sweep(self, world: FakeAws) -> SweepReport:
        return world.make_sweep().check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
        )

    def test_one_answer_is_for_all(self) -> None:
        world = self.make(silent_s=10)
        asked = _Asked(world)
        self.sweep(world)
        assert len(asked.questions) == 1
        noted = [one.connection.gateway_active_ms for one in world.connections.records.values()]
        assert noted == [START_MS - 10_000] * 3

    def test_the_client_gets_one_notice_and_each_record_is_handed_over(self) -> None:
        world = self.make(silent_s=150)
        report = self.sweep(world)
        assert len(world.gateway.sent["c1="]) == 1
        assert len(world.functions.events) == 3
        assert (report.closes.closed, report.closes.gone) == (1, 0)

    def test_a_ghost_with_several_records_counts_once(self) -> None:
        world = self.make(silent_s=150)
        world.gateway.open_ids.clear()
        report = self.sweep(world)
        assert len(world.functions.events) == 3
        assert (report.closes.closed, report.closes.gone) == (0, 1)

    def test_a_further_record_in_another_batch_is_kept_as_well(self) -> None:
        world = self.make(silent_s=10)
        asked = _Asked(world)
        sweep = world.make_sweep()
        met: set[str] = set()
        records = [one.connection for one in world.connections.records.values()]
        asking = asking_of(sweep)
        for record in records:
            asking.ask_about([record], met)
        asking.close_the_rest()
        assert len(asked.questions) == 3
        assert (world.gateway.open_ids, world.functions.events) == ({"c1="}, [])
        noted = [one.connection.gateway_active_ms for one in world.connections.records.values()]
        assert noted == [START_MS - 10_000] * 3


def asking_of(sweep: Sweep) -> Asking:
    """Return the questions of a sweep that is not run."""
    guard = Guard(
        watch=sweep.watch,
        confirmer=sweep.closer.confirmer,
        policy=sweep.policy,
        log=sweep.closer.log,
        concurrent_map=map,
        time_left_ms=lambda: PLENTY_MS,
        now_ms=START_MS,
        asks=True,
    )
    guard.start()
    closes = Closes(
        closer=sweep.closer,
        guard=guard,
        questions=sweep.questions,
        concurrent_map=map,
        correlation_id="sweep",
        witness=None,
    )
    return Asking(closes=closes)


class TestAtTheDeadline:
    @pytest.fixture
    def world(self) -> PreciseWorld:
        world = PreciseWorld()
        world.closer.confirmer.activity = Activity.GATEWAY
        return world

    def receive(self, world: PreciseWorld, *connection_ids: str) -> Sequence[str]:
        return world.receive_at_once(*(record_of(world, one) for one in connection_ids))

    def test_a_sweep_queues_what_is_due_and_asks_about_none_of_it(
        self, world: PreciseWorld
    ) -> None:
        join(world, "c1")
        asked = _Asked(world)
        assert world.run()["queued"] == 1
        assert asked.questions == []

    def test_who_is_active_by_then_is_kept_and_written_forward(self, world: PreciseWorld) -> None:
        join(world, "c1", silent_s=10)
        asked = _Asked(world)
        assert self.receive(world, "c1") == []
        assert world.gateway.open_ids == {"c1"}
        assert record_of(world, "c1").gateway_active_ms == START_MS - 10_000
        assert len(asked.questions) == 1
        assert world.metrics.total("ActivityUnrecorded") == 0

    def test_who_is_quiet_is_closed_after_one_question(self, world: PreciseWorld) -> None:
        join(world, "c1", silent_s=300)
        asked = _Asked(world)
        assert self.receive(world, "c1") == []
        assert world.gateway.open_ids == set()
        assert len(asked.questions) == 1

    def test_a_message_that_comes_twice_asks_once(self, world: PreciseWorld) -> None:
        join(world, "c1", silent_s=10)
        message = record_of(world, "c1")
        asked = _Asked(world)
        world.receive_at_once(message)
        world.receive_at_once(message)
        assert len(asked.questions) == 1

    def test_who_is_kept_takes_no_turn(self, world: PreciseWorld) -> None:
        world.closer.pacer.pace = Pace(1)
        for number in range(10):
            join(world, f"c{number}", silent_s=10)
        self.receive(world, *(f"c{number}" for number in range(10)))
        # The turn that each invocation takes for nothing is the only one.
        assert world.clock.ms == START_MS
        assert len(world.gateway.open_ids) == 10

    def test_who_speaks_while_its_close_waits_for_a_turn_is_kept(self, world: PreciseWorld) -> None:
        join(world, "c1", silent_s=300)
        asked = _Asked(world)

        class Waiting(Pacer):
            def wait(self, has_time: Callable[[], bool] = lambda: True) -> bool:
                if asked.questions:
                    talk(world, "c1")
                return super().wait(has_time)

        pacer = Waiting(clock=world.clock, pace=Pace(1))
        world.due = replace(world.due, closer=replace(world.closer, pacer=pacer))
        assert self.receive(world, "c1") == []
        assert world.gateway.open_ids == {"c1"}
        assert len(asked.questions) == 2

    def test_without_time_for_a_turn_the_message_comes_again(self, world: PreciseWorld) -> None:
        world.closer.pacer.pace = Pace(1)
        join(world, "c1", silent_s=300)
        message = Message(
            message_id="m", receipt="r", body=as_message(world.due_of(record_of(world, "c1")))
        )
        ends_ms = START_MS + STOP_MARGIN_MS + 500
        again = world.due.close_scheduled(
            [message], time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms)
        )
        assert again == ["m"]
        assert world.gateway.open_ids == {"c1"}

    def test_without_time_for_a_question_the_message_comes_again(self, world: PreciseWorld) -> None:
        world.due = replace(world.due, questions=Pacer(clock=world.clock, pace=Pace(1)))
        asked = _Asked(world)
        messages = []
        for name in ("c1", "c2"):
            join(world, name, silent_s=10)
            body = as_message(world.due_of(record_of(world, name)))
            messages.append(Message(message_id=name, receipt=name, body=body))
        ends_ms = START_MS + STOP_MARGIN_MS + 500
        again = world.due.close_scheduled(
            messages, time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms)
        )
        assert again == ["c2"]
        assert len(asked.questions) == 1


def test_records_alone_cannot_decide(world: World) -> None:
    join(world, "c1")
    with pytest.raises(InvalidRequest, match="overrideGuard is refused: with ACTIVITY gateway"):
        world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="by hand", override_guard=True
        )
    assert world.gateway.open_ids == {"c1"}


def test_a_world_of_fakes_may_have_it() -> None:
    fake = FakeAws()
    fake.activity = "gateway"
    fake.add_connection("c1")
    fake.clock.advance(seconds=121)
    fake.gateway.active_ms["c1"] = fake.clock.now_ms()
    assert fake.run_sweep().closes.count(CloseStatus.KEPT) == 1
    fake.clock.advance(seconds=121)
    assert fake.run_sweep().closes.closed == 1
