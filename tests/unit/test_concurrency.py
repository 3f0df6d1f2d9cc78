"""What a loop and threads promise alike: ``Concurrency``, and a sleep that lets others go on."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from hangup.aws.http import loop, threads
from hangup.ports import Concurrency


class Library(NamedTuple):
    """One of the two ways to have many calls under way."""

    of: Callable[[int], Concurrency]
    sleep: Callable[[float], None]


@pytest.fixture(
    params=[Library(loop.Loop, loop.sleep), Library(threads.Threads, threads.sleep)],
    ids=["loop", "threads"],
)
def library(request: pytest.FixtureRequest) -> Library:
    library: Library = request.param
    return library


def test_an_item_is_taken_when_it_can_begin_and_not_before(library: Library) -> None:
    events: list[str] = []

    def items() -> Iterator[int]:
        for number in range(3):
            events.append(f"taken {number}")
            yield number

    def wait(number: int) -> None:
        library.sleep(0.001)
        events.append(f"done {number}")

    library.of(1).map(wait, items())
    assert events == [f"{what} {n}" for n in range(3) for what in ("taken", "done")]


def test_what_fails_takes_no_other_along_and_the_first_is_raised(library: Library) -> None:
    done: list[int] = []

    def fail(number: int) -> None:
        if number in (1, 2):
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError, match=r"^1$"):
        library.of(2).map(fail, range(5))
    assert sorted(done) == [0, 3, 4]


@pytest.mark.parametrize("error", [ValueError("no more"), KeyboardInterrupt("no more")])
def test_where_the_items_fail_what_has_begun_is_ended(
    library: Library, error: BaseException
) -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield 0
        raise error

    def wait(number: int) -> None:
        library.sleep(0.01)
        done.append(number)

    with pytest.raises(type(error), match="no more"):
        library.of(2).map(wait, items())
    assert done == [0]
    assert library.of(2).map(abs, [-1]) == [1]


def test_an_interruption_in_a_call_gets_through(library: Library) -> None:
    def run(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.of(1).map(run, range(3))
    assert library.of(1).map(str, range(2)) == ["0", "1"]


def test_is_not_nested(library: Library) -> None:
    two = library.of(2)
    with pytest.raises(RuntimeError, match="nested"):
        two.map(lambda item: two.map(abs, [item]), [-1])
    with pytest.raises(RuntimeError, match="nested"):
        two.map(lambda _item: two.start(lambda: None), [-1])
    # And is good as new afterwards.
    assert two.map(abs, [-1, 2]) == [1, 2]


def test_what_is_started_raises_where_it_is_waited_for(library: Library) -> None:
    def fail() -> None:
        raise ValueError("late")

    task = library.of(2).start(fail)
    with pytest.raises(ValueError, match="late"):
        task.wait()
