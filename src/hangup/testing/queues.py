"""The queues of scheduled closes and of failed cleanups, in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from hangup.core.connection import EpochMs, JsonObject
from hangup.core.limits import MAX_QUEUE_BATCH
from hangup.core.scheduled_close import ScheduledClose, as_message, delay_s
from hangup.errors import BackendError
from hangup.ports import Clock, NotQueued
from hangup.sessions.ports import DeadLetter
from hangup.testing.faults import Faults, aws_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as the function behind the queue gets it."""

    message_id: str
    receipt: str
    body: str


@dataclass(slots=True)
class _Waiting:
    message_id: str
    body: str
    visible_ms: EpochMs
    receipt: str = ""


class InMemoryCloseQueue:
    """``CloseQueue`` over a list; ``hidden_s`` is how long a received message is hidden."""

    def __init__(self, clock: Clock, faults: Faults | None = None, *, hidden_s: int = 360) -> None:
        self._clock = clock
        self._faults = faults or Faults()
        self._hidden_s = hidden_s
        self._waiting: list[_Waiting] = []
        self._numbers = count(1)

    def send(self, closes: Sequence[ScheduledClose]) -> NotQueued | None:
        """Queue up to ten; a planned fault of ``SendMessage`` refuses one of them."""
        left, error = [], None
        try:
            with self._faults.call("SendMessageBatch"):
                for close in closes:
                    try:
                        self._send(close)
                    except BackendError as failure:
                        left.append(close)
                        error = error or failure
        except BackendError as failure:
            return NotQueued(closes=closes, error=failure)
        return None if error is None else NotQueued(closes=left, error=error)

    @aws_call("ChangeMessageVisibility")
    def postpone(self, receipt: str, *, delay_s: int) -> None:
        """Let a message be delivered again, after this many seconds."""
        for waiting in self._waiting:
            if waiting.receipt == receipt:
                waiting.visible_ms = EpochMs(self._clock.now_ms() + delay_s * 1000)

    def put(self, body: str, *, delay_s: int = 0) -> None:
        """Queue a message of whatever content."""
        visible_ms = EpochMs(self._clock.now_ms() + delay_s * 1000)
        self._waiting.append(_Waiting(f"m{next(self._numbers)}", body, visible_ms))

    def receive(self) -> Sequence[Received]:
        """Return up to ten messages whose time has come, and hide them for now."""
        now_ms = self._clock.now_ms()
        visible = [waiting for waiting in self._waiting if waiting.visible_ms <= now_ms]
        for waiting in visible[:MAX_QUEUE_BATCH]:
            waiting.receipt = f"r{next(self._numbers)}"
            waiting.visible_ms = EpochMs(now_ms + self._hidden_s * 1000)
        return [
            Received(message_id=w.message_id, receipt=w.receipt, body=w.body)
            for w in visible[:MAX_QUEUE_BATCH]
        ]

    def delete(self, message_id: str) -> None:
        """Take a message out for good, as Lambda does with one that was dealt with."""
        self._waiting = [w for w in self._waiting if w.message_id != message_id]

    def __len__(self) -> int:
        """Return how many messages there are, waiting, hidden and delayed."""
        return len(self._waiting)

    def _send(self, close: ScheduledClose) -> None:
        with self._faults.call("SendMessage", close.connection.connection_id):
            now_ms = self._clock.now_ms()
            self.put(as_message(close), delay_s=delay_s(close.deadline_ms, now_ms=now_ms))


class InMemoryDeadLetters:
    """``DeadLetters`` with bodies by message id; ``hidden`` are the ids that were received."""

    def __init__(self, faults: Faults | None = None, *, batch_size: int = 10) -> None:
        self.bodies: dict[str, str] = {}
        self.hidden: set[str] = set()
        self._faults = faults or Faults()
        self._batch_size = batch_size
        self._numbers = count(1)

    def add(self, event: JsonObject) -> str:
        """Add Lambda's record of a failed invocation with this event; return its message id."""
        return self.put(
            json.dumps(
                {
                    "version": "1.0",
                    "timestamp": "2023-11-14T22:13:20.000Z",
                    "requestContext": {
                        "requestId": "00000000-0000-0000-0000-000000000000",
                        "condition": "RetriesExhausted",
                        "approximateInvokeCount": 3,
                    },
                    "requestPayload": event,
                    "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
                    "responsePayload": {"errorType": "BackendError", "errorMessage": "planned"},
                }
            )
        )

    def put(self, body: str) -> str:
        """Add a message of any kind; return its id."""
        message_id = f"m{next(self._numbers)}"
        self.bodies[message_id] = body
        return message_id

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages that are visible, and hide them."""
        with self._faults.call("ReceiveMessage"):
            ids = [i for i in self.bodies if i not in self.hidden][: self._batch_size]
            self.hidden.update(ids)
        return [DeadLetter(message_id=i, receipt=i, body=self.bodies[i]) for i in ids]

    def delete(self, letter: DeadLetter) -> None:
        """Remove a message."""
        with self._faults.call("DeleteMessage", letter.message_id):
            del self.bodies[letter.message_id]
            self.hidden.discard(letter.message_id)

    def give_back(self, letter: DeadLetter) -> None:
        """Make a message visible again."""
        with self._faults.call("ChangeMessageVisibility", letter.message_id):
            self.hidden.discard(letter.message_id)
