"""Wait for something on this machine by looking at it again and again."""

import time
from collections.abc import Callable
from typing import Final

_POLL_S: Final = 0.05


def comes_true(condition: Callable[[], object], *, within_s: float) -> bool:
    """Return True once the condition holds, False if it does not within ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
