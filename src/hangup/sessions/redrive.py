"""Replay failed cleanups from the queue in which Lambda put their events.

1. A message is deleted only after Lambda accepted its event for another asynchronous invocation. A
   redrive that stops in between replays it twice, but a cleanup takes effect once.
2. A message stays in the queue if it is not such an event, or if its invocation failed.
3. What stays is visible again when the redrive ends, no matter how it ends.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hangup.core.connection import JsonObject
from hangup.core.events import parse_disconnect
from hangup.errors import BackendError, InvalidRequest
from hangup.ports import Functions
from hangup.sessions.ports import DeadLetter, DeadLetters


@dataclass(slots=True)
class RedriveReport:
    """How many messages were replayed, and why each other message is left, by message id.

    ``connection_ids`` are those whose cleanups were replayed, or would have been.
    """

    replayed: int = 0
    connection_ids: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One pass over the queue. ``say`` receives a line for each message."""

    letters: DeadLetters
    functions: Functions
    say: Callable[[str], None]

    def replay(self, *, dry_run: bool = False) -> RedriveReport:
        """Replay every message until the queue is empty; with ``dry_run`` only list them.

        Raises ``BackendError`` if the queue cannot be read or a message cannot be deleted.
        """
        report = RedriveReport()
        held: dict[str, DeadLetter] = {}
        try:
            while letters := self.letters.receive():
                new = [letter for letter in letters if letter.message_id not in held]
                # The latest receipt of each, to give it back.
                held |= {letter.message_id: letter for letter in letters}
                # In a long pass the messages that were left become visible again. Once it receives
                # only those, it has seen the whole queue.
                if not new:
                    break
                for letter in new:
                    if self._replay(letter, report, dry_run=dry_run):
                        del held[letter.message_id]
        finally:
            for letter in held.values():
                self.letters.give_back(letter)
        return report

    def _replay(self, letter: DeadLetter, report: RedriveReport, *, dry_run: bool) -> bool:
        """Return whether the message was removed from the queue."""
        try:
            event, connection_id = _failed_event(letter.body)
            if not dry_run:
                self.functions.invoke_disconnect_handler(event)
        except (InvalidRequest, BackendError) as error:
            report.left[letter.message_id] = str(error)
            self.say(f"left in the queue: message {letter.message_id}: {error}")
            return False
        report.replayed += 1
        report.connection_ids.append(connection_id)
        if dry_run:
            self.say(f"would replay: the cleanup of connection {connection_id}")
            return False
        self.letters.delete(letter)
        self.say(f"replayed: the cleanup of connection {connection_id}")
        return True


def _failed_event(body: str) -> tuple[JsonObject, str]:
    """Return the disconnect event in Lambda's record of a failed invocation, and its connection id.

    ``requestPayload`` is the original event (Lambda developer guide, "Invocation record").
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest(400, "the message is not JSON") from None
    event = record.get("requestPayload") if isinstance(record, Mapping) else None
    if not isinstance(event, Mapping):
        raise InvalidRequest(400, "not an invocation record: requestPayload is missing")
    return event, parse_disconnect(event)
