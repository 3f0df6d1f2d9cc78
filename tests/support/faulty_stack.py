"""The handlers in this process, MiniStack behind microburst, real WebSocket clients."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from hangup.aws.runtime import deadline
from hangup.aws.telemetry import StructuredLog
from hangup.core.connection import Connection, DurationMs
from hangup.local.demo.clients import Client
from hangup.local.deploy import deploy
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import Engine
from hangup.ops.wiring import check_of
from hangup.sessions.check import CheckReport
from hangup.sessions.model import Role
from tests.support.lambda_process import log_to_current_stdout, start_cold
from tests.support.local_stack import Stack, stack_of
from tests.support.proxy import Proxy, fault_proxy

IDLE_TIMEOUT_S = 120
_TRIES = 30

_log = StructuredLog("tests")


@dataclass(frozen=True)
class Context:
    """Lambda's context of an invocation with plenty of time."""

    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass(frozen=True)
class Site(Stack):
    """The stack, with the proxy before it."""

    proxy: Proxy

    @asynccontextmanager
    async def session(
        self, *, listeners: int, speaker_talks: bool = True
    ) -> AsyncIterator[tuple[Client, list[Client]]]:
        """Yield as ``Stack`` does, once those of an earlier session have left the table.

        More gone than there would hold a sweep. Whom a fault keeps there is not waited for.
        """
        for _ in range(_TRIES):
            if not await asyncio.to_thread(lambda: list(self.connections.scan_all_connections())):
                break
            await asyncio.sleep(0.1)
        async with super().session(listeners=listeners, speaker_talks=speaker_talks) as joined:
            yield joined

    def handle(self, handler: ModuleType, event: object) -> Any:
        """Run a handler in this process, its calls through the proxy."""
        try:
            return handler.lambda_handler(event, Context())
        finally:
            deadline.start(None)  # the calls of other tests have no end

    def send_functions_through_the_proxy(self) -> None:
        """Have the deployed functions, too, make their calls through the proxy."""
        functions = self.engine.client("lambda")
        for name in (
            self.deployed.outputs["ConnectFunction"],
            self.deployed.outputs["MessageFunction"],
            self.deployed.outputs["DisconnectFunction"],
        ):
            configuration = functions.get_function_configuration(FunctionName=name)
            variables = {
                **configuration["Environment"]["Variables"],
                "AWS_ENDPOINT_URL": self.proxy.endpoint,
            }
            if "API_GATEWAY_ENDPOINT" in variables:
                variables["API_GATEWAY_ENDPOINT"] = f"{self.proxy.endpoint}/prod"
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )

    def make_idle(self, connection: Connection) -> None:
        """Move the last activity back by three timeouts, on record and in API Gateway's account."""
        past_ms = time.time_ns() // 1_000_000 - 3 * IDLE_TIMEOUT_S * 1000
        self.proxy.let_be_silent(connection.connection_id, since_s=past_ms / 1000)
        self.engine.client("dynamodb").update_item(
            TableName=self.deployed.outputs["ConnectionsTable"],
            Key={"connectionId": {"S": connection.connection_id}},
            UpdateExpression="SET lastActivityTime = :past",
            ConditionExpression="attribute_exists(connectionId)",
            ExpressionAttributeValues={":past": {"N": str(past_ms)}},
        )

    def let_claims_expire(self) -> None:
        """Do what a minute does."""
        dynamodb = self.engine.client("dynamodb")
        for table, key in (
            (self.deployed.outputs["ConnectionsTable"], "connectionId"),
            (self.deployed.outputs["SessionsTable"], "sessionId"),
        ):
            for item in dynamodb.scan(TableName=table)["Items"]:
                if "claimExpiresAt" in item:
                    # A cleanup may be under way: what it removes must not come back.
                    with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
                        dynamodb.update_item(
                            TableName=table,
                            Key={key: item[key]},
                            UpdateExpression="REMOVE claimExpiresAt",
                            ConditionExpression="attribute_exists(claimExpiresAt)",
                        )

    def check(self) -> CheckReport:
        """Do what ``hangup check`` does, around the proxy."""
        with check_of(
            self.as_deployed(), log=_log, progress=lambda _line: None, pause_ms=DurationMs(1_000)
        ) as check:
            return check.find()

    def records(self, session_id: str) -> list[Connection]:
        """Return the session's connection records."""
        return [c for c in self.connections.scan_all_connections() if c.session_id == session_id]

    def record(self, session_id: str, role: Role) -> Connection:
        """Return the only record of this role."""
        (found,) = [c for c in self.records(session_id) if c.role == role]
        return found


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Stack, Proxy]]:
    # Without IAM: a signature names the host, and the proxy's is another than MiniStack's. The
    # roles are tried in tests/integration.
    with Engine.start(enforce_iam=False) as engine:
        deployed = deploy(engine)
        engine.client("events").disable_rule(Name=deployed.outputs["SweepRule"])
        stack = stack_of(engine, deployed)
        with fault_proxy(engine.port, deployed.outputs["ApiId"]) as proxy:
            yield stack, proxy


@pytest.fixture
def site(running: tuple[Stack, Proxy], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    stack, proxy = running
    for name, value in {
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "API_GATEWAY_ENDPOINT": f"{proxy.endpoint}/prod",
        "CONNECTIONS_TABLE": stack.deployed.outputs["ConnectionsTable"],
        "SESSIONS_TABLE": stack.deployed.outputs["SessionsTable"],
        "DISCONNECT_HANDLER_FUNCTION": stack.deployed.outputs["DisconnectFunction"],
        "JOIN_SECRET_ARN": stack.deployed.outputs["JoinSecretArn"],
        "CONNECTION_IDLE_TIMEOUT_SECONDS": str(IDLE_TIMEOUT_S),
        "SCAN_SEGMENTS": "1",
        # A question after the notice would not tell more, and faults are for those before it.
        "LAST_ACTIVE_COUNTS": "client",
    }.items():
        monkeypatch.setenv(name, value)
    log_to_current_stdout()
    start_cold()
    proxy.plan()
    yield Site(**{name: getattr(stack, name) for name in Stack.__annotations__}, proxy=proxy)
    proxy.plan()
    start_cold()


def event_of(route_key: str, connection: Connection, **members: object) -> dict[str, object]:
    """Return API Gateway's event of a route, as far as the handlers read it."""
    context = {
        "routeKey": route_key,
        "eventType": {"$connect": "CONNECT", "$disconnect": "DISCONNECT"}.get(route_key, "MESSAGE"),
        "connectionId": connection.connection_id,
    }
    return {"requestContext": context, **members}
