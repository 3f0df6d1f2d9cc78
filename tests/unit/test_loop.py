"""Many calls on one thread: their order, their limits, and what wakes those that wait."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pycurl
import pytest
from greenlet import getcurrent, greenlet

from hangup.aws.http import loop, threads
from hangup.aws.http.loop import Loop, perform, sleep
from tests.support.http_server import OK, Request, Server, serving


class StandingClock:
    """``time`` that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


class Answerer:
    """An HTTP server that answers each request after some seconds, or when it may."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._may_answer: list[Callable[[], bool]] = []
        server.answer = self._answer

    @property
    def connections(self) -> int:
        return self._server.connections

    def transfer(
        self, *, after_s: float = 0.0, when: Callable[[], bool] = lambda: True
    ) -> pycurl.Curl:
        """Return a request that is answered after so long, and not before ``when`` is true."""
        transfer = pycurl.Curl()
        transfer.setopt(pycurl.URL, f"{self._server.url}/{after_s}/{len(self._may_answer)}")
        self._may_answer.append(when)
        transfer.setopt(pycurl.WRITEFUNCTION, len)
        transfer.setopt(pycurl.TIMEOUT_MS, 10_000)
        return transfer

    def _answer(self, request: Request) -> bytes:
        after_s, number = request.path.split("/")[-2:]
        time.sleep(float(after_s))
        while not self._may_answer[int(number)]():
            time.sleep(0.001)
        return OK


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    clock = StandingClock()
    for module in (loop, threads):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def answerer() -> Iterator[Answerer]:
    with serving() as server:
        yield Answerer(server)


def status(transfer: pycurl.Curl) -> int:
    perform(transfer)
    answered: int = transfer.getinfo(pycurl.RESPONSE_CODE)
    return answered


class TestLoop:
    @pytest.mark.usefixtures("clock")
    def test_results_come_in_the_order_of_the_items(self) -> None:
        done: list[int] = []

        def wait(number: int) -> int:
            sleep(number / 100)
            done.append(number)
            return number * 10

        assert Loop(4).map(wait, [3, 1, 2, 0]) == [30, 10, 20, 0]
        assert done == [0, 1, 2, 3]

    @pytest.mark.usefixtures("clock")
    @pytest.mark.parametrize("in_flight", [1, 3, 8, 100])
    def test_no_more_are_begun_than_allowed(self, in_flight: int) -> None:
        begun, most = 0, 0

        def wait(_item: int) -> None:
            nonlocal begun, most
            begun += 1
            most = max(most, begun)
            for _ in range(20):
                sleep(0.001)
            begun -= 1

        Loop(in_flight).map(wait, range(200))
        assert most == in_flight

    def test_no_more_than_sixteen_are_in_their_first_wait(self) -> None:
        waiting, most = 0, 0

        def wait(number: int) -> None:
            nonlocal waiting, most
            if number % 3 == 0:
                return  # without a wait: it is in none
            waiting += 1
            most = max(most, waiting)
            sleep(0.001)
            waiting -= 1
            sleep(0.001)

        Loop(100).map(wait, range(300))
        assert most == 16

    def test_all_run_on_the_thread_that_calls(self) -> None:
        def where(_item: int) -> int:
            sleep(0.001)
            return threading.get_ident()

        assert set(Loop(4).map(where, range(8))) == {threading.get_ident()}

    def test_what_one_ran_on_the_next_runs_on_and_nothing_is_left(self) -> None:
        seen: set[greenlet] = set()

        def run(number: int) -> None:
            seen.add(getcurrent())
            if number % 2:
                sleep(0.001)
            if number == 7:
                raise ValueError(number)

        with pytest.raises(ValueError, match="7"):
            Loop(4).map(run, range(50))
        assert len(seen) <= 4
        assert all(one.dead for one in seen)

    @pytest.mark.usefixtures("clock")
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

        Loop(4).map(wait, items())
        assert done == [0, 1]

    def test_who_starts_them_waits_no_longer_than_asked(self, clock: StandingClock) -> None:
        taken_s: list[float] = []

        def items() -> Iterator[int]:
            for number in range(15):
                sleep(0.005)
                taken_s.append(round(clock.now_s, 6))
                yield number

        Loop(40).map(lambda _: sleep(0.2), items())
        assert taken_s == [round(0.005 * number, 6) for number in range(1, 16)]

    @pytest.mark.usefixtures("clock")
    def test_what_fails_takes_no_other_along_and_the_first_is_raised(self) -> None:
        done: list[int] = []

        def fail(number: int) -> None:
            sleep(0.02 if number == 1 else 0.001)
            if number in (1, 2):
                raise ValueError(number)
            done.append(number)

        with pytest.raises(ValueError, match=r"^1$"):
            Loop(2).map(fail, range(5))
        assert done == [0, 3, 4]

    @pytest.mark.usefixtures("clock")
    def test_an_interruption_is_raised_once_what_has_begun_is_ended(self) -> None:
        done: list[int] = []

        def interrupted(number: int) -> None:
            sleep(number / 100)
            if number == 1:
                raise KeyboardInterrupt
            done.append(number)

        with pytest.raises(KeyboardInterrupt):
            Loop(3).map(interrupted, [2, 3, 1, 0])
        assert done == [2, 3]

    def test_interrupted_once_more_it_ends_what_still_waits(self, answerer: Answerer) -> None:
        transfer = answerer.transfer(after_s=0.2)
        ended: list[int] = []

        def interrupted(number: int) -> None:
            try:
                if number == 3:
                    perform(transfer)
                sleep(number / 100)
                if number in (1, 2):
                    raise KeyboardInterrupt
            finally:
                ended.append(number)

        with pytest.raises(KeyboardInterrupt):
            Loop(4).map(interrupted, [3, 1, 2, 100])
        assert sorted(ended) == [1, 2, 3, 100]
        # What it was sent with is free for the next.
        assert status(transfer) == 200

    @pytest.mark.usefixtures("clock")
    def test_whoever_waits_for_a_call_that_was_interrupted_is_interrupted(self) -> None:
        def interrupted() -> None:
            sleep(0.01)
            raise KeyboardInterrupt

        one = Loop(2).start(lambda: sleep(100))
        other = Loop(2).start(interrupted)
        for task in (other, one):
            with pytest.raises(KeyboardInterrupt):
                task.wait()

    def test_threads_may_each_have_their_own(self, answerer: Answerer) -> None:
        results: dict[int, list[int]] = {}

        def run(thread: int) -> None:
            def wait(number: int) -> int:
                assert status(answerer.transfer(after_s=0.001)) == 200
                return thread * 100 + number

            results[thread] = Loop(4).map(wait, range(20))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {t: [t * 100 + n for n in range(20)] for t in range(4)}

    def test_without_items_no_library_is_loaded(self) -> None:
        source = """
import sys
from hangup.aws.http.loop import Loop, sleep
assert Loop(2).map(abs, []) == []
sleep(0)
assert not {"greenlet", "pycurl"} & sys.modules.keys()
assert Loop(2).map(abs, [-1]) == [1]
assert {"greenlet", "pycurl"} <= sys.modules.keys()
"""
        subprocess.run([sys.executable, "-c", source], check=True)


class TestPerform:
    def test_waits_for_the_answer(self, answerer: Answerer) -> None:
        for _ in range(3):
            assert status(answerer.transfer()) == 200
        assert Loop(2).map(lambda _: status(answerer.transfer()), range(5)) == [200] * 5

    def test_connections_are_kept_from_one_map_to_the_next(self, answerer: Answerer) -> None:
        for _ in range(3):
            Loop(2).map(lambda _: status(answerer.transfer(after_s=0.01)), range(2))
        assert answerer.connections == 2

    def test_who_is_answered_first_goes_on_first(self, answerer: Answerer) -> None:
        done: list[int] = []

        def wait(number: int) -> None:
            # The first to be asked is the last to be answered: once all others have gone on.
            perform(answerer.transfer(when=lambda: len(done) == 2 - number))
            done.append(number)

        Loop(3).map(wait, range(3))
        assert done == [2, 1, 0]

    @pytest.mark.parametrize("concurrent", [False, True])
    def test_raises_what_the_transfer_alone_would(self, *, concurrent: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as stopped:
            port = stopped.getsockname()[1]
        transfer = pycurl.Curl()
        transfer.setopt(pycurl.URL, f"http://127.0.0.1:{port}/")
        with pytest.raises(pycurl.error, match="connect") as raised:
            Loop(2).map(perform, [transfer]) if concurrent else perform(transfer)
        assert raised.value.args[0] == pycurl.E_COULDNT_CONNECT

    def test_a_time_out_comes_also_where_others_always_have_something_to_do(
        self, answerer: Answerer
    ) -> None:
        over = False

        def wait(item: int) -> None:
            nonlocal over
            if item == 0:
                transfer = answerer.transfer(after_s=1.0)
                transfer.setopt(pycurl.TIMEOUT_MS, 50)
                with pytest.raises(pycurl.error, match="timed out"):
                    perform(transfer)
                over = True
            while not over:
                sleep(0)

        before = time.monotonic()
        Loop(2).map(wait, [0, 1])
        assert time.monotonic() - before < 0.9

    def test_sleeps_end_also_where_others_always_have_answers(self, answerer: Answerer) -> None:
        over = False

        def wait(item: int) -> int:
            nonlocal over
            if item == 0:
                sleep(0.05)
                over = True
            answers = 0
            while not over:
                answers += status(answerer.transfer()) == 200
            return answers

        assert Loop(2).map(wait, [0, 1])[1] > 1

    def test_who_starts_them_may_wait_for_an_answer_as_well(self, answerer: Answerer) -> None:
        done: list[int] = []

        def items() -> Iterator[int]:
            yield 0
            assert status(answerer.transfer(after_s=0.2)) == 200
            assert done == [0]
            yield 1

        def wait(number: int) -> None:
            perform(answerer.transfer(after_s=0.01))
            done.append(number)

        Loop(4).map(wait, items())
        assert done == [0, 1]

    def test_an_interruption_leaves_nothing_behind(
        self, answerer: Answerer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_duration_s: float) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", interrupted)
            with pytest.raises(KeyboardInterrupt):
                perform(answerer.transfer(after_s=0.2))
        transfer = answerer.transfer()
        for _ in range(2):
            assert status(transfer) == 200
