"""What happens on the local stack, read from the functions' logs and put into plain words."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from hangup.local.deploy import Deployment
from hangup.local.engine import Engine

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient

__all__ = ["Event", "Feed", "in_order", "in_words"]

Event = tuple[int, str, str]
"""A line of a log: the epoch milliseconds at which it was stored, its stream, its text."""

_OVERLAP_MS: Final = 5_000
"""How far back each look goes again: a line may be written after a later one was read."""

_BORING: Final = frozenset({"activity recorded"})
_SHOWN: Final = (
    "connectionId",
    "connectionIds",
    "sessionId",
    "role",
    "outcome",
    "status",
    "reason",
    "error",
)
_CLOSES: Final = ("closed", "gone", "closeFailures", "handoverFailures")
_COUNTS: Final = ("checked", "idle", *_CLOSES)
_OF_QUEUED: Final = ("checked", "queued", "queueFailures")
_OF_RECEIVED: Final = ("received", "claimsLost", *_CLOSES)


class Feed:
    """The log lines of all functions that were written since the feed was made, each once."""

    def __init__(self, engine: Engine, stack: Deployment) -> None:
        self._logs: CloudWatchLogsClient = engine.client("logs")
        functions: LambdaClient = engine.client("lambda")
        names = (
            stack.connect_function,
            stack.message_function,
            stack.disconnect_function,
            stack.timeout_function,
            *([stack.close_function] if stack.close_function else []),
        )
        self._groups = [
            functions.get_function_configuration(FunctionName=name)["LoggingConfig"]["LogGroup"]
            for name in names
        ]
        self._since_ms = time.time_ns() // 1_000_000
        self._told: set[Event] = set()

    def news(self) -> Iterator[str]:
        """Yield what has been logged since the last call, oldest first."""
        events: list[Event] = []
        for group in self._groups:
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=self._since_ms
            )
            for page in pages:
                for found in page["events"]:
                    # Known by its content: MiniStack gives events no id.
                    event = (found["timestamp"], found["logStreamName"], found["message"])
                    if event not in self._told:
                        self._told.add(event)
                        events.append(event)
        self._since_ms = max(self._since_ms, time.time_ns() // 1_000_000 - _OVERLAP_MS)
        self._told = {event for event in self._told if event[0] >= self._since_ms}
        for at_ms, message in in_order(events):
            words = in_words(message)
            if words is not None:
                clock = datetime.fromtimestamp(at_ms / 1000).astimezone()
                yield f"{clock:%H:%M:%S}  {words}"


def in_order(events: Iterable[Event]) -> list[tuple[int, str]]:
    """Return when each line was written, in epoch milliseconds, and the line, oldest first.

    MiniStack stores all lines of an invocation with the time at which it ended, so a line's own
    time comes first. One that has none (of a traceback, say) was written with the line before it in
    its stream, or if none before it has one, with the first that has.
    """
    timed = [(stored_ms, stream, _own_time_ms(line), line) for stored_ms, stream, line in events]
    last_ms: dict[str, int] = {}
    for _, stream, own_ms, _ in timed:
        if own_ms is not None:
            last_ms.setdefault(stream, own_ms)
    lines: list[tuple[int, str]] = []
    for stored_ms, stream, own_ms, message in timed:
        at_ms = last_ms.get(stream, stored_ms) if own_ms is None else own_ms
        last_ms[stream] = at_ms
        lines.append((at_ms, message))
    # By time alone: lines of the same time stay as they were written.
    return sorted(lines, key=lambda line: line[0])


def _own_time_ms(message: str) -> int | None:
    with suppress(ValueError, TypeError, LookupError):
        # As Powertools writes it.
        written = datetime.strptime(json.loads(message)["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z")
        return round(written.timestamp() * 1000)
    return None


def in_words(message: str) -> str | None:
    """Return a log line of Hangup's in words, or as it is; None for what need not be shown."""
    try:
        line: Any = json.loads(message)
    except ValueError:
        # What Lambda itself writes around an invocation; the rest is a traceback or a print.
        noise = ("START ", "END ", "REPORT ", "INIT_START ")
        return None if message.startswith(noise) or not message.strip() else message.rstrip()
    if not isinstance(line, dict) or "_aws" in line or line.get("message") in _BORING:
        return None
    return f"{line.get('message', '')}{_details(line)}"


def _details(line: Mapping[str, object]) -> str:
    if "received" in line:
        return _counted(line, _OF_RECEIVED)
    if line.get("queued") or line.get("queueFailures"):
        return _counted(line, _OF_QUEUED)
    if "checked" in line:
        return _counted(line, _COUNTS)
    shown = [f"{name}={line[name]}" for name in _SHOWN if line.get(name) is not None]
    return ": " + ", ".join(shown) if shown else ""


def _counted(line: Mapping[str, object], names: Sequence[str]) -> str:
    return ": " + ", ".join(f"{line.get(name, 0)} {name}" for name in names)
