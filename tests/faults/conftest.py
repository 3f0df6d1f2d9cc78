"""The handlers in this process, MiniStack behind microburst, real WebSocket clients."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.process import calls
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.model import Connection, Role
from hangup.handlers import (
    close_handler,
    connect_handler,
    disconnect_handler,
    timeout_handler,
)
from hangup.local.client import REGION
from hangup.local.deploy import deploy
from hangup.local.engine import Engine
from tests.faults.proxy import Proxy, fault_proxy
from tests.integration.conftest import Stack

IDLE_TIMEOUT_S = 120


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

    def handle(self, handler: ModuleType, event: object) -> Any:
        """Run a handler in this process, its calls through the proxy."""
        return handler.lambda_handler(event, Context())

    def make_idle(self, connection: Connection) -> None:
        """Move the last recorded activity back by three timeouts."""
        past_ms = time.time_ns() // 1_000_000 - 3 * IDLE_TIMEOUT_S * 1000
        self.engine.client("dynamodb").update_item(
            TableName=self.deployed.connections_table,
            Key={"connectionId": {"S": connection.connection_id}},
            UpdateExpression="SET lastActivityTime = :past",
            ExpressionAttributeValues={":past": {"N": str(past_ms)}},
        )

    def let_claims_expire(self) -> None:
        """Do what a minute does."""
        dynamodb = self.engine.client("dynamodb")
        for table, key in (
            (self.deployed.connections_table, "connectionId"),
            (self.deployed.sessions_table, "sessionId"),
        ):
            for item in dynamodb.scan(TableName=table)["Items"]:
                if "claimExpiresAt" in item:
                    dynamodb.update_item(
                        TableName=table,
                        Key={key: item[key]},
                        UpdateExpression="REMOVE claimExpiresAt",
                    )

    def records(self, session_id: str) -> list[Connection]:
        """Return the session's connection records."""
        return [c for c in self.connections.scan_all_connections() if c.session_id == session_id]

    def record(self, session_id: str, role: Role) -> Connection:
        """Return the only record of this role."""
        (found,) = [c for c in self.records(session_id) if c.role is role]
        return found


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Stack, Proxy]]:
    # Without IAM: a signature names the host, and the proxy's is another than MiniStack's. The
    # roles are tried in tests/integration.
    with Engine.start(enforce_iam=False) as engine:
        deployed = deploy(engine)
        engine.client("events").disable_rule(Name=deployed.sweep_rule)
        dynamodb = engine.client("dynamodb")
        secret = engine.client("secretsmanager").get_secret_value(
            SecretId=deployed.join_secret_arn
        )["SecretString"]
        stack = Stack(
            engine=engine,
            deployed=deployed,
            secret=secret,
            connections=DynamoDbConnections(dynamodb, calls, deployed.connections_table),
            sessions=DynamoDbSessions(
                dynamodb,
                calls,
                connections_table=deployed.connections_table,
                sessions_table=deployed.sessions_table,
            ),
        )
        with fault_proxy(engine.port, deployed.api_id) as proxy:
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
        "CONNECTIONS_TABLE": stack.deployed.connections_table,
        "SESSIONS_TABLE": stack.deployed.sessions_table,
        "DISCONNECT_HANDLER_FUNCTION": stack.deployed.disconnect_function,
        "JOIN_SECRET_ARN": stack.deployed.join_secret_arn,
        "CONNECTION_IDLE_TIMEOUT_SECONDS": str(IDLE_TIMEOUT_S),
        "SCAN_SEGMENTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    caches: list[Callable[[], None]] = [
        close_handler._due_connections.cache_clear,
        connect_handler._parts.cache_clear,
        disconnect_handler._cleanup.cache_clear,
        timeout_handler._sweep.cache_clear,
    ]
    for clear in caches:
        clear()
    proxy.plan()
    yield Site(**{name: getattr(stack, name) for name in Stack.__annotations__}, proxy=proxy)
    proxy.plan()
    for clear in caches:
        clear()


def disconnect_of(connection: Connection) -> dict[str, object]:
    """Return API Gateway's event for a closed connection, as far as the handler reads it."""
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(
            {
                "requestContext": {
                    "routeKey": "$disconnect",
                    "eventType": "DISCONNECT",
                    "connectionId": connection.connection_id,
                }
            }
        )
    )
