"""Many calls in flight on one thread: while one waits for its answer, the others go on.

Each runs as plain code, in a greenlet; libcurl says which answers have come. Threads would do the
same for more CPU time, since they hand the interpreter's lock on at every answer
(docs/decisions/0001-libcurl-for-closes.md).

What waits must say so, with ``perform`` or ``sleep``: whatever else blocks, blocks them all. For
the same reason no lock may be held across such a wait: the next to ask for it is on this very
thread. On a thread that interleaves nothing, these two wait as anything does.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from hangup.aws.http import threads
from hangup.core.timing import REST_S

if TYPE_CHECKING:
    from pycurl import Curl

_GATHER_S: Final = 0.000_3
_MOST_GATHER_S: Final = 0.010
"""Where there is no answer, they are left to gather: to wake up for each costs CPU time, and the
more are awaited, the more of them come meanwhile. So it is so long for each call under way, and at
most this long. A close, which waits for four answers, takes up to four times this longer."""

_FIRST_WAITS: Final = 16
"""So many calls at most may be in the first wait since they began. What a map does for each item is
mostly the same, so if all began at once, they would all wait for one service and then for the next,
with a connection to each for every call: 140 KB, and a handshake of the CPU time of several closes.
"""

_CONNECTIONS: Final = 256
"""Connections kept: for 64 calls in flight, to four services. By itself libcurl keeps four for each
transfer that is under way, and where there are few would close what the next needs."""

_LONGEST_REST_S: Final = 1.0
"""Where libcurl has no time-out to mind."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Loop:
    """``Concurrency`` on the calling thread, with up to ``in_flight`` (at least 1) calls begun.

    At most 16 of those are still in their first wait. ``map`` takes an item when it can begin it:
    so ``items`` may wait, with ``sleep``, until it is time for the next, and what has begun goes on
    meanwhile. Both methods raise ``RuntimeError`` if called from one of the calls.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> list[Result]:
        """Return the results, in order, once all items are done.

        If items failed, what the first of them raised is raised once all have ended.
        """
        tasks: list[_Task[Result]] = []
        try:
            for item in items:
                tasks.append(_Task(_calls(), partial(function, item)))
                _calls().make_room(self._in_flight)
        finally:
            for task in tasks:
                task.end()
        return [task.result() for task in tasks]

    def start(self, function: Callable[[], None], /) -> "_Task[None]":
        """Start a call, and let it run until it has to wait. Wait for its end in any case."""
        return _Task(_calls(), function)


class _Task(Generic[Result]):
    """A call that goes on whenever the thread waits for something."""

    def __init__(self, calls: "_Calls", function: Callable[[], Result]) -> None:
        self._calls = calls
        self._function = function
        self._result: Result
        self._error: BaseException | None = None
        self._is_done = False
        calls.begin(self._run)

    def wait(self) -> Result:
        """Return what the call returns, once it has ended. Raises what it raised."""
        self.end()
        return self.result()

    def result(self) -> Result:
        """Return what the call returned, which has ended. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def end(self) -> None:
        """Return once the call has ended."""
        self._calls.go_on_until(lambda: self._is_done)

    def _run(self) -> None:
        try:
            self._result = self._function()
        except Exception as error:  # noqa: BLE001 - raised by ``wait``
            self._error = error
        except BaseException:
            # Ended where it was: whoever waits for it later is interrupted as well.
            self._error = KeyboardInterrupt()
            raise
        finally:
            self._is_done = True


def perform(transfer: "Curl") -> None:
    """Do what ``transfer.perform()`` does, and raise ``pycurl.error`` as it does."""
    calls, transfers = _thread.calls, _thread.transfers
    transfers.begin(transfer)
    try:
        if calls is None:
            while transfer not in transfers.ended:
                transfers.wait(inf)
        else:
            calls.wait_for(transfer)
    finally:
        error = transfers.end(transfer)
    if error is not None:
        raise error


def sleep(duration_s: float) -> None:
    """Return after about this many seconds."""
    if _thread.calls is None:
        threads.sleep(duration_s)
    else:
        _thread.calls.sleep(duration_s)


class _Transfers:
    """libcurl's transfers under way on one thread, and the connections that it keeps for them.

    libcurl counts how long a connection rests by a clock that may stand still while a function is
    frozen. So all are let go of after a rest of ``REST_S`` by the wall clock, and when the two
    clocks have parted by as much: short freezes add up for one that is seldom used. Likewise after
    one was found closed: the others have rested as long.
    """

    def __init__(self) -> None:
        import pycurl  # noqa: PLC0415 - not before it is needed

        self._pycurl = pycurl
        self.under_way = 0
        self.ended: dict[Curl, Exception | None] = {}
        """Those that are over, and what each failed with."""
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._multi = self._pycurl.CurlMulti()
        self._multi.setopt(self._pycurl.M_MAXCONNECTS, _CONNECTIONS)
        self._used_at_s = time.time()
        self._clocks_differ_s = self._used_at_s - time.monotonic()
        self._one_was_closed = False

    def _has_rested(self) -> bool:
        now_s = time.time()
        parted_s = now_s - time.monotonic() - self._clocks_differ_s
        return max(abs(now_s - self._used_at_s), abs(parted_s)) > REST_S

    def begin(self, transfer: "Curl") -> None:
        if not self.under_way and (self._one_was_closed or self._has_rested()):
            self._multi.close()
            self._start_afresh()
        self._multi.add_handle(transfer)
        self.under_way += 1

    def end(self, transfer: "Curl") -> Exception | None:
        """Forget a transfer, over or not; return what it failed with."""
        self._multi.remove_handle(transfer)
        self.under_way -= 1
        self._used_at_s = time.time()
        error = self.ended.pop(transfer, None)
        if isinstance(error, self._pycurl.error):
            self._one_was_closed |= error.args[0] == self._pycurl.E_ABORTED_BY_CALLBACK
        return error

    def wait(self, longest_s: float) -> "list[Curl]":
        """Return which have ended since it was last asked; wait for one if there is none."""
        ended = self._go_on()
        gather_s = min(_GATHER_S * self.under_way, _MOST_GATHER_S)
        if not ended:
            time.sleep(min(gather_s, longest_s))
            ended = self._go_on()
        if not ended and longest_s > gather_s:
            # libcurl may have something to do before anything comes: a time-out of its own, say.
            patience_ms = self._multi.timeout()
            patience_s = patience_ms / 1000 if patience_ms >= 0 else _LONGEST_REST_S
            self._multi.select(min(patience_s, longest_s - gather_s))
        return ended

    def _go_on(self) -> "list[Curl]":
        self._multi.perform()
        ended: list[Curl] = []
        left = 1
        while left:
            left, done, failed = self._multi.info_read()
            for transfer in done:
                self.ended[transfer] = None
            for transfer, code, message in failed:
                self.ended[transfer] = self._pycurl.error(code, message)
            ended += done
            ended += [transfer for transfer, _, _ in failed]
        return ended


class _Calls:
    """The calls under way on one thread, and what each waits for."""

    def __init__(self) -> None:
        from greenlet import getcurrent, greenlet  # noqa: PLC0415 - not before it is needed

        self._greenlet, self._current = greenlet, getcurrent
        self._starter = getcurrent()
        self._transfers = _thread.transfers
        # Calls, by what they wait for: a transfer, or the number of a sleep.
        self._waiting: dict[object, greenlet] = {}
        self._sleeps: list[tuple[float, int]] = []
        self._numbers = count()
        self._ready: deque[greenlet] = deque()
        # Those that are done with their call, and take the next: each has a stack to be made.
        self._resting: list[greenlet] = []
        # Those in the first wait of their call.
        self._fresh: set[greenlet] = set()

    @property
    def is_nested(self) -> bool:
        """Whether one of the calls is running, and not who started them."""
        return self._current() is not self._starter

    def begin(self, call: Callable[[], None]) -> None:
        """Run a call until it has to wait, or is done."""
        runner = self._resting.pop() if self._resting else self._greenlet(self._run)
        self._fresh.add(runner)
        runner.switch(call)

    def make_room(self, in_flight: int) -> None:
        """Let calls go on until another may begin, if ``in_flight`` may be under way."""
        # Whenever the starter runs, all that have begun and are not done wait.
        while (
            len(self._waiting) + len(self._ready) >= in_flight or len(self._fresh) >= _FIRST_WAITS
        ):
            self.go_on()

    def go_on_until(self, is_done: Callable[[], bool]) -> None:
        """Let calls go on until this is true; when none is left, let go of what they ran on.

        If that is interrupted, all calls end where they are.
        """
        try:
            while not is_done():
                self.go_on()
        except BaseException:
            for runner in [*self._waiting.values(), *self._ready]:
                runner.throw()
            self._waiting.clear()
            self._ready.clear()
            raise
        finally:
            if not self._waiting and not self._ready:
                while self._resting:
                    self._resting.pop().switch(None)
                if _thread.calls is self:
                    _thread.calls = None

    def wait_for(self, transfer: "Curl") -> None:
        """Return once the transfer has ended."""
        runner = self._current()
        if runner is self._starter:
            while transfer not in self._transfers.ended:
                self.go_on()
        else:
            self._waiting[transfer] = runner
            self._starter.switch()

    def sleep(self, duration_s: float) -> None:
        """Return after this many seconds."""
        until_s = time.monotonic() + duration_s
        runner = self._current()
        if runner is self._starter:
            while time.monotonic() < until_s:
                self.go_on(until_s)
        else:
            number = next(self._numbers)
            heappush(self._sleeps, (until_s, number))
            self._waiting[number] = runner
            self._starter.switch()

    def go_on(self, until_s: float = inf) -> None:
        """Let one call go on that has waited long enough; if there is none, wait for it.

        It may return without one, and does so at ``until_s``.
        """
        if not self._ready:
            self._gather(until_s)
        if self._ready:
            runner = self._ready.popleft()
            self._fresh.discard(runner)
            runner.switch()

    def _run(self, call: Callable[[], None] | None) -> None:
        while call is not None:
            call()
            runner = self._current()
            self._fresh.discard(runner)
            self._resting.append(runner)
            call = self._starter.switch()

    def _gather(self, until_s: float) -> None:
        """Find out which calls may go on: those whose transfer has ended, and who has slept."""
        if self._sleeps:
            until_s = min(until_s, self._sleeps[0][0])
        left_s = max(0.0, until_s - time.monotonic())
        if self._transfers.under_way:
            for transfer in self._transfers.wait(left_s):
                # The starter's own is looked for in ``wait_for``.
                if transfer in self._waiting:
                    self._ready.append(self._waiting.pop(transfer))
        else:
            time.sleep(left_s)
        now_s = time.monotonic()
        while self._sleeps and self._sleeps[0][0] <= now_s:
            self._ready.append(self._waiting.pop(heappop(self._sleeps)[1]))


class _Thread(threading.local):
    """What a thread has of these."""

    calls: _Calls | None = None
    """Those that it interleaves."""

    @cached_property
    def transfers(self) -> _Transfers:
        """They outlive the calls, since connections are kept."""
        return _Transfers()


_thread: Final = _Thread()


def _calls() -> _Calls:
    # Not before there is a call: most sweeps have nothing to close.
    if _thread.calls is None:
        _thread.calls = _Calls()
    elif _thread.calls.is_nested:
        raise RuntimeError("concurrent calls cannot be nested")
    return _thread.calls
