# ruff: noqa: INP001, PLR0913 - a file to copy, with a parameter for each time
"""Stay connected to a WebSocket API whose idle connections are closed."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

FINAL = {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
"""Refusals that another attempt does not change. A 401 asks for a fresh token: try again."""


async def stay_connected(
    get_url: Callable[[], Awaitable[str]],
    on_message: Callable[[dict[str, Any]], None],
    *,
    beat_s: float = 25,
    patience_s: float = 10,
    first_s: float = 1,
    most_s: float = 60,
) -> None:
    """Connect, and connect again after each close; return after ``sessionEnded``.

    ``get_url`` returns an address with a fresh token; what it raises, but for ``OSError``, ends
    this as well. A heartbeat is sent at least every ``beat_s`` seconds, and answered: if nothing
    comes for ``patience_s`` seconds more, the link is given up. A pause is at most ``first_s``
    seconds, then twice as long after each attempt, up to ``most_s``. Raises ``InvalidStatus`` for
    a refusal in ``FINAL``.
    """
    attempts = 0
    while True:
        try:
            # No keepalive frames of the protocol: they do not reach a function.
            # A lost link does not answer a close either: wait for a second only.
            async with connect(await get_url(), ping_interval=None, close_timeout=1) as socket:
                beats = asyncio.create_task(_send_heartbeats(socket, beat_s))
                try:
                    while True:
                        async with asyncio.timeout(beat_s + patience_s):
                            message = json.loads(await socket.recv())
                        on_message(message)
                        if message.get("type") == "sessionEnded":
                            return
                        if message.get("type") == "heartbeatAck":
                            attempts = 0
                finally:
                    beats.cancel()
        except InvalidStatus as refusal:
            if refusal.response.status_code in FINAL:
                raise
        except (OSError, InvalidHandshake, ConnectionClosed):
            pass  # offline (OSError, and a timeout is one), or the connection is closed
        # Full jitter: any time from none to the longest, at the cap too.
        longest_s = min(most_s, first_s * 2 ** min(attempts, 16))
        await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret
        attempts += 1


async def _send_heartbeats(socket: ClientConnection, beat_s: float) -> None:
    try:
        while True:
            await asyncio.sleep(beat_s * random.uniform(0.9, 1))  # noqa: S311 - no secret
            await socket.send('{"action": "heartbeat"}')
    except ConnectionClosed:
        pass  # the reader sees it as well
