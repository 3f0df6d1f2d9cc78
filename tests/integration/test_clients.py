"""What clients do after the notice, as they come and by the guide's recipes, on the local stack."""

import asyncio
import importlib.util
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hangup.aws.runtime import clock
from hangup.core.connection import DurationMs
from hangup.core.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from hangup.local.demo.clients import join_url
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from tests.support.documents import ROOT, table
from tests.support.http_server import Request, serving
from tests.support.local_stack import Stack, be_idle, eventually
from tests.support.node import EXAMPLES, NodeClient, install_packages, node_client

pytestmark = [pytest.mark.integration, pytest.mark.install]

GUIDE = (ROOT / "docs" / "guides" / "clients.md").read_text()
PACKAGES = [
    "sockette",
    "robust-websocket",
    "rpc-websockets",
    "reconnecting-websocket",
    "partysocket",
]
RECIPES = [*PACKAGES, "plain"]
NEVER_MS = "2000000000"
"""So long between heartbeats that none comes while a test runs. A timer takes no more than this."""
WITHOUT_CHANGE = (400, 403, 404)
AGAIN = (401, 409, 429, 500, 502, 503)
REFUSALS = "Status of the reference application"


@pytest.fixture(scope="module")
def packages() -> Path:
    return install_packages()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


class Addresses:
    """Addresses for the listeners of a session, no two with the same token."""

    def __init__(self, stack: Stack, session_id: str) -> None:
        self._stack = stack
        self._session_id = session_id
        self._count = 0

    def new(self, *, is_valid: bool = True) -> str:
        self._count += 1
        lifetime_ms = 3_600_000 + 1000 * self._count if is_valid else -1000
        token = mint_join_token(
            session_id=self._session_id,
            role=Role.LISTENER,
            secret=self._stack.secret,
            now_ms=clock.now_ms(),
            lifetime_ms=DurationMs(lifetime_ms),
        )
        return join_url(
            self._stack.deployed.web_socket_url,
            session_id=self._session_id,
            role=Role.LISTENER,
            token=token,
        )


def documented(column: int) -> dict[str, bool]:
    """Return which packages come back, by a column of the guide's table."""
    answers = {"comes back": True, "stays away": False}
    return {row[0].split("`")[1]: answers[row[column]] for row in table("Package", GUIDE)}


def tokens(client: NodeClient) -> list[str]:
    """Return the tokens of the client's attempts, in their order."""
    return [parse_qs(urlsplit(url).query)["token"][0] for url in client.of("dial")]


def answer(status: int, body: str = "") -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def serving_at(
    handler: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[str]:
    """Run a WebSocket server on loopback, and yield its address."""
    async with serve(handler, "127.0.0.1", 0) as server:
        (listening,) = server.sockets
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def as_they_come(
    packages: Path, addresses: Addresses
) -> AsyncIterator[dict[str, NodeClient]]:
    """Start each package in a process of its own, without options; all are open."""
    async with AsyncExitStack() as running:
        clients = {
            name: await running.enter_async_context(
                node_client(packages, "as_it_comes.mjs", name, addresses.new())
            )
            for name in PACKAGES
        }
        for client in clients.values():
            await client.wait_for("open")
        yield clients


@asynccontextmanager
async def as_websockets_comes(url: str) -> AsyncIterator[tuple[list[ClientConnection], Any]]:
    """Run the loop that the documentation of Python's websockets shows; yield its connections."""
    opened = []

    async def follow() -> None:
        async for connection in connect(url):
            opened.append(connection)
            async for _message in connection:
                pass

    following = asyncio.create_task(follow())
    try:
        await eventually(lambda: bool(opened))
        yield opened, following
    finally:
        following.cancel()
        await asyncio.wait([following])


async def each_comes_back(clients: Mapping[str, NodeClient]) -> dict[str, bool]:
    return {name: await client.comes_back() for name, client in clients.items()}


def test_who_comes_back_after_the_timeout_by_itself(stack: Stack, packages: Path) -> None:
    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            addresses = Addresses(stack, speaker.session_id)
            async with (
                as_they_come(packages, addresses) as clients,
                as_websockets_comes(addresses.new()) as (opened, _following),
            ):
                await be_idle()
                assert (await asyncio.to_thread(stack.sweep))["closed"] == len(PACKAGES) + 1
                comes_back = await each_comes_back(clients)
                for client in clients.values():
                    assert client.types() == ["connectionTimeout"]
                    assert client.of("close")[0] == 1000
                await eventually(lambda: len(opened) == 2)
                assert opened[0].close_code == 1000
                assert {**comes_back, "websockets": True} == documented(1)
                # Whoever comes back has its first token still.
                for name in (name for name in clients if comes_back[name]):
                    await clients[name].wait_for("open", 2)
                    assert len(set(tokens(clients[name]))) == 1

    asyncio.run(play())


def test_who_comes_back_after_the_end_of_the_session(stack: Stack, packages: Path) -> None:
    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            addresses = Addresses(stack, speaker.session_id)
            async with (
                as_they_come(packages, addresses) as clients,
                as_websockets_comes(addresses.new()) as (opened, following),
            ):
                await speaker.leave()
                comes_back = await each_comes_back(clients)
                for client in clients.values():
                    assert client.types() == ["sessionEnded"]
                    assert client.of("close")[0] == 1000
                with pytest.raises(InvalidStatus):
                    await following
                assert len(opened) == 1
                assert {**comes_back, "websockets": True} == documented(2)
                for name in (name for name in clients if comes_back[name]):
                    await clients[name].wait_for("close", 2)
                    assert clients[name].of("close")[1] == 1006

    asyncio.run(play())


def test_recipes_come_back_after_a_timeout_with_a_new_token_until_the_session_ends(
    stack: Stack, packages: Path
) -> None:
    asked: Counter[str] = Counter()

    async def play() -> None:
        async with AsyncExitStack() as running:
            speaker, _ = await running.enter_async_context(stack.session(listeners=0))
            addresses = Addresses(stack, speaker.session_id)

            def hand_out(request: Request) -> bytes:
                """Answer the second time with an error, the third time with an expired token."""
                asked[request.path] += 1
                count = asked[request.path]
                return (
                    answer(503) if count == 2 else answer(200, addresses.new(is_valid=count != 3))
                )

            server = running.enter_context(serving())
            server.answer = hand_out
            clients = [
                await running.enter_async_context(
                    node_client(
                        packages,
                        "recipe.mjs",
                        name,
                        f"http://localhost:{server.port}/{name}",
                        NEVER_MS,
                    )
                )
                for name in RECIPES
            ]
            for client in clients:
                await client.wait_for("open")
            before = set(stack.sessions.listener_ids(speaker.session_id))
            assert len(before) == len(RECIPES)

            await be_idle()
            assert (await asyncio.to_thread(stack.sweep))["closed"] == len(RECIPES)
            for client in clients:
                await client.wait_for("open", 2)
                assert client.types() == ["connectionTimeout"]
                assert client.of("close") == [1000, 1006]
                assert len(set(tokens(client))) == 3
            await eventually(lambda: stack.listener_count(speaker.session_id) == len(RECIPES))
            assert before.isdisjoint(stack.sessions.listener_ids(speaker.session_id))

            await speaker.leave()
            for client in clients:
                await client.wait_ended()
                assert client.types() == ["connectionTimeout", "sessionEnded"]
                assert len(client.of("dial")) == 3
            assert asked == {f"/{name}": 4 for name in RECIPES}

    asyncio.run(play())


def python_recipe() -> Any:
    """Import the recipe from its file, as who copies it does."""
    spec = importlib.util.spec_from_file_location("stay_connected", EXAMPLES / "stay_connected.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.stay_connected


def test_the_recipe_for_python_likewise(stack: Stack) -> None:
    received: list[str] = []
    handed_out: list[str] = []
    asked = 0

    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            addresses = Addresses(stack, speaker.session_id)

            async def get_url() -> str:
                nonlocal asked
                asked += 1
                if asked == 2:
                    raise OSError("the token's server is offline")
                handed_out.append(addresses.new())
                return handed_out[-1]

            def listeners() -> set[str]:
                return set(stack.sessions.listener_ids(speaker.session_id))

            staying = asyncio.create_task(
                python_recipe()(
                    get_url,
                    lambda message: received.append(message["type"]),
                    beat_s=3600,
                    first_s=0.2,
                )
            )
            try:
                await eventually(lambda: len(listeners()) == 1)
                (before,) = listeners()
                await be_idle()
                await asyncio.to_thread(stack.sweep)
                await eventually(lambda: len(listeners() - {before}) == 1)
                assert received == ["connectionTimeout"]
                await speaker.leave()
                await asyncio.wait_for(staying, 30)
            finally:
                staying.cancel()
                await asyncio.wait([staying])
            assert received == ["connectionTimeout", "sessionEnded"]
            assert len(set(handed_out)) == 2
            assert asked == 3

    asyncio.run(play())


def test_heartbeats_of_the_recipes_keep_their_connections(stack: Stack, packages: Path) -> None:
    acknowledged: Counter[str] = Counter()

    async def play() -> None:
        async with AsyncExitStack() as running:
            speaker, _ = await running.enter_async_context(stack.session(listeners=0))
            addresses = Addresses(stack, speaker.session_id)
            server = running.enter_context(serving())
            server.answer = lambda _request: answer(200, addresses.new())
            browser = await running.enter_async_context(
                node_client(
                    packages, "recipe.mjs", "plain", f"http://localhost:{server.port}/", "500"
                )
            )

            async def get_url() -> str:
                return addresses.new()

            def count(message: Mapping[str, Any]) -> None:
                acknowledged[message["type"]] += 1

            python = asyncio.create_task(python_recipe()(get_url, count, beat_s=0.5))
            try:
                await browser.wait_for("open")
                await eventually(lambda: stack.listener_count(speaker.session_id) == 2)
                for _ in range(2):
                    await be_idle()
                    assert (await asyncio.to_thread(stack.sweep))["closed"] == 0
            finally:
                python.cancel()
                await asyncio.wait([python])
            assert set(browser.types()) == {"heartbeatAck"}
            assert set(acknowledged) == {"heartbeatAck"}
            assert len(browser.of("dial")) == 1

    asyncio.run(play())


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_stay_away_if_there_is_no_address_any_more(packages: Path, name: str) -> None:
    statuses = [200, 404]

    async def close(connection: ServerConnection) -> None:
        await connection.close()

    async def play() -> None:
        async with serving_at(close) as url:
            with serving() as addresses:
                addresses.answer = lambda _request: answer(statuses.pop(0), url)
                endpoint = f"http://localhost:{addresses.port}/"
                async with node_client(packages, "recipe.mjs", name, endpoint) as client:
                    await client.wait_ended()
                    assert client.of("close") == [1000]
                    assert client.of("dial") == [url]
        assert statuses == []

    asyncio.run(play())


def test_a_page_looks_at_its_link_when_it_wakes_and_leaves_when_it_wants(packages: Path) -> None:
    connections = 0

    async def wake(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        # By themselves three heartbeats would take longer than the test waits.
        for event in ("becomesVisible", "comesOnline", "becomesVisible"):
            await connection.send(json.dumps({"type": event}))
            assert json.loads(await connection.recv()) == {"action": "heartbeat"}
        last = "goesToTheBackForwardCacheAndReturns" if connections == 1 else "leave"
        await connection.send(json.dumps({"type": last}))
        await connection.wait_closed()

    async def play() -> None:
        async with serving_at(wake) as url:
            with serving() as addresses:
                addresses.answer = lambda _request: answer(200, url)
                origin = f"http://localhost:{addresses.port}"
                async with node_client(packages, "in_page.mjs", origin) as client:
                    await client.wait_ended()
                    assert len(client.of("dial")) == 2
                assert [request.path for request in addresses.requests] == ["/address"] * 2

    asyncio.run(play())


def test_a_page_that_is_left_while_its_server_is_offline_asks_no_more(packages: Path) -> None:
    async def play() -> None:
        with serving() as addresses:
            addresses.answer = lambda _request: answer(503)
            origin = f"http://localhost:{addresses.port}"
            async with node_client(packages, "in_page.mjs", origin) as client:
                await client.wait_ended()
                assert client.events == []
            assert len(addresses.requests) == 1

    asyncio.run(play())


@pytest.mark.parametrize("name", [*RECIPES, "python"])
def test_recipes_go_on_after_a_message_that_is_not_of_hangup(packages: Path, name: str) -> None:
    async def err(connection: ServerConnection) -> None:
        # What API Gateway itself sends if a function fails.
        failure = {"message": "Internal server error", "connectionId": "c", "requestId": "r"}
        await connection.send(json.dumps(failure))
        await connection.send('{"type": "sessionEnded"}')
        await connection.close()

    async def play() -> None:
        async with serving_at(err) as url:
            if name == "python":
                received: list[Any] = []

                async def get_url() -> str:
                    return url

                await asyncio.wait_for(python_recipe()(get_url, received.append), 30)
                assert len(received) == 2
                return
            with serving() as addresses:
                addresses.answer = lambda _request: answer(200, url)
                endpoint = f"http://localhost:{addresses.port}/"
                async with node_client(packages, "recipe.mjs", name, endpoint) as client:
                    await client.wait_ended()
                    assert len(client.of("message")) == 2
                    assert client.of("dial") == [url]

    asyncio.run(play())


def test_pauses_are_of_any_length_up_to_a_bound_that_doubles(packages: Path) -> None:
    async def play() -> None:
        async with node_client(packages, "pauses.mjs") as client:
            await client.wait_ended()
            (pauses,) = client.of("pauses")
        bounds = [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 1000]
        assert pauses == bounds + [0] * len(bounds)

    asyncio.run(play())


def test_pauses_of_the_recipe_for_python_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def draw(least: float, most: float) -> float:
        assert least == 0
        bounds.append(most)
        return 0

    monkeypatch.setattr("random.uniform", draw)

    async def get_url() -> str:
        if len(bounds) == 8:
            raise RuntimeError("enough")
        raise OSError("offline")

    with pytest.raises(RuntimeError, match="enough"):
        asyncio.run(python_recipe()(get_url, lambda _message: None))
    assert bounds == [1, 2, 4, 8, 16, 32, 60, 60]


def test_heartbeats_go_on_while_the_server_talks(packages: Path) -> None:
    heard = 0

    async def talk(connection: ServerConnection) -> None:
        async def listen() -> None:
            nonlocal heard
            async for _message in connection:
                heard += 1

        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen())
            while heard < 3:
                await connection.send('{"type":"news"}')
                await asyncio.sleep(0.02)
            listening.cancel()

    async def play() -> None:
        async with serving_at(talk) as url:
            with serving() as addresses:
                addresses.answer = lambda _request: answer(200, url)
                endpoint = f"http://localhost:{addresses.port}/"
                async with node_client(packages, "recipe.mjs", "plain", endpoint, "300") as client:
                    await client.wait_for("close")
        assert heard >= 3

    asyncio.run(play())


@pytest.mark.parametrize("opens", [True, False])
def test_a_link_on_which_nothing_comes_is_given_up(packages: Path, *, opens: bool) -> None:
    async def say_nothing(connection: ServerConnection) -> None:
        async for _message in connection:
            pass

    async def play() -> None:
        # What listens and never accepts takes the connection, and answers no handshake.
        with closing(socket.create_server(("127.0.0.1", 0))) as silent, serving() as addresses:
            async with serving_at(say_nothing) as accepting:
                url = accepting if opens else f"ws://127.0.0.1:{silent.getsockname()[1]}"
                addresses.answer = lambda _request: answer(200, url)
                endpoint = f"http://localhost:{addresses.port}/"
                async with node_client(
                    packages, "recipe.mjs", "plain", endpoint, "100", "300"
                ) as client:
                    await client.wait_for("dial", 2)
                    assert bool(client.of("open")) == opens

    asyncio.run(play())


def test_the_recipe_for_python_gives_up_such_a_link_likewise() -> None:
    connections = 0

    async def say_nothing(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        async for _message in connection:
            pass

    async def play() -> None:
        async with serving_at(say_nothing) as url:

            async def get_url() -> str:
                return url

            staying = asyncio.create_task(
                python_recipe()(
                    get_url, lambda _message: None, beat_s=0.1, patience_s=0.3, first_s=0.01
                )
            )
            try:
                await eventually(lambda: connections >= 2)
            finally:
                staying.cancel()
                await asyncio.wait([staying])

    asyncio.run(play())


def refused_addresses(stack: Stack, session_id: str) -> dict[int, str]:
    """Return an address for each refusal of the reference application, by its status."""

    def url(asked_for: str, role: Role, token: str) -> str:
        base = stack.deployed.web_socket_url
        return join_url(base, session_id=asked_for, role=role, token=token)

    def token(of: str, role: Role = Role.LISTENER) -> str:
        return mint_join_token(
            session_id=of,
            role=role,
            secret=stack.secret,
            now_ms=clock.now_ms(),
            lifetime_ms=DurationMs(3_600_000),
        )

    unknown = uuid4().hex
    return {
        400: f"{stack.deployed.web_socket_url}?role=listener&token={token(session_id)}",
        401: url(session_id, Role.LISTENER, f"{token(session_id)}x"),
        403: url(session_id, Role.LISTENER, token(unknown)),
        404: url(unknown, Role.LISTENER, token(unknown)),
        409: url(session_id, Role.SPEAKER, token(session_id, Role.SPEAKER)),
    }


def test_each_refusal_of_the_stack_is_1006_to_a_browser_and_a_status_to_python(
    stack: Stack, packages: Path
) -> None:
    documented_statuses = {
        int(status) for row in table(REFUSALS, GUIDE) for status in row[0].split(", ")
    }
    assert documented_statuses == {*WITHOUT_CHANGE, *AGAIN}

    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            refused = refused_addresses(stack, speaker.session_id)
            assert documented_statuses - set(refused) == {429, 500, 502, 503}
            for status, url in refused.items():
                async with node_client(packages, "say.mjs", url, "text", "100") as browser:
                    await browser.wait_ended()
                    assert not browser.of("open")
                    assert browser.events[-1] == {"close": 1006, "reason": ""}
                with pytest.raises(InvalidStatus) as refusal:
                    await connect(url)
                assert refusal.value.response.status_code == status

    asyncio.run(play())


@pytest.mark.parametrize("status", [*WITHOUT_CHANGE, *AGAIN])
def test_a_browser_sees_1006_for_each_refusal_and_python_the_status(
    packages: Path, status: int
) -> None:
    asked = 0

    async def play() -> None:
        nonlocal asked
        with serving() as server:
            server.answer = lambda _request: answer(status)
            server.hangs_up = True
            url = f"ws://localhost:{server.port}/"

            async def get_url() -> str:
                nonlocal asked
                asked += 1
                if asked == 2:
                    raise RuntimeError("asked again")
                return url

            async with node_client(packages, "say.mjs", url, "text", "100") as browser:
                await browser.wait_ended()
                (closed,) = [event for event in browser.events if "close" in event]
                assert closed == {"close": 1006, "reason": ""}
            with pytest.raises((InvalidStatus, RuntimeError)) as ended:
                await python_recipe()(get_url, lambda _message: None, first_s=0.01)
            if status in AGAIN:
                assert ended.type is RuntimeError
            else:
                assert isinstance(ended.value, InvalidStatus)
                assert ended.value.response.status_code == status

    asyncio.run(play())


@pytest.mark.parametrize(
    ("kind", "size", "code", "answers"),
    [
        ("text", MAX_FRAME_BYTES, 1000, ["heartbeatAck"]),
        ("text", MAX_FRAME_BYTES + 1, 1009, []),
        ("binary", 100, 1003, []),
    ],
)
def test_what_is_sent_must_be_text_that_fits_a_frame(
    stack: Stack, packages: Path, kind: str, size: int, code: int, answers: list[str]
) -> None:
    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            url = Addresses(stack, speaker.session_id).new()
            async with node_client(packages, "say.mjs", url, kind, str(size)) as client:
                await client.wait_ended()
                assert client.types() == answers
                assert client.of("close") == [code]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("size", "code"), [(MAX_MESSAGE_BYTES, 1000), (MAX_MESSAGE_BYTES + 1, 1009)]
)
def test_a_message_of_several_frames_may_be_larger(stack: Stack, size: int, code: int) -> None:
    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            url = Addresses(stack, speaker.session_id).new()
            async with connect(url, ping_interval=None) as connection:
                text = '{"action":"heartbeat","padding":"'
                padded = f'{text}{"x" * (size - len(text) - 2)}"}}'
                parts = range(0, size, MAX_FRAME_BYTES)
                received = []
                # The server may close while this still sends.
                with suppress(ConnectionClosed):
                    await connection.send([padded[n : n + MAX_FRAME_BYTES] for n in parts])
                    received.append(json.loads(await connection.recv())["type"])
            assert connection.close_code == code
            assert received == (["heartbeatAck"] if code == 1000 else [])

    asyncio.run(play())
