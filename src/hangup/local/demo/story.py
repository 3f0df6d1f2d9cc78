"""What a demo tells while it runs, and its verdict. Whoever shows it decides how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Check = tuple[str, bool]
"""One promise, in words, and whether it was kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something begins that takes a while."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Something has happened, ``at_s`` seconds after the clients began to join.

    ``who`` is the client that it happened to, by name, role and session; None for a sweep.
    ``what`` says it in full, ``brief`` in at most 44 characters.
    """

    at_s: float
    who: tuple[str, str, str] | None
    what: str
    brief: str

    def __str__(self) -> str:
        subject = "{} ({} in {}) ".format(*self.who) if self.who else ""
        return f"{self.at_s:6.1f} s  {subject}{self.what}"


Tell = Step | Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether everything was as promised, with what was checked.

    ``silent`` clients were to be closed for idleness, ``notified`` ones because their session
    ended; ``talking`` ones were to stay.
    """

    checks: Sequence[Check]
    silent: int
    notified: int
    talking: int
    sweeps: int
    seconds: float
    idle_timeout_s: int
    precise: bool

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return all(kept for _, kept in self.checks)

    def __str__(self) -> str:
        if self.holds:
            return "Everything is as promised: the silent clients were closed, and nobody else."
        return "Not everything is as promised: see FAIL above."

    def as_json(self) -> Mapping[str, object]:
        """Return the verdict as a JSON object."""
        return {
            "holds": self.holds,
            "checks": [{"what": what, "holds": kept} for what, kept in self.checks],
            "clients": {
                "silent": self.silent,
                "notified": self.notified,
                "talking": self.talking,
            },
            "sweeps": self.sweeps,
            "seconds": round(self.seconds, 1),
            "idleTimeoutSeconds": self.idle_timeout_s,
            "precise": self.precise,
        }
