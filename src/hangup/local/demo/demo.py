"""The demo: real sockets, some silent, and a check of what became of each.

Two sessions of a speaker and listeners. In one, two listeners fall silent: they are closed, and
nobody else is. In the other the speaker falls silent: the session ends, and its listeners, who
were talking, are notified and closed.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hangup.errors import LocalStackError
from hangup.local.demo.checks import IDLE_TIMEOUT_S, Check, Observation, check_demo
from hangup.local.demo.clients import Client
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.ministack.engine import Engine
from hangup.sessions.model import Role

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
        engine.client("events").disable_rule(Name=stack.outputs["SweepRule"])
        checks = asyncio.run(_Demo(engine, stack, say).perform())
    for text, holds in checks:
        say(f"  {'ok  ' if holds else 'FAIL'}  {text}")
    all_hold = all(holds for _, holds in checks)
    say("")
    say(
        "Everything is as promised: the silent clients were closed, and nobody else."
        if all_hold
        else "Not everything is as promised: see FAIL above."
    )
    return all_hold


class _Demo:
    """The running stack, the clients, and how to say what happens."""

    def __init__(self, engine: Engine, stack: Deployment, say: Say) -> None:
        self._engine = engine
        self._stack = stack
        self._say = say
        self._started = time.monotonic()
        self._seen = Observation(
            talking=[
                Client("Ada", "astronomy", Role.SPEAKER, "message"),
                Client("Ben", "astronomy", Role.LISTENER),
                Client("Cleo", "astronomy", Role.LISTENER, "message"),
            ],
            silent=[
                Client("Dan", "astronomy", Role.LISTENER),
                Client("Eve", "astronomy", Role.LISTENER),
                Client("Finn", "botany", Role.SPEAKER),
            ],
            notified=[
                Client("Gus", "botany", Role.LISTENER),
                Client("Hana", "botany", Role.LISTENER, "message"),
            ],
        )

    async def perform(self) -> list[Check]:
        """Play the demo, and check it while the clients that should be there still are."""
        seen, outputs = self._seen, self._stack.outputs
        clients = [*seen.talking, *seen.silent, *seen.notified]
        secret = self._engine.client("secretsmanager").get_secret_value(
            SecretId=outputs["JoinSecretArn"]
        )["SecretString"]
        try:
            for client in clients:
                client.on_event = self._report
                await client.join(self._stack.web_socket_url, secret=secret)
                client.talk()
                self._narrate(f"{_named(client)} joins and sends {client.action}s, one a second.")
            await asyncio.sleep(_TALK_S)
            for client in seen.silent:
                await client.fall_silent()
                self._narrate(f"{_named(client)} falls silent.")
            await self._sweep_until_closed()
            seen.answered = [c for c in clients if c.is_open and await c.is_answered()]
            self._say("")
            self._say("Checking clients, tables and metrics ...")
            # In a thread: the clients that talk go on talking meanwhile.
            return await asyncio.to_thread(check_demo, self._engine, self._stack, seen)
        finally:
            for client in clients:
                client.on_event = lambda _client, _event: None
            await asyncio.gather(*(client.leave() for client in clients))

    async def _sweep_until_closed(self) -> None:
        """Sweep once a second until everybody who should be closed is."""
        seen = self._seen
        while waiting := [c for c in (*seen.silent, *seen.notified) if c.is_open]:
            if len(seen.sweeps) == _MAX_SWEEPS:
                names = ", ".join(client.name for client in waiting)
                raise LocalStackError(
                    f"After {_MAX_SWEEPS} sweeps these are still connected: {names}"
                )
            counts = await asyncio.to_thread(self._sweep)
            seen.sweeps.append(counts)
            found = (
                f"{counts['idle']} idle for more than {IDLE_TIMEOUT_S} s, {counts['closed']} closed"
            )
            if "CloseQueueUrl" in self._stack.outputs:
                found = f"{counts['queued']} queued until their deadline"
            self._narrate(f"A sweep checks {counts['checked']} connections: {found}.")
            await asyncio.sleep(_SWEEP_EVERY_S)

    def _sweep(self) -> Mapping[str, Any]:
        """Run one sweep, and return what it counted."""
        answer = self._engine.client("lambda").invoke(
            FunctionName=self._stack.outputs["TimeoutFunction"], Payload=b"{}"
        )
        counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise LocalStackError(f"The sweep failed: {counts.get('errorMessage', counts)}")
        return counts

    def _narrate(self, text: str) -> None:
        """Say something with the time since the start in front."""
        self._say(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def _report(self, client: Client, event: str) -> None:
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
        self._narrate(f"{_named(client)} {what}")


def _named(client: Client) -> str:
    return f"{client.name} ({client.role} in {client.session_id})"
