"""Read the table, several segments side by side, into batches of candidates.

1. Up to four readers read a segment each. When a batch is full, they stop.
2. One reader goes on while the caller works on that batch. Waiting for DynamoDB costs no CPU time,
   and many closes can run meanwhile.
3. If a page cannot be read, the rest of its segment is skipped. The other segments are read by one
   reader fewer: too many readers make a shortage of capacity worse.
4. No page is read when there is too little time to close what it may contain.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.shards import Shard, segments_from
from hangup.core.timing import BATCH_SIZE, SCAN_MARGIN_MS, SEGMENTS_AT_ONCE
from hangup.errors import BackendError
from hangup.ports import Concurrency, ConnectionsRepository, Log, ScanPage, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``BATCH_SIZE`` candidates, or some pages more. ``checked`` counts the records read so far."""

    candidates: Sequence[Connection]
    checked: int


@dataclass(slots=True, kw_only=True, eq=False)
class Scan:
    """One pass over a shard of the table, in ``total_segments`` (at least 1) segments.

    Use an object once.
    """

    connections: ConnectionsRepository
    log: Log
    concurrency: Concurrency
    time_left_ms: Callable[[], DurationMs]
    now_ms: EpochMs
    cutoff_ms: EpochMs
    shard: Shard
    total_segments: int

    checked: int = 0
    """Records read so far."""
    others: int = 0
    """How many of them name no connection, as far as they came."""
    left: int = 0
    """How many that may be idle were not looked at, since there were too many."""
    failed_segments: int = 0
    error: BackendError | None = None
    """The first error: probably the cause of the later ones."""
    out_of_time: bool = False

    _unread: deque[int] = field(init=False)
    """Segments of which nothing has been read."""
    _partly_read: list[tuple[int, Iterator[ScanPage]]] = field(default_factory=list)
    """Segments partly read. One is taken out while a page of it is being read."""
    _gathered: list[Connection] = field(default_factory=list)
    _abandoned: bool = False
    _readers: int = 0
    _max_readers: int = SEGMENTS_AT_ONCE

    def __post_init__(self) -> None:
        self._unread = deque(segments_from(self.now_ms, self.total_segments))

    def batches(self) -> Generator[Batch]:
        """Yield batches, none of them empty, until all is read or time is short.

        Close the generator if you leave it early: a read may still be running.
        """
        readers = [self._start_reader()]
        try:
            while True:
                readers += [self._start_reader() for _ in range(self._max_readers - 1)]
                for reader in readers:
                    reader.wait()
                if not self._gathered:
                    return
                batch = self._next_batch()
                readers = [self._start_reader()]
                yield batch
        finally:
            self._abandoned = True
            with ExitStack() as waits:
                for reader in readers:
                    waits.callback(reader.wait)

    def _start_reader(self) -> Task:
        return self.concurrency.start(self._read_segments)

    def _next_batch(self) -> Batch:
        candidates, self._gathered = self._gathered, []
        return Batch(candidates=candidates, checked=self.checked)

    def _read_segments(self) -> None:
        """Read one page after another until a batch is full, or nothing is left to read."""
        self._readers += 1
        while self._read_page():
            pass
        self._readers -= 1

    def _read_page(self) -> bool:
        """Read a page if there is one to be read; return whether this reader may read another."""
        if self._abandoned or len(self._gathered) >= BATCH_SIZE:
            return False
        if not self._partly_read and not self._unread:
            return False
        if self.time_left_ms() < SCAN_MARGIN_MS:
            self.out_of_time = True
            return False
        segment, pages = (
            self._partly_read.pop()
            if self._partly_read
            else self._open_segment(self._unread.popleft())
        )
        try:
            page = next(pages)
        except BackendError as error:
            self.log.error(
                "page not read: the rest of its segment is skipped",
                segment=segment,
                error=str(error),
            )
            self.failed_segments += 1
            self.error = self.error or error
            self._max_readers = max(1, self._max_readers - 1)
            return self._readers <= self._max_readers
        if not page.is_last:
            self._partly_read.append((segment, pages))
        self.checked += page.scanned_count
        self.others += page.others
        self.left += page.left
        self._gathered += page.candidates
        return True

    def _open_segment(self, segment: int) -> tuple[int, Iterator[ScanPage]]:
        pages = self.connections.scan_candidates(
            cutoff_ms=self.cutoff_ms,
            now_ms=self.now_ms,
            segment=self.shard.index * self.total_segments + segment,
            total_segments=self.shard.of * self.total_segments,
        )
        return segment, pages
