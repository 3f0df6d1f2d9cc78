"""Turns of calls at the local engine's functions: bounds, order, and the end of waiting.

And the workers that run them: which of them end once they are idle.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from hangup.local.ministack.patches import bounded_environments
from hangup.local.ministack.patches.bounded_environments import (
    MAX_IDLE_S,
    MAX_OF_ALL,
    MAX_OF_FUNCTION,
    Turns,
)
from tests.support.engine_stack import code

LONG_S = 10.0
SHORT_S = 0.05


@pytest.fixture
def waiting() -> Callable[[Turns, str], "Future[bool]"]:
    """Return what takes a turn in a thread of its own, once it waits for it."""
    pool = ThreadPoolExecutor(max_workers=8)

    def start(turns: Turns, function: str) -> "Future[bool]":
        before = len(turns._waiting)
        taken = pool.submit(turns.take, function, within_s=LONG_S)
        while len(turns._waiting) == before and not taken.done():
            pass
        return taken

    return start


def test_runs_as_many_of_a_function_as_its_bound_and_no_more() -> None:
    turns = Turns(of_function=2, of_all=9)
    assert [turns.take("f", within_s=SHORT_S) for _ in range(3)] == [True, True, False]


def test_runs_as_many_of_all_as_their_bound_and_no_more() -> None:
    turns = Turns(of_function=2, of_all=3)
    assert [turns.take(f, within_s=SHORT_S) for f in "aabb"] == [True, True, True, False]


def test_a_call_whose_wait_is_over_takes_no_turn_later() -> None:
    turns = Turns(of_function=1, of_all=9)
    assert turns.take("f", within_s=SHORT_S)
    assert not turns.take("f", within_s=SHORT_S)
    turns.give_back("f")
    assert turns.take("f", within_s=SHORT_S)


def test_a_turn_that_is_given_back_goes_to_the_one_who_waits_longest(
    waiting: Callable[[Turns, str], "Future[bool]"],
) -> None:
    turns = Turns(of_function=1, of_all=9)
    turns.take("f", within_s=SHORT_S)
    first, second = waiting(turns, "f"), waiting(turns, "f")
    turns.give_back("f")
    # Who asks now comes after those who wait: a thread that runs one call after another must not
    # keep the others out.
    assert not turns.take("f", within_s=SHORT_S)
    assert first.result(LONG_S)
    assert not second.done()
    turns.give_back("f")
    assert second.result(LONG_S)


def test_a_function_with_its_share_does_not_hold_up_another(
    waiting: Callable[[Turns, str], "Future[bool]"],
) -> None:
    turns = Turns(of_function=1, of_all=2)
    turns.take("busy", within_s=SHORT_S)
    held_up = waiting(turns, "busy")
    assert turns.take("other", within_s=SHORT_S)
    assert not held_up.done()
    turns.give_back("busy")
    assert held_up.result(LONG_S)


def test_one_function_cannot_take_all_workers() -> None:
    assert MAX_OF_FUNCTION < MAX_OF_ALL


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Return what starts a worker of a function, its process running, with the patch in place."""
    # What the patch replaces is put back at the end.
    for name in ("_execute_function_dispatch", "acquire_worker", "_throttle_response"):
        monkeypatch.setattr(lambda_svc, name, getattr(lambda_svc, name))
    monkeypatch.setattr(lambda_runtime, "_LOCAL_WORKER_TTL", lambda_runtime._LOCAL_WORKER_TTL)
    monkeypatch.setattr(lambda_runtime, "_workers", {})
    bounded_environments.install()
    processes = ExitStack()

    def start(function: str) -> Any:
        config = {
            "FunctionName": function,
            "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{function}",
            "Runtime": "python3.13",
            "Handler": "routes.handler",
        }
        worker, _ = lambda_svc.acquire_worker(function, config, code("def handler(*_): pass"))
        lambda_runtime.ensure_spawned(worker)
        processes.enter_context(worker._proc)  # MiniStack does not close its pipes
        return worker

    yield start
    pools = lambda_runtime._workers.values()
    lambda_runtime.kill_workers([worker for pool in pools for worker in pool])
    processes.close()


def test_an_idle_worker_ends_unless_it_is_the_last_of_its_function(
    workers: Callable[[str], Any],
) -> None:
    first, idle, just_used, busy = (workers("burst") for _ in range(4))
    only = workers("rare")
    for worker in (first, idle, just_used, only):
        lambda_runtime.release_worker(worker)
    long_ago = time.time() - MAX_IDLE_S - 1
    for worker in (first, idle, busy, only):
        worker.last_used = long_ago
    just_used.last_used = long_ago + 10
    process = idle._proc
    # What MiniStack does every 30 s.
    assert lambda_runtime.reap_idle_workers() == 1
    assert process.poll() is not None
    assert all(worker._proc.poll() is None for worker in (first, just_used, busy, only))
    pools = lambda_runtime._workers.values()
    assert [len(pool) for pool in pools] == [3, 1]
