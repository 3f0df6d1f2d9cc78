"""The engine's own process: MiniStack under uvicorn on a socket that the parent has bound.

Started by ``hangup.local.engine`` as ``python -P -m hangup.local.engine_process``; its standard
input is a pipe that nothing is written to. When the parent closes it, or ends in whatever way, the
pipe ends and so does this process, with every Lambda worker that it started.
"""

import argparse
import asyncio
import logging
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.errors import LocalStackError
from hangup.local import engine_functions
from hangup.local.alarms import evaluate_alarms
from hangup.local.client import client
from hangup.local.engine_gateway import Gateway

DRAIN_S: Final = 3.0
"""For the ``$disconnect`` functions of the WebSockets that are open at the end."""
GRACE_S: Final = 1
"""For HTTP requests that are being answered."""
MAX_STOP_S: Final = 10.0
"""After which the process ends, whatever it is still doing."""
ALARM_INTERVAL_S: Final = 2.0
PARENT_CHECK_S: Final = 1.0

logger = logging.getLogger("hangup.local")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Whose engine this is, and the directory for everything temporary."""

    parent_pid: int
    run_dir: Path

    def has_parent(self) -> bool:
        return os.getppid() == self.parent_pid


class _Server(uvicorn.Server):
    """A uvicorn server whose signals start the same orderly stop as the end of the parent."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: object) -> None:
        del sig, frame
        self._on_signal()


def main() -> None:
    """Run until the parent's pipe ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    arguments = parser.parse_args()
    place = _Place(parent_pid=arguments.parent_pid, run_dir=arguments.run_dir)
    try:
        engine_functions.install()
        asyncio.run(_serve(socket.socket(fileno=arguments.socket_fd), place))
    except LocalStackError as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("The engine failed")
    finally:
        _end(place, 1)


async def _serve(listener: socket.socket, place: _Place) -> None:
    from ministack.app import app  # noqa: PLC0415 - reads the environment and the mends above

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def request_stop() -> None:
        loop.call_soon_threadsafe(stop.set)

    gateway = Gateway(app)
    config = uvicorn.Config(
        gateway,
        ws="wsproto",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=None,  # API Gateway sends none either
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, request_stop)
    _thread(_watch_parent, place, request_stop)
    _thread(_watch_alarms, listener.getsockname()[1])
    _thread(engine_functions.look_at_queues)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        raise LocalStackError("MiniStack did not start; the lines above say why.")
    _thread(_end_late, place)
    await gateway.close_web_sockets(timeout_s=DRAIN_S)
    server.should_exit = True
    await serving  # MiniStack saves its state in here
    # Not asyncio.run's own end: it would wait for functions that still run, up to their timeout.
    _end(place, 0)


def _thread(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True, name=target.__name__).start()


def _watch_parent(place: _Place, request_stop: Callable[[], None]) -> None:
    """Ask for the end once the parent has closed the pipe or is no longer the parent.

    The pipe alone does not do: a process that the parent forked may hold its other end open.
    """
    while place.has_parent():
        readable, _, _ = select.select([sys.stdin], [], [], PARENT_CHECK_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            break
    request_stop()


def _watch_alarms(port: int) -> None:
    """Evaluate the alarms for as long as the process runs."""
    cloudwatch = client("cloudwatch", f"http://127.0.0.1:{port}")
    pause = threading.Event()
    while not pause.wait(ALARM_INTERVAL_S):
        try:
            evaluate_alarms(cloudwatch)
        except Exception:
            # One failed round (a stack being replaced, say) must not be the last.
            logger.exception("Alarms could not be evaluated this time")


def _end_late(place: _Place) -> None:
    threading.Event().wait(MAX_STOP_S)
    logger.error("The orderly stop took more than %s s", MAX_STOP_S)
    _end(place, 1)


def _end(place: _Place, status: int) -> None:
    """End every Lambda worker and this process, now."""
    engine_functions.refuse_new_workers()
    if os.getpgrp() == os.getpid():
        # Workers are in this process's group, which the parent made for it alone.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    if "ministack.core.lambda_runtime" in sys.modules:
        # Collects them, and ends by force what ignored the signal.
        sys.modules["ministack.core.lambda_runtime"].reset()
    logging.shutdown()
    # After a failure the parent reads the log in there, and removes it.
    if status == 0 or not place.has_parent():
        shutil.rmtree(place.run_dir, ignore_errors=True)
    os._exit(status)


if __name__ == "__main__":
    main()
