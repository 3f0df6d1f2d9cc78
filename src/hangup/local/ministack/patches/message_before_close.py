"""Deliver a message that was posted just before DeleteConnection.

MiniStack 1.5.33 looks for messages to send in a loop with a time-out. If the close comes between
two looks, the message is dropped: on a busy machine about one in a hundred.
"""

import asyncio
from typing import Any, Final

from ministack.services import apigateway

_TURNS: Final = 10
"""Turns of the event loop from MiniStack's time-out to its next look for a message: 5 at most."""


def install() -> None:
    """Let DeleteConnection wait a few turns of the event loop."""
    serve = apigateway.handle_connections_api

    async def serve_in_turn(method: str, *arguments: object) -> Any:  # noqa: ANN401
        if method == "DELETE":
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        return await serve(method, *arguments)

    apigateway.handle_connections_api = serve_in_turn
