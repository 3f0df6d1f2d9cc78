"""The timeout handler, in the five groups of its contract.

The first four run the closer and the sweep on the in-memory fakes; the last one runs the Lambda
entry point itself, with botocore, against a stub of AWS on loopback.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from hangup.aws.values import Item
from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    InvalidTime,
    RecordedTime,
)
from hangup.core.outcomes import CloseOutcome
from hangup.core.report import CloseStatus
from hangup.core.shards import segments_from
from hangup.core.timing import SCAN_MARGIN_MS, SEGMENTS_AT_ONCE, STOP_MARGIN_MS
from hangup.errors import BackendError, ConfigurationError, InvalidRequest, SweepFailed
from hangup.handlers import timeout_handler
from hangup.idle.guard import Terms
from hangup.ports import ScanPage
from hangup.sessions.model import Role
from hangup.testing import START_MS, InMemoryConnections
from tests.support.aws_stub import AwsStub
from tests.support.idle_world import PLENTY_MS, TICK, Context, World

WELL = Terms(silence_ms=DurationMs(120_000), recording_is_well=True)


def fail_one_segment(world: World) -> Callable[[str, str], None]:
    """Return what makes the first page of a segment fail, once."""
    unfailed = ["one"]

    def fail(operation: str, key: str) -> None:
        if operation == "Scan" and key != "sample" and unfailed:
            unfailed.clear()
            world.faults.fail("Scan")

    return fail


@pytest.fixture
def world() -> World:
    return World()


class TestSendTimeoutMessage:
    """Sending the timeout message."""

    def test_sends_exactly_the_four_members_of_the_contract(self, world: World) -> None:
        connection = world.connect("c1", silent_s=125.9)
        sent = world.closer.send_timeout_message(connection, now_ms=START_MS)
        assert sent
        assert world.gateway.sent["c1"] == [
            {
                "type": "connectionTimeout",
                "message": "Connection closed due to inactivity",
                "idleSeconds": 125,
                "timestamp": START_MS,
            }
        ]

    def test_counts_idle_seconds_from_the_connect_if_there_was_no_activity(
        self, world: World
    ) -> None:
        connection = Connection(connection_id="c1", connected_at_ms=EpochMs(START_MS - 121_000))
        world.gateway.open("c1")
        world.closer.send_timeout_message(connection, now_ms=START_MS)
        assert world.gateway.sent["c1"][0]["idleSeconds"] == 121

    def test_takes_a_connection_that_is_gone_for_success(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        world.gateway.open_ids.clear()
        assert world.closer.send_timeout_message(connection, now_ms=START_MS)
        assert world.log.lines == []

    def test_logs_a_failure_and_says_so(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        world.faults.fail("PostToConnection")
        assert not world.closer.send_timeout_message(connection, now_ms=START_MS)
        assert world.log.events("warning") == ["notice failed"]

    def test_a_failed_message_does_not_stop_the_close(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("PostToConnection")
        counts = world.run()
        assert (counts["closed"], counts["noticesFailed"]) == (1, 1)
        assert world.gateway.open_ids == set()


class TestCloseConnection:
    """Closing the connection."""

    def test_closes_the_socket(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        assert world.closer.close_connection(connection) is CloseOutcome.CLOSED
        assert world.gateway.open_ids == set()

    def test_takes_a_connection_that_is_gone_for_closed(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        world.gateway.open_ids.clear()
        assert world.closer.close_connection(connection) is CloseOutcome.ALREADY_GONE

    def test_lets_a_backend_error_through(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        with pytest.raises(BackendError, match="DeleteConnection failed"):
            world.closer.close_connection(connection)

    def test_leaves_a_failed_close_unclaimed_and_sends_no_second_notice(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        with pytest.raises(SweepFailed, match="left 1 of 1 idle connections to the next one"):
            world.run()
        assert world.functions.events == []
        world.clock.advance(seconds=1)
        assert world.run()["closed"] == 1
        assert len(world.gateway.sent["c1"]) == 1

    def test_sends_the_notice_again_if_a_failed_close_had_not_sent_it(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("PostToConnection")
        world.faults.fail("DeleteConnection")
        with pytest.raises(SweepFailed):
            world.run()
        assert world.run()["closed"] == 1
        assert len(world.gateway.sent["c1"]) == 1

    def test_sends_the_notice_again_if_the_client_spoke_after_a_failed_close(
        self, world: World
    ) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        with pytest.raises(SweepFailed):
            world.run()
        spoke_ms = world.clock.advance(seconds=10)
        world.connections.record_activity("c1", now_ms=spoke_ms, resolution_ms=DurationMs(0))
        world.clock.advance(seconds=121)
        assert world.run()["closed"] == 1
        assert len(world.gateway.sent["c1"]) == 2

    def test_does_not_close_a_client_that_spoke_between_the_scan_and_the_claim(
        self, world: World
    ) -> None:
        connection = world.connect("c1", silent_s=121)
        world.connections.record_activity(
            "c1", now_ms=world.clock.now_ms(), resolution_ms=DurationMs(0)
        )
        outcome = world.closer.close_idle_connection(connection, WELL, correlation_id="tick-1")
        assert outcome.status is CloseStatus.CLAIM_LOST
        assert world.gateway.open_ids == {"c1"}
        assert world.gateway.sent == {}

    def test_does_not_close_what_another_sweep_is_closing(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121)
        now_ms = world.clock.now_ms()
        world.connections.claim(
            connection, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 60_000)
        )
        counts = world.run()
        assert (counts["idle"], counts["closed"], counts["claimsLost"]) == (0, 0, 0)
        lost = world.closer.close_idle_connection(connection, WELL, correlation_id="tick-1")
        assert lost.status is CloseStatus.CLAIM_LOST
        assert world.gateway.open_ids == {"c1"}
        assert world.gateway.sent == {}

    def test_leaves_a_connection_alone_whose_claim_fails(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("UpdateItem")
        with pytest.raises(SweepFailed, match="UpdateItem failed"):
            world.run()
        assert world.gateway.open_ids == {"c1"}
        assert world.gateway.sent == {}

    def test_goes_on_if_a_claim_cannot_be_given_back(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        updates = iter(["claim", "release"])

        def fail_the_release(operation: str, _key: str) -> None:
            if operation == "UpdateItem" and next(updates) == "release":
                world.faults.fail("UpdateItem")

        world.faults.before = fail_the_release
        with pytest.raises(SweepFailed, match="DeleteConnection failed"):
            world.run()
        assert "claim not released" in world.log.events("warning")


class TestTriggerDisconnectHandler:
    """Triggering the disconnect handler."""

    def test_hands_over_an_event_like_api_gateways_own(self, world: World) -> None:
        connection = world.connect("c1", silent_s=121, role=Role.SPEAKER)
        world.closer.trigger_disconnect_handler(
            connection,
            ConnectionInfo(
                last_active_ms=EpochMs(START_MS - 121_000),
                connected_at_ms=EpochMs(START_MS - 600_007),
                source_ip="203.0.113.7",
                user_agent="a browser",
            ),
            now_ms=START_MS,
            correlation_id="tick-1",
        )
        host = "abc123.execute-api.eu-west-1.amazonaws.com"
        assert world.functions.events == [
            {
                "headers": {
                    "Host": host,
                    "x-api-key": "",
                    "X-Forwarded-For": "203.0.113.7",
                    "x-restapi": "",
                },
                "multiValueHeaders": {
                    "Host": [host],
                    "x-api-key": [""],
                    "X-Forwarded-For": ["203.0.113.7"],
                    "x-restapi": [""],
                },
                "requestContext": {
                    "routeKey": "$disconnect",
                    "eventType": "DISCONNECT",
                    "connectionId": "c1",
                    "domainName": host,
                    "stage": "prod",
                    "apiId": "abc123",
                    "requestId": "tick-1",
                    "extendedRequestId": "tick-1",
                    "requestTime": "14/Nov/2023:22:13:20 +0000",
                    "requestTimeEpoch": START_MS,
                    "connectedAt": START_MS - 600_007,
                    "identity": {"sourceIp": "203.0.113.7", "userAgent": "a browser"},
                    "messageDirection": "IN",
                    "disconnectStatusCode": 1001,
                    "disconnectReason": "IDLE_TIMEOUT",
                },
                "isBase64Encoded": False,
                "sessionId": "s1",
                "role": "speaker",
                "correlationId": "tick-1",
            }
        ]

    def test_who_is_gone_by_the_answer_needs_neither_notice_nor_close(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.gateway.open_ids.clear()
        called: list[str] = []
        world.faults.before = lambda operation, _key: called.append(operation)
        assert world.run()["gone"] == 1
        assert called == ["Scan"] * 3 + ["GetConnection", "UpdateItem", "Invoke"]

    def test_a_notice_that_finds_the_client_gone_needs_no_close(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        called: list[str] = []

        def leave_before_the_notice(operation: str, _key: str) -> None:
            called.append(operation)
            if operation == "PostToConnection":
                world.gateway.open_ids.clear()

        world.faults.before = leave_before_the_notice
        assert world.run()["gone"] == 1
        assert "DeleteConnection" not in called
        assert len(world.functions.events) == 1

    def test_hands_over_although_the_client_has_gone(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.gateway.open_ids.clear()
        assert world.run()["gone"] == 1
        assert len(world.functions.events) == 1

    def test_a_failed_hand_over_is_done_by_the_next_sweep(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("Invoke")
        with pytest.raises(SweepFailed, match="Invoke failed"):
            world.run()
        assert world.connections.get("c1") is not None
        assert world.metrics.total("CloseFailures") == 1
        assert world.metrics.total("ConnectionsClosed") == 1
        assert world.run()["idle"] == 0
        assert len(world.functions.events) == 1
        # Closed by the first sweep, it is counted by that alone.
        assert world.metrics.total("ConnectionsClosed") == 1

    def test_a_hand_over_that_keeps_failing_backs_off_and_is_counted_once(
        self, world: World
    ) -> None:
        """The disconnect handler is down for an hour, and 100 connections have left."""
        for number in range(100):
            world.connect(f"c{number}", silent_s=121)
        world.gateway.open_ids.clear()
        minutes: list[int] = []
        for minute in range(61):
            world.functions.events.clear()
            assert world.run()["complete"] is True
            assert len(world.functions.events) in (0, 100)
            minutes += [minute] * bool(world.functions.events)
            world.clock.advance(seconds=60)
        assert minutes == [0, 1, 3, 7, 15, 31]
        assert world.metrics.total("ConnectionsClosed") == 100
        assert world.metrics.total("IdleConnectionsDetected") == 100
        assert world.metrics.total("HandoversRepeated") == 400
        # From there on it is tried once an hour.
        world.clock.advance(seconds=3_600)
        assert world.run()["handoversRepeated"] == 100
        world.clock.advance(seconds=3_599)
        assert world.run()["handoversRepeated"] == 0
        world.clock.advance(seconds=1)
        assert world.run()["handoversRepeated"] == 100

    def test_a_hand_over_that_cannot_be_sent_backs_off_too(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        minutes: list[int] = []
        for minute in range(9):
            world.faults.planned.clear()
            world.faults.fail("Invoke")
            try:
                world.run()
            except SweepFailed:
                minutes.append(minute)
            world.clock.advance(seconds=60)
        # The first that fails is tried by the next sweep, whatever the second in its minute.
        assert minutes == [0, 1, 3, 7]
        assert world.metrics.total("ConnectionsClosed") == 1


class TestCheckAndCloseIdleConnections:
    """Checking all connections and closing the idle ones."""

    @pytest.mark.parametrize(("silent_s", "closed"), [(119.999, 0), (120.0, 0), (120.001, 1)])
    def test_idle_begins_one_millisecond_after_the_deadline(
        self, world: World, silent_s: float, closed: int
    ) -> None:
        world.connect("c1", silent_s=silent_s)
        assert world.run()["closed"] == closed

    def test_keeps_a_connection_that_talks(self, world: World) -> None:
        world.connect("talks", silent_s=5)
        world.connect("silent", silent_s=500)
        counts = world.run()
        assert world.gateway.open_ids == {"talks"}
        assert (counts["checked"], counts["idle"], counts["closed"]) == (2, 1, 1)

    def test_keeps_a_candidate_that_turns_out_not_to_be_idle(self, world: World) -> None:
        class Unfiltered(InMemoryConnections):
            def scan_candidates(
                self, *, cutoff_ms: EpochMs, now_ms: EpochMs, segment: int, total_segments: int
            ) -> Iterator[ScanPage]:
                found = list(self.scan_all_connections())
                yield ScanPage(candidates=found, scanned_count=1, is_last=True)

        unfiltered = Unfiltered()
        unfiltered.put(world.connect("c1", silent_s=120))
        report = world.make_sweep(
            closer=replace(world.closer, connections=unfiltered), total_segments=2
        ).check_and_close_idle_connections(time_left_ms=lambda: PLENTY_MS, correlation_id="tick-1")
        assert (report.checked, report.closes.idle) == (2, 0)
        assert world.gateway.open_ids == {"c1"}

    def test_checks_every_page_of_every_segment(self, world: World) -> None:
        for number in range(450):
            world.connect(f"c{number:03}", silent_s=121)
        counts = world.run()
        assert (counts["checked"], counts["closed"], counts["complete"]) == (450, 450, True)
        assert world.gateway.open_ids == set()

    def test_falls_back_to_the_time_of_the_connect(self, world: World) -> None:
        world.connections.put(
            Connection(connection_id="c1", connected_at_ms=EpochMs(START_MS - 120_001))
        )
        assert world.run()["gone"] == 1

    def test_starts_the_clock_of_a_record_without_times_and_closes_it_a_timeout_later(
        self, world: World
    ) -> None:
        world.connections.put(Connection(connection_id="c1"))
        world.gateway.open("c1")
        world.gateway.active_ms["c1"] = world.clock.now_ms()
        assert world.run()["clocksStarted"] == 1
        record = world.record_of("c1")
        assert record is not None
        # It must not look as if activity were being recorded.
        assert (record.last_activity_ms, record.gateway_active_ms) == (None, START_MS)
        world.clock.advance(seconds=120)
        assert world.run()["idle"] == 0
        world.clock.advance(seconds=0.001)
        assert world.run()["closed"] == 1

    def test_hands_over_a_record_without_times_if_it_saw_its_connection_once(
        self, world: World
    ) -> None:
        world.connections.put(Connection(connection_id="c1"))
        world.gateway.open("c1")
        world.gateway.active_ms["c1"] = world.clock.now_ms()
        world.run()
        world.gateway.open_ids.clear()
        world.clock.advance(seconds=121)
        assert world.run()["gone"] == 1
        assert len(world.functions.events) == 1

    def test_ignores_a_record_without_times_that_api_gateway_does_not_know(
        self, world: World
    ) -> None:
        world.connections.put(Connection(connection_id="precious"))
        for _ in range(3):
            assert world.run()["ignored"] == 1
            world.clock.advance(seconds=121)
        assert world.connections.records["precious"].connection == Connection(
            connection_id="precious"
        )
        assert world.functions.events == []
        assert world.metrics.total("RecordsIgnored") == 3

    def test_asks_about_no_more_of_them_once_a_hundred_were_unknown(self, world: World) -> None:
        for number in range(500):
            world.connections.put(Connection(connection_id=f"item{number}"))
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        world.run()
        assert asked.count("GetConnection") == 100

    def test_never_touches_an_item_whose_id_is_not_of_api_gateways_form(self, world: World) -> None:
        world.connections.put_item(
            {"connectionId": {"S": "room#lobby"}, "topic": {"S": "precious"}}
        )
        world.connections.put_item(
            {"connectionId": {"S": "room#hall"}, "lastActivityTime": {"N": str(START_MS - 10**9)}}
        )
        before = dict(world.connections.records)
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        for _ in range(3):
            world.run()
            world.clock.advance(seconds=300)
        assert set(asked) == {"Scan"}
        assert world.connections.records == before
        assert world.functions.events == []
        lines = [line for line in world.log.lines if line[0] == "warning"]
        assert len(lines) == 3
        assert lines[0][1] == "ignored records that are not connections"
        assert sorted(lines[0][2]["connectionIds"]) == ["room#hall", "room#lobby"]  # type: ignore[call-overload]

    @pytest.mark.parametrize(
        "times", [{}, {"lastActivityTime": {"N": str(START_MS - 10**9)}}], ids=["timeless", "old"]
    )
    def test_counts_an_item_that_is_no_connection_once_a_sweep(
        self, world: World, times: Item
    ) -> None:
        world.connections.put_item({"connectionId": {"S": "room#lobby"}, **times})
        for sweeps in (1, 2):
            world.run()
            assert world.metrics.total("RecordsIgnored") == sweeps

    def test_starts_clocks_only_while_there_is_time(self, world: World) -> None:
        for number in range(10):
            world.connections.put(Connection(connection_id=f"c{number}"))
            world.gateway.open(f"c{number}")
        # For the sample, a page, none further of the four readers, and for three of them.
        left = iter([PLENTY_MS, PLENTY_MS, *[STOP_MARGIN_MS] * 7])
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: next(left, DurationMs(STOP_MARGIN_MS - 1)), correlation_id="t"
        )
        assert (report.clocks_started, report.complete) == (3, False)

    def test_a_time_far_in_the_future_is_left_alone_and_counted(self, world: World) -> None:
        world.connections.put(
            Connection(connection_id="c1", last_activity_ms=EpochMs(START_MS + 86_400_001))
        )
        world.connections.put(
            Connection(connection_id="c2", last_activity_ms=EpochMs(START_MS + 86_400_000))
        )
        assert world.run()["unreadable"] == 1

    def test_goes_on_after_a_clock_that_could_not_be_started(self, world: World) -> None:
        world.connections.put(Connection(connection_id="a"))
        world.gateway.open("a")
        world.connect("c1", silent_s=121)
        world.faults.before = lambda operation, key: (
            world.faults.fail("UpdateItem") if (operation, key) == ("UpdateItem", "a") else None
        )
        with pytest.raises(SweepFailed):
            world.run()
        assert world.gateway.open_ids == {"a"}
        assert "clocks not started" in world.log.events("error")

    def test_leaves_malformed_records_alone_and_says_how_many(self, world: World) -> None:
        for number in range(30):
            world.connections.put(
                Connection(
                    connection_id=f"bad{number}",
                    malformed=(InvalidTime(RecordedTime.LAST_ACTIVITY, "1700000000"),),
                )
            )
        world.connect("c1", silent_s=121)
        counts = world.run()
        assert (counts["unreadable"], counts["closed"]) == (30, 1)
        assert world.metrics.total("RecordsUnreadable") == 30
        (line,) = [fields for level, _, fields in world.log.lines if level == "warning"]
        assert line["count"] == 30
        records = line["records"]
        assert isinstance(records, list)
        assert len({record["id"] for record in records}) == 20
        assert records[0]["attribute"] == "lastActivityTime"
        assert (records[0]["value"], records[0]["looksLike"]) == ("1700000000", "seconds")

    def test_a_failure_of_one_connection_does_not_stop_the_others(self, world: World) -> None:
        for number in range(5):
            world.connect(f"c{number}", silent_s=121)
        world.faults.fail("DeleteConnection")
        with pytest.raises(SweepFailed):
            world.run()
        assert world.metrics.total("ConnectionsClosed") == 4

    def test_tells_speakers_listeners_unknown_and_ghosts_apart(self, world: World) -> None:
        world.connect("speaker", silent_s=121, role=Role.SPEAKER)
        world.connect("listener", silent_s=121)
        world.connect("ghost", silent_s=121)
        world.connect("odd", silent_s=121, role=None)
        world.gateway.open_ids.remove("ghost")
        world.run()
        total = world.metrics.total
        assert total("ConnectionTimeout", Role="speaker", Reason="IDLE_TIMEOUT") == 1
        assert total("ConnectionTimeout", Role="listener", Reason="IDLE_TIMEOUT") == 1
        assert total("ConnectionTimeout", Role="listener", Reason="GONE") == 1
        assert total("ConnectionTimeout", Role="unknown", Reason="IDLE_TIMEOUT") == 1
        assert total("ConnectionsClosed") == 4

    def test_an_empty_table_is_counted_too(self, world: World) -> None:
        world.run()
        assert [(c.name, c.value) for c in world.metrics.counts] == [
            ("ConnectionsChecked", 0),
            ("IdleConnectionsDetected", 0),
            ("ConnectionsClosed", 0),
        ]

    def test_a_failed_scan_is_reported_after_the_metrics(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.faults.fail("Scan", times=3)
        with pytest.raises(SweepFailed, match="Scan failed"):
            world.run()
        assert world.metrics.total("SweepsIncomplete") == 1
        assert world.gateway.open_ids == {"c1"}

    def test_reads_the_other_segments_on_where_one_fails(self, world: World) -> None:
        world.sweep = replace(world.sweep, total_segments=8)
        for number in range(80):
            world.connect(f"c{number}", silent_s=121)
        first = next(segments_from(START_MS, 8))
        pages = world.connections.scan_candidates(
            cutoff_ms=START_MS, now_ms=START_MS, segment=first, total_segments=8
        )
        unread = {connection.connection_id for page in pages for connection in page.candidates}
        world.faults.before = fail_one_segment(world)
        with pytest.raises(
            SweepFailed, match="the sweep could not read 1 of 8 segments; first error: Scan failed"
        ):
            world.run()
        assert 0 < len(unread) < 80
        assert world.gateway.open_ids == unread
        assert world.metrics.total("SweepsIncomplete") == 1
        assert [
            fields["segment"]
            for _, event, fields in world.log.lines
            if event == "page not read: the rest of its segment is skipped"
        ] == [first]

    def test_says_how_many_are_left_where_there_was_no_time_for_them(self, world: World) -> None:
        for number in range(30):
            world.connect(f"c{number}", silent_s=121)
        world.sweep = replace(world.sweep, total_segments=8)
        fail_one = fail_one_segment(world)
        left_ms = [PLENTY_MS]

        def end_with_the_reading(operation: str, key: str) -> None:
            fail_one(operation, key)
            if operation != "Scan":
                left_ms[0] = DurationMs(STOP_MARGIN_MS - 1)

        world.faults.before = end_with_the_reading
        with pytest.raises(
            SweepFailed,
            match=r"could not read 1 of 8 segments and left 2\d of 2\d idle connections",
        ):
            world.sweep.check_and_close_idle_connections(
                time_left_ms=lambda: left_ms[0], correlation_id="t"
            )
        # The one that was asked about is closed to the end.
        assert len(world.gateway.open_ids) == 29

    def test_stops_in_time_and_closes_what_it_has_gathered(self, world: World) -> None:
        for number in range(4):
            world.connect(f"c{number}", silent_s=121)
        # Time for the first page, not for the second, and for all closes but one.
        left = iter(
            [
                SCAN_MARGIN_MS,  # for the sample
                SCAN_MARGIN_MS,
                *[DurationMs(SCAN_MARGIN_MS - 1)] * 4,  # each reader asks
                STOP_MARGIN_MS,  # to close anything
                *[STOP_MARGIN_MS] * 2,  # when it is its turn to be asked about and closed
            ]
        )
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: next(left, DurationMs(STOP_MARGIN_MS - 1)), correlation_id="t"
        )
        assert (report.checked, report.closes.closed, report.complete) == (2, 1, False)
        assert world.metrics.total("SweepsIncomplete") == 1

    def test_is_complete_when_the_last_page_was_read_just_in_time(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        world.sweep = replace(world.sweep, total_segments=1)
        left = iter([SCAN_MARGIN_MS] * 2)
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: next(left, DurationMs(SCAN_MARGIN_MS - 1)), correlation_id="t"
        )
        assert (report.checked, report.closes.closed, report.complete) == (1, 1, True)

    def test_no_segment_waits_for_ever_whatever_the_minutes_between_sweeps(self) -> None:
        for every_minutes in (1, 2, 3, 4, 5, 15, 60):
            for segments in (1, 2, 4, 7, 64):
                firsts = {
                    next(segments_from(EpochMs(START_MS + n * every_minutes * 60_000), segments))
                    for n in range(5 * segments)
                }
                assert firsts == set(range(segments)), (every_minutes, segments)

    @pytest.mark.parametrize("segments", [1, 2, 3, 4, 5, 7, 16, 143])
    def test_every_segment_is_visited_once(self, segments: int) -> None:
        assert sorted(segments_from(START_MS, segments)) == list(range(segments))

    @pytest.mark.parametrize(("segments", "apart"), [(4, 1), (16, 4), (20, 5), (1_000, 250)])
    def test_segments_that_are_read_side_by_side_lie_far_apart(
        self, segments: int, apart: int
    ) -> None:
        order = list(segments_from(START_MS, segments))
        for number in range(0, segments, SEGMENTS_AT_ONCE):
            side_by_side = sorted(order[number : number + SEGMENTS_AT_ONCE])
            assert {b - a for a, b in pairwise(side_by_side)} == {apart}

    def test_starts_nothing_without_time(self, world: World) -> None:
        world.connect("c1", silent_s=121)
        report = world.sweep.check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(STOP_MARGIN_MS - 1), correlation_id="tick-1"
        )
        assert (report.checked, report.complete) == (0, False)
        assert world.gateway.open_ids == {"c1"}


class TestLambdaHandler:
    """The Lambda entry point, on a stub of AWS."""

    @staticmethod
    def idle_record() -> dict[str, object]:
        return {
            "connectionId": {"S": "c1="},
            "sessionId": {"S": "s1"},
            "role": {"S": "speaker"},
            "connectedAt": {"N": "1700000000000"},
            "lastActivityTime": {"N": "1700000001000"},
        }

    @pytest.fixture(autouse=True)
    def one_segment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCAN_SEGMENTS", "1")

    def test_closes_what_is_idle_and_returns_the_counts(self, aws: AwsStub) -> None:
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 7})
        counts = timeout_handler.lambda_handler(TICK, Context())
        assert counts == {
            "checked": 7,
            "idle": 1,
            "closed": 1,
            "gone": 0,
            "wouldClose": 0,
            "activityUnrecorded": 0,
            "kept": 0,
            "unconfirmed": 0,
            "recordingDoubted": 0,
            "claimsLost": 0,
            "noticesFailed": 0,
            "closeFailures": 0,
            "handoverFailures": 0,
            "handoversRepeated": 0,
            "socketsLost": 0,
            "queued": 0,
            "queueFailures": 0,
            "clocksStarted": 0,
            "unreadable": 0,
            "ignored": 0,
            "held": None,
            "complete": True,
        }
        notice = aws.calls("PostToConnection")[0]
        assert notice["type"] == "connectionTimeout"
        assert len(aws.calls("DeleteConnection")) == 1
        event = aws.calls("Invoke")[0]
        assert event["correlationId"] == "event-1"
        assert event["requestContext"]["connectionId"] == "c1="

    def test_writes_metrics_and_correlated_logs(
        self, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 1})
        timeout_handler.lambda_handler(TICK, Context())
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        timeouts = [line for line in lines if "ConnectionTimeout" in line]
        assert [(t["Role"], t["Reason"]) for t in timeouts] == [("speaker", "IDLE_TIMEOUT")]
        logs = [line for line in lines if "level" in line]
        assert [line["message"] for line in logs] == ["closed idle connections", "sweep done"]
        assert logs[0]["connectionIds"] == ["c1="]
        assert {line["correlation_id"] for line in logs} == {"event-1"}

    @pytest.mark.parametrize("queue_url", ["", "https://sqs.us-east-1.amazonaws.com/1/due"])
    def test_observes_where_it_is_told_to(
        self, aws: AwsStub, queue_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODE", "observe")
        monkeypatch.setenv("CLOSE_QUEUE_URL", queue_url)
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 1})
        counts = timeout_handler.lambda_handler(TICK, Context())
        assert (counts["wouldClose"], counts["idle"], counts["closed"]) == (1, 1, 0)
        assert set(aws.operations) == {"Scan", "GetConnection"}

    @pytest.mark.parametrize("value", ["yes", 1, None, {}])
    def test_a_misspelt_override_is_refused(self, aws: AwsStub, value: object) -> None:
        with pytest.raises(InvalidRequest, match="overrideGuard must be true or false"):
            timeout_handler.lambda_handler({**TICK, "overrideGuard": value}, Context())
        assert aws.operations == []

    def test_asks_before_it_closes(self, aws: AwsStub) -> None:
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 1})
        aws.answer("GetConnection", {"lastActiveAt": "2099-01-01T00:00:00.000Z"})
        counts = timeout_handler.lambda_handler(TICK, Context())
        assert (counts["activityUnrecorded"], counts["closed"]) == (1, 0)
        (note,) = aws.calls("UpdateItem")
        assert note["UpdateExpression"] == "SET #gateway_active = :active REMOVE #handovers"
        assert not {"PostToConnection", "DeleteConnection", "Invoke"} & set(aws.operations)

    @pytest.mark.parametrize("event", [{}, None, [], {"id": 7}])
    def test_takes_any_event_and_correlates_by_the_request(
        self, aws: AwsStub, event: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aws.answer("Scan", {"Items": [], "Count": 0, "ScannedCount": 0})
        timeout_handler.lambda_handler(event, Context())
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert last["correlation_id"] == "request-1"

    def test_a_gone_connection_is_handed_over_all_the_same(self, aws: AwsStub) -> None:
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 1})
        aws.fail("PostToConnection", status=410, code="GoneException")
        aws.fail("DeleteConnection", status=410, code="GoneException")
        assert timeout_handler.lambda_handler(TICK, Context())["gone"] == 1
        assert len(aws.calls("Invoke")) == 1

    def test_raises_if_a_backend_failed(self, aws: AwsStub) -> None:
        aws.answer("Scan", {"Items": [self.idle_record()], "Count": 1, "ScannedCount": 1})
        aws.fail("DeleteConnection", status=403, code="ForbiddenException")
        with pytest.raises(SweepFailed, match="DeleteConnection failed with ForbiddenException"):
            timeout_handler.lambda_handler(TICK, Context())
        assert aws.calls("Invoke") == []

    @pytest.mark.parametrize(
        "variable", ["API_GATEWAY_ENDPOINT", "CONNECTIONS_TABLE", "DISCONNECT_HANDLER_FUNCTION"]
    )
    def test_fails_naming_the_variable_that_is_missing(
        self, aws: AwsStub, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(variable)
        with pytest.raises(ConfigurationError, match=f"{variable} is not set; it must be"):
            timeout_handler.lambda_handler(TICK, Context())

    @pytest.mark.parametrize("value", ["", "abc", "0", "-1", "1.5", "7201", " 120", "1e3"])
    def test_fails_on_a_malformed_timeout(
        self, aws: AwsStub, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONNECTION_IDLE_TIMEOUT_SECONDS", value)
        with pytest.raises(ConfigurationError, match="CONNECTION_IDLE_TIMEOUT_SECONDS must be"):
            timeout_handler.lambda_handler(TICK, Context())

    def test_fails_where_roles_have_timeouts_and_the_table_has_no_roles(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDLE_TIMEOUTS_BY_ROLE", "speaker=300")
        monkeypatch.setenv("TABLE_SCHEMA", '{"role":null}')
        with pytest.raises(ConfigurationError) as error:
            timeout_handler.lambda_handler(TICK, Context())
        assert str(error.value) == (
            "IDLE_TIMEOUTS_BY_ROLE needs an attribute for the role, and this TABLE_SCHEMA has none"
        )

    def test_the_filter_goes_by_the_shortest_timeout_of_a_role(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDLE_TIMEOUTS_BY_ROLE", "speaker=300,listener=60")
        aws.answer("Scan", {"Items": [], "Count": 0, "ScannedCount": 0})
        timeout_handler.lambda_handler(TICK, Context())
        cutoff_ms = int(aws.calls("Scan")[-1]["ExpressionAttributeValues"][":cutoff"]["N"])
        now_ms = timeout_handler._sweep().closer.clock.now_ms()
        assert 60_000 <= now_ms - cutoff_ms < 90_000

    def test_the_timeout_is_120_seconds_unless_set(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CONNECTION_IDLE_TIMEOUT_SECONDS", raising=False)
        aws.answer("Scan", {"Items": [], "Count": 0, "ScannedCount": 0})
        timeout_handler.lambda_handler(TICK, Context())
        cutoff_ms = int(aws.calls("Scan")[-1]["ExpressionAttributeValues"][":cutoff"]["N"])
        now_ms = timeout_handler._sweep().closer.clock.now_ms()
        assert 120_000 <= now_ms - cutoff_ms < 150_000
