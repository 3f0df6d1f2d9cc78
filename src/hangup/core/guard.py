"""The mass-close guard: a table that is no longer written disconnects nobody.

1. A sweep is suspicious when more than a share of all connections seen, and at least a number of
   them, look idle at once, or are due before the next sweep.
2. A suspicious sweep probes a sample of them: it asks API Gateway when each was last active.
3. It goes on only if each of the sample is gone, or was quiet by API Gateway's own account. Any
   other answer, and none at all, holds the sweep: it closes nothing.
4. A connection that is due soon was active a while ago, and is quiet *since*: API Gateway knows of
   no activity later than the recorded one, so activity is being recorded.

Holding costs a minute's delay. Closing wrongly disconnects everybody. So one doubt is enough.
The guard is a heuristic: a sample may miss a fault that affects few connections.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hangup.core.connection import Connection, DurationMs, EpochMs

_RECORDING_MS: Final = DurationMs(5_000)
"""How much later than the recorded activity API Gateway's may be: whole seconds, two clocks, the
answer to a heartbeat, and a cold start before the write. Clients speak less often."""


class ProbeResult(StrEnum):
    """What API Gateway answers about a connection that looks idle."""

    GONE = "gone"
    QUIET = "quiet"
    ACTIVE = "active"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """When to probe, and how many connections (all at least 1).

    ``share_percent`` is 1 to 100; 100 never probes. A sample of 20 misses a broken writer that
    affects one connection in ten with a probability of 0.9 ** 20 = 12 %, one that affects every
    other with one in a million.
    """

    share_percent: int
    at_least: int
    sample_size: int

    def is_suspicious(self, *, idle: int, checked: int, whole_table: bool) -> bool:
        """Return whether it is unlikely that this many of those checked are idle.

        ``at_least`` counts only where the whole table was read: a scan that broke off may have
        seen a small part of many.
        """
        enough = idle >= self.at_least or not whole_table
        return enough and idle * 100 > checked * self.share_percent

    def sample(self, idle: Sequence[Connection], *, seed: int) -> Sequence[Connection]:
        """Return the connections to probe, spread evenly over those given.

        A scan returns records in the order of their keys' hash, so that this is a random sample;
        with another ``seed`` it is another one.
        """
        size = min(self.sample_size, len(idle))
        return [idle[(position * len(idle) // size + seed) % len(idle)] for position in range(size)]


DEFAULT_GUARD: Final = GuardPolicy(share_percent=50, at_least=20, sample_size=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Close nothing. ``sample`` counts the answers, for the people who have to decide."""

    sample: dict[str, int]


def probe_result(last_active_ms: EpochMs | None, *, cutoff_ms: EpochMs) -> ProbeResult:
    """Return what API Gateway's last activity of a connection means; None for one that is gone.

    No public source says whether a message *to* a client counts as activity there. If it does, a
    silent client that receives messages looks active here, and the guard holds: the safe side.
    """
    if last_active_ms is None:
        return ProbeResult.GONE
    return ProbeResult.QUIET if last_active_ms < cutoff_ms else ProbeResult.ACTIVE


def probe_result_of_scheduled(
    last_active_ms: EpochMs | None, *, recorded_ms: EpochMs, activity_resolution_ms: DurationMs
) -> ProbeResult:
    """Return the same for a connection that is due soon and was recorded active at that time.

    With a resolution, activity up to one resolution after the recorded time is not recorded.
    """
    if last_active_ms is None:
        return ProbeResult.GONE
    latest_ms = recorded_ms + activity_resolution_ms + _RECORDING_MS
    return ProbeResult.QUIET if last_active_ms <= latest_ms else ProbeResult.ACTIVE


def judge(sample: Sequence[ProbeResult]) -> Hold | None:
    """Return why to hold, or None if each of the sample is gone or quiet."""
    if all(seen in (ProbeResult.GONE, ProbeResult.QUIET) for seen in sample):
        return None
    return Hold(sample={str(kind): count for kind, count in Counter(sample).items()})
