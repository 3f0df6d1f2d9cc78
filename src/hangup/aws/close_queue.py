"""The queue of SQS that holds the scheduled closes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hangup.aws.errors import ServiceError
from hangup.aws.retries import Calls
from hangup.core.scheduled_close import ScheduledClose, as_message, delay_s
from hangup.errors import BackendError
from hangup.ports import Clock, NotQueued

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef

    from hangup.aws.http.services import DirectSqs

_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500


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
    return ServiceError(
        entry["Code"],
        entry.get("Message", ""),
        status=_BAD_REQUEST if entry["SenderFault"] else _SERVER_ERROR,
    )
