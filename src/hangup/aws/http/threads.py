"""Many calls in flight on a few threads: what ``loop`` does, where greenlets are not installed.

Only one of the threads runs at a time, as on a loop: the others wait for an answer, for a time, or
for their turn. So what the calls share needs no locks, whichever of the two runs them. What waits
must say so, with ``others_go_on`` or ``sleep``: whatever else blocks, blocks them all.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, Generic, TypeVar

MOST_THREADS: Final = 16
"""Calls under way at once. They mostly wait. More threads would only contend for the interpreter's
lock."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """``Concurrency`` with a thread for each of up to ``in_flight`` calls (at least 1, 16 at most).

    ``map`` takes an item when it can begin it: so ``items`` may wait, with ``sleep``, until it is
    time for the next, and what has begun goes on meanwhile. Both methods raise ``RuntimeError`` if
    called from one of the calls.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = min(in_flight, MOST_THREADS)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> list[Result]:
        """Return the results, in order, once all items are done.

        If items failed, what the first of them raised is raised once all have ended.
        """
        tasks: list[_Task[Result]] = []
        room = threading.Semaphore(self._in_flight - 1)
        with ExitStack() as ends:
            for item in items:
                task = _Task(_turn(), partial(function, item), when_done=room.release)
                ends.callback(task.end)
                tasks.append(task)
                with others_go_on():
                    room.acquire()
        return [task.wait() for task in tasks]

    def start(self, function: Callable[[], None], /) -> "_Task[None]":
        """Start a call. Wait for its end in any case."""
        return _Task(_turn(), function)


class _Task(Generic[Result]):
    """A call on a thread of its own, which goes on whenever the others wait."""

    def __init__(
        self,
        turn: threading.Lock,
        function: Callable[[], Result],
        when_done: Callable[[], object] = lambda: None,
    ) -> None:
        self._turn = turn
        self._function = function
        self._when_done = when_done
        self._result: Result
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait(self) -> Result:
        """Return what the call returns, once it has ended. Raises what it raised."""
        self.end()
        if self._error is not None:
            raise self._error
        return self._result

    def end(self) -> None:
        """Return once the call has ended."""
        with others_go_on():
            self._thread.join()

    def _run(self) -> None:
        _thread.turn, _thread.is_call = self._turn, True
        with self._turn:
            try:
                self._result = self._function()
            except BaseException as error:  # noqa: BLE001 - raised by ``wait``
                self._error = error
            finally:
                self._when_done()


@contextmanager
def others_go_on() -> Iterator[None]:
    """Let the other calls go on while this thread waits for something."""
    turn = _thread.turn
    if turn is None:
        yield
        return
    turn.release()
    try:
        yield
    finally:
        turn.acquire()


def sleep(duration_s: float) -> None:
    """Return after about ``duration_s`` seconds."""
    with others_go_on():
        time.sleep(duration_s)


class _Thread(threading.local):
    """What a thread has of these."""

    turn: "threading.Lock | None" = None
    """Held by whichever of several threads runs: those of the calls, and the one that starts them.
    """
    is_call: bool = False


_thread: Final = _Thread()


def _turn() -> threading.Lock:
    """Return the turn of the calls that this thread starts. The thread itself has it for now."""
    if _thread.is_call:
        raise RuntimeError("concurrent calls cannot be nested")
    if _thread.turn is None:
        _thread.turn = threading.Lock()
        _thread.turn.acquire()
    return _thread.turn
