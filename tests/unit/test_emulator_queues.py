"""The local engine looks at the queues of functions all the time."""

import threading

from ministack.core.concurrency import esm_wake

from hangup.local.ministack.patches.queue_polling import poll_queues


def test_queues_are_looked_at_again_and_again_until_the_engine_stops() -> None:
    stop = threading.Event()
    looking = threading.Thread(target=poll_queues, args=(stop,), daemon=True)
    looking.start()
    try:
        for _ in range(3):
            esm_wake.clear()
            assert esm_wake.wait(timeout=10)
    finally:
        stop.set()
        looking.join(timeout=10)
    assert not looking.is_alive()
