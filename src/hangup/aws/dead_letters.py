"""The queue of SQS that holds the cleanups that failed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hangup.aws.retries import Calls
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.sessions.ports import DeadLetter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_WAIT_S: Final = 1
"""With any wait SQS asks all its servers, so that an empty answer means an empty queue. Short,
because it counts towards the client's read time-out."""

_HIDDEN_S: Final = 300
"""How long nobody else gets a message: for a batch of invocations, each with its retries."""


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
