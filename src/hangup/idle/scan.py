"""Read the table, several segments side by side, into batches of candidates.

1. Up to four readers read a segment each. With one batch gathered, they stop.
2. One reader goes on while the caller works on that batch: an answer of DynamoDB takes a while and
   no CPU time of ours, enough for many closes.
3. A page that fails ends its segment. The other segments are read on, by one reader fewer: where
   the table's capacity is short, readers get in each other's way.
4. With too little time left to close what a page may hold, no page is read.
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
    """A thousand candidates, or some pages more, and how much of the table was read to find them.

    ``checked`` counts the records read so far. ``whole_table`` is whether that was all of them.
    """

    candidates: Sequence[Connection]
    checked: int
    whole_table: bool


@dataclass(slots=True, kw_only=True)
class Scan:
    """One pass over a shard of the table, in ``total_segments`` (at least 1) segments.

    It is good for one pass.
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
    failed_segments: int = 0
    error: BackendError | None = None
    """The first one: likely the cause of the later ones."""
    out_of_time: bool = False

    _unread: deque[int] = field(init=False)
    """Segments of which nothing has been read."""
    _begun: list[tuple[int, Iterator[ScanPage]]] = field(default_factory=list)
    """Segments read in part, less those of which a page is being read."""
    _gathered: list[Connection] = field(default_factory=list)
    _is_left: bool = False
    _readers: int = 0
    _most_readers: int = SEGMENTS_AT_ONCE

    def __post_init__(self) -> None:
        self._unread = deque(segments_from(self.now_ms, self.total_segments))

    def batches(self) -> Generator[Batch]:
        """Yield batches until all is read, or time is short. None is empty.

        Close the generator if you leave it early: a page may be under way.
        """
        readers = [self._start_reader()]
        try:
            while True:
                readers += [self._start_reader() for _ in range(self._most_readers - 1)]
                for reader in readers:
                    reader.wait()
                if not self._gathered:
                    return
                batch = self._next_batch()
                readers = [self._start_reader()]
                yield batch
        finally:
            self._is_left = True
            with ExitStack() as waits:
                for reader in readers:
                    waits.callback(reader.wait)

    def _start_reader(self) -> Task:
        return self.concurrency.start(self._read_segments)

    def _next_batch(self) -> Batch:
        candidates, self._gathered = self._gathered, []
        return Batch(
            candidates=candidates,
            checked=self.checked,
            # A reader stops after a page, so a segment that was begun may have more.
            whole_table=not (self._begun or self._unread or self.error or self.out_of_time),
        )

    def _read_segments(self) -> None:
        """Read one page after another until a batch is gathered, or others read what is left."""
        self._readers += 1
        while self._read_page():
            pass
        self._readers -= 1

    def _read_page(self) -> bool:
        """Read a page if there is one to be read; return whether this reader may read another."""
        if self._is_left or len(self._gathered) >= BATCH_SIZE:
            return False
        if not self._begun and not self._unread:
            return False
        if self.time_left_ms() < SCAN_MARGIN_MS:
            self.out_of_time = True
            return False
        segment, pages = self._begun.pop() if self._begun else self._begin(self._unread.popleft())
        try:
            page = next(pages, None)
        except BackendError as error:
            self.log.error("scan failed", segment=segment, error=str(error))
            self.failed_segments += 1
            self.error = self.error or error
            self._most_readers = max(1, self._most_readers - 1)
            return self._readers <= self._most_readers
        if page is not None:
            self._begun.append((segment, pages))
            self.checked += page.scanned_count
            self._gathered += page.candidates
        return True

    def _begin(self, segment: int) -> tuple[int, Iterator[ScanPage]]:
        pages = self.connections.scan_candidates(
            cutoff_ms=self.cutoff_ms,
            segment=self.shard.index * self.total_segments + segment,
            total_segments=self.shard.of * self.total_segments,
        )
        return segment, pages
