"""Many calls on one thread: their order, their limits, and what wakes those that wait."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from queue import Empty

import pytest

from hangup.aws import interleaving
from hangup.aws.interleaving import Interleaved, Signal, sleep

LONG_S = 30.0
"""Longer than any test takes: nothing here waits for it."""


def given_by_another_thread(*, after_s: float = 0.001) -> Signal:
    signal = Signal()
    threading.Timer(after_s, signal.give).start()
    return signal


class StandingClock:
    """``time`` that passes only where somebody waits, and queues in which nothing ever comes."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s

    def queue(self) -> "StandingClock":
        return self

    def empty(self) -> bool:
        return True

    def get(self, *, timeout: float) -> Signal:
        self.now_s += timeout
        raise Empty


class TestInterleaved:
    def test_results_come_in_the_order_of_the_items(self) -> None:
        done: list[int] = []

        def wait(number: int) -> int:
            sleep(number / 100)
            done.append(number)
            return number * 10

        assert Interleaved(4)(wait, [3, 1, 2, 0]) == [30, 10, 20, 0]
        assert done == [0, 1, 2, 3]

    @pytest.mark.parametrize("in_flight", [1, 3, 8, 100])
    def test_no_more_are_begun_than_allowed(self, in_flight: int) -> None:
        begun, most = 0, 0

        def wait(_item: int) -> None:
            nonlocal begun, most
            begun += 1
            most = max(most, begun)
            assert given_by_another_thread().wait(LONG_S)
            begun -= 1

        Interleaved(in_flight)(wait, range(20))
        assert most == min(in_flight, 20)

    def test_all_run_on_the_thread_that_calls(self) -> None:
        def where(_item: int) -> int:
            assert given_by_another_thread().wait(LONG_S)
            return threading.get_ident()

        assert set(Interleaved(4)(where, range(8))) == {threading.get_ident()}

    def test_an_item_is_taken_when_it_can_begin_and_not_before(self) -> None:
        events: list[str] = []

        def items() -> Iterator[int]:
            for number in range(3):
                events.append(f"taken {number}")
                yield number

        def wait(number: int) -> None:
            sleep(0.001)
            events.append(f"done {number}")

        Interleaved(1)(wait, items())
        assert events == [f"{what} {n}" for n in range(3) for what in ("taken", "done")]

    def test_what_has_begun_goes_on_while_the_next_item_is_waited_for(self) -> None:
        done: list[int] = []

        def items() -> Iterator[int]:
            yield 0
            sleep(0.05)
            assert done == [0]
            yield 1

        def wait(number: int) -> None:
            sleep(0.001)
            done.append(number)

        Interleaved(4)(wait, items())
        assert done == [0, 1]

    def test_who_starts_them_waits_no_longer_than_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = StandingClock()
        monkeypatch.setattr(interleaving, "time", clock)
        monkeypatch.setattr(interleaving, "SimpleQueue", clock.queue)
        taken_s: list[float] = []

        def items() -> Iterator[int]:
            for number in range(20):
                sleep(0.005)
                taken_s.append(round(clock.now_s, 6))
                yield number

        Interleaved(40)(lambda _: sleep(0.2), items())
        assert taken_s == [round(0.005 * number, 6) for number in range(1, 21)]

    def test_what_fails_takes_no_other_along_and_the_first_is_raised(self) -> None:
        done: list[int] = []

        def fail(number: int) -> None:
            sleep(0.02 if number == 1 else 0.001)
            if number in (1, 2):
                raise ValueError(number)
            done.append(number)

        with pytest.raises(ValueError, match=r"^1$"):
            Interleaved(2)(fail, range(5))
        assert done == [0, 3, 4]

    def test_where_the_items_fail_what_has_begun_is_ended(self) -> None:
        done: list[int] = []

        def items() -> Iterator[int]:
            yield 0
            raise ValueError("no more")

        def wait(number: int) -> None:
            sleep(0.001)
            done.append(number)

        with pytest.raises(ValueError, match="no more"):
            Interleaved(2)(wait, items())
        assert done == [0]
        assert Interleaved(2)(abs, [-1]) == [1]

    def test_an_interruption_is_raised_once_what_has_begun_is_ended(self) -> None:
        done: list[int] = []

        def interrupted(number: int) -> None:
            sleep(number / 100)
            if number == 1:
                raise KeyboardInterrupt
            done.append(number)

        with pytest.raises(KeyboardInterrupt):
            Interleaved(3)(interrupted, [2, 3, 1, 0])
        assert done == [2, 3]

    def test_is_not_nested(self) -> None:
        interleaved = Interleaved(2)
        with pytest.raises(RuntimeError, match="nested"):
            interleaved(lambda item: interleaved(abs, [item]), [-1])
        # And is good as new afterwards.
        assert interleaved(abs, [-1, 2]) == [1, 2]

    def test_threads_may_each_have_their_own(self) -> None:
        results: dict[int, list[int]] = {}

        def run(thread: int) -> None:
            def wait(number: int) -> int:
                assert given_by_another_thread().wait(LONG_S)
                return thread * 100 + number

            results[thread] = Interleaved(4)(wait, range(20))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {t: [t * 100 + n for n in range(20)] for t in range(4)}

    def test_without_items_greenlet_is_not_loaded(self) -> None:
        source = """
import sys
from hangup.aws.interleaving import Interleaved, sleep
assert Interleaved(2)(abs, []) == []
sleep(0)
assert "greenlet" not in sys.modules
assert Interleaved(2)(abs, [-1]) == [1]
assert "greenlet" in sys.modules
"""
        subprocess.run([sys.executable, "-c", source], check=True)


class TestSignal:
    def test_one_that_is_given_first_is_not_waited_for(self) -> None:
        def wait(_item: int) -> bool:
            signal = Signal()
            signal.give()
            return signal.wait(LONG_S)

        assert wait(0)
        assert Interleaved(2)(wait, [1, 2]) == [True, True]

    def test_one_that_is_not_given_is_waited_for_until_the_time_out(self) -> None:
        def wait(_item: int) -> tuple[bool, bool]:
            before = time.monotonic()
            given = Signal().wait(0.02)
            return given, time.monotonic() - before >= 0.02

        assert wait(0) == (False, True)
        assert Interleaved(2)(wait, [1, 2]) == [(False, True)] * 2

    def test_time_outs_come_also_where_others_always_have_something_to_do(self) -> None:
        over = False

        def wait(item: int) -> bool:
            nonlocal over
            if item == 0:
                given = Signal().wait(0.02)
                over = True
                return given
            while not over:
                assert given_by_another_thread(after_s=0).wait(LONG_S)
            return True

        assert Interleaved(2)(wait, [0, 1]) == [False, True]

    def test_one_that_is_given_after_its_time_out_wakes_nobody(self) -> None:
        late: list[Signal] = []

        def wait(item: int) -> bool:
            signal = Signal()
            if item == 0:
                late.append(signal)
                return signal.wait(0.001)
            sleep(0.01)
            late[0].give()
            return given_by_another_thread().wait(LONG_S)

        assert Interleaved(2)(wait, [0, 1]) == [False, True]

    def test_one_that_was_given_in_time_is_no_time_out_however_late_it_is_looked_at(self) -> None:
        def wait(item: int) -> bool:
            if item == 0:
                return given_by_another_thread().wait(0.02)
            time.sleep(0.05)  # blocks them all
            return True

        assert Interleaved(2)(wait, [0, 1]) == [True, True]

    def test_two_may_be_waited_for_one_after_the_other(self) -> None:
        def wait(_item: int) -> list[bool]:
            first, second = Signal(), Signal()
            second.give()
            first.give()
            return [first.wait(LONG_S), second.wait(LONG_S)]

        assert Interleaved(2)(wait, [1, 2]) == [[True, True]] * 2
