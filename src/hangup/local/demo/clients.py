"""WebSocket clients that behave like people: some talk, some fall silent."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hangup.aws.runtime import clock
from hangup.core.connection import DurationMs, EpochMs
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token

_OPEN_TIMEOUT_S: Final = 20
_ANSWER_TIMEOUT_S: Final = 15
_ABNORMAL_CLOSE: Final = 1006


def join_url(web_socket_url: str, *, session_id: str, role: Role, token: str) -> str:
    """Return the address to connect to, with the join request in its query string."""
    query = urlencode({"sessionId": session_id, "role": str(role), "token": token})
    return f"{web_socket_url}?{query}"


@dataclass(slots=True, eq=False)
class Client:
    """One client of the local stack.

    While it talks it sends ``action`` every ``interval_s`` seconds. ``on_event`` is called with
    the ``type`` of every message that it receives, and with "closed" at the end.
    """

    name: str
    session_id: str
    role: Role
    action: str = "heartbeat"
    interval_s: float = 1.0
    on_event: Callable[["Client", str], None] = lambda _client, _event: None
    received: list[Mapping[str, object]] = field(default_factory=list)
    close_code: int | None = None
    silent_since_ms: EpochMs | None = None
    _socket: ClientConnection | None = None
    _reader: "asyncio.Task[None] | None" = None
    _talker: "asyncio.Task[None] | None" = None
    _happened: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_open(self) -> bool:
        """Whether the socket is open as far as this side knows."""
        return self._socket is not None and self.close_code is None

    async def join(self, web_socket_url: str, *, secret: str) -> None:
        """Connect with a fresh join token. Raises ``websockets`` errors where it is refused."""
        token = mint_join_token(
            session_id=self.session_id,
            role=self.role,
            secret=secret,
            now_ms=clock.now_ms(),
            lifetime_ms=DurationMs(3_600_000),
        )
        url = join_url(web_socket_url, session_id=self.session_id, role=self.role, token=token)
        # No protocol pings: API Gateway answers none, and they do not count as activity.
        self._socket = await connect(
            url, ping_interval=None, open_timeout=_OPEN_TIMEOUT_S, close_timeout=2, proxy=None
        )
        self._reader = asyncio.create_task(self._read(self._socket))

    def talk(self) -> None:
        """Send a message every ``interval_s`` seconds from now on."""
        self.silent_since_ms = None
        self._talker = asyncio.create_task(self._keep_talking())

    async def fall_silent(self) -> None:
        """Send nothing more; the socket stays open."""
        if self._talker is not None:
            self._talker.cancel()
            await asyncio.wait({self._talker})
            self._talker = None
        self.silent_since_ms = clock.now_ms()

    async def say(self, action: str, **members: object) -> None:
        """Send one message."""
        await self.send_text(json.dumps({"action": action, **members}))

    async def send_text(self, text: str) -> None:
        """Send a text as it is."""
        if self._socket is not None:
            await self._socket.send(text)

    async def is_answered(self) -> bool:
        """Say whether a heartbeat sent now is acknowledged."""
        before = len(self.messages("heartbeatAck"))
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            await self.say("heartbeat")
            await self.wait_for(lambda: len(self.messages("heartbeatAck")) > before)
        return len(self.messages("heartbeatAck")) > before

    async def wait_for(
        self, condition: Callable[[], bool], *, timeout_s: float = _ANSWER_TIMEOUT_S
    ) -> None:
        """Return once ``condition`` holds; it is checked whenever something was received."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._happened.clear()
                await self._happened.wait()

    async def wait_closed(self, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> int | None:
        """Return the close code once the other side has closed."""
        await self.wait_for(lambda: self.close_code is not None, timeout_s=timeout_s)
        return self.close_code

    def messages(self, kind: str) -> list[Mapping[str, object]]:
        """Return the messages of one ``type`` received so far."""
        return [message for message in self.received if message.get("type") == kind]

    async def leave(self) -> None:
        """Close in order, if still open."""
        await self.fall_silent()
        if self._socket is not None and self._reader is not None:
            await self._socket.close()
            await self._reader

    async def _read(self, socket: ClientConnection) -> None:
        # An abnormal close has a code as well, read below like that of a normal one.
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                self.received.append(message)
                self._report(str(message.get("type")))
        self.close_code = socket.close_code or _ABNORMAL_CLOSE
        self._report("closed")

    def _report(self, event: str) -> None:
        self._happened.set()
        self.on_event(self, event)

    async def _keep_talking(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.say(self.action)
                await asyncio.sleep(self.interval_s)
