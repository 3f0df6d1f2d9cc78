"""Turns of calls at the local engine's functions: bounds, order, and the end of waiting."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from hangup.local.ministack.patches.bounded_environments import (
    MAX_OF_ALL,
    MAX_OF_FUNCTION,
    Turns,
)

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
