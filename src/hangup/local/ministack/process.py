"""The engine's own process: MiniStack under uvicorn on a socket that the parent has bound.

Started by ``engine.py`` as ``python -P -m hangup.local.ministack.process SOCKET_FD PARENT_PID
RUN_DIR LAST_ACTIVE``; its standard input is a pipe that nothing is written to. When the parent
closes it, or ends in whatever way, the pipe ends and so does this process, with every Lambda worker
that it started.
"""

import asyncio
import logging
import os
import select
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.errors import LocalStackError
from hangup.local.ministack import patches
from hangup.local.ministack.aws_client import aws_client
from hangup.local.ministack.last_active import LastActive
from hangup.local.ministack.patches.alarms import evaluate_alarms

DRAIN_S: Final = 3.0
"""For the ``$disconnect`` functions of the WebSockets that are open at the end."""
GRACE_S: Final = 1
"""For HTTP requests that are being answered."""
MAX_STOP_S: Final = 10.0
"""After which the process ends, whatever it is still doing."""
ALARM_INTERVAL_S: Final = 2.0
PARENT_CHECK_S: Final = 1.0

logger = logging.getLogger("hangup.local")


class _Process:
    """This process: which parent started it, and the directory for everything temporary."""

    def __init__(self, parent_pid: int, run_dir: Path, last_active: LastActive) -> None:
        self._parent_pid = parent_pid
        self._run_dir = run_dir
        self._last_active = last_active
        self._end_workers: Callable[[], None] = lambda: None

    async def serve(self, listener: socket.socket) -> None:
        """Run MiniStack until the parent ends or a signal comes, then end the process."""
        patches.install(self._last_active)
        # These import MiniStack, whose release has been checked by now.
        from ministack.app import app  # noqa: PLC0415

        from hangup.local.ministack.patches import (  # noqa: PLC0415
            frame_limits,
            orderly_stop,
            queue_polling,
        )

        self._end_workers = orderly_stop.end_workers
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def request_stop() -> None:
            loop.call_soon_threadsafe(stop.set)

        config = uvicorn.Config(
            app,
            ws=frame_limits.FrameLimits,
            ws_max_size=MAX_MESSAGE_BYTES,
            # Compressed, a frame that is too large would not be seen as such.
            ws_per_message_deflate=False,
            ws_ping_interval=None,  # API Gateway sends none either
            log_level="warning",
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        # A signal starts the same orderly stop as the end of the parent.
        server.handle_exit = lambda *_signal: request_stop()  # type: ignore[method-assign]
        _thread(self._watch_parent, request_stop)
        _thread(_watch_alarms, listener.getsockname()[1])
        _thread(queue_polling.poll_queues, threading.Event())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise LocalStackError("MiniStack did not start; the lines above say why.")
        _thread(self._end_late)
        await orderly_stop.close_web_sockets(timeout_s=DRAIN_S)
        server.should_exit = True
        await serving  # MiniStack saves its state in here
        # Not asyncio.run's own end: it would wait for functions that still run, up to their
        # timeout.
        self.end(0)

    def end(self, status: int) -> None:
        """End every Lambda worker and this process, now."""
        self._end_workers()
        logging.shutdown()
        # After a failure the parent reads the log in there, and removes it.
        if status == 0 or not self._has_parent():
            shutil.rmtree(self._run_dir, ignore_errors=True)
        os._exit(status)

    def _has_parent(self) -> bool:
        return os.getppid() == self._parent_pid

    def _watch_parent(self, request_stop: Callable[[], None]) -> None:
        """Ask for the end once the parent has closed the pipe or is no longer the parent.

        The pipe alone is not enough: a process that the parent forked may hold its other end open.
        """
        while self._has_parent():
            readable, _, _ = select.select([sys.stdin], [], [], PARENT_CHECK_S)
            if readable and not os.read(sys.stdin.fileno(), 1024):
                break
        request_stop()

    def _end_late(self) -> None:
        time.sleep(MAX_STOP_S)
        logger.error("The orderly stop took more than %s s", MAX_STOP_S)
        self.end(1)


def main() -> None:
    """Run until the parent's pipe ends."""
    _, socket_fd, parent_pid, run_dir, last_active = sys.argv
    process = _Process(int(parent_pid), Path(run_dir), LastActive(last_active))
    try:
        asyncio.run(process.serve(socket.socket(fileno=int(socket_fd))))
    except LocalStackError as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("The engine failed")
    finally:
        process.end(1)


def _thread(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True, name=target.__name__).start()


def _watch_alarms(port: int) -> None:
    """Evaluate the alarms for as long as the process runs."""
    cloudwatch = aws_client("cloudwatch", f"http://127.0.0.1:{port}")
    while True:
        time.sleep(ALARM_INTERVAL_S)
        try:
            evaluate_alarms(cloudwatch)
        except Exception:
            # One failed round (while a stack is replaced, say) must not be the last.
            logger.exception("Alarms could not be evaluated this time")


if __name__ == "__main__":
    main()
