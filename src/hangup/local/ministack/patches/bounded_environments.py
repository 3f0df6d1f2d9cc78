"""Bound the worker processes of all functions, as Lambda bounds an account's concurrency.

MiniStack 1.5.33 starts one Python process for each concurrent call. Fifty clients that connect at
once would start fifty, which takes two cores half a minute; two thousand sockets that are closed in
one sweep were seen to start 117, with 5.3 GB. Its own bound (``_LOCAL_MAX_WORKERS``) throttles a
caller at once instead of letting it wait, and counts one function only.

Here a call waits for its turn, first come, first served, and after ``MAX_WAIT_S`` it gets Lambda's
own answer to too many calls: 429, TooManyRequestsException, "Rate Exceeded.". So a function that
waits for a second call of itself ends too. Workers that are idle end: the longest idle one where
another function needs the room, and all but one of a function after ``MAX_IDLE_S``.

The bounds are those of a laptop of two cores. 1,000 sockets closed in one sweep took, from its
start to the last cleanup (2026-11-28):

| of a function | of all | settled after | engine and workers |
|---|---|---|---|
| 2 | 6 | 15 s | 434 MB |
| 4 | 12 | 17 s | 705 MB |
| 8 | 24 | 21 s | 1,245 MB |

Four leave room for functions that wait for something else than a core.

This can go when MiniStack has a bound of its own at which callers wait.
"""

import threading
from collections import Counter, deque
from typing import Any, Final

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

MAX_OF_FUNCTION: Final = 4
"""Environments of one function."""
MAX_OF_ALL: Final = 12
"""Environments of all functions together."""
MAX_WAIT_S: Final = 20.0
"""Longest wait of a call for its turn."""
MAX_IDLE_S: Final = 60.0
"""After which a worker ends unless it is its function's last one; MiniStack looks every 30 s."""

_REASON: Final = "ConcurrentInvocationLimitExceeded"
_MESSAGE: Final = "Rate Exceeded."


class Turns:
    """The call that may run next: the oldest within its function's bound and the bound of all.

    A call of a function that has its share does not hold up one of another function.
    """

    def __init__(self, *, of_function: int, of_all: int) -> None:
        self._of_function = of_function
        self._of_all = of_all
        self._lock = threading.Lock()
        self._running = Counter[str]()
        self._waiting = deque[tuple[str, threading.Event]]()

    def take(self, function: str, *, within_s: float) -> bool:
        """Wait for a turn and return True; return False if none came within ``within_s``."""
        call = (function, threading.Event())
        with self._lock:
            self._waiting.append(call)
            self._let_run()
        if call[1].wait(within_s):
            return True
        with self._lock:
            if call[1].is_set():  # just now
                return True
            self._waiting.remove(call)
            return False

    def give_back(self, function: str) -> None:
        """End a turn, and let others have theirs."""
        with self._lock:
            self._running[function] -= 1
            self._let_run()

    def _let_run(self) -> None:
        for call in list(self._waiting):
            function, turn = call
            if self._running.total() >= self._of_all:
                return
            if self._running[function] < self._of_function:
                self._running[function] += 1
                self._waiting.remove(call)
                turn.set()


def install() -> None:
    """Bound what the dispatcher runs, and how many workers there are."""
    dispatch = lambda_svc._execute_function_dispatch  # noqa: SLF001
    acquire_worker = lambda_svc.acquire_worker
    throttled = lambda_svc._throttle_response  # noqa: SLF001
    turns = Turns(of_function=MAX_OF_FUNCTION, of_all=MAX_OF_ALL)
    making_room = threading.Lock()

    def dispatch_in_turn(func: dict[str, Any], config: dict[str, Any], *arguments: object) -> Any:  # noqa: ANN401
        function: str = config["FunctionArn"]
        if not turns.take(function, within_s=MAX_WAIT_S):
            lambda_svc._emit_lambda_metrics(  # noqa: SLF001
                config["FunctionName"], duration_ms=0.0, error=False, throttle=True
            )
            return throttled(_REASON, _MESSAGE)
        try:
            return dispatch(func, config, *arguments)
        finally:
            turns.give_back(function)

    def acquire_worker_with_room(
        func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str = "$LATEST"
    ) -> Any:  # noqa: ANN401
        with making_room:
            key = lambda_runtime._worker_key(func_name, config, qualifier)  # noqa: SLF001
            lambda_runtime.kill_workers(_surplus(key))
            return acquire_worker(func_name, config, code_zip, qualifier=qualifier)

    def throttled_as_by_lambda(reason_code: str, msg: str) -> Any:  # noqa: ANN401
        del msg  # MiniStack's own words
        return throttled(reason_code, _MESSAGE)

    lambda_runtime._LOCAL_WORKER_TTL = MAX_IDLE_S  # noqa: SLF001
    lambda_svc._execute_function_dispatch = dispatch_in_turn  # noqa: SLF001
    lambda_svc.acquire_worker = acquire_worker_with_room
    lambda_svc._throttle_response = throttled_as_by_lambda  # noqa: SLF001


def _surplus(key: str) -> list[Any]:
    """Take a worker out of its pool if the function with this key needs a new one's room."""
    with lambda_runtime._lock:  # noqa: SLF001
        pools: dict[str, list[Any]] = lambda_runtime._workers  # noqa: SLF001
        has_one = any(not worker.in_use for worker in pools.get(key, []))
        if has_one or sum(map(len, pools.values())) < MAX_OF_ALL:
            return []
        idle = [(pool, worker) for pool in pools.values() for worker in pool if not worker.in_use]
        if not idle:
            return []
        pool, longest_idle = min(idle, key=lambda entry: entry[1].last_used)
        pool.remove(longest_idle)
        return [longest_idle]
