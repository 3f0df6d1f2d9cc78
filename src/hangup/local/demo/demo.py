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
from hangup.local.demo.checks import IDLE_TIMEOUT_S, Observation, check_demo
from hangup.local.demo.clients import Client
from hangup.local.demo.story import Check, Scene, Step, Tell, Verdict
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.ministack.engine import Engine
from hangup.sessions.model import Role

_TALK_S: Final = 2.0
_SWEEP_EVERY_S: Final = 1.0
_MAX_SWEEPS: Final = 20
"""Enough for the slowest machine; the demo goes on as soon as everybody silent is closed."""


def run_demo(tell: Callable[[Tell], None], *, precise: bool = False) -> Verdict:
    """Run the demo, told to ``tell`` while it happens; return whether all was as promised.

    ``precise`` is that of ``HangupStack``: the sweeps queue what falls due, and the queue closes.
    """
    started = time.monotonic()
    tell(Step("Starting an AWS emulator on this machine (loopback only)"))
    with Engine.start() as engine:
        tell(Step(f"Deploying the stack with an idle timeout of {IDLE_TIMEOUT_S} s"))
        stack = deploy(
            engine,
            parameters={"IdleTimeoutSeconds": str(IDLE_TIMEOUT_S)},
            template=packaged_template(precise=precise),
        )
        # The demo invokes the sweep itself, once a second, so that nobody waits for a minute.
        engine.client("events").disable_rule(Name=stack.outputs["SweepRule"])
        checks, seen = asyncio.run(_Demo(engine, stack, tell).perform())
    return Verdict(
        checks=checks,
        silent=len(seen.silent),
        notified=len(seen.notified),
        talking=len(seen.talking),
        sweeps=len(seen.sweeps),
        seconds=time.monotonic() - started,
        idle_timeout_s=IDLE_TIMEOUT_S,
        precise=precise,
    )


class _Demo:
    """The running stack, the clients, and how to tell what happens."""

    def __init__(self, engine: Engine, stack: Deployment, tell: Callable[[Tell], None]) -> None:
        self._engine = engine
        self._stack = stack
        self._tell = tell
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

    async def perform(self) -> tuple[list[Check], Observation]:
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
                self._narrate(
                    f"joins and sends {client.action}s, one a second.",
                    f"joins, sends {client.action}s, one a second",
                    client,
                )
            await asyncio.sleep(_TALK_S)
            for client in seen.silent:
                await client.fall_silent()
                self._narrate("falls silent.", "falls silent", client)
            await self._sweep_until_closed()
            seen.answered = [c for c in clients if c.is_open and await c.is_answered()]
            self._tell(Step("Checking clients, tables and metrics"))
            # In a thread: the clients that talk go on talking meanwhile.
            return await asyncio.to_thread(check_demo, self._engine, self._stack, seen), seen
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
            idle, closed = f"{counts['idle']} idle", f"{counts['closed']} closed"
            found = f"{idle} for more than {IDLE_TIMEOUT_S} s, {closed}"
            briefly = f"{idle} over {IDLE_TIMEOUT_S} s, {closed}"
            if "CloseQueueUrl" in self._stack.outputs:
                found = briefly = f"{counts['queued']} queued until their deadline"
            checked = counts["checked"]
            self._narrate(
                f"A sweep checks {checked} connections: {found}.", f"{checked} checked, {briefly}"
            )
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

    def _narrate(self, what: str, brief: str, client: Client | None = None) -> None:
        """Tell something with the time since the start."""
        at_s = time.monotonic() - self._started
        who = (client.name, str(client.role), client.session_id) if client else None
        self._tell(Scene(at_s=at_s, who=who, what=what, brief=brief))

    def _report(self, client: Client, event: str) -> None:
        """Tell what happens to a client."""
        if event == "connectionTimeout":
            notice = client.messages(event)[-1]
            silent = f"(silent for {notice['idleSeconds']} s)"
            what, brief = f"is notified: {notice['message']} {silent}.", f"is notified {silent}"
        elif event == "sessionEnded":
            what = "is notified that the session has ended."
            brief = "is notified: the session has ended"
        elif event == "closed":
            is_silent = client.silent_since_ms is not None
            what = "is closed for inactivity." if is_silent else "is closed: the session has ended."
            brief = what.removesuffix(".")
        else:
            return
        self._narrate(what, brief, client)
