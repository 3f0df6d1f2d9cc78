"""Close every WebSocket while everything else still runs, and start no Lambda worker after that.

API Gateway runs ``$disconnect`` for each connection that ends. When MiniStack 1.5.33 stops, these
functions find DynamoDB's port closed and retry for minutes.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from ministack.core import lambda_runtime
from ministack.services import apigateway

Message = MutableMapping[str, Any]  # ASGI: a scope or a message

_GOING_AWAY: Final = 1001
_POLL_S: Final = 0.02

_stopping = asyncio.Event()
_open = set[int]()
"""The WebSockets that are served, by the identity of their scope."""


def install() -> None:
    """Keep account of the WebSockets that are served."""
    serve = apigateway.handle_websocket

    async def serve_until_stopped(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        *arguments: object,
        **options: object,
    ) -> None:
        async def send_or_go_away(message: Message) -> None:
            if message["type"] == "websocket.close" and _stopping.is_set():
                message = {**message, "code": _GOING_AWAY}
            await send(message)

        if _stopping.is_set():
            await receive()
            await send_or_go_away({"type": "websocket.close"})
            return
        _open.add(id(scope))
        try:
            await serve(scope, receive, send_or_go_away, *arguments, **options)
        finally:
            _open.discard(id(scope))

    apigateway.handle_websocket = serve_until_stopped


async def close_web_sockets(*, timeout_s: float) -> None:
    """Close every WebSocket with 1001, and wait for their ``$disconnect`` functions.

    New ones are refused from now on. What is not done within ``timeout_s`` is cut off by the
    caller.
    """
    _stopping.set()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while _open:
                # Repeated: a handshake that was under way has become a connection by now.
                for connection in apigateway._ws_connections.values():  # noqa: SLF001
                    connection["close_event"].set()
                await asyncio.sleep(_POLL_S)


def end_workers() -> None:
    """End every Lambda worker, and start no further one."""

    def refuse(_worker: object) -> None:
        raise RuntimeError("The local stack is stopping")

    lambda_runtime.Worker._spawn = refuse  # noqa: SLF001
    if os.getpgrp() == os.getpid():
        # Workers are in this process's group, which the parent made for it alone.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    lambda_runtime.reset()  # collects them, and ends by force what ignored the signal
