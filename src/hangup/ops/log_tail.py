"""What happens in a deployment, read from its functions' logs and put into plain words."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Protocol

from hangup.core.connection import DurationMs, EpochMs
from hangup.ports import Clock

LogEvent = tuple[int, str, str]
"""A line of a log: the epoch milliseconds at which it was stored, its stream, its text."""

LogLine = tuple[int, str]
"""A line of a log: the epoch milliseconds at which it was written, its text."""

_OVERLAP_MS: Final = DurationMs(30_000)
"""On AWS, where a line may be stored some seconds after a later one was read."""

_NOISE: Final = ("START ", "END ", "REPORT ", "INIT_START ")
"""How the lines begin that Lambda itself writes around an invocation."""
_NOT_SHOWN: Final = frozenset({"activity recorded"})
_SHOWN: Final = (
    "connectionId",
    "connectionIds",
    "sessionId",
    "role",
    "outcome",
    "status",
    "reason",
    "advice",
    "records",
    "error",
)
_CLOSES: Final = ("closed", "gone", "closeFailures", "handoverFailures")
_COUNTS: Final = ("checked", "idle", *_CLOSES)
_RARE: Final = (
    "wouldClose",
    "activityUnrecorded",
    "recordingDoubted",
    "unconfirmed",
    "handoversRepeated",
    "socketsLost",
    "unreadable",
    "ignored",
)
"""Shown where they are not 0."""
_COUNTS_QUEUED: Final = ("checked", "queued", "queueFailures")
_COUNTS_RECEIVED: Final = ("received", "claimsLost", *_CLOSES)


class Logs(Protocol):
    """The logs of some functions."""

    def events(self, *, since_ms: EpochMs) -> Iterable[LogEvent]:
        """Return what was stored since then, in any order. Raises ``BackendError``."""


class LogTail:
    """The log lines of some functions that are written from ``since_ms`` on, each once.

    Each look reads the last ``overlap_ms`` again.
    """

    def __init__(
        self,
        logs: Logs,
        clock: Clock,
        *,
        since_ms: EpochMs,
        overlap_ms: DurationMs = _OVERLAP_MS,
    ) -> None:
        self._logs = logs
        self._clock = clock
        self._since_ms = since_ms
        self._overlap_ms = overlap_ms
        self._seen = set[LogEvent]()

    def new_lines(self) -> Iterator[LogLine]:
        """Yield what has been logged since the last call, oldest first.

        Raises ``BackendError``; what is not read then comes with the next call.
        """
        # Known by their content: MiniStack gives events no id.
        events = dict.fromkeys(self._logs.events(since_ms=self._since_ms))
        new = [event for event in events if event not in self._seen]
        self._since_ms = EpochMs(max(self._since_ms, self._clock.now_ms() - self._overlap_ms))
        self._seen = {e for e in self._seen.union(new) if e[0] >= self._since_ms}
        yield from in_order(new)


def at_clock(at_ms: int) -> str:
    """Return the time of day here, to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000).astimezone():%H:%M:%S}"


def in_order(events: Iterable[LogEvent]) -> list[LogLine]:
    """Return when each line was written, in epoch milliseconds, and the line, oldest first.

    MiniStack stores all lines of an invocation with the time at which it ended, so a line's own
    time comes first. One that has none (of a traceback, say) was written with the line before it in
    its stream, or if none before it has one, with the first that has.
    """
    timed = [(stored_ms, stream, _own_time_ms(line), line) for stored_ms, stream, line in events]
    # Before the first line: that line's time. The first of a stream wins, being the last here.
    last_ms = {stream: own_ms for _, stream, own_ms, _ in reversed(timed) if own_ms is not None}
    lines: list[LogLine] = []
    for stored_ms, stream, own_ms, message in timed:
        last_ms[stream] = last_ms.get(stream, stored_ms) if own_ms is None else own_ms
        lines.append((last_ms[stream], message))
    # By time alone: lines of the same time stay as they were written.
    return sorted(lines, key=lambda line: line[0])


def object_in(text: str) -> Mapping[str, Any]:
    """Return the JSON object that a text is; an empty one for any other text."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _own_time_ms(message: str) -> int | None:
    with suppress(ValueError, TypeError, LookupError):
        # As Powertools writes it.
        written = datetime.strptime(json.loads(message)["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z")
        return round(written.timestamp() * 1000)
    return None


def in_words(message: str) -> str | None:
    """Return a log line of Hangup in words, any other as it is; None for what is not shown."""
    try:
        line: Any = json.loads(message)
    except ValueError:
        # The rest is a traceback or a print.
        return None if message.startswith(_NOISE) or not message.strip() else message.rstrip()
    if not isinstance(line, dict) or "_aws" in line or line.get("message") in _NOT_SHOWN:
        return None
    named = _counts(line)
    rare = [name for name in _RARE if named and line.get(name)]
    counts = [f"{line.get(name, 0)} {name}" for name in (*named, *rare)]
    details = counts or [f"{name}={line[name]}" for name in _SHOWN if line.get(name) is not None]
    return f"{line.get('message', '')}{': ' if details else ''}{', '.join(details)}"


def _counts(line: Mapping[str, object]) -> Sequence[str]:
    if "received" in line:
        return _COUNTS_RECEIVED
    if line.get("queued") or line.get("queueFailures"):
        return _COUNTS_QUEUED
    return _COUNTS if "checked" in line else ()
