"""Give each invocation all of its output, and nothing of another one's.

MiniStack's worker writes what a function prints to one pipe and its answer to another, and a thread
of the engine reads the first line by line. Once the answer is there, ``Worker.invoke`` takes lines
from that thread until none has come for 5 ms. Where the thread gets no turn for so long, which on a
busy core is the rule (CPython lets another thread have 5 ms at a time), what is left stays behind:
in the log and the metrics it turns up with the next invocation of that environment, or never.

So the worker ends each invocation's output with a line of its own, before it answers, and
``invoke`` reads up to that line. Nothing is guessed, and nobody waits longer than that takes.
"""

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from hangup.errors import LocalStackError

__all__ = ["mend"]

MAX_WAIT_S: Final = 5.0
"""Longest wait for the last line. Only a function that closes its standard error, or leaves a child
behind that holds it open, makes anybody wait at all."""

_LOOK_EVERY_S: Final = 0.02
"""How soon the end of a process is noticed. A line is taken the moment that it comes."""

_END: Final = f"-- end of the output {uuid.uuid4().hex} --"
"""New with each engine, so that no function prints it by chance."""

_OWED: Final = "hangup_ends_owed"
"""Where a worker keeps how many end marks are still to come from invocations before."""

_CALL: Final = "result = handler_fn(event, context)"
"""Where MiniStack's worker calls the function: before it writes any answer."""

_MARKED_CALL: Final = "result = _hangup_marked(handler_fn, event, context)"
_MARKING: Final = f"""
def _hangup_marked(handler, event, context):
    import contextlib, os, sys
    try:
        return handler(event, context)
    finally:
        # Whatever the function may have put in the place of sys.stderr, and closed.
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            os.write(2, b"{_END}\\n")
"""


def mend(lambda_runtime: Any) -> None:  # noqa: ANN401 - MiniStack is untyped
    """Put the mend in place, in the module ``ministack.core.lambda_runtime``.

    Raise LocalStackError if its worker does not call a function where it used to.
    """
    script: str = lambda_runtime._PYTHON_WORKER_SCRIPT  # noqa: SLF001
    if script.count(_CALL) != 1:
        raise LocalStackError("MiniStack's worker does not call a function where it used to.")
    lambda_runtime._PYTHON_WORKER_SCRIPT = _MARKING + script.replace(  # noqa: SLF001
        _CALL, _MARKED_CALL
    )
    worker = lambda_runtime.Worker
    # After an answer, and after a time-out, whose output ends with that of the process.
    worker._drain_stderr_bounded = _up_to_the_end(worker._drain_stderr_bounded)  # noqa: SLF001
    worker._drain_stderr = _up_to_the_end(worker._drain_stderr)  # noqa: SLF001


def _up_to_the_end(drain: Callable[..., str]) -> Callable[..., str]:
    """Return a method of Worker that returns an invocation's whole output, its lines joined.

    A worker that runs another language than Python has no last line: ``drain`` is left to it.
    """

    def drained(worker: Any, *args: float, **kwargs: float) -> str:  # noqa: ANN401
        if not worker.config.get("Runtime", "python").startswith("python"):
            return drain(worker, *args, **kwargs)
        lines: list[str] = []
        # Of invocations whose end was not waited for: what comes up to those is none of this one's.
        owed = getattr(worker, _OWED, 0)
        for line in _lines(worker):
            # Not always a line of its own: the function's last one may lack its end.
            text, mark, _ = line.partition(_END)
            if text or not mark:
                lines.append(text)
            if mark and not owed:
                break
            if mark:
                owed -= 1
                lines.clear()
        else:
            # The next process of this worker begins with its own.
            owed = owed + 1 if worker._stderr_thread.is_alive() else 0  # noqa: SLF001
        setattr(worker, _OWED, owed)
        return "\n".join(lines)

    return drained


def _lines(worker: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield what the worker prints, until it has ended or MAX_WAIT_S is over."""
    printed: queue.Queue[str] = worker._stderr_queue  # noqa: SLF001
    deadline = time.monotonic() + MAX_WAIT_S
    while (left_s := deadline - time.monotonic()) > 0:
        # Asked before the look into the queue: what is put in last is put in before the end.
        has_ended = not worker._stderr_thread.is_alive()  # noqa: SLF001
        try:
            yield printed.get(timeout=0 if has_ended else min(left_s, _LOOK_EVERY_S))
        except queue.Empty:
            if has_ended:
                return
