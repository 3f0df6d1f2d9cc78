"""Look at the queues of functions ten times a second.

Lambda on AWS waits at the queue (long polling), so that a message is delivered within milliseconds.
MiniStack 1.5.33 looks when a message is sent, but not when a delay ends: then up to a second later.
"""

import threading
from typing import Final

from ministack.core.concurrency import esm_wake

_INTERVAL_S: Final = 0.1


def poll_queues(stop: threading.Event) -> None:
    """Wake MiniStack's poller again and again until ``stop`` is set."""
    while not stop.wait(_INTERVAL_S):
        esm_wake.set()
