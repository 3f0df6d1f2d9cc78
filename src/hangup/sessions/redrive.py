"""Replay cleanups that failed for good, from the queue in which Lambda put their events.

1. A message is deleted only after its event was accepted for another asynchronous invocation.
   Stopped in between, it is replayed twice, and a cleanup takes effect once.
2. A message that is no such event, or whose invocation failed, stays in the queue.
3. What stays is visible again when the redrive ends, however it ends.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hangup.core.connection import JsonObject
from hangup.core.events import parse_disconnect
from hangup.errors import BackendError, InvalidRequest
from hangup.ports import Functions
from hangup.sessions.ports import DeadLetter, DeadLetters

__all__ = ["Redrive", "RedriveReport"]


@dataclass(slots=True)
class RedriveReport:
    """How many messages were replayed, and what is left in the queue by message id, with why."""

    replayed: int = 0
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One pass over the queue; ``say`` is told what becomes of each message."""

    letters: DeadLetters
    functions: Functions
    say: Callable[[str], None]

    def replay(self, *, dry_run: bool = False) -> RedriveReport:
        """Replay every message until the queue is empty; with ``dry_run`` only say what would be.

        Raises ``BackendError`` if the queue cannot be read or a message cannot be deleted.
        """
        report = RedriveReport()
        held: dict[str, DeadLetter] = {}
        try:
            while letters := self.letters.receive():
                # A long pass meets those again that it left: then it has been all the way round.
                if all(letter.message_id in held for letter in letters):
                    held |= {letter.message_id: letter for letter in letters}
                    break
                for letter in letters:
                    again = letter.message_id in held
                    held[letter.message_id] = letter
                    if not again and self._replay(letter, report, dry_run=dry_run):
                        del held[letter.message_id]
        finally:
            for letter in held.values():
                self.letters.give_back(letter)
        return report

    def _replay(self, letter: DeadLetter, report: RedriveReport, *, dry_run: bool) -> bool:
        """Return whether the message is out of the queue."""
        try:
            event, connection_id = _failed_event(letter.body)
            if not dry_run:
                self.functions.invoke_disconnect_handler(event)
        except (InvalidRequest, BackendError) as error:
            report.left[letter.message_id] = str(error)
            self.say(f"left in the queue: message {letter.message_id}: {error}")
            return False
        report.replayed += 1
        if dry_run:
            self.say(f"would replay: the cleanup of connection {connection_id}")
            return False
        self.letters.delete(letter)
        self.say(f"replayed: the cleanup of connection {connection_id}")
        return True


def _failed_event(body: str) -> tuple[JsonObject, str]:
    """Return the disconnect event in what Lambda sends to a destination, and its connection's id.

    ``requestPayload`` is the event as it was (Lambda developer guide, "Invocation record").
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest(400, "it is no JSON") from None
    event = record.get("requestPayload") if isinstance(record, Mapping) else None
    if not isinstance(event, Mapping):
        raise InvalidRequest(400, "it has no requestPayload: it is no record of an invocation")
    return event, parse_disconnect(event)
