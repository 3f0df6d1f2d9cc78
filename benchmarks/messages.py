"""A warm heartbeat, handled by Hangup's message handler and by the obvious one."""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from benchmarks.endpoints import WorkNotDoneError
from benchmarks.heartbeat_event import EVENT, Context
from benchmarks.measures import Run
from benchmarks.trial import Side, sweep

__all__ = ["hangup_handler", "heartbeats", "naive_handler"]

Answer = dict[str, Any]

_SIDES: Final[dict[str, Side]] = {"naive": "naive-heartbeat", "hangup": "hangup-heartbeat"}


def hangup_handler(_event: object, _context: object) -> Answer:
    """Let Hangup's handler record a heartbeat and acknowledge it."""
    return _acknowledged(_handler("hangup.handlers.message_handler"))


def naive_handler(_event: object, _context: object) -> Answer:
    """Let the obvious one do so."""
    return _acknowledged(_handler("benchmarks.naive_messages"))


def heartbeats(run: Run) -> None:
    """Measure the CPU of a heartbeat in a process that has had one before, over TLS to the stub."""
    number = run.scale.heartbeats
    for _ in run.rounds("heartbeat"):
        for name, side in _SIDES.items():
            run.aws.reset(records=0)
            sample = sweep(side, run.aws, warm=number)
            if sample is None or run.aws.counts != {"claims": number + 1}:
                raise WorkNotDoneError(f"not {number + 1} heartbeats: {run.aws.counts}")
            run.take("heartbeat_cpu_ms", name, sample.cpu_s * 1_000)


@cache
def _handler(module: str) -> Callable[[object, object], Answer]:
    # Imported here: a process of one side has not loaded the other.
    return importlib.import_module(module).lambda_handler  # type: ignore[no-any-return]


def _acknowledged(handler: Callable[[object, object], Answer]) -> Answer:
    answer = handler(EVENT, Context())
    if "heartbeatAck" not in answer.get("body", ""):
        raise WorkNotDoneError(f"the heartbeat was answered {answer}")
    return answer
