"""The local engine looks at the queues of functions all the time."""

import threading

from ministack.core.concurrency import esm_wake

from hangup.local import engine_functions


def test_queues_are_looked_at_again_and_again_until_the_engine_stops() -> None:
    looking = threading.Thread(target=engine_functions.look_at_queues, daemon=True)
    looking.start()
    try:
        for _ in range(3):
            esm_wake.clear()
            assert esm_wake.wait(timeout=10)
    finally:
        engine_functions.refuse_new_workers()
        looking.join(timeout=10)
        engine_functions._stopping.clear()
    assert not looking.is_alive()
