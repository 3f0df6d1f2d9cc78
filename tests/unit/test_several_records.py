"""Several records of one connection: one notice, one close, one timeout."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.core.hand_over import HandOver
from hangup.core.report import SweepReport
from hangup.core.scheduled_close import as_message, parse_scheduled_close
from hangup.core.timing import BATCH_SIZE
from hangup.errors import BackendError, ConfigurationError, InvalidRequest
from hangup.handlers import close_handler, timeout_handler
from hangup.idle.scheduled import Message, ScheduledCloser
from hangup.testing import START_MS, FakeAws
from hangup.testing.services import Sequential
from tests.support.aws_stub import AwsStub
from tests.support.idle_world import PLENTY_MS, TICK, Context
from tests.support.schemas import SHAPES, item_of

ROOMS = SHAPES["E, room and connection"]
IDLE_MS = EpochMs(START_MS - 300_000)


def world_of(*rooms: str, active_ms: EpochMs = IDLE_MS) -> FakeAws:
    """Return a world in which one connection, last active then, is in these rooms since long."""
    world = FakeAws(schema=ROOMS)
    world.gateway.open("c1=")
    world.gateway.active_ms["c1="] = active_ms
    for room in rooms:
        record = Connection(connection_id="c1=", last_activity_ms=IDLE_MS)
        world.connections.put_item(item_of(record, ROOMS) | {"room": {"S": room}})
    return world


def sweep(world: FakeAws, hand_over: HandOver = HandOver.ALWAYS, segments: int = 1) -> SweepReport:
    closer = world.make_closer(hand_over=hand_over)
    return world.make_sweep(
        closer=closer, total_segments=segments
    ).check_and_close_idle_connections(time_left_ms=lambda: PLENTY_MS, correlation_id="sweep")


def handed_over(world: FakeAws) -> list[str]:
    return sorted(str(event["sessionId"]) for event in world.functions.events)


@pytest.mark.parametrize("segments", [1, 4])
def test_a_client_gets_one_notice_and_each_record_is_handed_over(segments: int) -> None:
    world = world_of("r1", "r2", "r3")
    report = sweep(world, segments=segments)
    assert len(world.gateway.sent["c1="]) == 1
    assert world.gateway.open_ids == set()
    assert handed_over(world) == ["r1", "r2", "r3"]
    assert (report.closes.closed, report.closes.gone, report.complete) == (1, 0, True)
    timeouts = [one.value for one in world.metrics.counts if one.name == "ConnectionTimeout"]
    assert timeouts == [1]


def test_with_delete_every_record_goes_in_one_sweep() -> None:
    world = world_of("r1", "r2", "r3")
    sweep(world, HandOver.DELETE)
    assert world.connections.records == {}
    assert world.functions.events == []


def test_a_client_that_talks_in_another_room_is_left_and_not_asked_about_again() -> None:
    now_ms = EpochMs(START_MS - 1_000)
    world = world_of("r1", "r2", active_ms=now_ms)
    sweep(world)
    assert world.gateway.open_ids == {"c1="}
    records = [record.connection for record in world.connections.records.values()]
    assert [record.gateway_active_ms for record in records] == [now_ms, now_ms]
    assert sweep(world).found == 0


def test_a_further_record_is_left_where_the_connection_is_not_known_to_be_gone() -> None:
    """The close of the first failed: a second notice would be one too many."""
    world = world_of("r1", "r2")
    world.faults.fail("DeleteConnection", retryable=False)
    with pytest.raises(Exception, match="left 1 of 2 idle connections"):
        sweep(world)
    assert len(world.gateway.sent["c1="]) == 1
    assert world.metrics.total("ClaimsLost") == 1
    assert sweep(world).closes.closed == 1
    assert handed_over(world) == ["r1", "r2"]


def test_with_a_queue_one_close_is_scheduled_and_the_others_follow_once_it_is_gone() -> None:
    world = world_of("r1", "r2")
    closer = world.make_closer(hand_over=HandOver.DELETE)
    the_sweep = world.make_sweep(closer=closer, close_queue=world.close_queue)
    scheduled = ScheduledCloser(
        closer=closer,
        questions=closer.pacer,
        queue=world.close_queue,
        metrics=world.metrics,
        concurrent_map=Sequential().map,
    )
    for left in (1, 0):
        report = the_sweep.check_and_close_idle_connections(
            time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
        )
        assert report.queued == 1
        messages = [
            Message(message_id=one.message_id, receipt=one.receipt, body=one.body)
            for one in world.close_queue.receive()
        ]
        assert scheduled.close_scheduled(messages, time_left_ms=lambda: PLENTY_MS) == []
        assert len(world.connections.records) == left
        world.clock.advance(seconds=60)
    assert len(world.gateway.sent["c1="]) == 1


def test_with_a_queue_one_close_is_scheduled_however_many_batches_the_records_fill() -> None:
    world = world_of(*(f"r{number}" for number in range(BATCH_SIZE + 1)))
    report = world.make_sweep(close_queue=world.close_queue).check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
    )
    assert (report.queued, report.found, report.complete) == (1, 1, True)
    assert len(world.close_queue) == 1
    scheduling = [one for one in world.log.events("info") if one.startswith("scheduling")]
    assert len(scheduling) == 1


@pytest.mark.parametrize("handler", [timeout_handler.lambda_handler, close_handler.lambda_handler])
def test_an_item_that_is_more_than_a_connection_is_not_deleted(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, handler: Callable[[object, Context], object]
) -> None:
    monkeypatch.setenv("CLOSE_QUEUE_URL", f"{aws.endpoint}/1/closes")
    monkeypatch.setenv("TABLE_SCHEMA", SHAPES["F, attribute"].as_json())
    monkeypatch.setenv("HAND_OVER", "delete")
    with pytest.raises(ConfigurationError, match="HAND_OVER must not be delete: with this schema"):
        handler({"Records": []}, Context())


@pytest.mark.parametrize("handler", [timeout_handler.lambda_handler, close_handler.lambda_handler])
def test_the_records_of_such_a_table_never_decide_alone(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, handler: Callable[[object, Context], object]
) -> None:
    monkeypatch.setenv("CLOSE_QUEUE_URL", f"{aws.endpoint}/1/closes")
    monkeypatch.setenv("TABLE_SCHEMA", ROOMS.as_json())
    monkeypatch.setenv("LAST_ACTIVE_COUNTS", "both")
    with pytest.raises(ConfigurationError, match="must not be both with this TABLE_SCHEMA"):
        handler({"Records": []}, Context())


def test_an_item_that_outlives_its_connections_does_not_say_that_one_is_gone() -> None:
    """A user, last seen days ago, has just come back, and API Gateway refuses to answer."""
    users = SHAPES["F, attribute"]
    world = FakeAws(schema=users)
    world.gateway.open("new=")
    seen_ms = EpochMs(START_MS - 3 * 86_400_000)
    world.connections.put_item(
        item_of(Connection(connection_id="new=", last_activity_ms=seen_ms), users)
    )
    error = BackendError("GetConnection", "ForbiddenException", "planned", retryable=False)
    world.faults.planned["GetConnection"] = [error]
    sweep(world)
    assert world.gateway.open_ids == {"new="}
    assert world.functions.events == []
    assert world.metrics.total("ConnectionsUnconfirmed") == 1


def test_a_message_of_another_schema_is_refused_and_stops_no_other() -> None:
    world = world_of("r1")
    other = Connection(connection_id="c2=", last_activity_ms=IDLE_MS)
    closer = world.make_closer()
    world.make_sweep(closer=closer, close_queue=world.close_queue).check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
    )
    (due,) = world.close_queue.receive()
    close = parse_scheduled_close(due.body)
    assert close is not None
    old = as_message(replace(close, connection=other))
    scheduled = ScheduledCloser(
        closer=closer,
        questions=closer.pacer,
        queue=world.close_queue,
        metrics=world.metrics,
        concurrent_map=Sequential().map,
    )
    again = scheduled.close_scheduled(
        [
            Message(message_id="old", receipt="old", body=old),
            Message(message_id=due.message_id, receipt=due.receipt, body=due.body),
        ],
        time_left_ms=lambda: PLENTY_MS,
    )
    assert again == ["old"]
    assert world.gateway.open_ids == set()
    assert "message refused" in world.log.events("error")


def test_nor_are_they_let_to_by_an_override(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLE_SCHEMA", ROOMS.as_json())
    with pytest.raises(InvalidRequest, match="records decide only where"):
        timeout_handler.lambda_handler({**TICK, "overrideGuard": True}, Context())
    assert aws.calls("Scan") == []


def test_sweeps_a_table_as_its_schema_says(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLE_SCHEMA", SHAPES["D, prefixes"].as_json())
    aws.answer("Scan", {"Items": [], "ScannedCount": 3, "Count": 0})
    assert timeout_handler.lambda_handler(TICK, Context())["complete"] is True
    (sample, *scans) = aws.calls("Scan")
    for request in (sample, *scans):
        assert request["ExpressionAttributeNames"]["#connection_id"] == "pk"
        assert request["ExpressionAttributeValues"][":id_prefix"] == {"S": "CONN#"}
    assert "TotalSegments" in scans[-1]


def test_a_schema_that_is_malformed_is_named(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLE_SCHEMA", json.dumps({"connected_at_unit": "sec"}))
    with pytest.raises(
        ConfigurationError,
        match=r"^TABLE_SCHEMA is malformed: the table schema's connected_at_unit must be ms, s or",
    ):
        timeout_handler.lambda_handler(TICK, Context())
    assert aws.calls("Scan") == []
