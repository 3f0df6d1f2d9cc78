"""Many calls in flight on one thread: while one waits for its answer, the others go on.

Each runs as plain code, in a greenlet. Threads would do the same for more CPU time, since they
hand the interpreter's lock on at every answer (docs/decisions/0001-awscrt-for-closes.md).

What waits must say so, with ``Signal.wait`` or ``sleep``: whatever else blocks, blocks them all.
For the same reason no lock may be held across such a wait: the next to ask for it is on this very
thread. On a thread that interleaves nothing, these two wait as anything does.
"""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

__all__ = ["Interleaved", "Signal", "sleep"]

_GATHER_S: Final = 0.003
"""How long answers are left to gather where there is none: to wake up for each of them costs CPU
time. A close, which waits for four answers, takes up to four times this longer."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Interleaved:
    """A ``ParallelMap`` on the calling thread, with up to ``in_flight`` (at least 1) items begun.

    An item is taken when it can begin, and not before: so ``items`` may wait, with ``sleep``, until
    it is time for the next, and what has begun goes on meanwhile.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> list[Result]:
        """Return the results, in order, once all items are done.

        What the first of them to fail raised, in their order, is raised once all have ended. Raises
        ``RuntimeError`` if called from one of the items.
        """
        if _running() is not None:
            raise RuntimeError("interleaved calls cannot be nested")
        results: dict[int, Result] = {}
        errors: dict[int, Exception] = {}

        def run(position: int, item: Item) -> None:
            try:
                results[position] = function(item)
            except Exception as error:  # noqa: BLE001 - it is raised below
                errors[position] = error

        calls: _Calls | None = None
        try:
            for position, item in enumerate(items):
                if calls is None:  # not before there is an item: most sweeps have none to close
                    calls = _thread.calls = _Calls()
                calls.begin(partial(run, position, item))
                while calls.under_way >= self._in_flight:
                    calls.go_on()
        finally:
            try:
                while calls is not None and calls.under_way:
                    calls.go_on()
            finally:
                _thread.calls = None
        if errors:
            raise errors[min(errors)]
        return [results[position] for position in range(len(results))]


class Signal:
    """Something that will have happened, and who waits for it: whoever makes the signal, once."""

    __slots__ = ("_calls", "_lock", "given")

    def __init__(self) -> None:
        self.given = False
        self._calls = _running()
        # What an ordinary thread waits for.
        self._lock = threading.Lock()
        self._lock.acquire()

    def give(self) -> None:
        """Say that it has happened; to be called once, from any thread."""
        self.given = True
        if self._calls is None:
            self._lock.release()
        else:
            self._calls.news.put(self)

    def wait(self, timeout_s: float) -> bool:
        """Return True once it has happened, False if it has not after ``timeout_s`` seconds."""
        if self._calls is None:
            self._lock.acquire(timeout=timeout_s)
        else:
            self._calls.wait_for(self, timeout_s)
        return self.given


def sleep(duration_s: float) -> None:
    """Return after about so many seconds."""
    if _running() is None:
        time.sleep(duration_s)
    else:
        Signal().wait(duration_s)


class _Calls:
    """The calls under way on one thread, and what each waits for. Only ``news`` is for others."""

    def __init__(self) -> None:
        from greenlet import getcurrent, greenlet  # noqa: PLC0415 - not before it is needed

        self.news: SimpleQueue[Signal] = SimpleQueue()
        """The signals that were given."""
        self._greenlet, self._current = greenlet, getcurrent
        self._starter = getcurrent()
        self._waiting: dict[Signal, greenlet] = {}
        # Earliest first, with those that need it no more: they are dropped when it is their turn.
        self._timeouts: list[tuple[float, int, Signal]] = []
        self._numbers = count()

    @property
    def under_way(self) -> int:
        """How many have begun and are not done: whenever the starter runs, these all wait."""
        return len(self._waiting)

    def begin(self, call: Callable[[], None]) -> None:
        """Run a call until it has to wait, or is done."""
        self._greenlet(call).switch()

    def wait_for(self, signal: Signal, timeout_s: float) -> None:
        """Return once the signal is given, or after the time-out."""
        until_s = time.monotonic() + timeout_s
        current = self._current()
        if current is self._starter:
            while not signal.given and time.monotonic() < until_s:
                self.go_on(until_s)
        else:
            if signal.given:
                # Its news may be over. Others that wait have their turn first all the same.
                self.news.put(signal)
            heappush(self._timeouts, (until_s, next(self._numbers), signal))
            self._waiting[signal] = current
            self._starter.switch()

    def go_on(self, until_s: float = inf) -> None:
        """Let one call go on that has waited long enough; if there is none, wait for it.

        Return without one at ``until_s``.
        """
        while self._timeouts and self._timeouts[0][-1] not in self._waiting:
            heappop(self._timeouts)
        if self._timeouts:
            first_s, _, signal = self._timeouts[0]
            if first_s <= time.monotonic():
                self._waiting.pop(signal).switch()
                return
            until_s = min(until_s, first_s)
        if self.news.empty():
            time.sleep(min(_GATHER_S, _seconds_until(until_s)))
        left_s = _seconds_until(until_s)
        try:
            signal = self.news.get(timeout=None if left_s == inf else left_s)
        except Empty:
            return
        # It is not there if the time-out came first.
        if signal in self._waiting:
            self._waiting.pop(signal).switch()


def _seconds_until(when_s: float) -> float:
    return max(0.0, when_s - time.monotonic())


_thread = threading.local()


def _running() -> _Calls | None:
    """Return the calls that this thread interleaves, None if it does not."""
    calls: _Calls | None = getattr(_thread, "calls", None)
    return calls
