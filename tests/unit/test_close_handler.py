"""The function behind the queue: on the fakes, and its entry point on a stub of AWS."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.pacing import Pace
from hangup.core.scheduled_close import ScheduledClose, as_message
from hangup.core.timing import CLAIM_MS, STOP_MARGIN_MS
from hangup.errors import ConfigurationError, InvalidRequest
from hangup.handlers import close_handler
from hangup.idle.scheduled import Message
from hangup.sessions.model import Role
from hangup.testing import START_MS
from tests.support.aws_stub import AwsStub
from tests.support.idle_world import PLENTY_MS, Context
from tests.support.precise_world import PreciseWorld

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/111122223333/due"


@pytest.fixture
def world() -> PreciseWorld:
    return PreciseWorld()


class TestDeadline:
    @pytest.mark.parametrize("silent_s", [120.0, 119.999, 119.001, 118.751])
    def test_waits_for_a_deadline_that_is_near(self, world: PreciseWorld, silent_s: float) -> None:
        connection = world.connect("c1", silent_s=silent_s)
        closed_at: list[int] = []
        world.faults.before = lambda operation, _key: (
            closed_at.append(world.clock.ms) if operation == "UpdateItem" else None
        )
        assert world.receive_at_once(connection) == []
        assert closed_at == [world.due_of(connection).deadline_ms + 1]
        assert world.gateway.open_ids == set()

    def test_gives_back_what_is_further_away_for_a_second_at_least(
        self, world: PreciseWorld
    ) -> None:
        # Idle in 1,251 ms: no rounding, and no clock that differs a little, makes so much of it.
        connection = world.connect("c1", silent_s=118.75)
        world.close_queue.put(as_message(world.due_of(connection)))
        began_ms = world.clock.ms
        assert len(world.deliver()) == 1
        assert world.clock.ms == began_ms
        world.clock.ms += 999
        assert world.deliver() == []
        assert world.gateway.open_ids == {"c1"}
        world.clock.ms += 1
        assert world.deliver() == []
        assert world.gateway.open_ids == set()
        assert world.clock.ms == began_ms + 1_251

    def test_one_that_is_early_holds_up_no_other(self, world: PreciseWorld) -> None:
        early = world.connect("early", silent_s=119.5)
        due = world.connect("due", silent_s=121)
        due_is_closed, closed = Event(), list[str]()

        class Waiting:
            def now_ms(self) -> EpochMs:
                return world.clock.now_ms()

            def monotonic_ms(self) -> DurationMs:
                return world.clock.monotonic_ms()

            def sleep(self, duration_ms: DurationMs) -> None:
                assert due_is_closed.wait(timeout=5)
                world.clock.sleep(duration_ms)

        def note(operation: str, key: str) -> None:
            if operation == "Invoke":
                closed.append(key)
                due_is_closed.set()

        world.faults.before = note
        with ThreadPoolExecutor(2) as threads:
            world.due = replace(
                world.due, closer=replace(world.closer, clock=Waiting()), concurrent_map=threads.map
            )
            assert world.receive_at_once(early, due) == []
        assert len(closed) == 2
        assert world.gateway.open_ids == set()

    def test_what_is_over_is_not_waited_for(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=119.5)
        began_ms = world.clock.ms
        world.connections.record_activity(
            "c1", now_ms=world.clock.now_ms(), resolution_ms=DurationMs(0)
        )
        assert world.receive_at_once(connection) == []
        assert world.clock.ms == began_ms
        assert world.metrics.total("ClaimsLost") == 1

    def test_who_speaks_during_the_wait_keeps_its_connection(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=119.5)

        class Speaking:
            def now_ms(self) -> EpochMs:
                return world.clock.now_ms()

            def monotonic_ms(self) -> DurationMs:
                return world.clock.monotonic_ms()

            def sleep(self, duration_ms: DurationMs) -> None:
                world.connections.record_activity(
                    "c1", now_ms=world.clock.now_ms(), resolution_ms=DurationMs(0)
                )
                world.clock.sleep(duration_ms)

        world.due = replace(world.due, closer=replace(world.closer, clock=Speaking()))
        assert world.receive_at_once(connection) == []
        assert world.gateway.open_ids == {"c1"}
        assert world.metrics.total("ClaimsLost") == 1

    def test_gives_back_what_comes_much_too_early(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=100)
        world.run()
        world.clock.advance(seconds=21)
        (message,) = world.close_queue.receive()
        # Who has a clock of three seconds behind takes it for early.
        world.clock.ms -= 3_000
        again = world.due.close_scheduled(
            [Message(message_id=message.message_id, receipt=message.receipt, body=message.body)],
            time_left_ms=lambda: PLENTY_MS,
        )
        assert again == [message.message_id]
        assert world.gateway.open_ids == {"c1"}
        assert "delivered early" in world.log.events("warning")
        world.clock.advance(seconds=3)
        assert world.deliver() == []
        assert world.gateway.open_ids == set()

    def test_a_message_that_cannot_be_postponed_fails_all_the_same(
        self, world: PreciseWorld
    ) -> None:
        connection = world.connect("c1", silent_s=10)
        world.faults.fail("ChangeMessageVisibility")
        assert world.receive_at_once(connection) == ["m0"]
        assert world.log.events("warning") == ["delivered early", "not postponed"]

    def test_a_clock_that_is_set_back_meanwhile_makes_it_wait_no_longer(
        self, world: PreciseWorld
    ) -> None:
        connection = world.connect("c1", silent_s=119.5)

        class SetBack:
            def now_ms(self) -> EpochMs:
                return world.clock.now_ms()

            def monotonic_ms(self) -> DurationMs:
                return world.clock.monotonic_ms()

            def sleep(self, duration_ms: DurationMs) -> None:
                world.clock.ms -= 3_600_000

        world.due = replace(world.due, closer=replace(world.closer, clock=SetBack()))
        assert world.receive_at_once(connection) == ["m0"]
        assert world.gateway.open_ids == {"c1"}

    def test_measures_how_late_each_close_is(self, world: PreciseWorld) -> None:
        first = world.connect("c1", silent_s=120.7)
        second = world.connect("c2", silent_s=123)
        gone = world.connect("c3", silent_s=130)
        world.gateway.open_ids.remove("c3")
        world.receive_at_once(first, second, gone)
        assert world.metrics.values_ms("CloseLateness") == [700, 3_000]


class TestClaim:
    def test_a_client_that_spoke_meanwhile_keeps_its_connection(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=121)
        world.connections.record_activity(
            "c1", now_ms=world.clock.now_ms(), resolution_ms=DurationMs(0)
        )
        assert world.receive_at_once(connection) == []
        assert world.gateway.open_ids == {"c1"}
        assert world.gateway.sent == {}
        assert world.metrics.total("ClaimsLost") == 1
        assert world.metrics.total("IdleConnectionsDetected") == 0

    def test_of_two_deliveries_one_closes(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=121)
        assert world.receive_at_once(connection, connection) == []
        assert len(world.gateway.sent["c1"]) == 1
        assert len(world.functions.events) == 1
        assert world.metrics.total("ConnectionsClosed") == 1
        assert world.metrics.total("IdleConnectionsDetected") == 1

    def test_what_two_sweeps_have_queued_is_closed_once(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=50)
        world.run()
        world.clock.advance(seconds=60)
        assert world.run()["queued"] == 1
        assert len(world.close_queue) == 2
        world.clock.advance(seconds=11)
        assert world.deliver() == []
        assert len(world.close_queue) == 0
        assert len(world.functions.events) == 1
        assert world.gateway.open_ids == set()

    def test_a_message_that_outlived_the_cleanup_does_nothing(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=121)
        world.connections.records.clear()
        assert world.receive_at_once(connection) == []
        assert world.functions.events == []


class TestFailure:
    @pytest.mark.parametrize("operation", ["UpdateItem", "DeleteConnection", "Invoke"])
    def test_one_that_fails_is_left_to_the_next_sweep_and_takes_no_other_along(
        self, world: PreciseWorld, operation: str
    ) -> None:
        connections = [world.connect(f"c{n}", silent_s=121) for n in range(3)]
        before = {"UpdateItem": "UpdateItem"}.get(operation, "PostToConnection")
        world.faults.before = lambda called, key: (
            world.faults.fail(operation) if (called, key) == (before, "c1") else None
        )
        assert world.receive_at_once(*connections) == []
        # One whose hand-over failed was closed.
        assert world.metrics.total("ConnectionsClosed") == (3 if operation == "Invoke" else 2)
        assert world.metrics.total("CloseFailures") == 1
        world.faults.before = lambda _operation, _key: None
        assert world.run()["complete"] is True
        assert world.deliver() == []
        assert world.gateway.open_ids == set()
        assert len(world.gateway.sent["c1"]) == 1
        assert '"c1"' in json.dumps(world.functions.events)

    def test_a_close_that_failed_is_left_to_the_next_sweep_without_a_second_notice(
        self, world: PreciseWorld
    ) -> None:
        connection = world.connect("c1", silent_s=121)
        world.faults.fail("DeleteConnection")
        assert world.receive_at_once(connection) == []
        # A message of an earlier sweep does not know of the notice.
        assert world.receive_at_once(connection) == []
        assert world.gateway.open_ids == {"c1"}
        assert world.run()["queued"] == 1
        assert world.deliver() == []
        assert world.gateway.open_ids == set()
        assert len(world.gateway.sent["c1"]) == 1

    def test_a_failed_notice_stops_nothing(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=121)
        world.faults.fail("PostToConnection")
        assert world.receive_at_once(connection) == []
        assert world.metrics.total("NoticesFailed") == 1

    def test_without_time_nothing_is_started_and_all_is_delivered_again(
        self, world: PreciseWorld
    ) -> None:
        world.connect("c1", silent_s=121)
        world.run()
        again = world.deliver(time_left_ms=DurationMs(STOP_MARGIN_MS - 1))
        assert len(again) == 1
        assert world.gateway.open_ids == {"c1"}
        world.clock.advance(seconds=360)
        assert world.deliver(time_left_ms=STOP_MARGIN_MS) == []

    def test_without_time_it_does_not_wait(self, world: PreciseWorld) -> None:
        world.connect("c1", silent_s=119.5)
        world.run()
        began_ms = world.clock.ms
        assert len(world.deliver(time_left_ms=DurationMs(STOP_MARGIN_MS - 1))) == 1
        assert world.clock.ms == began_ms

    def test_a_wait_that_uses_up_the_time_is_followed_by_no_close(
        self, world: PreciseWorld
    ) -> None:
        connection = world.connect("c1", silent_s=119.5)
        began_ms = world.clock.ms
        message = Message(message_id="m0", receipt="r0", body=as_message(world.due_of(connection)))
        again = world.due.close_scheduled(
            [message],
            time_left_ms=lambda: DurationMs(STOP_MARGIN_MS + 400 - (world.clock.ms - began_ms)),
        )
        assert again == ["m0"]
        assert world.gateway.open_ids == {"c1"}

    def test_a_malformed_message_fails_and_takes_no_other_along(self, world: PreciseWorld) -> None:
        connection = world.connect("c1", silent_s=121)
        messages = [
            Message(message_id="bad", receipt="r0", body='{"connectionId": 7}'),
            Message(message_id="good", receipt="r1", body=as_message(world.due_of(connection))),
        ]
        again = world.due.close_scheduled(messages, time_left_ms=lambda: PLENTY_MS)
        assert again == ["bad"]
        assert world.gateway.open_ids == set()
        ((_, event, fields),) = [line for line in world.log.lines if line[0] == "error"]
        assert (event, fields["messageId"]) == ("message refused", "bad")


class TestPace:
    def test_each_process_takes_its_share_also_where_one_follows_another(
        self, world: PreciseWorld
    ) -> None:
        starts: list[int] = []
        world.faults.before = lambda operation, _key: (
            starts.append(world.clock.ms) if operation == "DeleteConnection" else None
        )
        for process in range(3):
            world.closer.pacer._last_start_ms = None  # a new process knows of no close before
            world.closer.pacer.pace = Pace(200, shared_by=4)
            connections = [world.connect(f"c{process}-{n}", silent_s=121) for n in range(10)]
            world.receive_at_once(*connections)
        assert len(starts) == 30
        # 20 ms each, within a process and from one to the next: a quarter of 200 a second.
        gaps = [after - before for before, after in pairwise(starts)]
        assert set(gaps) == {20}

    def test_waits_for_a_turn_no_longer_than_there_is_time(self, world: PreciseWorld) -> None:
        world.closer.pacer.pace = Pace(1, shared_by=100)
        ends_ms = world.clock.ms + PLENTY_MS
        message = Message(
            message_id="m",
            receipt="r",
            body=as_message(world.due_of(world.connect("c", silent_s=121))),
        )
        for _ in range(2):  # the second would wait for 100 s
            world.due.close_scheduled(
                [message], time_left_ms=lambda: DurationMs(ends_ms - world.clock.ms)
            )
        assert world.clock.ms < ends_ms

    def test_what_is_over_takes_no_turn(self, world: PreciseWorld) -> None:
        world.closer.pacer.pace = Pace(1)
        connections = [world.connect(f"c{n}", silent_s=121) for n in range(10)]
        for connection in connections[:5]:
            world.connections.record_activity(
                connection.connection_id, now_ms=world.clock.now_ms(), resolution_ms=DurationMs(0)
            )
        for connection in connections[5:]:
            del world.connections.records[connection.connection_id]
        began_ms = world.clock.ms
        assert world.receive_at_once(*connections) == []
        assert world.clock.ms == began_ms
        assert world.metrics.total("ClaimsLost") == 10


class TestLog:
    def test_each_line_about_a_connection_has_the_id_of_the_sweep_that_found_it(
        self, world: PreciseWorld
    ) -> None:
        connections = [world.connect(f"c{n}", silent_s=121) for n in range(3)]
        dues = [world.due_of(connection) for connection in connections]
        dues[2] = replace(dues[2], correlation_id="tick-2")
        world.faults.before = lambda operation, key: (
            world.faults.fail(operation) if (operation, key) == ("DeleteConnection", "c2") else None
        )
        world.due.close_scheduled(
            [
                Message(message_id=f"m{n}", receipt=f"r{n}", body=as_message(due))
                for n, due in enumerate(dues)
            ],
            time_left_ms=lambda: PLENTY_MS,
        )
        lines = [
            (event, fields.get("correlation_id"), fields.get("connectionIds"))
            for _, event, fields in world.log.lines
        ]
        assert lines == [
            ("closing connections that are due", "tick-1", ["c0", "c1"]),
            ("closing connections that are due", "tick-2", ["c2"]),
            ("close failed", "tick-2", None),
            ("scheduled closes done", None, None),
        ]
        assert [event["correlationId"] for event in world.functions.events] == ["tick-1"] * 2


def record(due: ScheduledClose | str, number: int = 0) -> dict[str, Any]:
    body = due if isinstance(due, str) else as_message(due)
    return {"messageId": f"m{number}", "receiptHandle": f"r{number}", "body": body}


def due(connection_id: str = "c1=") -> ScheduledClose:
    return ScheduledClose(
        silence_ms=DurationMs(120_000),
        judged_at_ms=EpochMs(1_700_000_000_000),
        connection=Connection(
            connection_id=connection_id,
            session_id="s1",
            role=Role.SPEAKER,
            connected_at_ms=START_MS,
            last_activity_ms=EpochMs(START_MS + 1_000),
        ),
        deadline_ms=EpochMs(START_MS + 121_000),
        correlation_id="tick-1",
    )


ITEM = {
    "connectionId": {"S": "c1="},
    "lastActivityTime": {"N": str(START_MS + 1_000)},
}


class TestLambdaHandler:
    """The Lambda entry point, on a stub of AWS."""

    @pytest.fixture(autouse=True)
    def queue(self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOSE_QUEUE_URL", QUEUE_URL)
        aws.answer("GetItem", {"Item": ITEM})

    def test_closes_and_has_nothing_delivered_again(
        self, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer = close_handler.lambda_handler({"Records": [record(due())]}, Context())
        assert answer == {"batchItemFailures": []}
        assert aws.calls("PostToConnection")[0]["type"] == "connectionTimeout"
        assert aws.targets("DeleteConnection") == ["c1="]
        (event,) = aws.calls("Invoke")
        assert event["correlationId"] == "tick-1"
        assert len(aws.calls("GetItem")) == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (metrics,) = (line for line in lines if "CloseLateness" in line)
        assert metrics["IdleConnectionsDetected"] == metrics["ConnectionsClosed"] == [1.0]
        correlated = {
            line["message"]: line["correlation_id"] for line in lines if "message" in line
        }
        assert correlated == {
            "closing connections that are due": "tick-1",
            "scheduled closes done": "request-1",
        }

    def test_claims_for_as_long_as_the_function_may_run(self, aws: AwsStub) -> None:
        now_ms = time.time_ns() // 1_000_000
        close_handler.lambda_handler({"Records": [record(due())]}, Context())
        claim = aws.calls("UpdateItem")[0]["ExpressionAttributeValues"]
        assert now_ms + CLAIM_MS <= int(claim[":claim"]["N"]) < now_ms + CLAIM_MS + 30_000
        assert claim[":seen"] == {"N": str(START_MS + 1_000)}

    def test_names_what_was_not_tried_for_sqs_to_deliver_again(self, aws: AwsStub) -> None:
        aws.fail("DeleteConnection", status=403, code="ForbiddenException", times=1)
        event = {"Records": [record("rubbish", 0), record(due(), 1)]}
        answer = close_handler.lambda_handler(event, Context())
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}

    def test_an_observer_asks_and_neither_claims_nor_closes(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("MODE", "observe")
        answer = close_handler.lambda_handler({"Records": [record(due())]}, Context())
        assert answer == {"batchItemFailures": []}
        assert aws.operations == ["GetItem", "GetConnection"]
        done = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (done["message"], done["wouldClose"]) == ("scheduled closes done", 1)

    def test_where_the_look_fails_the_claim_decides(self, aws: AwsStub) -> None:
        aws.fail("GetItem", status=403, code="AccessDeniedException")
        close_handler.lambda_handler({"Records": [record(due())]}, Context())
        assert len(aws.calls("UpdateItem")) == len(aws.calls("Invoke")) == 1

    @pytest.mark.parametrize("odd", ["sessionId", "correlationId"])
    def test_half_a_character_is_text_like_any_other(self, aws: AwsStub, odd: str) -> None:
        body = json.loads(as_message(due())) | {odd: "\ud83d"}
        records = [record(due(), 0), record(json.dumps(body), 1), record(due(), 2)]
        answer = close_handler.lambda_handler({"Records": records}, Context())
        assert answer == {"batchItemFailures": []}
        assert len(aws.calls("Invoke")) == 3

    def test_a_gone_connection_is_handed_over_and_done(self, aws: AwsStub) -> None:
        aws.fail("PostToConnection", status=410, code="GoneException")
        answer = close_handler.lambda_handler({"Records": [record(due())]}, Context())
        assert answer == {"batchItemFailures": []}
        assert len(aws.calls("Invoke")) == 1

    @pytest.mark.parametrize(
        "event", [None, [], {}, {"Records": None}, {"Records": {"messageId": "m"}}]
    )
    def test_refuses_an_event_of_another_service(self, aws: AwsStub, event: object) -> None:
        with pytest.raises(InvalidRequest, match="not an SQS event: Records is missing"):
            close_handler.lambda_handler(event, Context())

    @pytest.mark.parametrize(
        "bad", [None, {}, {"messageId": 7, "receiptHandle": "r"}, {"messageId": "m", "body": "b"}]
    )
    def test_refuses_a_record_whose_failure_it_could_not_name(
        self, aws: AwsStub, bad: object
    ) -> None:
        with pytest.raises(InvalidRequest, match="a record lacks messageId or receiptHandle"):
            close_handler.lambda_handler({"Records": [record(due()), bad]}, Context())
        assert aws.operations == []

    @pytest.mark.parametrize(
        "variable",
        [
            "API_GATEWAY_ENDPOINT",
            "CONNECTIONS_TABLE",
            "DISCONNECT_HANDLER_FUNCTION",
            "CLOSE_QUEUE_URL",
        ],
    )
    def test_fails_naming_the_variable_that_is_missing(
        self, aws: AwsStub, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(variable)
        with pytest.raises(ConfigurationError, match=f"{variable} is not set; it must be"):
            close_handler.lambda_handler({"Records": []}, Context())

    def test_stops_with_a_margin(self, aws: AwsStub) -> None:
        # 8 s for a close, 3 s for the report.
        context = Context(remaining_ms=lambda: 10_900)
        answer = close_handler.lambda_handler({"Records": [record(due())]}, context)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert aws.operations == []
