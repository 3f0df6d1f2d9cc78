"""How late a close is: real sockets, the deployed stack, its schedule of a sweep a minute.

Each client joins at a time of its own, says one thing, and is silent from then on. Its deadline is
that moment and the idle timeout by its own clock; how late it is hung up on is counted from there.
A naive sweep a minute is as late as Hangup's, so it is not run.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Final

from benchmarks.endpoints import WorkNotDoneError
from benchmarks.measures import Run
from hangup.local.demo.clients import Client
from hangup.local.deploy import deploy, packaged_template
from hangup.local.ministack.engine import Engine
from hangup.sessions.model import Role

__all__ = ["Topology", "late_ms", "lateness"]

_CLIENTS: Final = 100
_ROUND_S: Final = 60
"""Clients fall silent over a minute, so that they meet the schedule at any moment of it."""
_MAX_LATE_S: Final = 150
"""A minute, and a sweep that has to ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A way to deploy the stack, and the rows that it fills."""

    name: str
    precise: bool
    idle_timeout_s: int
    median_row: str
    late_row: str


MINUTE: Final = Topology(
    name="a sweep a minute",
    precise=False,
    idle_timeout_s=10,
    median_row="lateness_p50_ms",
    late_row="lateness_p99_ms",
)
PRECISE: Final = Topology(
    name="precise",
    precise=True,
    # More than the minute between two sweeps: one must see a connection before its deadline.
    idle_timeout_s=70,
    median_row="lateness_precise_p50_ms",
    late_row="lateness_precise_p99_ms",
)


def lateness(run: Run) -> None:
    """Measure how late closes come, in both topologies, many clients in each round.

    The rounds of a topology are minutes of one stack: the next begins while the clients of the one
    before are still silent, as on a stack that people come to and leave.
    """
    for topology in (MINUTE, PRECISE):
        with Engine.start() as engine:
            stack = deploy(
                engine,
                parameters={"IdleTimeoutSeconds": str(topology.idle_timeout_s)},
                template=packaged_template(precise=topology.precise),
            )
            secret = engine.client("secretsmanager").get_secret_value(
                SecretId=stack.outputs["JoinSecretArn"]
            )
            play = _play(run, topology, stack.web_socket_url, secret["SecretString"])
            try:
                rounds = asyncio.run(play)
            except* WorkNotDoneError as errors:
                raise errors.exceptions[0] from None
        for late in rounds:
            cuts = quantiles(late, n=100)
            run.take(topology.median_row, "hangup", cuts[49])
            run.take(topology.late_row, "hangup", cuts[98])


async def _play(run: Run, topology: Topology, url: str, secret: str) -> Sequence[Sequence[float]]:
    """Return how late each client of each round was hung up on, milliseconds."""
    choice = random.Random(1)  # noqa: S311 - the same play every time
    rounds: list[list[asyncio.Task[float]]] = []
    async with asyncio.TaskGroup() as clients:
        for number in run.rounds(f"lateness, {topology.name}, {_CLIENTS} clients"):
            rounds.append(
                [
                    clients.create_task(
                        late_ms(
                            url,
                            f"client-{number}-{place}",
                            secret=secret,
                            starts_in_s=choice.uniform(0, _ROUND_S),
                            idle_timeout_s=topology.idle_timeout_s,
                        )
                    )
                    for place in range(_CLIENTS)
                ]
            )
            await asyncio.sleep(_ROUND_S)
    return [[client.result() for client in clients] for clients in rounds]


async def late_ms(
    url: str, name: str, *, secret: str, starts_in_s: float, idle_timeout_s: int
) -> float:
    """Join, say one thing, wait for the end; return how long after the deadline it came, ms."""
    closed_at: list[float] = []

    def note_close(_who: Client, what: str) -> None:
        if what == "closed":
            closed_at.append(time.monotonic())

    await asyncio.sleep(starts_in_s)
    # A session of its own: nobody is closed because a speaker was.
    client = Client(name, f"session-{name}", Role.SPEAKER, on_event=note_close)
    await client.join(url, secret=secret)
    try:
        last_word_at = time.monotonic()
        await client.say("heartbeat")
        await client.wait_closed(timeout_s=idle_timeout_s + _MAX_LATE_S)
    finally:
        await client.leave()
    if len(client.messages("connectionTimeout")) != 1:
        raise WorkNotDoneError(f"{name} was closed for another reason than its silence")
    late = (closed_at[0] - last_word_at - idle_timeout_s) * 1_000
    if late < 0:
        raise WorkNotDoneError(f"{name} was closed {-late:.0f} ms before its deadline")
    return late
