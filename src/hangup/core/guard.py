"""The mass-close guard: nobody is disconnected because a table stopped being written.

1. A sweep is suspicious when more than a share of all connections seen, and at least a number of
   them, look idle at once, or would be queued because they fall due soon.
2. A suspicious sweep asks API Gateway about a sample of those.
3. It goes on only if each of the sample is gone, or was silent by API Gateway's own account.
   Anything else, an answer that could not be had included, holds the sweep: it closes nothing.
4. What is due soon was active a while ago, and is silent *since*: that API Gateway knows of no
   activity later than the recorded one shows that activity is being recorded.

Holding costs a minute's delay, going on wrongly cuts everybody off: so one doubt is enough.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hangup.core.model import Connection, DurationMs, EpochMs

__all__ = [
    "DEFAULT_GUARD",
    "GuardPolicy",
    "Hold",
    "Liveness",
    "judge",
    "liveness",
    "liveness_of_due",
]

_RECORDING_MS: Final = DurationMs(5_000)
"""How much later than the recorded activity API Gateway's own may be: the answer to a heartbeat,
whole seconds, two clocks, and a recording that waits for a cold start. Clients speak less often."""


class Liveness(StrEnum):
    """What API Gateway says about a connection that looks idle."""

    GONE = "gone"
    QUIET = "quiet"
    ACTIVE = "active"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """When to doubt, and how many connections to ask about (all at least 1).

    ``share_percent`` is 1 to 100; 100 never doubts. A sample of 20 misses a broken writer that
    affects one connection in ten with a probability of 0.9 ** 20 = 12 %, one that affects every
    other with one in a million.
    """

    share_percent: int
    at_least: int
    sample_size: int

    def is_suspicious(self, *, idle: int, checked: int, whole_table: bool) -> bool:
        """Say whether so many idle out of so many checked is unlikely to be true.

        Few idle ones are no mass close only where the whole table was seen: a scan that broke off
        has seen a part of what may be many.
        """
        enough = idle >= self.at_least or not whole_table
        return enough and idle * 100 > checked * self.share_percent

    def sample(self, idle: Sequence[Connection], *, seed: int) -> Sequence[Connection]:
        """Return connections to ask about, spread evenly over those given.

        A scan returns records in the order of their keys' hash, so that this is a random sample;
        with another ``seed`` it is another one.
        """
        size = min(self.sample_size, len(idle))
        return [idle[(position * len(idle) // size + seed) % len(idle)] for position in range(size)]


DEFAULT_GUARD: Final = GuardPolicy(share_percent=50, at_least=20, sample_size=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Close nothing; ``seen`` counts what the sample was, for whoever has to decide."""

    seen: dict[str, int]


def liveness(last_active_ms: EpochMs | None, *, cutoff_ms: EpochMs) -> Liveness:
    """Say what API Gateway's last activity of a connection means; None for one that is gone.

    No public source says whether a message *to* a client counts in it. If it does, a silent
    client that is being sent things looks active here, and the guard holds: the safe side.
    """
    if last_active_ms is None:
        return Liveness.GONE
    return Liveness.QUIET if last_active_ms < cutoff_ms else Liveness.ACTIVE


def liveness_of_due(
    last_active_ms: EpochMs | None, *, recorded_ms: EpochMs, activity_resolution_ms: DurationMs
) -> Liveness:
    """Say the same of a connection that is due soon, and whose last recorded activity this is.

    With a resolution, activity up to one resolution after the recorded one was not to be recorded.
    """
    if last_active_ms is None:
        return Liveness.GONE
    latest_ms = recorded_ms + activity_resolution_ms + _RECORDING_MS
    return Liveness.QUIET if last_active_ms <= latest_ms else Liveness.ACTIVE


def judge(sample: Sequence[Liveness]) -> Hold | None:
    """Return why to hold, or None if each of the sample is gone or quiet."""
    if all(seen in (Liveness.GONE, Liveness.QUIET) for seen in sample):
        return None
    return Hold(seen={str(kind): count for kind, count in Counter(sample).items()})
