"""One local stack for all tests of the flow: deployed, with IAM enforced, swept by hand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.deployment import DeployedStack, StackOutputs
from hangup.aws.runtime import calls
from hangup.aws.sessions import DynamoDbSessions
from hangup.local.demo.clients import Client
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.ministack.aws_client import ROOT, Credentials
from hangup.local.ministack.engine import Engine
from hangup.sessions.model import Role

IDLE_TIMEOUT_S = 3
SETTLE_S = 15.0


@dataclass(frozen=True)
class Stack:
    """The deployed stack, and what tests do with it."""

    engine: Engine
    deployed: Deployment
    secret: str
    connections: DynamoDbConnections
    sessions: DynamoDbSessions

    def as_deployed(self, credentials: Credentials = ROOT) -> DeployedStack:
        """Return the stack as ``hangup check`` and the like see it, with these credentials."""
        return DeployedStack.of(
            StackOutputs(stack_name="Hangup", values=self.deployed.outputs),
            lambda service, url=None: self.engine.client(service, credentials, endpoint_url=url),
        )

    def sweep(self) -> Mapping[str, Any]:
        """Invoke the timeout function, as the rule does, and return its counts."""
        answer = self.engine.client("lambda").invoke(
            FunctionName=self.deployed.outputs["TimeoutFunction"], Payload=b"{}"
        )
        counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, counts
        return counts

    def log_lines(self, function: str, *, since_ms: int) -> list[Mapping[str, Any]]:
        """Return the structured log lines of a function since then."""
        configuration = self.engine.client("lambda").get_function_configuration(
            FunctionName=function
        )
        pages = self.engine.client("logs").get_paginator("filter_log_events")
        lines: list[Mapping[str, Any]] = []
        for page in pages.paginate(
            logGroupName=configuration["LoggingConfig"]["LogGroup"], startTime=since_ms
        ):
            messages = [event["message"] for event in page["events"]]
            lines += [json.loads(message) for message in messages if message.startswith("{")]
        return lines

    def listener_count(self, session_id: str) -> int | None:
        """Return how many listeners the session has, None if there is no such session."""
        session = self.sessions.get(session_id)
        return None if session is None else self.sessions.count_listeners(session_id)

    @asynccontextmanager
    async def session(
        self, *, listeners: int, speaker_talks: bool = True
    ) -> AsyncIterator[tuple[Client, list[Client]]]:
        """Yield the speaker and the listeners of a new session, all joined."""
        session_id = uuid4().hex
        speaker = Client("speaker", session_id, Role.SPEAKER, interval_s=0.5)
        others = [
            Client(f"listener {n}", session_id, Role.LISTENER, interval_s=0.5)
            for n in range(listeners)
        ]
        try:
            await speaker.join(self.deployed.web_socket_url, secret=self.secret)
            if speaker_talks:
                speaker.talk()
            await asyncio.gather(
                *(p.join(self.deployed.web_socket_url, secret=self.secret) for p in others)
            )
            yield speaker, others
        finally:
            await asyncio.gather(*(p.leave() for p in [speaker, *others]))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack whose sweeps close by themselves."""
    with started_stack(precise=False) as started:
        yield started


@pytest.fixture(scope="session")
def precise_stack() -> Iterator[Stack]:
    """The stack whose sweeps queue what falls due."""
    with started_stack(precise=True) as started:
        yield started


@contextmanager
def started_stack(*, precise: bool) -> Iterator[Stack]:
    """Yield a stack of its own."""
    with Engine.start() as engine:
        deployed = deploy(
            engine,
            parameters={"IdleTimeoutSeconds": str(IDLE_TIMEOUT_S)},
            template=packaged_template(precise=precise),
        )
        # Tests sweep by hand; the one about the rule turns it on again.
        engine.client("events").disable_rule(Name=deployed.outputs["SweepRule"])
        yield stack_of(engine, deployed)


def stack_of(engine: Engine, deployed: Deployment) -> Stack:
    """Return what is deployed, with its secret and adapters of its tables."""
    dynamodb = engine.client("dynamodb")
    secret = engine.client("secretsmanager").get_secret_value(
        SecretId=deployed.outputs["JoinSecretArn"]
    )["SecretString"]
    return Stack(
        engine=engine,
        deployed=deployed,
        secret=secret,
        connections=DynamoDbConnections(dynamodb, calls, deployed.outputs["ConnectionsTable"]),
        sessions=DynamoDbSessions(
            dynamodb,
            calls,
            connections_table=deployed.outputs["ConnectionsTable"],
            sessions_table=deployed.outputs["SessionsTable"],
        ),
    )


async def eventually(condition: Callable[[], bool], *, within_s: float = SETTLE_S) -> None:
    """Return once the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.1)


async def be_idle() -> None:
    """Let the idle timeout pass, and a little."""
    await asyncio.sleep(IDLE_TIMEOUT_S + 0.5)
