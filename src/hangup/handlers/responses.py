"""What the handlers answer to API Gateway."""

import re
from typing import Final

from hangup.aws.http.json import to_json
from hangup.aws.runtime import Invocation, deadline
from hangup.aws.telemetry import StructuredLog
from hangup.core.connection import JsonObject
from hangup.errors import InvalidRequest
from hangup.ports import Log

_ID: Final = re.compile(r"[!-~]{1,256}", re.ASCII)

Answer = dict[str, object]
"""A Lambda proxy answer: ``statusCode`` and, where the client gets an answer, ``body``."""


def begin(event: object, context: Invocation | None, log: StructuredLog) -> None:
    """Start an invocation: its deadline, and the correlation id of its log lines.

    ``context`` is Lambda's; None is an invocation without an end.
    """
    deadline.start(None if context is None else context.get_remaining_time_in_millis())
    log.correlate(correlation_id(event))


def accept(message: JsonObject | None = None) -> Answer:
    """Return a 200 that carries ``message`` to the client."""
    return {"statusCode": 200, **({} if message is None else {"body": to_json(message).decode()})}


def refuse(error: InvalidRequest, log: Log, *, connection_id: str | None = None) -> Answer:
    """Return the refusal and log it in one line. Neither repeats what the client sent."""
    log.warning("refused", status=error.status, reason=str(error), connectionId=connection_id)
    body = to_json({"type": "error", "status": error.status, "message": str(error)})
    return {"statusCode": error.status, "body": body.decode()}


def correlation_id(event: object) -> str:
    """Return the id that ties an invocation's log lines to what caused it.

    It is the sweep's own for a disconnect that a sweep handed over, API Gateway's request id for
    an event of a route, and empty for anything else, such as an id that could not be logged.
    """
    if not isinstance(event, dict):
        return ""
    context = event.get("requestContext")
    request_id = context.get("requestId") if isinstance(context, dict) else None
    return plain_id(event.get("correlationId")) or plain_id(request_id) or ""


def plain_id(candidate: object) -> str | None:
    """Return an id of 1 to 256 printable ASCII characters as it is, and None for anything else."""
    return candidate if isinstance(candidate, str) and _ID.fullmatch(candidate) else None
