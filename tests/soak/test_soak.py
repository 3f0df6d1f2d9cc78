"""Many real WebSocket clients, a fifth of all calls failing, for a while.

The deployed functions and the sweeps of this process make all their calls through the fault proxy,
from the first join on. ``HANGUP_SOAK_CLIENTS`` and ``HANGUP_SOAK_SECONDS`` make it larger: see
``make soak``.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from hangup.errors import SweepFailed
from hangup.handlers import timeout_handler
from hangup.local.demo.clients import Client
from hangup.sessions.model import Role
from tests.support.faulty_stack import Site
from tests.support.local_stack import eventually
from tests.support.memory import resident_mb, worker_pids
from tests.support.outcomes import service_rule

pytestmark = pytest.mark.integration

CLIENTS = int(os.environ.get("HANGUP_SOAK_CLIENTS", "100"))
SECONDS = int(os.environ.get("HANGUP_SOAK_SECONDS", "24"))
SILENT_SHARE = 0.4
FAILING_SHARE = 0.2
INTERVAL_S = max(1.0, CLIENTS / 50)
"""Between two words of a client: fifty words a second in all, which two cores can serve."""
IDLE_TIMEOUT_S = round(4 * INTERVAL_S) + 2
SWEEP_EVERY_S = 2.0
JOIN_TOGETHER = 20
JOIN_ATTEMPTS = 2
MAX_FAILED_JOINS = 3
"""A function makes a call six times, so one of 16,000 fails for good, and a join makes four: the
client joins again. Among 500 clients more than three fail once in 100,000 runs."""

FAULTS = ("throttling", "500", "503", "reset", "answer lost")
SERVICES = ("dynamodb", "apigatewaymanagementapi", "lambda", "secretsmanager")


def failures() -> Iterator[Mapping[str, object]]:
    """Yield rules by which each kind of fault has an equal part of the failing share."""
    share = FAILING_SHARE / len(FAULTS)
    for service in SERVICES:
        for rank, kind in enumerate(FAULTS):
            # A rule is asked only if those before it let the call pass.
            probability = share / (1 - rank * share)
            yield {**service_rule(service, kind), "probability": probability}


@dataclass
class Crowd:
    """The clients: in a session that goes on, and in one whose speaker falls silent."""

    speaker: Client
    listeners: list[Client]
    silent_speaker: Client
    left_alone: list[Client]
    silent: list[Client]
    falls_silent_at_s: dict[str, float]

    @property
    def everybody(self) -> list[Client]:
        return [self.speaker, *self.listeners, self.silent_speaker, *self.left_alone]

    @property
    def talking(self) -> list[Client]:
        """Those of the session that goes on who talk to the end."""
        return [p for p in [self.speaker, *self.listeners] if p not in self.silent]


def crowd(choice: random.Random) -> Crowd:
    def clients(role: Role, session_id: str, count: int) -> list[Client]:
        return [
            Client(f"{role} {session_id} {n}", session_id, role, interval_s=INTERVAL_S)
            for n in range(count)
        ]

    goes_on, ends = uuid4().hex, uuid4().hex
    (speaker,), (silent_speaker,) = (clients(Role.SPEAKER, s, 1) for s in (goes_on, ends))
    left_alone = clients(Role.LISTENER, ends, CLIENTS // 10 - 1)
    listeners = clients(Role.LISTENER, goes_on, CLIENTS - len(left_alone) - 2)
    silent = [silent_speaker, *choice.sample(listeners, round(CLIENTS * SILENT_SHARE) - 1)]
    return Crowd(
        speaker=speaker,
        listeners=listeners,
        silent_speaker=silent_speaker,
        left_alone=left_alone,
        silent=silent,
        falls_silent_at_s={p.name: choice.uniform(0, SECONDS / 2) for p in silent},
    )


@dataclass
class Figures:
    """What a run came to; memory is that of the largest process of a kind, MB, by third."""

    counts: Counter[str] = field(default_factory=Counter)
    sweeper_mb: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    functions_mb: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def measure(self, third: int, engine_dir: Path) -> None:
        own = resident_mb("self")
        self.sweeper_mb[third] = max(self.sweeper_mb[third], own)
        others = [resident_mb(pid) for pid in worker_pids(engine_dir)]
        self.functions_mb[third] = max([self.functions_mb[third], *others])

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        memory = [
            f"{name} {' '.join(f'{mb:.1f}' for mb in thirds)} MB"
            for name, thirds in (("sweeper", self.sweeper_mb), ("functions", self.functions_mb))
        ]
        return f"{CLIENTS} clients, {SECONDS} s: {counts}; {'; '.join(memory)}"


def test_nobody_who_talks_is_closed_and_everybody_silent_is(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNECTION_IDLE_TIMEOUT_SECONDS", str(IDLE_TIMEOUT_S))
    site.send_functions_through_the_proxy()
    clients = crowd(random.Random(1))  # noqa: S311 - the same play every time
    figures = Figures()

    async def play() -> None:
        site.proxy.plan(*failures())
        calls_before, failed_before = site.proxy.requests()
        try:
            await join_all(site, clients, figures)
            await hold_out(site, clients, figures, capsys)
            calls, failed = site.proxy.requests()
            figures.counts["calls"] = calls - calls_before
            figures.counts["calls failed"] = failed - failed_before
            site.proxy.plan()
            await come_to_rest(site, clients, figures, capsys)
        finally:
            site.proxy.plan()
            await asyncio.gather(*(p.leave() for p in clients.everybody))

    asyncio.run(play())
    with capsys.disabled():
        print(f"\n{figures}")  # noqa: T201 - for docs/explanation/reliability.md
    assert figures.counts["joins that failed"] <= MAX_FAILED_JOINS
    share = figures.counts["calls failed"] / figures.counts["calls"]
    assert share == pytest.approx(FAILING_SHARE, abs=0.03)
    # Flat: the last third against the second, the first being for warming up.
    for thirds in (figures.sweeper_mb, figures.functions_mb):
        assert thirds[2] <= thirds[1] * 1.15


async def join_all(site: Site, clients: Crowd, figures: Figures) -> None:
    async def join(client: Client, attempts: int = JOIN_ATTEMPTS) -> None:
        try:
            await client.join(site.deployed.web_socket_url, secret=site.secret)
        except InvalidStatus as refused:
            # API Gateway's answer where a function has failed for good.
            if refused.response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR or attempts == 1:
                raise
            figures.counts["joins that failed"] += 1
            await join(client, attempts - 1)

    async def join_together(*group: Client) -> None:
        await asyncio.gather(*(join(p) for p in group))
        for client in group:
            client.talk()

    await join_together(clients.speaker, clients.silent_speaker)
    listeners = [*clients.listeners, *clients.left_alone]
    for start in range(0, len(listeners), JOIN_TOGETHER):
        await join_together(*listeners[start : start + JOIN_TOGETHER])


async def hold_out(
    site: Site, clients: Crowd, figures: Figures, capsys: pytest.CaptureFixture[str]
) -> None:
    """Let the silent fall silent one by one, and sweep."""
    began = time.monotonic()
    while (elapsed_s := time.monotonic() - began) < SECONDS:
        for client in clients.silent:
            late = elapsed_s > clients.falls_silent_at_s[client.name]
            if late and client.silent_since_ms is None:
                await client.fall_silent()
        await asyncio.to_thread(sweep, site, figures.counts, capsys)
        for client in clients.everybody:
            # API Gateway's own answer where a function has failed for good.
            unanswered = [m for m in client.received if "type" not in m]
            figures.counts["messages that failed"] += len(unanswered)
            # The clients' own memory is not what is being measured.
            client.received[:] = [
                *client.messages("connectionTimeout"),
                *client.messages("sessionEnded"),
            ]
        figures.measure(min(2, int(3 * elapsed_s / SECONDS)), site.engine.log_file.parent)
        await asyncio.sleep(SWEEP_EVERY_S)


async def come_to_rest(
    site: Site, clients: Crowd, figures: Figures, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sweep twice without faults, and see that everything is as it must be."""
    for _ in range(2):
        await asyncio.to_thread(site.let_claims_expire)
        await asyncio.to_thread(sweep, site, figures.counts, capsys)
        await asyncio.sleep(SWEEP_EVERY_S)
    for client in clients.silent:
        await client.wait_closed(timeout_s=30)
        assert len(client.messages("connectionTimeout")) <= 1
    figures.counts["silent closed"] = len(clients.silent)
    figures.counts["of them told"] = sum(
        len(p.messages("connectionTimeout")) for p in clients.silent
    )
    for client in clients.left_alone:
        await client.wait_closed(timeout_s=30)
        assert not client.messages("connectionTimeout")
    figures.counts["closed with their session"] = len(clients.left_alone)
    figures.counts["of these told"] = sum(
        bool(p.messages("sessionEnded")) for p in clients.left_alone
    )
    assert [p.name for p in clients.talking if not p.is_open] == []
    assert all(await asyncio.gather(*(p.is_answered() for p in clients.talking)))
    assert [p.name for p in clients.talking if p.messages("connectionTimeout")] == []
    figures.counts["talking still there"] = len(clients.talking)

    listening = len(clients.talking) - 1
    goes_on, ends = clients.speaker.session_id, clients.silent_speaker.session_id
    await eventually(lambda: site.listener_count(goes_on) == listening, within_s=30)
    await eventually(lambda: len(site.records(goes_on)) == listening + 1, within_s=30)
    await eventually(lambda: site.listener_count(ends) == 0, within_s=30)
    await eventually(lambda: site.records(ends) == [], within_s=30)
    report = await asyncio.to_thread(site.check)
    assert report.violations == ()
    assert report.connections == listening + 1


def sweep(site: Site, counts: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Sweep, and add up what the sweep's own last line says."""
    try:
        site.handle(timeout_handler, {"id": f"tick-{counts['sweeps']}"})
    except SweepFailed:
        counts["sweeps that failed"] += 1
    counts["sweeps"] += 1
    lines: list[Mapping[str, Any]] = [
        json.loads(line) for line in capsys.readouterr().out.splitlines()
    ]
    (report,) = [line for line in lines if "noticesFailed" in line and "closed" in line]
    counts["closed by sweeps"] += report["closed"] + report["gone"]
    counts["notices failed"] += report["noticesFailed"]
    assert "held" not in report  # a line leaves out what is null
