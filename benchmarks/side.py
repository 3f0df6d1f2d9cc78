"""One sweep of one side, measured from inside: run as a process of its own.

    python -m benchmarks.side SIDE RESULT_FILE
        [--remaining-ms N] [--cgroup FILE] [--dies-after-s N] [--warm N]

What is being swept comes from the environment, as in Lambda. ``RESULT_FILE`` gets the numbers
(``trial.Sample``) as JSON. With a cgroup the process enters it before the sweep, not before its
imports, as Lambda limits an invocation and not the start of its environment. With ``--warm`` a
sweep that does not count comes first, and then so many, whose mean does.
"""

import argparse
import importlib
import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.trial import Side

__all__ = ["main"]

Handler = Callable[[object, object], dict[str, Any]]

_HANDLERS: Final[Mapping["Side", tuple[str, str]]] = {
    "naive": ("benchmarks.naive", "lambda_handler"),
    "naive-check": ("benchmarks.naive", "check_handler"),
    "hangup": ("hangup.handlers.timeout_handler", "lambda_handler"),
    "hangup-check": ("benchmarks.checking", "check_handler"),
    "naive-heartbeat": ("benchmarks.messages", "naive_handler"),
    "hangup-heartbeat": ("benchmarks.messages", "hangup_handler"),
    "closes": ("benchmarks.claims", "close_handler"),
    "closes-in-batches": ("benchmarks.claims", "close_in_batches_handler"),
}


class Context:
    """Lambda's context as far as handlers use it."""

    aws_request_id: Final = "6f4f6b0c-benchmark"

    def __init__(self, remaining_ms: int) -> None:
        self._ends_at = time.monotonic() + remaining_ms / 1_000

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may go on."""
        return round((self._ends_at - time.monotonic()) * 1_000)


def main() -> None:
    """Sweep once and write down what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=_HANDLERS)
    parser.add_argument("result", type=Path)
    parser.add_argument("--remaining-ms", type=int, default=60_000)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--dies-after-s", type=float)
    parser.add_argument("--warm", type=int, default=0)
    arguments = parser.parse_args()

    handler = _handler(arguments.side)
    start_cpu_s = _cpu_s()
    if arguments.cgroup is not None:
        arguments.cgroup.write_text("0")  # this process, whatever its number is there
    if arguments.dies_after_s is not None:
        # Untreated, the alarm ends the process at once, as Lambda ends an invocation.
        signal.setitimer(signal.ITIMER_REAL, arguments.dies_after_s)
    if arguments.warm:
        handler({"id": "benchmark"}, Context(arguments.remaining_ms))
    times = arguments.warm or 1
    began, began_cpu_s = time.monotonic(), _cpu_s()
    for _ in range(times):
        report = handler({"id": "benchmark"}, Context(arguments.remaining_ms))
    sample = {
        "start_cpu_s": start_cpu_s,
        "cpu_s": (_cpu_s() - began_cpu_s) / times,
        "wall_s": (time.monotonic() - began) / times,
        "peak_rss_mb": _peak_rss_mb(),
        "report": report,
    }
    arguments.result.write_text(json.dumps(sample))


def _handler(side: "Side") -> Handler:
    # Imported here: a process of one side has not loaded the other.
    module, name = _HANDLERS[side]
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _cpu_s() -> float:
    """Return the CPU time of all threads of this process so far, user and system."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_rss_mb() -> float:
    """Return the most memory that this process ever had resident, MB of 2**20 bytes."""
    # Not ru_maxrss: that begins with what the process had before it became this program.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1_024
    raise RuntimeError("the kernel does not say how much memory the process had")


if __name__ == "__main__":
    main()
