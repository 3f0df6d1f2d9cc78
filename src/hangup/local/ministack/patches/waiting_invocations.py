"""Let invocations wait for an environment without a thread each.

MiniStack 1.5.33 starts a thread for each asynchronous invocation and for each event of a WebSocket
route, and such a thread waits for an environment as any other call does. When two thousand sockets
close at once, that makes four thousand threads, and those that wait too long fail. EventBridge's
calls are not asynchronous there at all: a tick that is throttled is lost.

On AWS asynchronous invocations wait in a queue. A throttled one goes back to it for as long as the
function's maximum event age allows; a failed one is repeated as often as the function's
configuration says, and then goes to its destination for failures (Lambda developer guide,
"Asynchronous invocation"). Here, as in MiniStack, the first repetition comes after a second. On AWS
it comes after a minute.

This can go when MiniStack has a queue for asynchronous invocations.
"""

import asyncio
import heapq
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final

from ministack.services import apigateway, eventbridge, lambda_svc

from hangup.local.ministack.patches.bounded_environments import MAX_OF_FUNCTION

_DEFAULT_MAX_AGE_S: Final = 6 * 3_600
_DEFAULT_RETRIES: Final = 2

logger = logging.getLogger("hangup.local")


def install() -> None:
    """Change how API Gateway, EventBridge and the Invoke API start functions."""
    queues = defaultdict[str, _Queue](_Queue)
    run = apigateway.run_reentrant
    turns = defaultdict[str, asyncio.Semaphore](partial(asyncio.Semaphore, MAX_OF_FUNCTION))

    def invoke_asynchronously(func: Mapping[str, Any], event: object) -> None:
        queues[_arn_of(func)].put(_Invocation(func=func, event=event, context=copy_context()))

    def invoke_for_a_rule(arn: str, payload: str) -> None:
        func, config, name = lambda_svc._get_func_record_for_ref(arn)  # noqa: SLF001
        if func is None or config is None:
            logger.warning("EventBridge did not find the function %s", name)
            return
        record = lambda_svc._execution_record_for_config(func, config)  # noqa: SLF001
        try:
            event = json.loads(payload)
        except ValueError:
            event = {"body": payload}  # as MiniStack does
        lambda_svc.invoke_async_with_retry(record, event)

    async def run_in_turn(
        call: Callable[..., object], func: Mapping[str, Any], *arguments: object, **options: object
    ) -> object:
        # A coroutine that waits costs next to nothing.
        async with turns[_arn_of(func)]:
            return await run(call, func, *arguments, **options)

    lambda_svc.invoke_async_with_retry = invoke_asynchronously
    eventbridge._dispatch_to_lambda = invoke_for_a_rule  # noqa: SLF001
    apigateway.run_reentrant = run_in_turn


@dataclass(slots=True, order=True, kw_only=True)
class _Invocation:
    """An asynchronous invocation; ordered by when it is due."""

    due_s: float = field(default_factory=time.monotonic)
    number: int = field(default_factory=count().__next__)
    func: Mapping[str, Any] = field(compare=False)
    event: object = field(compare=False)
    context: Context = field(compare=False)
    since_s: float = field(default_factory=time.monotonic, compare=False)
    failures: int = field(default=0, compare=False)

    def attempt(self) -> bool:
        """Invoke the function once; return whether the invocation is to be repeated when due."""
        answer = lambda_svc._execute_function_with_config_scope(self.func, self.event)  # noqa: SLF001
        if not answer.get("error"):
            return False
        self.failures += not answer.get("throttle")
        retries, max_age_s, destination = _settings_of(self.func)
        delay_s: float = lambda_svc._LAMBDA_ASYNC_RETRY_BASE_SECONDS  # noqa: SLF001
        self.due_s = time.monotonic() + delay_s * 2 ** max(0, self.failures - 1)
        if self.failures <= retries and self.due_s - self.since_s <= max_age_s:
            return True
        if destination:
            lambda_svc._run_with_function_config_scope(  # noqa: SLF001
                self.func,
                lambda_svc._route_async_failure,  # noqa: SLF001
                destination,
                _config_of(self.func)["FunctionName"],
                self.event,
                answer,
            )
        return False


class _Queue:
    """The asynchronous invocations of one function that wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Invocation] = []
        self._threads = 0

    def put(self, invocation: _Invocation) -> None:
        """Add an invocation; it runs when it is due and a thread of the function is free."""
        with self._changed:
            heapq.heappush(self._waiting, invocation)
            self._changed.notify()
            if self._threads == MAX_OF_FUNCTION:
                return
            self._threads += 1
        threading.Thread(target=self._run, daemon=True, name="asynchronous invocations").start()

    def _run(self) -> None:
        while (invocation := self._next()) is not None:
            try:
                if invocation.context.run(invocation.attempt):
                    self.put(invocation)
            except Exception:
                # The engine's own failure: the invocations after this one must still run.
                logger.exception("An asynchronous invocation could not be made")

    def _next(self) -> _Invocation | None:
        """Wait until an invocation is due and return it; None ends the thread: none is left."""
        with self._changed:
            while self._waiting:
                left_s = self._waiting[0].due_s - time.monotonic()
                if left_s <= 0:
                    return heapq.heappop(self._waiting)
                self._changed.wait(left_s)
            self._threads -= 1
            return None


def _settings_of(func: Mapping[str, Any]) -> tuple[int, float, str | None]:
    """Return how often and how long failed invocations are repeated, and where they go then."""
    configs = func.get("event_invoke_configs") or {}
    config = func.get("event_invoke_config") or configs.get("$LATEST") or {}
    on_failure = (config.get("DestinationConfig") or {}).get("OnFailure") or {}
    dead_letters = _config_of(func).get("DeadLetterConfig") or {}
    retries = config.get("MaximumRetryAttempts")
    return (
        _DEFAULT_RETRIES if retries is None else int(retries),
        float(config.get("MaximumEventAgeInSeconds") or _DEFAULT_MAX_AGE_S),
        on_failure.get("Destination") or dead_letters.get("TargetArn"),
    )


def _config_of(func: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a function's configuration, of its record or itself."""
    config: Mapping[str, Any] = func.get("config") or func
    return config


def _arn_of(func: Mapping[str, Any]) -> str:
    return str(_config_of(func)["FunctionArn"])
