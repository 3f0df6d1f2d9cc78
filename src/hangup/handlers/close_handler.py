"""The function behind the queue of scheduled closes: close what has reached its deadline.

SQS calls it with up to ten messages that a sweep sent. It answers which of them are to be
delivered again (``ReportBatchItemFailures``), so that one that fails takes no other along.
"""

from functools import cache

from hangup.aws.close_queue import SqsCloseQueue
from hangup.aws.http.choice import concurrency
from hangup.aws.http.services import DirectSqs
from hangup.aws.runtime import Invocation, calls, clock, deadline
from hangup.aws.schema import schema_of
from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.config import CloseSettings
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.errors import InvalidRequest
from hangup.handlers.wiring import closer_of, questions_of
from hangup.idle.scheduled import Message, ScheduledCloser

_log = StructuredLog("close_handler")


def lambda_handler(event: object, context: Invocation) -> dict[str, list[dict[str, str]]]:
    """Close what the messages name; return ``batchItemFailures``, the ids of those that failed.

    Raises ``ConfigurationError`` if the environment is incomplete, and ``InvalidRequest`` for an
    event that is not SQS's.
    """
    _log.correlate(context.aws_request_id)
    deadline.start(context.get_remaining_time_in_millis())
    again = _scheduled_closer().close_scheduled(_messages(event), time_left_ms=deadline.left_ms)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def _messages(event: object) -> list[Message]:
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise InvalidRequest(400, "not an SQS event: Records is missing")
    return [_message(record) for record in records]


def _message(record: object) -> Message:
    members = record if isinstance(record, dict) else {}
    message_id, receipt = members.get("messageId"), members.get("receiptHandle")
    # SQS names each: without a name no failure could be reported, and the message would be lost.
    if not isinstance(message_id, str) or not message_id or not isinstance(receipt, str):
        raise InvalidRequest(400, "not an SQS event: a record lacks messageId or receiptHandle")
    return Message(message_id=message_id, receipt=receipt, body=members.get("body"))


@cache
def _scheduled_closer() -> ScheduledCloser:
    settings = CloseSettings.from_env()
    return ScheduledCloser(
        closer=closer_of(settings, schema_of(settings.table_schema), log=_log),
        questions=questions_of(settings),
        queue=SqsCloseQueue(DirectSqs(), calls, clock, settings.close_queue_url),
        metrics=EmfMetrics(settings.metrics_namespace),
        concurrent_map=concurrency(MAX_QUEUE_BATCH).map,
    )
