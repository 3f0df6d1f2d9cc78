"""`hangup init` on the engine, by a user who has the documented permissions and no others."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import Engine
from hangup.ops.deployment_file import Deployment
from tests.support.chat_app import App, deployed, policy
from tests.support.documents import page, table
from tests.support.terminal import HANGUP, plain_environment

pytestmark = pytest.mark.integration


def documented_permissions() -> list[dict[str, object]]:
    """Return what the guide says that `hangup init` needs, as a policy has it."""
    rows = table("Action", page("guides/find-your-app"))
    return [
        {
            "Effect": "Allow",
            "Action": [one.strip(" `") for one in action.split(",")],
            "Resource": [one.strip(" `") for one in resource.split(",")],
        }
        for action, resource, _ in rows
    ]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with Engine.start() as engine:
        app = deployed(engine)
        engine.client("iam").create_user(UserName="reader")
        yield app


@pytest.fixture
def reader(app: App) -> dict[str, str]:
    """Return the environment of a user with the documented permissions."""
    iam = app.engine.client("iam")
    iam.put_user_policy(
        UserName="reader", PolicyName="read", PolicyDocument=policy(*documented_permissions())
    )
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    return plain_environment(
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=app.engine.endpoint,
    )


def init(reader: dict[str, str], folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*HANGUP, "init", *words],
        cwd=folder,
        env=reader,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def items(app: App) -> Any:
    return app.engine.client("dynamodb").scan(TableName="chat-sockets")["Items"]


def test_finds_the_app_and_changes_nothing_but_the_file(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    endpoint = f"api.endpoint={app.endpoint}"
    with ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(connect(app.address))
        before = items(app)
        done = init(reader, tmp_path, "--api", "chat", "--set", endpoint, "--json")
        assert items(app) == before
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["api"]["id"], found["table"]) == (app.api_id, "chat-sockets")
    assert (found["itemsRead"], found["connections"], found["knownConnections"]) == (2, 2, 2)
    deployment = Deployment.from_file(tmp_path / "hangup.toml")
    parameters = deployment.parameters()
    schema = json.loads(parameters.pop("TableSchema"))
    assert parameters == {
        "ApiId": app.api_id,
        "StageName": "prod",
        "ManagementEndpoint": app.endpoint,
        "DisconnectFunctionArn": app.function_arn,
        "TableName": "chat-sockets",
        "Activity": "gateway",
        "HandOver": "if_left",
    }
    assert schema == {
        "connection_id": "socket",
        "id_prefix": "ws#",
        "session_id": "room",
        "role": None,
        "connected_at": "since",
        "connected_at_unit": "s",
        "last_activity": None,
        "only": [["equals", "env", "prod"]],
    }
    assert deployment["stack.name"] == "chat-hangup"
    assert [path.name for path in tmp_path.iterdir()] == ["hangup.toml"]
