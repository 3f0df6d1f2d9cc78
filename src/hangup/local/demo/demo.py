"""The demo: real sockets, some silent, and a check of what became of each.

Two sessions of a speaker and listeners. In one, two listeners fall silent: they are closed, and
nobody else is. In the other the speaker falls silent: the session ends, and its listeners, who
were talking, are notified and closed.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hangup.errors import LocalStackError
from hangup.local.demo.checks import Check, Observation, check_demo
from hangup.local.demo.clients import Client
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.ministack.engine import Engine
from hangup.sessions.model import Role

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

IDLE_TIMEOUT_S: Final = 4
_TALK_S: Final = 2.0
_SWEEP_EVERY_S: Final = 1.0
_MAX_SWEEPS: Final = 20
"""Enough for the slowest machine; the demo goes on as soon as everybody silent is closed."""

Say = Callable[[str], None]


def run_demo(say: Say, *, precise: bool = False) -> bool:
    """Run the demo, reported line by line to ``say``; return whether everything was as promised.

    ``precise`` is that of ``HangupStack``: the sweeps queue what falls due, and the queue closes.
    """
    say("Starting an AWS emulator on this machine (loopback only) ...")
    with Engine.start() as engine:
        say(f"Deploying the stack with an idle timeout of {IDLE_TIMEOUT_S} s ...")
        stack = deploy(
            engine,
            parameters={"IdleTimeoutSeconds": str(IDLE_TIMEOUT_S)},
            template=packaged_template(precise=precise),
        )
        # The demo invokes the sweep itself, once a second, so that nobody waits for a minute.
        events: EventBridgeClient = engine.client("events")
        events.disable_rule(Name=stack.sweep_rule)
        checks = asyncio.run(_perform(_Stage(engine, stack, say)))
    for check in checks:
        say(f"  {'ok  ' if check.holds else 'FAIL'}  {check.text}")
    holds = all(check.holds for check in checks)
    say("")
    say(
        "Everything is as promised: the silent clients were closed, and nobody else."
        if holds
        else "Not everything is as promised: see FAIL above."
    )
    return holds


@dataclass(slots=True)
class _Stage:
    """The running stack, the clients, and how to say what happens."""

    engine: Engine
    stack: Deployment
    say: Say
    talking: list[Client] = field(
        default_factory=lambda: [
            Client("Ada", "astronomy", Role.SPEAKER, action="message"),
            Client("Ben", "astronomy", Role.LISTENER),
            Client("Cleo", "astronomy", Role.LISTENER, action="message"),
        ]
    )
    silent: list[Client] = field(
        default_factory=lambda: [
            Client("Dan", "astronomy", Role.LISTENER),
            Client("Eve", "astronomy", Role.LISTENER),
            Client("Finn", "botany", Role.SPEAKER),
        ]
    )
    """Those who stop talking after a while."""
    notified: list[Client] = field(
        default_factory=lambda: [
            Client("Gus", "botany", Role.LISTENER),
            Client("Hana", "botany", Role.LISTENER, action="message"),
        ]
    )
    """Those who talk until their session ends, because its speaker is closed."""
    started: float = field(default_factory=time.monotonic)

    def narrate(self, text: str) -> None:
        """Say something with the time since the start in front."""
        self.say(f"{time.monotonic() - self.started:6.1f} s  {text}")

    def report(self, client: Client, event: str) -> None:
        """Say what happens to a client."""
        if event == "connectionTimeout":
            notice = client.messages(event)[-1]
            what = f"is notified: {notice['message']} (silent for {notice['idleSeconds']} s)."
        elif event == "sessionEnded":
            what = "is notified that the session has ended."
        elif event == "closed":
            is_silent = client.silent_since_ms is not None
            what = "is closed for inactivity." if is_silent else "is closed: the session has ended."
        else:
            return
        self.narrate(f"{_named(client)} {what}")


async def _perform(stage: _Stage) -> list[Check]:
    """Play the demo, and check it while the clients that should be there still are."""
    clients = [*stage.talking, *stage.silent, *stage.notified]
    secrets: SecretsManagerClient = stage.engine.client("secretsmanager")
    secret = secrets.get_secret_value(SecretId=stage.stack.join_secret_arn)["SecretString"]
    try:
        for client in clients:
            client.on_event = stage.report
            await client.join(stage.stack.web_socket_url, secret=secret)
            client.talk()
            stage.narrate(f"{_named(client)} joins and sends {client.action}s, one a second.")
        await asyncio.sleep(_TALK_S)
        for client in stage.silent:
            await client.fall_silent()
            stage.narrate(f"{_named(client)} falls silent.")
        sweeps = await _sweep_until_closed(stage)
        seen = Observation(
            idle_timeout_s=IDLE_TIMEOUT_S,
            silent=stage.silent,
            notified=stage.notified,
            talking=stage.talking,
            still_there={c.name: await c.is_answered() for c in clients if c.is_open},
            sweeps=sweeps,
        )
        stage.say("")
        stage.say("Checking clients, tables and metrics ...")
        # In a thread: the clients that talk go on talking meanwhile.
        return await asyncio.to_thread(check_demo, stage.engine, stage.stack, seen)
    finally:
        for client in clients:
            client.on_event = lambda _client, _event: None
        await asyncio.gather(*(client.leave() for client in clients))


async def _sweep_until_closed(stage: _Stage) -> list[Mapping[str, Any]]:
    """Sweep once a second until everybody who should be closed is, and return what each did."""
    sweeps: list[Mapping[str, Any]] = []
    while waiting := [client for client in (*stage.silent, *stage.notified) if client.is_open]:
        if len(sweeps) == _MAX_SWEEPS:
            names = ", ".join(client.name for client in waiting)
            raise LocalStackError(f"After {_MAX_SWEEPS} sweeps these are still connected: {names}")
        counts = await asyncio.to_thread(_sweep, stage)
        sweeps.append(counts)
        idle = f"{counts['idle']} idle for more than {IDLE_TIMEOUT_S} s, {counts['closed']} closed"
        queued = f"{counts['queued']} queued until their deadline"
        found = queued if stage.stack.close_queue_url else idle
        stage.narrate(f"A sweep checks {counts['checked']} connections: {found}.")
        await asyncio.sleep(_SWEEP_EVERY_S)
    return sweeps


def _sweep(stage: _Stage) -> Mapping[str, Any]:
    functions: LambdaClient = stage.engine.client("lambda")
    answer = functions.invoke(FunctionName=stage.stack.timeout_function, Payload=b"{}")
    counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise LocalStackError(f"The sweep failed: {counts.get('errorMessage', counts)}")
    return counts


def _named(client: Client) -> str:
    return f"{client.name} ({client.role} in {client.session_id})"
