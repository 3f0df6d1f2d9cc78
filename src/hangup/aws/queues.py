"""Two queues of SQS: cleanups that failed, and scheduled closes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hangup.aws.errors import ServiceError
from hangup.aws.retries import Calls
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.scheduled_close import ScheduledClose, as_message, delay_s
from hangup.errors import BackendError
from hangup.ports import Clock, NotQueued
from hangup.sessions.ports import DeadLetter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef

    from hangup.aws.http.services import DirectSqs

_WAIT_S: Final = 1
"""With any wait SQS asks all its servers, so that an empty answer means an empty queue. Short,
because it counts towards the client's read time-out."""

_HIDDEN_S: Final = 300
"""How long nobody else gets a message: for a batch of invocations, each with its retries."""


_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500


class SqsDeadLetters:
    """``DeadLetters`` on an SQS queue."""

    def __init__(self, client: "SQSClient", calls: Calls, queue_url: str) -> None:
        self._client = client
        self._calls = calls
        self._queue_url = queue_url

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages and hide them for five minutes; none if the queue is empty."""
        answer = self._calls(
            "ReceiveMessage",
            lambda: self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=MAX_QUEUE_BATCH,
                WaitTimeSeconds=_WAIT_S,
                VisibilityTimeout=_HIDDEN_S,
            ),
        )
        return [
            DeadLetter(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
            )
            for message in answer.get("Messages", [])
        ]

    def delete(self, letter: DeadLetter) -> None:
        """Take a message out of the queue for good."""
        self._calls(
            "DeleteMessage",
            lambda: self._client.delete_message(
                QueueUrl=self._queue_url, ReceiptHandle=letter.receipt
            ),
        )

    def give_back(self, letter: DeadLetter) -> None:
        """Let a message be received again at once."""
        self._calls(
            "ChangeMessageVisibility",
            lambda: self._client.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=letter.receipt, VisibilityTimeout=0
            ),
        )


class SqsCloseQueue:
    """``CloseQueue`` on an SQS standard queue."""

    def __init__(
        self, client: "SQSClient | DirectSqs", calls: Calls, clock: Clock, queue_url: str
    ) -> None:
        self._client = client
        self._calls = calls
        self._clock = clock
        self._queue_url = queue_url

    def send(self, closes: Sequence[ScheduledClose]) -> NotQueued | None:
        """Queue up to ten, each with the delay that it has at the time; return what is left."""
        # By its place: an id is for this request, and may hold less than a connection id does.
        left = {str(place): close for place, close in enumerate(closes)}

        def send() -> None:
            now_ms = self._clock.now_ms()
            answer = self._client.send_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {
                        "Id": place,
                        "MessageBody": as_message(close),
                        "DelaySeconds": delay_s(close.deadline_ms, now_ms=now_ms),
                    }
                    for place, close in left.items()
                ],
            )
            refused = {entry["Id"]: entry for entry in answer.get("Failed", [])}
            for place in left.keys() - refused.keys():
                del left[place]
            if refused:
                raise _as_error(next(iter(refused.values())))

        try:
            self._calls("SendMessageBatch", send)
        except BackendError as error:
            return NotQueued(closes=list(left.values()), error=error)
        return None

    def postpone(self, receipt: str, *, delay_s: int) -> None:
        """Let a message that was received be delivered again, after this many seconds."""
        self._calls(
            "ChangeMessageVisibility",
            lambda: self._client.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=receipt, VisibilityTimeout=delay_s
            ),
        )


def _as_error(entry: "BatchResultErrorEntryTypeDef") -> ServiceError:
    """Return the failure of one message of a batch as what it would be on its own."""
    status = _BAD_REQUEST if entry["SenderFault"] else _SERVER_ERROR
    return ServiceError(entry["Code"], entry.get("Message", ""), status=status)
