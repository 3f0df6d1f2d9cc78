"""Sweeps that queue what falls due, and sweeps of a part of the table."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import Hold
from hangup.core.pacing import Pace
from hangup.core.shards import Shard
from hangup.core.timing import LOOK_AHEAD_S, STOP_MARGIN_MS
from hangup.errors import InvalidRequest, SweepFailed
from hangup.handlers import timeout_handler
from hangup.idle.pacer import Pacer
from hangup.ports import ScanPage
from hangup.testing import InMemoryConnections
from tests.support.aws_stub import AwsStub
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS, TICK, Context, World
from tests.support.precise_world import PreciseWorld

IDLE_TIMEOUT_S = IDLE_TIMEOUT_MS // 1000


@pytest.fixture
def world() -> PreciseWorld:
    return PreciseWorld()


def crowd(world: World, size: int, *, silent_s: float) -> list[Connection]:
    """Connect so many; by API Gateway's account they were last active when the record says."""
    connections = [world.connect(f"c{n:04}", silent_s=silent_s) for n in range(size)]
    for connection in connections:
        assert connection.last_activity_ms is not None
        world.gateway.active_ms[connection.connection_id] = connection.last_activity_ms
    return connections


class TestQueueing:
    def test_queues_what_is_idle_and_closes_nothing_itself(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=121)
        counts = world.run()
        assert (counts["queued"], counts["idle"], counts["closed"]) == (1, 0, 0)
        assert world.gateway.open_ids == {"c1"}
        assert world.gateway.sent == {}
        assert world.deliver() == []
        assert world.gateway.open_ids == set()

    @pytest.mark.parametrize(
        ("until_deadline_s", "queued"),
        [(LOOK_AHEAD_S, 0), (LOOK_AHEAD_S - 0.001, 1), (0, 1), (-0.001, 1)],
    )
    def test_looks_ahead_until_after_the_next_sweep(
        self, world: PreciseWorld, until_deadline_s: float, queued: int
    ) -> None:
        world.connect("c1", silent_s=IDLE_TIMEOUT_S - until_deadline_s)
        assert world.run()["queued"] == queued
        assert len(world.close_queue) == queued

    def test_closes_a_silent_client_the_moment_that_it_is_idle(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=60.4)
        world.run()
        delivered_after_s = 0
        while world.gateway.open_ids:
            world.clock.advance(seconds=1)
            delivered_after_s += 1
            world.deliver()
        # The rest, 0.6 seconds, the close function waited.
        assert delivered_after_s == 59
        assert world.metrics.values_ms("CloseLateness") == [1]

    def test_a_client_that_speaks_before_its_deadline_stays(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=60)
        world.run()
        spoke_ms = world.clock.advance(seconds=59)
        world.connections.record_activity("c1", now_ms=spoke_ms, resolution_ms=DurationMs(0))
        world.clock.advance(seconds=10)
        assert world.deliver() == []
        assert world.gateway.open_ids == {"c1"}

    def test_sends_ten_at_a_time_and_says_who(self, world: PreciseWorld) -> None:
        crowd(world, 15, silent_s=121)
        sizes: list[str] = []
        world.faults.before = lambda operation, _key: sizes.append(operation)
        assert world.run()["queued"] == 15
        assert sizes.count("SendMessageBatch") == 2
        ((event, fields),) = [
            (event, fields) for _, event, fields in world.log.lines if "connectionIds" in fields
        ]
        assert event == "scheduling the closes of connections that are idle or due"
        assert fields["count"] == 15

    def test_counts_what_it_queued_and_nothing_that_others_count(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=121)
        world.run()
        assert [(c.name, c.value) for c in world.metrics.counts] == [
            ("ConnectionsChecked", 1),
            ("IdleConnectionsDetected", 0),
            ("ConnectionsClosed", 0),
            ("ClosesScheduled", 1),
        ]
        world.metrics.counts.clear()
        world.deliver()
        names = {c.name: c.value for c in world.metrics.counts}
        assert names == {
            "IdleConnectionsDetected": 1,
            "ConnectionsClosed": 1,
            "ConnectionTimeout": 1,
        }

    def test_what_cannot_be_queued_counts_as_a_failure_and_is_left_to_the_next_sweep(
        self, world: PreciseWorld
    ) -> None:
        crowd(world, 3, silent_s=121)
        world.faults.fail("SendMessage")
        with pytest.raises(SweepFailed, match="left 1 of 3 idle connections to the next one"):
            world.run()
        assert len(world.close_queue) == 2
        assert world.metrics.total("QueueFailures") == 1
        assert world.metrics.total("ClosesScheduled") == 2
        assert "queueing failed" in world.log.events("error")
        assert world.run()["queued"] == 3

    def test_a_batch_that_fails_stops_no_other(self, world: PreciseWorld) -> None:
        crowd(world, 25, silent_s=121)
        world.faults.fail("SendMessageBatch")
        with pytest.raises(SweepFailed, match="10 of 25"):
            world.run()
        assert len(world.close_queue) == 15

    def test_without_time_it_queues_no_more_and_says_so(self, world: PreciseWorld) -> None:
        crowd(world, 15, silent_s=121)
        # For the sample, two pages, the batch, and ten of them.
        left = iter([PLENTY_MS] * 5)
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: next(left, DurationMs(STOP_MARGIN_MS - 1)), correlation_id="t"
        )
        assert (report.queued, report.complete) == (10, False)

    def test_starts_the_clock_of_a_record_without_times(self, world: PreciseWorld) -> None:
        world.connections.put(Connection(connection_id="c1"))
        world.gateway.open("c1")
        counts = world.run()
        assert (counts["clocksStarted"], counts["queued"]) == (1, 0)

    def test_keeps_a_candidate_that_is_not_due(self, world: PreciseWorld) -> None:
        class Unfiltered(InMemoryConnections):
            def scan_candidates(
                self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
            ) -> Iterator[ScanPage]:
                found = list(self.scan_all_connections())
                yield ScanPage(candidates=found, scanned_count=1, is_last=True)

        unfiltered = Unfiltered()
        unfiltered.put(world.connect("c1", silent_s=1))
        world.sweep = replace(world.sweep, closer=replace(world.closer, connections=unfiltered))
        assert world.run()["queued"] == 0


class TestConfirmation:
    def test_a_broken_heartbeat_path_closes_nobody(self, world: PreciseWorld) -> None:
        crowd(world, 20, silent_s=60)
        for connection_id in world.gateway.active_ms:
            # They go on sending heartbeats, every 30 s; nothing records them.
            world.gateway.active_ms[connection_id] = EpochMs(world.clock.ms + 30_000)
        assert world.run()["queued"] == 20
        world.clock.advance(seconds=61)
        while len(world.close_queue):
            assert world.deliver() == []
        assert len(world.gateway.open_ids) == 20
        assert world.metrics.total("ActivityUnrecorded") == 20
        assert world.metrics.total("IdleConnectionsDetected") == 0
        # What API Gateway said counts from now on.
        assert world.run()["queued"] == 0

    def test_those_that_are_kept_are_asked_about_no_faster_than_the_pace(
        self, world: PreciseWorld
    ) -> None:
        """500 a second by all four functions together: each asks every eight milliseconds."""
        questions = Pace(500, shared_by=4)
        world.due = replace(world.due, questions=Pacer(clock=world.clock, pace=questions))
        asked_ms: list[EpochMs] = []

        def note(operation: str, key: str) -> None:
            if operation == "GetConnection":
                asked_ms.append(world.clock.now_ms())

        crowd(world, 100, silent_s=121)
        for connection_id in world.gateway.active_ms:
            world.gateway.active_ms[connection_id] = world.clock.now_ms()
        world.run()
        world.faults.before = note
        while len(world.close_queue):
            assert world.deliver() == []
        assert len(asked_ms) == len(world.gateway.open_ids) == 100
        assert min(b - a for a, b in pairwise(asked_ms)) >= questions.interval_ms == 8

    @pytest.mark.parametrize(("later_ms", "again"), [(100, 0), (1_249, 0), (3_000, 1)])
    def test_waits_for_the_account_where_it_is_a_moment_behind_the_record(
        self, world: PreciseWorld, later_ms: int, again: int
    ) -> None:
        world.connect("c1", silent_s=60)
        world.gateway.active_ms["c1"] = EpochMs(world.clock.ms - 60_000 + later_ms)
        world.run()
        world.clock.advance(seconds=60)
        assert len(world.deliver()) == again
        world.clock.advance(seconds=3 * again)
        assert world.deliver() == []
        assert world.gateway.open_ids == set()
        assert world.metrics.total("ActivityUnrecorded") == 0
        assert world.metrics.values_ms("CloseLateness") == [later_ms + 1]

    def test_a_client_that_speaks_while_the_message_waits_is_not_unrecorded(
        self, world: PreciseWorld
    ) -> None:
        world.connect("c1", silent_s=119)
        world.run()

        def speak_and_be_recorded(operation: str, key: str) -> None:
            if operation == "GetConnection":
                now_ms = world.clock.now_ms()
                world.gateway.active_ms[key] = now_ms
                record = world.connections.records[key]
                record.connection = replace(record.connection, last_activity_ms=now_ms)

        world.faults.before = speak_and_be_recorded
        world.clock.advance(seconds=2)
        assert world.deliver() == []
        assert world.metrics.total("ActivityUnrecorded") == 0
        assert world.metrics.total("ClaimsLost") == 1
        assert world.gateway.open_ids == {"c1"}

    @pytest.mark.parametrize("recording_is_well", [True, False])
    def test_the_sweeps_verdict_decides_where_messages_to_clients_count(
        self, world: PreciseWorld, *, recording_is_well: bool
    ) -> None:
        world.closer.confirmer.counts_both = True
        connection = world.connect("c1", silent_s=121)
        world.gateway.active_ms["c1"] = world.clock.now_ms()
        world.receive_at_once(connection, recording_is_well=recording_is_well)
        assert (world.gateway.open_ids == set()) is recording_is_well

    def test_sends_the_verdict_with_each_message(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=121)
        for number in range(20):
            world.connect(f"talks{number}", silent_s=5)
        verdicts = []
        for _ in range(5):
            world.run()
            (message,) = world.close_queue.receive()
            verdicts.append(json.loads(message.body)["recordingIsWell"])
            world.close_queue.delete(message.message_id)
            world.clock.advance(seconds=60)
            for number in range(20):
                world.connect(f"talks{number}", silent_s=5)
        # It has watched for one and a half timeouts by then.
        assert verdicts == [False, False, False, True, True]

    def test_another_stages_table_queues_nothing(self, world: PreciseWorld) -> None:
        crowd(world, 30, silent_s=10)
        crowd_of_due = [world.connect(f"due{number}", silent_s=119) for number in range(3)]
        world.gateway.open_ids.clear()
        counts = world.run()
        assert counts["queued"] == 0
        assert counts["held"] == Hold.OTHER_TABLE
        assert world.metrics.total("SweepsHeld") == 1
        assert len(crowd_of_due) == 3

    def test_an_override_queues_them(self, world: PreciseWorld) -> None:
        crowd(world, 30, silent_s=10)
        world.connect("due", silent_s=119)
        world.gateway.open_ids.clear()
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="by hand", override_guard=True
        )
        assert (report.queued, report.hold) == (1, None)


class TestShards:
    @pytest.mark.parametrize("shards", [1, 2, 3, 7, 20])
    def test_together_they_check_every_connection_once(self, shards: int) -> None:
        world = World()
        crowd(world, 100, silent_s=1)
        for n in range(20):
            world.connect(f"idle{n}", silent_s=300)
        checked = closed = 0
        for index in range(shards):
            report = world.sweep.check_and_close_idle_connections(
                time_left_ms=lambda: PLENTY_MS,
                correlation_id="tick-1",
                shard=Shard(index=index, of=shards),
            )
            checked += report.checked
            closed += report.closes.closed
        # In the end those that were closed are still on record: nobody has cleaned up here.
        assert (checked, closed) == (120, 20)
        assert len(world.gateway.open_ids) == 100

    def test_one_that_stops_in_time_starts_elsewhere_in_its_part_the_next_time(self) -> None:
        world = World()
        world.sweep = replace(world.sweep, total_segments=4)
        first_read: set[str] = set()
        for minute in range(20):
            reads: list[str] = []
            world.faults.before = lambda operation, key, reads=reads: (
                reads.append(key) if operation == "Scan" and key != "sample" else None
            )
            world.sweep.check_and_close_idle_connections(
                time_left_ms=lambda: PLENTY_MS,
                correlation_id=str(minute),
                shard=Shard(index=2, of=3),
            )
            assert sorted(reads, key=int) == ["8", "9", "10", "11"]
            first_read.add(reads[0])
            world.clock.advance(seconds=60)
        assert first_read == {"8", "9", "10", "11"}


class TestLambdaHandler:
    """The Lambda entry point, on a stub of AWS."""

    def test_queues_with_the_delay_to_the_deadline(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = "https://sqs.us-east-1.amazonaws.com/111122223333/due"
        monkeypatch.setenv("CLOSE_QUEUE_URL", url)
        monkeypatch.setenv("SCAN_SEGMENTS", "1")
        item = {"connectionId": {"S": "c1="}, "lastActivityTime": {"N": "1700000000000"}}
        aws.answer("Scan", {"Items": [item], "Count": 1, "ScannedCount": 7})
        aws.answer("SendMessageBatch", {"Successful": [], "Failed": []})
        counts = timeout_handler.lambda_handler(TICK, Context())
        assert (counts["checked"], counts["queued"]) == (7, 1)
        (batch,) = aws.calls("SendMessageBatch")
        assert batch["QueueUrl"] == url
        (entry,) = batch["Entries"]
        assert entry["DelaySeconds"] == 0
        message = json.loads(entry["MessageBody"])
        assert abs(message.pop("judgedAt") - time.time() * 1000) < 60_000
        assert message == {
            "connectionId": "c1=",
            "sessionId": None,
            "role": None,
            "connectedAt": None,
            "lastActivityTime": 1700000000000,
            "gatewayActiveAt": None,
            "noticedAt": None,
            "handovers": 0,
            "deadline": 1700000120000,
            "correlationId": "event-1",
            "silence": 120_000,
            "recordingIsWell": False,
            "asks": True,
        }
        assert aws.calls("PostToConnection") == aws.calls("DeleteConnection") == []

    def test_reads_the_part_that_the_event_names(self, aws: AwsStub) -> None:
        timeout_handler.lambda_handler({**TICK, "shard": 2, "shards": 5}, Context())
        scans = [scan for scan in aws.calls("Scan") if "Segment" in scan]
        assert sorted(scan["Segment"] for scan in scans) == list(range(32, 48))
        assert {scan["TotalSegments"] for scan in scans} == {80}

    def test_reads_the_whole_table_where_the_event_names_no_part(self, aws: AwsStub) -> None:
        timeout_handler.lambda_handler({}, Context())
        scans = [scan for scan in aws.calls("Scan") if "Segment" in scan]
        assert sorted(scan["Segment"] for scan in scans) == list(range(16))
        assert {scan["TotalSegments"] for scan in scans} == {16}

    @pytest.mark.parametrize(
        ("part", "complaint"),
        [
            ({"shard": 0}, "shards must be a whole number from 1 to 62500$"),
            ({"shard": 0, "shards": 0}, "shards must be"),
            ({"shard": 0, "shards": 62_501}, "shards must be"),
            ({"shard": 0, "shards": "4"}, "shards must be"),
            ({"shard": 0, "shards": True}, "shards must be"),
            ({"shards": 4}, "shard must be a whole number from 0 to 3, since shards is 4$"),
            ({"shard": 4, "shards": 4}, "shard must be"),
            ({"shard": -1, "shards": 4}, "shard must be"),
            ({"shard": 1.0, "shards": 4}, "shard must be"),
            ({"shard": False, "shards": 4}, "shard must be"),
        ],
    )
    def test_refuses_a_part_that_is_none_and_names_it(
        self, aws: AwsStub, part: dict[str, object], complaint: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=complaint):
            timeout_handler.lambda_handler({**TICK, **part}, Context())
        assert aws.operations == []
