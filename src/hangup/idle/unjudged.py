"""What no rule can judge: other items, unreadable times, and records without a time.

A record without any time is asked about. If API Gateway knows its connection, the time that it says
is noted, and counts from then on. Who only observes notes nothing: there it counts at once. If API
Gateway does not know it, the record is ignored: it may be anything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hangup.core.connection import (
    Connection,
    DurationMs,
    EpochMs,
    InvalidTime,
    RecordedTime,
    TimeAttribute,
)
from hangup.core.guard import Seen
from hangup.core.outcomes import IDS_PER_LINE
from hangup.core.policy import Sorted, looks_like
from hangup.core.shards import rotation
from hangup.errors import BackendError
from hangup.idle.closer import Closer
from hangup.idle.guard import Answer
from hangup.ports import ConcurrentMap

_MAX_UNKNOWN, _UNKNOWN_PER_CLOCK = 100, 10
"""Records without a time whose connection API Gateway does not know. After this many a sweep asks
about no more of them, and after some more for each that was a connection: most of the others are
probably none at all."""


@dataclass(slots=True, kw_only=True, eq=False)
class Unjudged:
    """What one sweep, begun at ``now_ms``, met of these, with examples for the log.

    ``times`` is what the table calls its times.
    """

    closer: Closer
    times: Mapping[RecordedTime, TimeAttribute]
    now_ms: EpochMs
    ignored: int = 0
    unreadable: int = 0
    clocks_started: int = 0
    error: BackendError | None = None
    """The first error: probably the cause of the later ones."""
    told: list[tuple[Connection, Answer]] = field(default_factory=list)
    """Connections without a time on record, as API Gateway tells of them, where none is noted."""
    _unknown: int = 0
    _clocks_not_started: int = 0
    _ignored_ids: list[str] = field(default_factory=list)
    _unreadable: list[dict[str, str]] = field(default_factory=list)

    def add(self, candidates: Sorted) -> None:
        """Count those of a batch that are not connections, or whose time cannot be read."""
        for connection in candidates.ignored:
            self._ignore(connection)
        for connection, invalid in candidates.unreadable:
            self._skip(connection, invalid)

    def ask_for_times(
        self,
        connections: Sequence[Connection],
        *,
        concurrent_map: ConcurrentMap,
        may_ask: Callable[[], bool],
    ) -> None:
        """Ask API Gateway about records without a time, as long as ``may_ask``, and note its times.

        Begin elsewhere each minute, so that records that are not connections hide no connection.
        """
        start = rotation(self.now_ms, max(1, len(connections)))

        def questions() -> Iterator[Connection]:
            for connection in (*connections[start:], *connections[:start]):
                most_unknown = _MAX_UNKNOWN + _UNKNOWN_PER_CLOCK * self.clocks_started
                if self._unknown >= most_unknown or not may_ask():
                    return
                yield connection

        list(concurrent_map(self._ask_for_time, questions()))

    def log(self) -> None:
        """Log one line about each kind."""
        log = self.closer.log
        if self._clocks_not_started:
            log.error("clocks not started", count=self._clocks_not_started, error=str(self.error))
        if self._ignored_ids:
            log.warning(
                "ignored records that are not connections",
                count=self.ignored,
                connectionIds=self._ignored_ids,
            )
        if self._unreadable:
            log.warning(
                "skipped records with invalid timestamps",
                count=self.unreadable,
                records=self._unreadable,
            )

    def _ignore(self, connection: Connection) -> None:
        self.ignored += 1
        if len(self._ignored_ids) < IDS_PER_LINE:
            self._ignored_ids.append(connection.connection_id)

    def _skip(self, connection: Connection, invalid: InvalidTime) -> None:
        self.unreadable += 1
        if len(self._unreadable) < IDS_PER_LINE:
            attribute = self.times[invalid.time]
            self._unreadable.append(
                {
                    "id": connection.connection_id,
                    "attribute": attribute.name,
                    "expected": attribute.written_as,
                    "value": invalid.value,
                    "looksLike": looks_like(invalid.value),
                }
            )

    def _ask_for_time(self, connection: Connection) -> None:
        answer = self.closer.confirmer.ask(connection, silence_ms=DurationMs(0))
        error = answer.error
        if answer.info is not None and not self.closer.acts:
            self.told.append((connection.seen_by_gateway(answer.info.last_active_ms), answer))
        elif answer.info is not None:
            try:
                self.clocks_started += self.closer.connections.record_gateway_activity(
                    connection, active_ms=answer.info.last_active_ms, now_ms=self.now_ms
                )
            except BackendError as raised:
                error = raised
        elif answer.seen in (Seen.GONE, Seen.INVALID):
            self._unknown += 1
            self._ignore(connection)
        if error is not None:
            self._clocks_not_started += 1
            self.error = self.error or error
