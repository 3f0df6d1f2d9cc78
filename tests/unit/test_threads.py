"""Many calls on a few threads: what ``test_loop`` says of a loop, as far as threads can do it."""

import threading
import time
from collections.abc import Iterator

import pytest

from hangup.aws.http.threads import MOST_THREADS, Threads, others_go_on, sleep


def test_results_come_in_the_order_of_the_items() -> None:
    ended = [threading.Event() for _ in range(4)]

    def wait_for_the_next(number: int) -> int:
        if number < 3:
            with others_go_on():
                assert ended[number + 1].wait(10)
        ended[number].set()
        return number * 10

    assert Threads(4).map(wait_for_the_next, range(4)) == [0, 10, 20, 30]


@pytest.mark.parametrize(("in_flight", "expected"), [(1, 1), (3, 3), (100, MOST_THREADS)])
def test_no_more_are_begun_than_allowed_and_no_fewer(in_flight: int, expected: int) -> None:
    together = threading.Barrier(expected)
    begun, most = 0, 0

    def wait(_item: int) -> None:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        with others_go_on():
            together.wait(10)
        begun -= 1

    Threads(in_flight).map(wait, range(3 * expected))
    assert most == expected


def test_one_runs_at_a_time_unless_it_waits() -> None:
    running, seen = 0, []

    def run(_item: int) -> None:
        nonlocal running
        for _ in range(20):
            running += 1
            time.sleep(0)  # the interpreter may let another thread run here
            seen.append(running)
            running -= 1
            sleep(0)

    def items() -> Iterator[int]:
        for number in range(20):
            run(number)
            yield number

    beside = Threads(4).start(lambda: run(0))
    Threads(4).map(run, items())
    beside.wait()
    assert set(seen) == {1}
    assert len(seen) == 41 * 20


def test_what_has_begun_goes_on_while_the_next_item_is_waited_for() -> None:
    done = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        with others_go_on():
            assert done.wait(10)
        yield 1

    Threads(4).map(lambda _: done.set(), items())


def test_what_is_started_goes_on_beside_its_starter() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        with others_go_on():
            assert may_end.wait(10)

    task = Threads(2).start(wait)
    with others_go_on():
        assert begun.wait(10)
    may_end.set()
    task.wait()


def test_threads_may_each_have_their_own() -> None:
    together = threading.Barrier(4)
    results: dict[int, list[int]] = {}

    def run(thread: int) -> None:
        def wait(number: int) -> int:
            if number == 0:
                # Each is in the middle of a call of its own: none has another's turn.
                together.wait(10)
            return thread * 100 + number

        results[thread] = Threads(4).map(wait, range(20))

    started = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert results == {t: [t * 100 + n for n in range(20)] for t in range(4)}


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    Threads(8).map(lambda _: sleep(0.001), range(30))
    assert threading.active_count() <= before


def test_who_is_alone_sleeps_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    sleep(0.5)
    assert slept == [0.5]
