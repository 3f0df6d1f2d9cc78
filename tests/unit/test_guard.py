"""When API Gateway's account, a sample of the table, or the clock keeps a sweep from closing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.core.guard import (
    CONTROL_SIZE,
    MAX_REFUSALS,
    Hold,
    RecordingHealth,
    Sample,
    Seen,
    control_group,
    is_clock_off,
    is_other_table,
    seen_of,
)
from hangup.core.policy import IdlePolicy
from hangup.core.report import CloseStatus
from hangup.errors import BackendError, SweepFailed
from hangup.idle.guard import Terms
from hangup.testing import START_MS
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS, World

POLICY = IdlePolicy(idle_timeout_ms=IDLE_TIMEOUT_MS, activity_resolution_ms=DurationMs(0))
OLD = Connection(connection_id="c1", connected_at_ms=EpochMs(START_MS - 3_600_000))


@pytest.fixture
def world() -> World:
    return World()


def settle(world: World) -> None:
    """Let it be settled that messages to clients move the account."""
    world.closer.confirmer.counts_both = True


def talk(world: World, connection_id: str) -> None:
    """A message that API Gateway sees and nothing records."""
    world.gateway.active_ms[connection_id] = world.clock.now_ms()


def be_well(world: World) -> None:
    """Let twenty clients talk, on record, for as long as it takes to know that all is well."""
    for _ in range(5):
        for number in range(20):
            world.connect(f"c{number}", silent_s=number)
        world.run()
        world.clock.advance(seconds=60)


def refuse(world: World, *, times: int, code: str = "ForbiddenException") -> None:
    error = BackendError("GetConnection", code, "planned", retryable=False)
    world.faults.planned["GetConnection"] = [error] * times


class TestAnswer:
    @pytest.mark.parametrize(
        ("silent_ms", "seen"),
        [(119_999, Seen.ACTIVE), (120_000, Seen.ACTIVE), (120_001, Seen.QUIET)],
    )
    def test_quiet_begins_one_millisecond_after_the_timeout(
        self, silent_ms: int, seen: Seen
    ) -> None:
        info = ConnectionInfo(last_active_ms=EpochMs(START_MS - silent_ms))
        assert seen_of(info, OLD, silence_ms=IDLE_TIMEOUT_MS, now_ms=START_MS) is seen

    @pytest.mark.parametrize(("later_ms", "seen"), [(5_000, Seen.NOT_YET), (5_001, Seen.ACTIVE)])
    def test_what_is_on_record_a_moment_before_is_the_same_activity(
        self, later_ms: int, seen: Seen
    ) -> None:
        recorded = replace(OLD, last_activity_ms=EpochMs(START_MS - 121_000))
        info = ConnectionInfo(last_active_ms=EpochMs(START_MS - 121_000 + later_ms))
        assert seen_of(info, recorded, silence_ms=IDLE_TIMEOUT_MS, now_ms=START_MS) is seen

    @pytest.mark.parametrize(
        ("answer", "seen"), [(NoConnection.GONE, Seen.GONE), (NoConnection.INVALID, Seen.INVALID)]
    )
    def test_no_connection_is_gone_or_none_at_all(self, answer: NoConnection, seen: Seen) -> None:
        assert seen_of(answer, OLD, silence_ms=IDLE_TIMEOUT_MS, now_ms=START_MS) is seen


class TestConfirmation:
    def test_asks_then_claims_then_notifies(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        world.sweep = replace(world.sweep, total_segments=1)
        world.run()
        assert asked == [
            *["Scan"] * 2,
            "GetConnection",
            "UpdateItem",
            "PostToConnection",
            "DeleteConnection",
            "Invoke",
        ]

    def test_who_is_active_there_is_left_noted_and_counted(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        talk(world, "c1")
        counts = world.run()
        assert (counts["activityUnrecorded"], counts["idle"], counts["held"]) == (1, 0, None)
        record = world.record_of("c1")
        assert record is not None
        assert record.gateway_active_ms == START_MS
        assert record.last_activity_ms == START_MS - 300_000
        ((_, event, fields),) = [line for line in world.log.lines if line[0] == "warning"]
        assert "active, though not on record" in event
        assert fields == {"count": 1, "connectionIds": ["c1"]}

    def test_who_is_quiet_in_a_moment_is_left_to_the_next_sweep_and_not_counted(
        self, world: World
    ) -> None:
        """API Gateway calls it a connection a little after the connect was recorded."""
        world.connect("c1", silent_s=120.001)
        world.gateway.active_ms["c1"] = EpochMs(START_MS - 119_900)
        counts = world.run()
        assert (counts["closed"], counts["activityUnrecorded"], counts["idle"]) == (0, 0, 0)
        record = world.record_of("c1")
        assert record is not None
        assert record.gateway_active_ms is None
        world.clock.advance(seconds=60)
        assert world.run()["closed"] == 1

    def test_it_is_closed_a_timeout_after_it_fell_silent(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        talk(world, "c1")
        world.run()
        world.clock.advance(seconds=120)
        assert world.run()["closed"] == 0
        world.clock.advance(seconds=0.001)
        assert world.run()["closed"] == 1
        assert world.gateway.sent["c1"][0]["idleSeconds"] == 120

    def test_a_second_silence_has_a_notice_of_its_own(self, world: World) -> None:
        """A close that failed had sent the first."""
        world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        with pytest.raises(SweepFailed):
            world.run()
        world.clock.advance(seconds=60)
        talk(world, "c1")
        world.run()
        world.clock.advance(seconds=121)
        assert world.run()["closed"] == 1
        assert len(world.gateway.sent["c1"]) == 2

    def test_a_note_that_fails_leaves_it_all_the_same(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        talk(world, "c1")
        world.faults.fail("UpdateItem")
        with pytest.raises(SweepFailed, match="UpdateItem failed"):
            world.run()
        assert world.gateway.open_ids == {"c1"}

    def test_no_answer_leaves_it_and_fails_nothing(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        world.connect("c2", silent_s=300)
        world.faults.fail("GetConnection")
        counts = world.run()
        assert (counts["unconfirmed"], counts["closed"]) == (1, 1)
        assert world.metrics.total("ConnectionsUnconfirmed") == 1
        ((_, event, fields),) = [line for line in world.log.lines if line[0] == "warning"]
        assert event == "left connections that API Gateway did not answer about in time"
        assert "planned" in str(fields["error"])

    @pytest.mark.parametrize(("took_ms", "closed"), [(2_000, 1), (2_001, 0)])
    def test_an_answer_is_good_for_two_seconds(
        self, world: World, took_ms: int, closed: int
    ) -> None:
        world.connect("c1", silent_s=300)

        def answer_late(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                world.clock.sleep(DurationMs(took_ms))

        world.faults.after = answer_late
        counts = world.run()
        assert (counts["closed"], counts["unconfirmed"]) == (closed, 1 - closed)

    def test_an_id_that_api_gateway_calls_invalid_is_ignored(self, world: World) -> None:
        connection = world.connect("c1", silent_s=300)
        before = world.record_of("c1")

        class Invalid:
            def get_connection(self, _connection_id: str) -> NoConnection:
                return NoConnection.INVALID

        confirmer = world.closer.confirmer
        confirmer.gateway = Invalid()  # type: ignore[assignment]
        counts = world.run()
        assert (counts["ignored"], counts["idle"]) == (1, 0)
        assert world.record_of("c1") == before == connection
        assert world.metrics.total("RecordsIgnored") == 1
        assert world.functions.events == []

    def test_nineteen_talkers_of_whom_nothing_is_recorded(self, world: World) -> None:
        for number in range(19):
            world.connect(f"c{number}", silent_s=600)
            talk(world, f"c{number}")
        counts = world.run()
        assert (counts["closed"], counts["activityUnrecorded"]) == (0, 19)

    def test_a_lone_ghost_is_gone(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.gateway.open_ids.clear()
        assert world.run()["gone"] == 1


class TestRefusals:
    def test_twenty_in_a_row_fail_the_sweep_and_name_the_grant(self, world: World) -> None:
        for number in range(50):
            world.connect(f"c{number}", silent_s=300)
        refuse(world, times=100)
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        with pytest.raises(SweepFailed, match=r"execute-api:ManageConnections on GET"):
            world.run()
        assert asked.count("GetConnection") == MAX_REFUSALS
        assert len(world.gateway.open_ids) == 50
        assert world.metrics.total("SweepsIncomplete") == 1
        # The grant was put right.
        world.faults.planned.clear()
        assert world.run()["closed"] == 50

    def test_a_refusal_without_a_name_is_one_too(self, world: World) -> None:
        for number in range(50):
            world.connect(f"c{number}", silent_s=300)
        refuse(world, times=100, code="403")
        with pytest.raises(SweepFailed, match=r"execute-api:ManageConnections on GET"):
            world.run()

    def test_an_answer_in_between_starts_the_count_anew(self, world: World) -> None:
        for number in range(50):
            world.connect(f"c{number}", silent_s=300)
        refuse(world, times=MAX_REFUSALS - 1)
        counts = world.run()
        assert (counts["unconfirmed"], counts["closed"]) == (19, 31)

    @pytest.mark.parametrize(("age_s", "gone"), [(7_800, 0), (7_801, 1)])
    def test_a_record_that_is_older_than_any_connection_is_handed_over(
        self, world: World, age_s: int, gone: int
    ) -> None:
        connection = world.connect("c1", silent_s=300)
        world.connections.put(replace(connection, connected_at_ms=EpochMs(START_MS - age_s * 1000)))
        refuse(world, times=1)
        counts = world.run()
        assert (counts["gone"], counts["unconfirmed"]) == (gone, 1 - gone)
        # It is not closed: somebody else's connection may have been meant.
        assert world.gateway.open_ids == {"c1"}

    def test_many_such_do_not_fail_the_sweep(self, world: World) -> None:
        for number in range(MAX_REFUSALS + 5):
            connection = world.connect(f"c{number}", silent_s=300)
            world.connections.put(
                replace(connection, connected_at_ms=EpochMs(START_MS - 7_801_000))
            )
        refuse(world, times=MAX_REFUSALS + 5)
        assert world.run()["gone"] == MAX_REFUSALS + 5


class TestSettled:
    def test_an_active_one_is_held_until_recording_is_known_to_be_well(self, world: World) -> None:
        """A silent listener that is pushed to, where messages to clients count."""
        settle(world)
        world.connect("pushed-to", silent_s=130)
        held = []
        for _ in range(5):
            for number in range(20):
                world.connect(f"talks{number}", silent_s=5)
            talk(world, "pushed-to")
            counts = world.run()
            held.append(counts["held"])
            world.clock.advance(seconds=60)
        assert held == [Hold.RECORDING] * 3 + [None] * 2
        assert "pushed-to" not in world.gateway.open_ids
        assert world.metrics.total("SweepsHeld") == 3
        assert world.metrics.total("ActivityUnrecorded") == 0
        record = world.record_of("pushed-to")
        assert record is not None
        assert record.gateway_active_ms is None

    def test_quiet_ones_are_closed_meanwhile(self, world: World) -> None:
        settle(world)
        world.connect("c1", silent_s=130)
        assert world.run()["closed"] == 1

    @pytest.mark.parametrize("is_both", [True, False])
    def test_only_then_does_the_record_decide(self, world: World, *, is_both: bool) -> None:
        world.closer.confirmer.counts_both = is_both
        connection = world.connect("c1", silent_s=121)
        talk(world, "c1")
        result = world.closer.close_idle_connection(
            connection,
            Terms(silence_ms=IDLE_TIMEOUT_MS, recording_is_well=True),
            correlation_id="t",
        )
        assert result.status is (CloseStatus.CLOSED if is_both else CloseStatus.ACTIVE)


def fleet(*ages_s: float, connected_s: float = 3_600) -> Sequence[Connection]:
    """Records whose activity was recorded so long ago."""
    return [
        Connection(
            connection_id=f"c{number}",
            connected_at_ms=EpochMs(START_MS - round(connected_s * 1000)),
            last_activity_ms=EpochMs(START_MS - round(age_s * 1000)),
        )
        for number, age_s in enumerate(ages_s)
    ]


def is_well(records: Sequence[Connection]) -> bool:
    health = RecordingHealth()
    health.watch((), POLICY, EpochMs(START_MS - 180_000))
    health.watch(records, POLICY, START_MS)
    return health.is_well(POLICY, START_MS)


class TestHealth:
    @pytest.mark.parametrize(
        "records",
        [
            (),
            fleet(100, 110, 119, 119),  # too few to tell
            fleet(*[n * 30 / 100 for n in range(100)]),  # a beat every 30 s
            fleet(*[n * 108 / 100 for n in range(100)]),  # and every 108 s
            fleet(*[29.0] * 100),  # all at once
            fleet(5, *[600] * 100),  # one talks, the others have been silent for long
        ],
    )
    def test_is_well(self, records: Sequence[Connection]) -> None:
        assert is_well(records)

    @pytest.mark.parametrize(
        "records",
        [
            fleet(*[600] * 5),  # nothing was recorded for ten minutes
            fleet(*[61 + n for n in range(59)]),  # for a minute
            fleet(*[13 + n for n in range(107)]),  # for 13 s, where clients speak every 108
            fleet(*[600] * 5, connected_s=600),  # connects are recorded, activity is not
            [replace(one, last_activity_ms=None) for one in fleet(*[1] * 5)],
        ],
    )
    def test_is_ill(self, records: Sequence[Connection]) -> None:
        assert not is_well(records)

    @pytest.mark.parametrize(("others", "well"), [(0, True), (1_996, False)])
    def test_few_connections_among_other_items_are_too_few_to_judge_by(
        self, others: int, *, well: bool
    ) -> None:
        health = RecordingHealth()
        health.watch((), POLICY, EpochMs(START_MS - 180_000))
        health.watch(fleet(1, 2, 3, 4), POLICY, START_MS, others=others)
        assert health.is_well(POLICY, START_MS) == well

    def test_a_process_that_is_young_knows_nothing(self) -> None:
        health = RecordingHealth()
        assert not health.is_well(POLICY, START_MS)
        health.watch((), POLICY, START_MS)
        assert not health.is_well(POLICY, EpochMs(START_MS + 179_999))
        assert health.is_well(POLICY, EpochMs(START_MS + 180_000))

    def test_an_outage_is_remembered_for_one_and_a_half_timeouts(self) -> None:
        health = RecordingHealth()
        health.watch((), POLICY, EpochMs(START_MS - 180_000))
        health.watch(fleet(*[600] * 5), POLICY, START_MS)
        health.watch((), POLICY, EpochMs(START_MS + 60_000))
        assert not health.is_well(POLICY, EpochMs(START_MS + 179_999))
        assert health.is_well(POLICY, EpochMs(START_MS + 180_000))

    def test_a_process_that_did_not_watch_for_long_knows_nothing_of_that_time(self) -> None:
        health = RecordingHealth()
        health.watch((), POLICY, EpochMs(START_MS - 180_000))
        health.watch((), POLICY, EpochMs(START_MS + 1))
        assert not health.is_well(POLICY, EpochMs(START_MS + 1))

    def test_a_short_timeout_is_remembered_for_a_sweep_longer(self) -> None:
        policy = replace(POLICY, idle_timeout_ms=DurationMs(10_000))
        health = RecordingHealth()
        health.watch((), policy, START_MS)
        assert not health.is_well(policy, EpochMs(START_MS + 69_999))
        assert health.is_well(policy, EpochMs(START_MS + 70_000))

    def test_a_sample_that_cannot_be_read_is_logged_and_fails_the_sweep_at_its_end(
        self, world: World
    ) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("Scan")
        with pytest.raises(SweepFailed, match="could not ask API Gateway or the table"):
            world.run()
        assert world.gateway.open_ids == set()
        assert "sample of the table not read" in world.log.events("error")

    def test_a_sample_that_is_read_at_the_second_try_is_no_proof_that_all_is_well(
        self, world: World
    ) -> None:
        settle(world)
        be_well(world)
        for number in range(20):
            world.connect(f"c{number}", silent_s=number)
        world.connect("pushed-to", silent_s=130)
        talk(world, "pushed-to")
        world.faults.fail("Scan")
        with pytest.raises(SweepFailed):
            world.run()
        assert "pushed-to" in world.gateway.open_ids
        assert world.run()["closed"] == 1

    def test_a_sample_that_cannot_be_read_is_no_proof_that_all_is_well(self, world: World) -> None:
        settle(world)
        be_well(world)

        def refuse_the_sample(operation: str, key: str) -> None:
            if (operation, key) == ("Scan", "sample"):
                raise BackendError("Scan", "ThrottlingException", "planned", retryable=True)

        world.faults.before = refuse_the_sample
        for _ in range(5):
            for number in range(20):
                talk(world, f"c{number}")
            with pytest.raises(SweepFailed):
                world.run()
            world.clock.advance(seconds=60)
        assert len(world.gateway.open_ids) == 20


class TestControlGroup:
    def test_holds_those_that_are_not_idle_the_latest_first(self) -> None:
        records = [
            *fleet(*[n * 10 for n in range(30)]),
            Connection(connection_id="no-time"),
            Connection(connection_id="room#1", last_activity_ms=START_MS),
            Connection(connection_id="far-ahead", last_activity_ms=EpochMs(START_MS + 10**9)),
        ]
        group = control_group(records, POLICY, START_MS)
        assert [one.connection_id for one in group] == [f"c{n}" for n in range(13)]
        assert len(control_group(fleet(*[1] * 30), POLICY, START_MS)) == CONTROL_SIZE

    def test_holds_a_connection_with_many_records_once(self) -> None:
        (left,) = fleet(1)
        rooms = [replace(left, connection_id="left", session_id=f"r{n}") for n in range(12)]
        group = control_group([*rooms, *fleet(1, 2, 3)], POLICY, START_MS)
        assert sorted(one.connection_id for one in group) == ["c0", "c1", "c2", "left"]

    @pytest.mark.parametrize(
        ("control", "is_other"),
        [
            ([], False),
            ([Seen.GONE] * 2, False),  # too few to tell
            ([Seen.GONE] * 3, True),
            ([Seen.INVALID] * 20, False),
            ([Seen.GONE] * 3 + [Seen.NOT_YET] * 2, True),
            ([Seen.GONE] * 3 + [Seen.NOT_YET] * 3, False),
            ([Seen.GONE] * 2 + [Seen.ACTIVE], True),
            ([Seen.GONE] * 2 + [Seen.ACTIVE, Seen.QUIET], False),
            ([Seen.GONE] * 3 + [Seen.NO_ANSWER] * 9, True),
            # Active, and on record: what healthy ones answer.
            ([Seen.GONE] * 3 + [Seen.NOT_YET] * 17, False),
            ([Seen.NO_ANSWER] * 20, False),
        ],
    )
    def test_most_of_it_gone_is_another_table(
        self, control: Sequence[Seen], *, is_other: bool
    ) -> None:
        assert is_other_table(control) is is_other

    def test_a_table_of_another_stage_is_left_alone(self, world: World) -> None:
        """Live connections of another API, and grants that are too wide.

        On the fake, which answers 410. The local engine tells APIs apart and not their stages.
        """
        for number in range(50):
            world.connect(f"live{number}", silent_s=5)
        for number in range(5):
            world.connect(f"idle{number}", silent_s=300)
        world.gateway.open_ids.clear()
        before = {key: record.connection for key, record in world.connections.records.items()}
        counts = world.run()
        assert (counts["held"], counts["gone"], counts["complete"]) == (Hold.OTHER_TABLE, 0, False)
        assert world.functions.events == []
        assert {k: r.connection for k, r in world.connections.records.items()} == before
        assert world.metrics.total("SweepsHeld") == 1
        ((_, event, fields),) = [line for line in world.log.lines if line[0] == "error"]
        assert event == "sweep held"
        assert fields["reason"] == Hold.OTHER_TABLE
        assert "API_GATEWAY_ENDPOINT" in str(fields["advice"])

    @pytest.mark.parametrize(("failures", "reason"), [(1, Hold.OTHER_TABLE), (2, Hold.NO_SAMPLE)])
    def test_whose_table_it_is_is_never_left_open(
        self, world: World, failures: int, reason: Hold
    ) -> None:
        """A sample that was not read is read again; without one, nothing is handed over."""
        for number in range(50):
            world.connect(f"live{number}", silent_s=5)
        for number in range(5):
            world.connect(f"idle{number}", silent_s=300)
        world.gateway.open_ids.clear()
        left = failures

        def refuse_the_sample(operation: str, key: str) -> None:
            nonlocal left
            if (operation, key) == ("Scan", "sample") and left:
                left -= 1
                raise BackendError("Scan", "ThrottlingException", "planned", retryable=True)

        world.faults.before = refuse_the_sample
        with pytest.raises(SweepFailed):
            world.run()
        assert world.functions.events == []
        assert len(world.connections.records) == 55
        (fields,) = [fields for _, event, fields in world.log.lines if event == "sweep held"]
        assert fields["reason"] == reason
        assert len(world.log.events("error")) == failures + 1

    def test_a_sample_that_is_read_again_is_judged_by_the_time_at_which_it_is_read(
        self, world: World
    ) -> None:
        """A first reading that hangs takes 24 s, and more passes before the first batch."""
        world.connect("idle", silent_s=300)
        left = 1

        def hang(operation: str, key: str) -> None:
            nonlocal left
            if (operation, key) == ("Scan", "sample") and left:
                left -= 1
                world.clock.advance(seconds=40)
                world.connections.answered_at_ms = world.clock.now_ms()
                raise BackendError("Scan", "ReadTimeoutError", "planned", retryable=True)

        world.faults.before = hang
        with pytest.raises(SweepFailed):
            world.run()
        assert world.log.events("error") == ["sample of the table not read"]
        assert world.gateway.open_ids == set()

    def test_without_time_no_sample_is_read_again(self, world: World) -> None:
        """Then nothing is closed either."""
        world.connect("idle", silent_s=300)
        world.faults.fail("Scan")
        hold = world.sweep.watch.check_control_group(
            START_MS, has_time=lambda: False, concurrent_map=map
        )
        assert hold is None
        # The failure is still to come: nothing was read.
        assert world.faults.planned["Scan"]

    def test_a_few_that_have_just_left_hold_nothing(self, world: World) -> None:
        for number in range(CONTROL_SIZE):
            connection = world.connect(f"live{number}", silent_s=5)
            assert connection.last_activity_ms is not None
            world.gateway.active_ms[f"live{number}"] = connection.last_activity_ms
        world.connect("idle", silent_s=300)
        for number in range(3):
            world.gateway.open_ids.remove(f"live{number}")
        counts = world.run()
        assert (counts["held"], counts["closed"]) == (None, 1)

    def test_is_asked_once_a_sweep_and_only_if_anybody_looks_idle(self, world: World) -> None:
        for number in range(50):
            world.connect(f"live{number}", silent_s=5)
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        world.run()
        assert "GetConnection" not in asked
        for number in range(3):
            world.connect(f"idle{number}", silent_s=300)
        world.run()
        assert asked.count("GetConnection") == CONTROL_SIZE + 3

    def test_is_not_asked_without_time(self, world: World) -> None:
        for number in range(50):
            world.connect(f"live{number}", silent_s=5)
        world.connect("idle", silent_s=300)
        world.gateway.open_ids.clear()
        # For the sample, and two pages: then the time is up.
        left = iter([PLENTY_MS] * 3)
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: next(left, DurationMs(0)), correlation_id="t"
        )
        assert (report.hold, report.closes.gone, report.complete) == (None, 0, False)


class TestClock:
    @pytest.mark.parametrize(
        ("off_ms", "is_off"), [(0, False), (30_000, False), (30_001, True), (-30_001, True)]
    )
    def test_is_off_by_more_than_thirty_seconds(self, off_ms: int, *, is_off: bool) -> None:
        sample = Sample(records=(), answered_at_ms=EpochMs(START_MS + off_ms))
        assert is_clock_off(sample, START_MS) is is_off

    def test_is_looked_at_by_the_sample_that_is_read_again(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        world.connections.answered_at_ms = EpochMs(START_MS - 130_000)
        world.faults.fail("Scan")
        with pytest.raises(SweepFailed):
            world.run()
        (fields,) = [fields for _, event, fields in world.log.lines if event == "sweep held"]
        assert fields["reason"] == Hold.CLOCK
        assert world.gateway.open_ids == {"c1"}

    def test_is_not_known_to_be_off_where_nobody_said_the_time(self) -> None:
        assert not is_clock_off(Sample(records=()), START_MS)

    def test_a_sweep_whose_clock_is_off_is_held(self, world: World) -> None:
        world.connect("c1", silent_s=300)
        world.connections.answered_at_ms = EpochMs(START_MS - 130_000)
        counts = world.run()
        assert (counts["held"], counts["closed"]) == (Hold.CLOCK, 0)

    def test_an_override_does_not_close_by_a_clock_that_is_off(self, world: World) -> None:
        world.connect("talks", silent_s=10)
        world.clock.ms += 600_000
        world.connections.answered_at_ms = START_MS
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="by hand", override_guard=True
        )
        assert report.hold is Hold.CLOCK
        assert world.gateway.open_ids == {"talks"}

    def test_a_clock_that_is_set_back_makes_nothing_negative(self, world: World) -> None:
        world.connect("c1", silent_s=121)

        def set_back(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                world.clock.ms -= 130_000

        world.faults.after = set_back
        assert world.run()["closed"] == 1
        assert world.gateway.sent["c1"][0]["idleSeconds"] == 0
        assert world.metrics.values_ms("CloseLateness") == [0]


class TestObserve:
    def test_decides_and_reports_and_changes_nothing(self, world: World) -> None:
        world.connect("idle", silent_s=300)
        world.connect("gone", silent_s=300)
        world.connect("talks", silent_s=300)
        world.connections.put(Connection(connection_id="timeless"))
        world.gateway.open("timeless")
        world.gateway.open_ids.remove("gone")
        talk(world, "talks")
        before = {key: record.connection for key, record in world.connections.records.items()}
        closer = replace(world.closer, acts=False)
        world.sweep = world.make_sweep(closer=closer)
        counts = world.run()
        assert (counts["wouldClose"], counts["idle"], counts["activityUnrecorded"]) == (3, 3, 1)
        assert (counts["closed"], counts["gone"], counts["clocksStarted"]) == (0, 0, 0)
        assert {k: r.connection for k, r in world.connections.records.items()} == before
        assert world.gateway.open_ids == {"idle", "talks", "timeless"}
        assert world.gateway.sent == {}
        assert world.functions.events == []
        assert world.metrics.total("IdleConnectionsDetected") == 3


def test_two_sweeps_at_once_count_each_idle_connection_once(world: World) -> None:
    """300 idle, and a second sweep that runs whenever the first one asks."""
    for number in range(300):
        world.connect(f"c{number}", silent_s=300)
    other = world.make_sweep(closer=world.make_closer(), total_segments=2)
    asked: list[str] = []

    def run_the_other(operation: str, _key: str) -> None:
        asked.append(operation)
        if operation == "GetConnection" and len(asked) > 100 and "other" not in asked:
            asked.append("other")
            other.check_and_close_idle_connections(
                time_left_ms=lambda: PLENTY_MS, correlation_id="other"
            )

    world.faults.before = run_the_other
    world.run()
    assert "other" in asked
    assert world.metrics.total("IdleConnectionsDetected") == 300
    assert world.metrics.total("ConnectionsClosed") == 300
    assert world.gateway.open_ids == set()
