"""What the SQS adapter sends, and what it does when some or all of it is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.close_queue import SqsCloseQueue
from hangup.aws.http.services import DirectSqs
from hangup.aws.retries import Calls, Deadline
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.scheduled_close import ScheduledClose
from hangup.errors import BackendError
from hangup.sessions.model import Role
from hangup.testing import START_MS, FakeClock
from tests.support.aws_stub import AwsStub, Call

URL = "https://sqs.us-east-1.amazonaws.com/111122223333/closes"


@pytest.fixture(params=["boto3", "direct"])
def queue(
    aws: AwsStub, calls: Calls, clock: FakeClock, request: pytest.FixtureRequest
) -> SqsCloseQueue:
    client = DirectSqs() if request.param == "direct" else botocore_client("sqs")
    return SqsCloseQueue(client, calls, clock, URL)


def close(number: int, *, in_ms: int = 10_000) -> ScheduledClose:
    return ScheduledClose(
        silence_ms=DurationMs(120_000),
        judged_at_ms=EpochMs(1_700_000_000_000),
        connection=Connection(
            connection_id=f"c{number}",
            session_id="s1",
            role=Role.LISTENER,
            connected_at_ms=EpochMs(START_MS - 600_000),
            last_activity_ms=EpochMs(START_MS + in_ms - 120_000),
        ),
        deadline_ms=EpochMs(START_MS + in_ms),
        correlation_id="tick-1",
    )


def refusing(*refused: str, sender_fault: bool = False) -> Callable[[Call], dict[str, Any]]:
    """Return an answer that refuses the messages about these connections."""

    def answer(call: Call) -> dict[str, Any]:
        entries = {json.loads(e["MessageBody"])["connectionId"]: e for e in call.content["Entries"]}
        code = "InvalidMessageContents" if sender_fault else "InternalError"
        return {
            "Successful": [
                {"Id": e["Id"], "MessageId": name, "MD5OfMessageBody": ""}
                for name, e in entries.items()
                if name not in refused
            ],
            "Failed": [
                {"Id": entries[name]["Id"], "Code": code, "SenderFault": sender_fault}
                for name in refused
                if name in entries
            ],
        }

    return answer


def sent(aws: AwsStub) -> list[list[str]]:
    """Return the connections of each batch that came."""
    return [
        [json.loads(entry["MessageBody"])["connectionId"] for entry in batch["Entries"]]
        for batch in aws.calls("SendMessageBatch")
    ]


def test_sends_what_a_close_needs_with_the_delay_to_the_deadline(
    aws: AwsStub, queue: SqsCloseQueue
) -> None:
    aws.answer("SendMessageBatch", refusing())
    assert queue.send([close(1), close(2, in_ms=-5_000)]) is None
    (batch,) = aws.calls("SendMessageBatch")
    assert batch["QueueUrl"] == URL
    # A millisecond after the deadline it is idle: ten whole seconds, and that.
    assert [entry["DelaySeconds"] for entry in batch["Entries"]] == [10, 0]
    assert json.loads(batch["Entries"][0]["MessageBody"]) == {
        "connectionId": "c1",
        "sessionId": "s1",
        "role": "listener",
        "connectedAt": START_MS - 600_000,
        "lastActivityTime": START_MS - 110_000,
        "gatewayActiveAt": None,
        "noticedAt": None,
        "handovers": 0,
        "deadline": START_MS + 10_000,
        "correlationId": "tick-1",
        "silence": 120_000,
        "judgedAt": 1_700_000_000_000,
        "recordingIsWell": False,
        "asks": True,
    }


def test_sends_again_only_what_was_refused_with_the_delay_that_is_left(
    aws: AwsStub, queue: SqsCloseQueue, clock: FakeClock
) -> None:
    def refuse_and_take_long(call: Call) -> dict[str, Any]:
        clock.advance(seconds=4)
        return refusing("c2", "c3")(call)

    aws.answer("SendMessageBatch", refuse_and_take_long, refusing())
    assert queue.send([close(1), close(2), close(3)]) is None
    assert sent(aws) == [["c1", "c2", "c3"], ["c2", "c3"]]
    again = aws.calls("SendMessageBatch")[1]
    assert {entry["DelaySeconds"] for entry in again["Entries"]} <= {5, 6}


def test_says_what_was_refused_every_time(aws: AwsStub, queue: SqsCloseQueue) -> None:
    aws.answer("SendMessageBatch", refusing("c2"))
    left = queue.send([close(1), close(2)])
    assert left is not None
    assert [close.connection.connection_id for close in left.closes] == ["c2"]
    assert (left.error.code, left.error.retryable) == ("InternalError", True)
    assert sent(aws) == [["c1", "c2"], *[["c2"]] * 5]


def test_does_not_repeat_what_is_refused_for_good(aws: AwsStub, queue: SqsCloseQueue) -> None:
    aws.answer("SendMessageBatch", refusing("c1", sender_fault=True))
    left = queue.send([close(1), close(2)])
    assert left is not None
    assert not left.error.retryable
    assert sent(aws) == [["c1", "c2"]]


def test_a_request_that_is_refused_leaves_all_of_it(aws: AwsStub, queue: SqsCloseQueue) -> None:
    aws.fail("SendMessageBatch", status=403, code="AccessDenied")
    left = queue.send([close(1), close(2)])
    assert left is not None
    assert len(left.closes) == 2
    assert left.error.operation == "SendMessageBatch"


def test_throttling_is_tried_again(aws: AwsStub, queue: SqsCloseQueue) -> None:
    aws.answer("SendMessageBatch", refusing())
    aws.fail("SendMessageBatch", status=400, code="RequestThrottled", times=2)
    assert queue.send([close(1)]) is None


def test_sends_nothing_without_time(aws: AwsStub, queue: SqsCloseQueue, deadline: Deadline) -> None:
    deadline.start(100)
    left = queue.send([close(1)])
    assert left is not None
    assert left.error.code == "NoTimeLeft"
    assert sent(aws) == []


def test_postpones_by_hiding_the_message_for_so_long(aws: AwsStub, queue: SqsCloseQueue) -> None:
    queue.postpone("receipt-1", delay_s=7)
    assert aws.calls("ChangeMessageVisibility") == [
        {"QueueUrl": URL, "ReceiptHandle": "receipt-1", "VisibilityTimeout": 7}
    ]


def test_a_failed_postponement_is_an_error(aws: AwsStub, queue: SqsCloseQueue) -> None:
    aws.fail("ChangeMessageVisibility", status=403, code="AccessDenied")
    with pytest.raises(BackendError, match="ChangeMessageVisibility failed"):
        queue.postpone("receipt-1", delay_s=7)
