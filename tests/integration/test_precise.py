"""Precise deadlines with real clients, queues and functions, IAM enforced."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.scheduled_close import ScheduledClose, as_message
from hangup.local.demo.checks import Metrics
from hangup.sessions.model import Role
from tests.support.local_stack import IDLE_TIMEOUT_S, Stack, eventually

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = [pytest.mark.integration, pytest.mark.lateness]

MAX_LATE_MS: Final = 1_500
"""Half a second for the way, and one for a machine that is busy with other things."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def stack(precise_stack: Stack) -> Stack:
    """The precise stack, with an environment of each function that is warm, and nobody there."""
    # Those of the module before have left, but their cleanup is nobody's to wait for.
    connections = precise_stack.connections
    asyncio.run(eventually(lambda: not list(connections.scan_all_connections())))
    call(precise_stack, precise_stack.deployed.outputs["CloseFunction"], {"Records": []})
    precise_stack.sweep()
    return precise_stack


def call(stack: Stack, function: str, event: dict[str, Any]) -> Any:
    answer = stack.engine.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    content = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, content
    return content


def test_a_silent_client_is_closed_right_after_its_deadline_and_a_talking_one_stays(
    stack: Stack,
) -> None:
    metrics = Metrics(stack.engine, stack.deployed)
    before = {
        name: metrics.total(name)
        for name in ("ConnectionsChecked", "ClosesScheduled", "IdleConnectionsDetected")
    }
    closes = metrics.samples("CloseLateness")

    async def play() -> None:
        async with stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            await silent.say("heartbeat")
            await silent.wait_for(lambda: bool(silent.messages("heartbeatAck")))
            spoke_ms = silent.messages("heartbeatAck")[0]["timestamp"]
            assert isinstance(spoke_ms, int)
            counts = await asyncio.to_thread(stack.sweep)
            # With so short a timeout everybody falls due before the next sweep.
            assert (counts["checked"], counts["queued"], counts["idle"]) == (3, 3, 0)
            await silent.wait_closed()
            closed_ms = now_ms()
            deadline_ms = spoke_ms + IDLE_TIMEOUT_S * 1000
            assert deadline_ms < closed_ms <= deadline_ms + MAX_LATE_MS
            (notice,) = silent.messages("connectionTimeout")
            assert notice["idleSeconds"] in (IDLE_TIMEOUT_S, IDLE_TIMEOUT_S + 1)
            assert silent.close_code == 1000
            # Cleaned up, and nobody else.
            await eventually(lambda: stack.listener_count(speaker.session_id) == 1)
            assert await talking.is_answered()
            assert await speaker.is_answered()
            await eventually(lambda: metrics.samples("CloseLateness") == closes + 1)

    asyncio.run(play())
    assert 0 < metrics.maximum("CloseLateness") <= MAX_LATE_MS
    assert metrics.total("ConnectionsChecked") == before["ConnectionsChecked"] + 3
    assert metrics.total("ClosesScheduled") == before["ClosesScheduled"] + 3
    # Counted by whoever closed it, once.
    assert metrics.total("IdleConnectionsDetected") == before["IdleConnectionsDetected"] + 1


def test_one_id_leads_from_the_sweep_to_the_cleanup(stack: Stack) -> None:
    since_ms = now_ms()
    deployed = stack.deployed

    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (silent,)):
            await asyncio.to_thread(
                call, stack, deployed.outputs["TimeoutFunction"], {"id": "tick-of-this-test"}
            )
            await silent.wait_closed()
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0)

    asyncio.run(play())

    def said(function: str) -> set[object]:
        lines = stack.log_lines(function, since_ms=since_ms)
        ours = [line for line in lines if line.get("correlation_id") == "tick-of-this-test"]
        return {line.get("message") for line in ours}

    assert "sweep done" in said(deployed.outputs["TimeoutFunction"])
    asyncio.run(
        eventually(
            lambda: "closing connections that are due" in said(deployed.outputs["CloseFunction"])
        )
    )
    # API Gateway's own event and the hand-over: either of them may come first.
    cleanups = {"connection cleaned up", "connection was cleaned up before"}
    asyncio.run(eventually(lambda: bool(said(deployed.outputs["DisconnectFunction"]) & cleanups)))


def test_two_sweeps_that_queue_the_same_connection_close_it_once(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (silent,)):
            for _ in range(3):
                await asyncio.to_thread(stack.sweep)
            await silent.wait_closed()
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0)
            await asyncio.sleep(1)
            assert len(silent.messages("connectionTimeout")) == 1
            assert await speaker.is_answered()

    asyncio.run(play())


def test_a_message_that_cannot_be_read_ends_in_the_queue_of_failed_closes_and_stops_no_other(
    stack: Stack,
) -> None:
    sqs: SQSClient = stack.engine.client("sqs")
    deployed = stack.deployed
    ghost = ScheduledClose(
        silence_ms=DurationMs(IDLE_TIMEOUT_S * 1000),
        judged_at_ms=EpochMs(now_ms()),
        connection=Connection(
            connection_id="0123456789abcdef",
            role=Role.LISTENER,
            last_activity_ms=EpochMs(now_ms() - 60_000),
        ),
        deadline_ms=EpochMs(now_ms() - 57_000),
        correlation_id="by-hand",
    )
    queue_url = deployed.outputs["CloseQueueUrl"]
    # Five receives are half an hour at the deployed visibility timeout.
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "1"})
    try:
        sqs.send_message_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": "0", "MessageBody": "rubbish"},
                {"Id": "1", "MessageBody": as_message(ghost)},
            ],
        )

        def failed() -> list[str]:
            answer = sqs.receive_message(
                QueueUrl=deployed.outputs["FailedClosesQueueUrl"], VisibilityTimeout=0
            )
            return [message["Body"] for message in answer.get("Messages", [])]

        asyncio.run(eventually(lambda: failed() == ["rubbish"], within_s=20))
    finally:
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "360"})
        sqs.purge_queue(QueueUrl=deployed.outputs["FailedClosesQueueUrl"])
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    # Of a connection without a record the claim is lost: done, and not delivered again.
    assert attributes["ApproximateNumberOfMessages"] == "0"
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_message_that_comes_early_is_given_back_until_its_deadline(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (silent,)):
            (silent_id,) = stack.sessions.listener_ids(speaker.session_id)
            seen = stack.connections.get(silent_id)
            assert seen is not None
            assert seen.last_seen_ms is not None
            deadline_ms = EpochMs(seen.last_seen_ms + IDLE_TIMEOUT_S * 1000)
            due = ScheduledClose(
                silence_ms=DurationMs(IDLE_TIMEOUT_S * 1000),
                judged_at_ms=EpochMs(now_ms()),
                connection=seen,
                deadline_ms=deadline_ms,
                correlation_id="by-hand",
            )
            # No delay: whoever sent it has a clock that is seconds ahead.
            stack.engine.client("sqs").send_message(
                QueueUrl=stack.deployed.outputs["CloseQueueUrl"], MessageBody=as_message(due)
            )
            await silent.wait_closed()
            assert deadline_ms < now_ms() <= deadline_ms + MAX_LATE_MS

    asyncio.run(play())
