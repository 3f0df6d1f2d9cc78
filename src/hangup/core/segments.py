"""Which parts of the table a sweep reads, in which order, and until when.

DynamoDB reads a table in as many segments as one says, each a part of the hash of the keys, and so
of the partitions. Some are read side by side, and those should lie far apart: a partition gives
3,000 read units a second (DynamoDB developer guide, partition key design), 23 pages of 1 MB, which
is little more than one reader asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hangup.core.model import DurationMs, EpochMs

__all__ = [
    "ROTATION_MS",
    "SCAN_MARGIN_MS",
    "SEGMENTS_AT_ONCE",
    "WHOLE_TABLE",
    "SegmentGroup",
    "segments_from",
]

SCAN_MARGIN_MS: Final = DurationMs(13_000)
"""With less than this left no page is read: there must be time to close what is in it. What this
is more than for a close, five seconds, a batch takes at the default pace; where two are waiting,
the rest is left to the next sweep."""

SEGMENTS_AT_ONCE: Final = 4
"""Segments that a sweep reads side by side. An answer takes some 50 ms, and 8 ms of Lambda's 0.15
of a CPU; a new table with on-demand capacity gives 12,000 read units a second, as four partitions
do (DynamoDB developer guide, on-demand capacity)."""

ROTATION_MS: Final = 60_000
"""How long sweeps start at the same segment, milliseconds: no longer than the least interval."""

_GOLDEN_RATIO_32: Final = 2_654_435_769
"""2 ** 32 divided by the golden ratio: its multiples spread evenly, whatever their step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentGroup:
    """The part of the table that one sweep of several reads: part ``index`` of ``of`` (from 0)."""

    index: int
    of: int


WHOLE_TABLE: Final = SegmentGroup(index=0, of=1)


def segments_from(now_ms: EpochMs, total_segments: int) -> Iterator[int]:
    """Yield all segments, starting with one that changes from minute to minute.

    The start is a multiple of the golden ratio, so that it visits every segment evenly even where
    sweeps come only every second, fifth or sixtieth minute. Segments that are next to each other
    here lie a quarter of them all apart, as far as their number allows.
    """
    minute = now_ms // ROTATION_MS
    first = (minute * _GOLDEN_RATIO_32 % 2**32) * total_segments >> 32
    apart = -(-total_segments // SEGMENTS_AT_ONCE)
    return (
        (first + segment) % total_segments
        for begin in range(apart)
        for segment in range(begin, total_segments, apart)
    )
