"""Keep when a connection was made and when it was last active, to the millisecond.

MiniStack 1.5.33 puts the time of each event into its ``connectedAt`` and knows whole seconds only,
``$connect`` left out. On AWS ``connectedAt`` is the same in all events of a connection and in
GetConnection. Its events also lack ``messageDirection``.

AWS does not say whether a message that is posted to a client moves ``lastActiveAt``. MiniStack
leaves it; with ``LastActive.BOTH`` a post that succeeds moves it here. This can go when MiniStack
keeps milliseconds; the choice stays until AWS documents what it does.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ministack.services import apigateway

from hangup.local.ministack.last_active import LastActive

Message = MutableMapping[str, Any]  # ASGI: a scope or a message


@dataclass(slots=True)
class Times:
    """Of one connection, epoch milliseconds."""

    connected_at_ms: int
    last_active_at_ms: int


_times: ContextVar[Times] = ContextVar("times")
"""Of the connection whose task this is."""


class _Connections(dict[str, dict[str, Any]]):
    """MiniStack's register of open connections. A record gets the times when it is entered."""

    def __setitem__(self, connection_id: str, record: dict[str, Any]) -> None:
        record["times"] = _times.get()
        super().__setitem__(connection_id, record)


def times_of(connection_id: str) -> Times | None:
    """Return the times of an open connection; None if there is no such connection."""
    record = apigateway._ws_connections.get(connection_id)  # noqa: SLF001
    return None if record is None else record["times"]


def install(last_active: LastActive) -> None:
    """Note the times where MiniStack serves a connection, and put them into its events."""
    serve_socket = apigateway.handle_websocket
    request_context = apigateway._ws_request_context  # noqa: SLF001
    serve_api = apigateway.handle_connections_api

    async def serve_socket_and_note(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        *arguments: object,
        **options: object,
    ) -> None:
        now_ms = _now_ms()
        times = Times(connected_at_ms=now_ms, last_active_at_ms=now_ms)
        _times.set(times)

        async def receive_and_note() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                times.last_active_at_ms = _now_ms()
            return message

        await serve_socket(scope, receive_and_note, *arguments, **options)

    def request_context_with_times(*arguments: object) -> dict[str, Any]:
        return {
            **request_context(*arguments),
            "connectedAt": _times.get().connected_at_ms,
            "messageDirection": "IN",
        }

    async def serve_api_and_note(
        method: str, api_id: str, stage: str, connection_id: str, *arguments: object
    ) -> tuple[int, dict[str, str], bytes]:
        answer: tuple[int, dict[str, str], bytes] = await serve_api(
            method, api_id, stage, connection_id, *arguments
        )
        times = times_of(connection_id)
        if method == "POST" and answer[0] == HTTPStatus.OK and times is not None:
            times.last_active_at_ms = _now_ms()
        return answer

    apigateway._ws_connections = _Connections()  # noqa: SLF001
    apigateway.handle_websocket = serve_socket_and_note
    apigateway._ws_request_context = request_context_with_times  # noqa: SLF001
    if last_active is LastActive.BOTH:
        apigateway.handle_connections_api = serve_api_and_note


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
