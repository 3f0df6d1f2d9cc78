"""Mend, around MiniStack's ASGI app, what it does otherwise than API Gateway.

1. GetConnection answers ``connectedAt`` and ``lastActiveAt`` in camelCase and ISO 8601. MiniStack's
   members are PascalCase with integers, of which boto3 parses nothing.
2. When the engine stops, every WebSocket is closed with 1001 while the app still serves requests,
   so that the ``$disconnect`` functions run and find DynamoDB, instead of retrying against a closed
   port for minutes.
3. DeleteConnection waits a few turns of the event loop. MiniStack looks for messages to send in a
   loop with a time-out, and drops one that was posted just before the close if the close finds the
   loop between two looks; on a busy machine about one in a hundred.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["Gateway"]

Message = MutableMapping[str, Any]  # ASGI: a scope or a message
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_CONNECTION: Final = re.compile(r"/@connections/[^/]+$")
_TURNS: Final = 10
"""Turns of the event loop from MiniStack's time-out to its next look for a message: 5 at most."""
_GOING_AWAY: Final = 1001


class Gateway:
    """An ASGI app around MiniStack's."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._open = 0
        self._closing = asyncio.Event()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "websocket":
            await self._serve_web_socket(scope, receive, send)
            return
        is_connection = scope["type"] == "http" and _CONNECTION.search(scope["path"])
        if is_connection and scope["method"] == "GET":
            await self._serve_get_connection(scope, receive, send)
            return
        if is_connection and scope["method"] == "DELETE":
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        await self._app(scope, receive, send)

    async def close_web_sockets(self, *, timeout_s: float) -> None:
        """Close every WebSocket, and wait for their ``$disconnect`` functions up to ``timeout_s``.

        New ones are refused from now on. What is not done by then is cut off by the caller.
        """
        self._closing.set()
        try:
            await asyncio.wait_for(self._all_closed.wait(), timeout_s)
        except TimeoutError:
            return

    async def _serve_web_socket(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._closing.is_set():
            await receive()
            await send({"type": "websocket.close", "code": _GOING_AWAY})
            return

        async def receive_or_close() -> Message:
            """Answer a disconnect as soon as the engine stops."""
            message = asyncio.ensure_future(receive())
            closing = asyncio.ensure_future(self._closing.wait())
            try:
                await asyncio.wait({message, closing}, return_when=asyncio.FIRST_COMPLETED)
                if message.done():
                    return message.result()
                return {"type": "websocket.disconnect", "code": _GOING_AWAY}
            finally:
                message.cancel()
                closing.cancel()

        async def send_or_go_away(message: Message) -> None:
            if message["type"] == "websocket.close" and self._closing.is_set():
                message = {**message, "code": _GOING_AWAY}
            await send(message)

        self._open += 1
        self._all_closed.clear()
        try:
            await self._app(scope, receive_or_close, send_or_go_away)
        finally:
            self._open -= 1
            if not self._open:
                self._all_closed.set()

    async def _serve_get_connection(self, scope: Message, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = bytearray()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))

        await self._app(scope, receive, hold)
        content = _mended_connection(bytes(body)) if start["status"] == 200 else bytes(body)  # noqa: PLR2004
        headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
        headers.append((b"content-length", str(len(content)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _mended_connection(body: bytes) -> bytes:
    """Return API Gateway's form of MiniStack's GetConnection answer."""
    connection = json.loads(body)
    return json.dumps(
        {
            "connectedAt": _iso_8601(connection["ConnectedAt"]),
            "lastActiveAt": _iso_8601(connection["LastActiveAt"]),
            "identity": connection["Identity"],
        }
    ).encode()


def _iso_8601(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
