"""The demo: real sockets, some silent, and a verdict on what became of each.

Two sessions of a speaker and listeners. In one, two listeners fall silent: they, and only they,
are hung up on. In the other the speaker falls silent: the session ends, and its listeners, who
were talking, are told so.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hangup.core.model import Role
from hangup.errors import LocalStackError
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.engine import Engine
from hangup.local.participants import Participant
from hangup.local.verdict import Check, Observation, verdict

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

__all__ = ["run_demo"]

IDLE_TIMEOUT_S: Final = 4
_TALK_S: Final = 2.0
_SWEEP_EVERY_S: Final = 1.0
_MAX_SWEEPS: Final = 20
"""Enough for the slowest machine; the demo ends as soon as everybody silent is gone."""

Say = Callable[[str], None]


def cast_of_the_demo() -> list[Participant]:
    """Return who takes part; those in ``_FALL_SILENT`` stop talking."""
    return [
        Participant("Ada", "astronomy", Role.SPEAKER, action="message"),
        Participant("Ben", "astronomy", Role.LISTENER),
        Participant("Cleo", "astronomy", Role.LISTENER, action="message"),
        Participant("Dan", "astronomy", Role.LISTENER),
        Participant("Eve", "astronomy", Role.LISTENER),
        Participant("Finn", "botany", Role.SPEAKER),
        Participant("Gus", "botany", Role.LISTENER),
        Participant("Hana", "botany", Role.LISTENER, action="message"),
    ]


_FALL_SILENT: Final = ("Dan", "Eve", "Finn")
_SESSION_ENDS: Final = "botany"


@dataclass(slots=True)
class _Stage:
    """The running stack, who is on it, and how to say what happens."""

    engine: Engine
    stack: Deployment
    say: Say
    people: list[Participant] = field(default_factory=cast_of_the_demo)
    started: float = field(default_factory=time.monotonic)

    def narrate(self, text: str) -> None:
        """Say something with the time since the start in front."""
        self.say(f"{time.monotonic() - self.started:6.1f} s  {text}")


def run_demo(say: Say, *, precise: bool = False) -> bool:
    """Run the demo, telling ``say`` line by line; return whether everything was as promised.

    ``precise`` is ``HangupStack``'s: the sweeps queue what falls due, and the queue closes.
    """
    say("Starting an AWS emulator on this machine (loopback only) ...")
    with Engine.start() as engine:
        say(f"Deploying the stack with an idle timeout of {IDLE_TIMEOUT_S} s ...")
        stack = deploy(
            engine,
            parameters={"IdleTimeoutSeconds": str(IDLE_TIMEOUT_S)},
            template=packaged_template(precise=precise),
        )
        # The demo calls the sweep itself, once a second, so that nobody waits for a minute.
        events: EventBridgeClient = engine.client("events")
        events.disable_rule(Name=stack.sweep_rule)
        checks = asyncio.run(_perform(_Stage(engine, stack, say)))
    for check in checks:
        say(f"  {'ok  ' if check.holds else 'FAIL'}  {check.text}")
    holds = all(check.holds for check in checks)
    say("")
    say(
        "Everything is as promised: the silent were hung up on, and nobody else."
        if holds
        else "Not everything is as promised: see FAIL above."
    )
    return holds


async def _perform(stage: _Stage) -> Sequence[Check]:
    """Play the demo, and judge it while the clients that should be there still are."""
    people = stage.people
    secrets: SecretsManagerClient = stage.engine.client("secretsmanager")
    secret = secrets.get_secret_value(SecretId=stage.stack.join_secret_arn)["SecretString"]
    try:
        await _join(stage, secret)
        await asyncio.sleep(_TALK_S)
        for person in people:
            if person.name in _FALL_SILENT:
                await person.fall_silent()
                stage.narrate(f"{_called(person)} falls silent.")
        sweeps = await _sweep_until_quiet(stage)
        still_there = {
            person.name: await person.is_answered() for person in people if person.is_open
        }
        seen = Observation(
            idle_timeout_s=IDLE_TIMEOUT_S,
            silent=[person for person in people if person.name in _FALL_SILENT],
            told=[person for person in people if _is_told(person)],
            talking=[p for p in people if p.name not in _FALL_SILENT and not _is_told(p)],
            still_there=still_there,
            sweeps=sweeps,
        )
        stage.say("")
        stage.say("Checking clients, tables and metrics ...")
        # In a thread: the clients that talk go on talking meanwhile.
        return await asyncio.to_thread(verdict, stage.engine, stage.stack, seen)
    finally:
        for person in people:
            person.tell = lambda _who, _what: None
        await asyncio.gather(*(person.leave() for person in people))


def _is_told(person: Participant) -> bool:
    return person.session_id == _SESSION_ENDS and person.role is Role.LISTENER


async def _join(stage: _Stage, secret: str) -> None:
    def tell(person: Participant, what: str) -> None:
        if what == "connectionTimeout":
            notice = person.messages("connectionTimeout")[-1]
            stage.narrate(
                f"{_called(person)} is told: {notice['message']}"
                f" (silent for {notice['idleSeconds']} s)."
            )
        elif what == "sessionEnded":
            stage.narrate(f"{_called(person)} is told that the session has ended.")
        elif what == "closed" and person.silent_since_ms is not None:
            stage.narrate(f"{_called(person)} is hung up on, for silence.")
        elif what == "closed":
            stage.narrate(f"{_called(person)} is hung up on: the session is over.")

    for person in stage.people:
        person.tell = tell
        await person.join(stage.stack.web_socket_url, secret=secret)
        person.talk()
        how = "heartbeats" if person.action == "heartbeat" else "messages"
        stage.narrate(f"{_called(person)} joins and sends {how}, one a second.")


async def _sweep_until_quiet(stage: _Stage) -> Sequence[Mapping[str, Any]]:
    """Sweep once a second until everybody who should be closed is, and return what each did."""
    sweeps: list[Mapping[str, Any]] = []
    functions: LambdaClient = stage.engine.client("lambda")
    waiting = [p for p in stage.people if p.name in _FALL_SILENT or _is_told(p)]
    while any(person.is_open for person in waiting):
        if len(sweeps) == _MAX_SWEEPS:
            names = ", ".join(person.name for person in waiting if person.is_open)
            raise LocalStackError(f"After {_MAX_SWEEPS} sweeps these are still connected: {names}")
        counts = await asyncio.to_thread(_sweep, functions, stage.stack.timeout_function)
        sweeps.append(counts)
        stage.narrate(
            f"A sweep checks {counts['checked']} connections: {_found(stage.stack, counts)}."
        )
        await asyncio.sleep(_SWEEP_EVERY_S)
    return sweeps


def _found(stack: Deployment, counts: Mapping[str, Any]) -> str:
    if stack.close_queue_url:
        return f"{counts['queued']} queued until their deadline"
    return f"{counts['idle']} idle for more than {IDLE_TIMEOUT_S} s, {counts['closed']} closed"


def _sweep(functions: "LambdaClient", name: str) -> Mapping[str, Any]:
    answer = functions.invoke(FunctionName=name, Payload=b"{}")
    counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise LocalStackError(f"The sweep failed: {counts.get('errorMessage', counts)}")
    return counts


def _called(person: Participant) -> str:
    return f"{person.name} ({person.role} in {person.session_id})"
