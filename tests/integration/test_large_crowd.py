"""A crowd of sockets that are closed in one sweep, and what that takes of the machine.

``HANGUP_CROWD_CLIENTS`` makes it larger: ``make soak`` has 2,000, and docs/guides/local.md their
figures.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from uuid import uuid4

import pytest

from hangup.local.demo.clients import Client
from hangup.local.deploy import deploy
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.patches.bounded_environments import MAX_OF_ALL
from hangup.sessions.model import Role
from tests.support.engine_stack import statistics
from tests.support.local_stack import Stack, eventually, stack_of
from tests.support.memory import resident_mb, worker_pids

pytestmark = pytest.mark.integration

CLIENTS = int(os.environ.get("HANGUP_CROWD_CLIENTS", "200"))
"""Those that fall silent."""
A_SESSION = 50
IDLE_TIMEOUT_S = 6 + CLIENTS // 80
SETTLES_WITHIN_S = 120
MAX_MB = 1_500
MAX_SWEEPS = 2
"""On a busy machine the time of one is over before 2,000 are closed."""
JOIN_TOGETHER = 20


@dataclass
class Peak:
    """The most that was seen at once: workers, and MB of the engine and all workers."""

    workers: int = 0
    mb: float = 0.0


@contextmanager
def watched(engine: Engine) -> Iterator[Peak]:
    peak, over = Peak(), Event()

    def watch() -> None:
        while not over.wait(0.5):
            workers = list(worker_pids(engine.log_file.parent))
            processes = [str(engine._process.pid), *workers]
            peak.workers = max(peak.workers, len(workers))
            peak.mb = max(peak.mb, sum(resident_mb(pid) for pid in processes))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Engine.start() as engine:
        deployed = deploy(engine, parameters={"IdleTimeoutSeconds": str(IDLE_TIMEOUT_S)})
        engine.client("events").disable_rule(Name=deployed.outputs["SweepRule"])
        yield stack_of(engine, deployed)


async def join(stack: Stack, clients: list[Client]) -> None:
    for start in range(0, len(clients), JOIN_TOGETHER):
        group = clients[start : start + JOIN_TOGETHER]
        url = stack.deployed.web_socket_url
        await asyncio.gather(*(client.join(url, secret=stack.secret) for client in group))


def test_crowd_that_is_closed_in_one_sweep_settles_and_nobody_else_is_cut(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = [uuid4().hex for _ in range(0, CLIENTS, A_SESSION)]
    silent = [
        Client(f"silent {n}", sessions[n // A_SESSION], Role.LISTENER) for n in range(CLIENTS)
    ]
    talking = [
        Client(f"{role} of {session}", session, role, interval_s=IDLE_TIMEOUT_S / 6)
        for role in (Role.SPEAKER, Role.LISTENER)
        for session in sessions
    ]

    def cleanups() -> int:
        function = stack.deployed.outputs["DisconnectFunction"]
        counts = statistics(stack.engine, "AWS/Lambda", "Invocations", FunctionName=function)
        return int(counts["Sum"])

    async def play(peak: Peak) -> str:
        began = time.monotonic()
        await join(stack, talking[: len(sessions)])
        await join(stack, talking[len(sessions) :])
        for client in talking:
            client.talk()
        await join(stack, silent)
        joined_s = time.monotonic() - began
        await asyncio.sleep(IDLE_TIMEOUT_S + 0.5)
        began = time.monotonic()
        closed: list[int] = []
        while sum(closed) < CLIENTS and len(closed) < MAX_SWEEPS:
            closed.append((await asyncio.to_thread(stack.sweep))["closed"])
        swept_s = time.monotonic() - began
        assert sum(closed) == CLIENTS
        for client in silent:
            await client.wait_closed(timeout_s=SETTLES_WITHIN_S)
        # The sweep hands each over, and each socket's end runs $disconnect: none may be lost.
        await eventually(lambda: cleanups() >= 2 * CLIENTS, within_s=SETTLES_WITHIN_S)
        settled_s = time.monotonic() - began
        assert settled_s < SETTLES_WITHIN_S
        remaining = list(stack.connections.scan_all_connections())
        assert len(remaining) == len(talking)
        assert [client.name for client in talking if not client.is_open] == []
        assert all(await asyncio.gather(*(client.is_answered() for client in talking)))
        return (
            f"{CLIENTS} sockets: joined in {joined_s:.0f} s, {closed} closed by sweeps in"
            f" {swept_s:.0f} s, settled after {settled_s:.0f} s; at most {peak.workers} workers,"
            f" {peak.mb:.0f} MB"
        )

    async def play_and_leave(peak: Peak) -> str:
        try:
            return await play(peak)
        finally:
            await asyncio.gather(*(client.leave() for client in [*talking, *silent]))

    with watched(stack.engine) as peak:
        figures = asyncio.run(play_and_leave(peak))
    with capsys.disabled():
        print(f"\n{figures}")  # noqa: T201 - for docs/guides/local.md
    assert peak.workers <= MAX_OF_ALL
    assert peak.mb < MAX_MB
