"""Which part of the table a sweep reads, and in which order.

DynamoDB reads a table in any number of segments, each a part of the hash of the keys, and so of the
partitions. Those that are read side by side should lie far apart: a partition gives 3,000 read
units a second (DynamoDB developer guide, partition key design), 23 pages of 1 MB, and one reader
asks for nearly as much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hangup.core.connection import EpochMs
from hangup.core.timing import ROTATION_MS, SEGMENTS_AT_ONCE

_GOLDEN_RATIO_32: Final = 2_654_435_769
"""2 ** 32 divided by the golden ratio: its multiples spread evenly, whatever their step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The part of the table that one of several sweeps reads: ``index`` (from 0) of ``of``."""

    index: int
    of: int


WHOLE_TABLE: Final = Shard(index=0, of=1)


def rotation(now_ms: EpochMs, places: int) -> int:
    """Return where to begin among some places (at least 1): elsewhere from minute to minute.

    It is a multiple of the golden ratio, so it visits every place evenly even where sweeps come
    only every second, fifth or sixtieth minute.
    """
    minute = now_ms // ROTATION_MS
    return (minute * _GOLDEN_RATIO_32 % 2**32) * places >> 32


def segments_from(now_ms: EpochMs, total_segments: int) -> Iterator[int]:
    """Yield all segments, starting with one that changes from minute to minute (``rotation``).

    Consecutive segments here lie a quarter of the table apart, as far as their number allows.
    """
    first = rotation(now_ms, total_segments)
    apart = -(-total_segments // SEGMENTS_AT_ONCE)
    return (
        (first + segment) % total_segments
        for begin in range(apart)
        for segment in range(begin, total_segments, apart)
    )
