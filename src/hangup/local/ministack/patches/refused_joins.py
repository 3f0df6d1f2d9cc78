"""Answer a refused join with the status of the function.

MiniStack 1.5.33 answers every handshake that ``$connect``'s function refuses with 403. On AWS the
handshake has the function's own status, so that a client which sees it, unlike a browser, can tell
an expired token from a session that has ended. This can go when MiniStack passes the status on.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from ministack.services import apigateway

Message = MutableMapping[str, Any]  # ASGI: a scope or a message

_refused: ContextVar[int] = ContextVar("refused")
"""The status with which a function has refused the connection whose task this is."""


def install() -> None:
    """Note the status where MiniStack calls the function, and send it where MiniStack closes."""
    serve_socket = apigateway.handle_websocket
    invoke = apigateway._invoke_ws_lambda  # noqa: SLF001

    async def invoke_and_note(  # noqa: PLR0913, PLR0917 - MiniStack's
        api_id: str,
        account_id: str,
        region: str,
        route: dict[str, Any],
        stage: str,
        connection_id: str,
        event_type: str,
        *arguments: object,
        **options: object,
    ) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = await invoke(
            api_id,
            account_id,
            region,
            route,
            stage,
            connection_id,
            event_type,
            *arguments,
            **options,
        )
        status = int((answer or {}).get("statusCode", HTTPStatus.OK))
        is_success = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        if event_type == "CONNECT" and not is_success:
            _refused.set(status)
        return answer

    async def serve_socket_with_status(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        *arguments: object,
        **options: object,
    ) -> None:
        async def send_with_status(message: Message) -> None:
            status = _refused.get(None)
            if status is None or message["type"] != "websocket.close":
                await send(message)
                return
            await send(
                {
                    "type": "websocket.http.response.start",
                    "status": status,
                    "headers": [(b"content-length", b"0")],
                }
            )
            await send({"type": "websocket.http.response.body", "body": b""})

        await serve_socket(scope, receive, send_with_status, *arguments, **options)

    apigateway._invoke_ws_lambda = invoke_and_note  # noqa: SLF001
    apigateway.handle_websocket = serve_socket_with_status
