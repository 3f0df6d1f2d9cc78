"""Many real WebSocket clients, a fifth of all calls failing, for a while.

``HANGUP_SOAK_CLIENTS`` and ``HANGUP_SOAK_SECONDS`` make it larger: see ``make soak``.
"""

import asyncio
import os
import random
import time
from pathlib import Path
from uuid import uuid4

import pytest

from hangup.core.model import Role
from hangup.errors import HangupError
from hangup.handlers import disconnect_handler, timeout_handler
from hangup.local.participants import Participant
from tests.faults.conftest import Site, disconnect_of

pytestmark = pytest.mark.integration

CLIENTS = int(os.environ.get("HANGUP_SOAK_CLIENTS", "100"))
SECONDS = int(os.environ.get("HANGUP_SOAK_SECONDS", "30"))
SILENT_SHARE = 0.4
FAILING_SHARE = 0.2
INTERVAL_S = max(1.0, CLIENTS / 50)
"""Between two words of a client: fifty words a second in all, which two cores can serve."""
IDLE_TIMEOUT_S = round(4 * INTERVAL_S) + 2
SWEEP_EVERY_S = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

FAILURES = [
    {
        "service": service,
        "probability": FAILING_SHARE,
        "error": {"code": "InternalServerError", "status": 500},
    }
    for service in ("dynamodb", "apigatewaymanagementapi", "lambda")
]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 2**20


def test_nobody_who_talks_is_closed_and_everybody_silent_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTION_IDLE_TIMEOUT_SECONDS", str(IDLE_TIMEOUT_S))
    choice = random.Random(1)  # noqa: S311 - the same play every time

    async def play() -> None:
        session_id = uuid4().hex
        speaker = Participant("speaker", session_id, Role.SPEAKER, interval_s=INTERVAL_S)
        listeners = [
            Participant(f"{number}", session_id, Role.LISTENER, interval_s=INTERVAL_S)
            for number in range(CLIENTS - 1)
        ]
        everybody = [speaker, *listeners]
        silent = choice.sample(listeners, round(CLIENTS * SILENT_SHARE))
        counts: dict[str, int] = {"sweeps": 0, "closed": 0, "gone": 0, "failed": 0}
        try:
            url = site.deployed.web_socket_url
            await speaker.join(url, secret=site.secret)
            for start in range(0, len(listeners), 20):
                group = listeners[start : start + 20]
                await asyncio.gather(*(p.join(url, secret=site.secret) for p in group))
                for participant in group:
                    participant.talk()
            speaker.talk()
            site.proxy.plan(*FAILURES)
            memory = await hold_out(site, everybody, silent, choice, counts)
            site.proxy.plan()
            for _ in range(2):
                await asyncio.sleep(IDLE_TIMEOUT_S / 2 + 1)
                await asyncio.to_thread(site.let_claims_expire)
                await asyncio.to_thread(sweep, site, counts)
            for participant in silent:
                await participant.wait_closed(timeout_s=30)
                assert len(participant.messages("connectionTimeout")) <= 1
            talking = [p for p in everybody if p not in silent]
            assert [p.name for p in talking if not p.is_open] == []
            assert all([await p.is_answered() for p in talking])
            await settled(site, session_id, len(talking) - 1)
            figures = f"{CLIENTS} clients, {len(silent)} silent, {SECONDS} s: {counts}, {memory} MB"
            print(f"\n{figures}")  # noqa: T201 - shown by pytest -s, for docs/reliability.md
            # Flat: the last third against the second, the first being for warming up.
            assert memory[2] <= memory[1] * 1.15
        finally:
            site.proxy.plan()
            await asyncio.gather(*(p.leave() for p in everybody))

    asyncio.run(play())


async def hold_out(
    site: Site,
    everybody: list[Participant],
    silent: list[Participant],
    choice: random.Random,
    counts: dict[str, int],
) -> list[float]:
    """Let the silent fall silent one by one, and sweep; return the memory of each third, MB."""
    began = time.monotonic()
    falls_silent_at = {p.name: choice.uniform(0, SECONDS / 2) for p in silent}
    thirds: list[list[float]] = [[], [], []]
    while (elapsed := time.monotonic() - began) < SECONDS:
        for participant in silent:
            if participant.silent_since_ms is None and elapsed > falls_silent_at[participant.name]:
                await participant.fall_silent()
        await asyncio.to_thread(sweep, site, counts)
        for participant in everybody:
            # The clients' own memory is not what is being measured.
            participant.received[:] = participant.messages("connectionTimeout")
        thirds[min(2, int(3 * elapsed / SECONDS))].append(resident_mb())
        await asyncio.sleep(SWEEP_EVERY_S)
    return [round(max(third), 1) for third in thirds]


def sweep(site: Site, counts: dict[str, int]) -> None:
    """Sweep, and clean up in this process too: both meet the faults."""
    counts["sweeps"] += 1
    idle = {
        c.connection_id: c
        for c in site.connections.scan_all_connections()
        if (c.last_seen_ms or 0) < time.time() * 1000 - IDLE_TIMEOUT_S * 1000
    }
    try:
        result = site.handle(timeout_handler, {"id": f"tick-{counts['sweeps']}"})
        counts["closed"] += result["closed"]
        counts["gone"] += result["gone"]
    except HangupError:
        counts["failed"] += 1
    for connection in idle.values():
        still_open = site.engine.client(
            "apigatewaymanagementapi", endpoint_url=site.deployed.management_endpoint
        )
        try:
            still_open.get_connection(ConnectionId=connection.connection_id)
        except still_open.exceptions.GoneException:
            try:
                site.handle(disconnect_handler, disconnect_of(connection))
            except HangupError:
                counts["failed"] += 1


async def settled(site: Site, session_id: str, listeners: int) -> None:
    """Wait until the tables say so many listeners, by count and by records."""
    deadline = time.monotonic() + 30
    while True:
        records = [r for r in site.records(session_id) if r.role is Role.LISTENER]
        if site.listener_count(session_id) == len(records) == listeners:
            return
        assert time.monotonic() < deadline, (site.listener_count(session_id), len(records))
        await asyncio.sleep(0.2)
