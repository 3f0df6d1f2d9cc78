"""Give each invocation all of its output, and nothing of another invocation's.

The worker of MiniStack 1.5.33 writes what a function prints to one pipe and its answer to another,
and a thread of the engine reads the first line by line. Once the answer is there, ``Worker.invoke``
takes lines from that thread until none has come for 5 ms. On a busy core the thread often gets no
turn for that long (CPython lets another thread have 5 ms at a time). Then the rest of the log comes
with the next invocation of that environment, or never.

So the worker ends each invocation's output with a line of its own before it answers, and
``invoke`` reads up to that line. A worker in another language than Python has no such line and is
read as before.
"""

import queue
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from ministack.core import lambda_runtime

MAX_WAIT_S: Final = 5.0
"""Longest wait for the last line. Only a function that closes its standard error, or leaves a child
process that holds it open, takes that long."""

_POLL_S: Final = 0.02
"""How soon the end of a process is noticed. A line is taken the moment it comes."""

_END: Final = f"-- end of the output {uuid.uuid4().hex} --"
"""New with each engine, so that no function prints it by chance."""

_CALL: Final = "result = handler_fn(event, context)"
"""Where MiniStack's worker calls the function, before it writes any answer."""

_MARKING: Final = f"""
def _hangup_marked(handler, event, context):
    import contextlib, os, sys
    try:
        return handler(event, context)
    finally:
        # The function may have replaced and closed sys.stderr.
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            os.write(2, b"{_END}\\n")
"""


def install() -> None:
    """Let workers mark the end of an invocation's output, and read up to the mark."""
    script: str = lambda_runtime._PYTHON_WORKER_SCRIPT  # noqa: SLF001
    lambda_runtime._PYTHON_WORKER_SCRIPT = _MARKING + script.replace(  # noqa: SLF001
        _CALL, "result = _hangup_marked(handler_fn, event, context)"
    )
    worker = lambda_runtime.Worker
    # After an answer, and after a time-out, when the output ends with that of the process.
    worker._drain_stderr_bounded = _up_to_the_end(worker._drain_stderr_bounded)  # noqa: SLF001
    worker._drain_stderr = _up_to_the_end(worker._drain_stderr)  # noqa: SLF001


def _up_to_the_end(drain: Callable[..., str]) -> Callable[..., str]:
    """Return a method of Worker that returns an invocation's whole output, its lines joined."""

    def drained(worker: Any, **waits: float) -> str:  # noqa: ANN401 - MiniStack is untyped
        if not worker.config.get("Runtime", "python").startswith("python"):
            return drain(worker, **waits)
        lines: list[str] = []
        # End marks still to come from earlier invocations, whose wait ended before: the lines up to
        # those marks belong to them.
        owed = getattr(worker, "hangup_ends_owed", 0)
        for line in _lines(worker):
            # A mark need not be a line of its own: the function's last one may lack its end.
            text, mark, _ = line.partition(_END)
            if text or not mark:
                lines.append(text)
            if mark and not owed:
                break
            if mark:
                owed -= 1
                lines.clear()
        else:
            # If the process has ended, the worker's next one begins without a debt.
            owed = owed + 1 if worker._stderr_thread.is_alive() else 0  # noqa: SLF001
        worker.hangup_ends_owed = owed
        return "\n".join(lines)

    return drained


def _lines(worker: Any) -> Iterator[str]:  # noqa: ANN401 - MiniStack is untyped
    """Yield what the worker prints, until it has ended or MAX_WAIT_S is over."""
    printed: queue.Queue[str] = worker._stderr_queue  # noqa: SLF001
    deadline = time.monotonic() + MAX_WAIT_S
    while (left_s := deadline - time.monotonic()) > 0:
        # Asked before the look into the queue: the last line is put in before the thread ends.
        has_ended = not worker._stderr_thread.is_alive()  # noqa: SLF001
        try:
            yield printed.get(timeout=0 if has_ended else min(left_s, _POLL_S))
        except queue.Empty:
            if has_ended:
                return
