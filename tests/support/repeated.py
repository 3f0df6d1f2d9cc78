"""Something that goes on beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(act: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Do something again and again until the end of the block, on a thread of its own."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every_s):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
