"""`hangup init` on the engine, by a user who has the documented permissions and no others."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from hangup.local.ministack.aws_client import ACCOUNT, REGION
from hangup.local.ministack.engine import Engine
from hangup.ops.deployment_file import Deployment
from tests.support.chat_app import App, deployed, policy
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.documents import page, table
from tests.support.engine_stack import until
from tests.support.terminal import HANGUP, on_terminal, plain_environment

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
    """Return the environment of a user with the documented permissions, whose table is empty."""
    until(lambda: not items(app))  # `$disconnect` comes some time after a client has left
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


def test_prints_what_the_guide_shows(app: App, reader: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(connect(app.address))
        done = init(
            reader,
            tmp_path,
            *("--api", "chat", "--set", f"api.endpoint={app.endpoint}"),
            *("--set", "api.stage=prod"),
        )
    assert (done.returncode, done.stderr) == (0, "")
    shown = page("guides/find-your-app").split("$ hangup init --api chat --set api.stage=prod\n")[1]
    printed = done.stdout.replace(app.api_id, "a1b2c3d4e5").replace(ACCOUNT, "123456789012")
    assert printed == shown.partition("```")[0]


def test_on_a_terminal_it_asks_what_is_meant(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    screen = on_terminal(
        [*HANGUP, "init", "--api", app.api_id, "--set", f"api.endpoint={app.endpoint}"],
        cwd=tmp_path,
        environment=reader,
        type_when=lambda text: "Number" in text,
        typed=b"9\n1\n",
    )
    assert screen.status == 0, screen.output
    assert "It is a number from 1 to 2." in screen.output
    assert Deployment.from_file(tmp_path / "hangup.toml")["api.stage"] == "dev"


def test_the_end_of_the_input_at_a_question_writes_nothing(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    screen = on_terminal(
        [*HANGUP, "init", "--api", app.api_id],
        cwd=tmp_path,
        environment=reader,
        type_when=lambda text: "Number" in text,
        typed=b"\x04",
    )
    assert screen.status == 130
    assert "Traceback" not in screen.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_stays_as_it_is(reader: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "hangup.toml"
    file.write_text("mine")
    done = init(reader, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "hangup: hangup.toml exists: --force overwrites it, --config FILE writes another\n"
    )
    assert file.read_text() == "mine"
    again = init(reader, tmp_path, "--api", "chat", "--yes", "--force")
    assert again.returncode == 0, again.stderr
    assert Deployment.from_file(file)["api.stage"] == "prod"


def test_what_it_may_not_read_is_one_sentence(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    iam = app.engine.client("iam")
    less = [one for one in documented_permissions() if one["Action"] != ["dynamodb:ListTables"]]
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy(*less))
    done = init(reader, tmp_path, "--api", "chat", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr)
    assert "ListTables failed with AccessDenied" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_follows_stage_variables_and_request_templates(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    gateway = app.engine.client("apigatewayv2")
    api_id = gateway.create_api(
        Name="direct", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action"
    )["ApiId"]
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:${{stageVariables.leave}}"
    to_function = gateway.create_integration(
        ApiId=api_id,
        IntegrationType="AWS_PROXY",
        IntegrationUri=f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{arn}"
        "/invocations",
    )["IntegrationId"]
    to_table = gateway.create_integration(
        ApiId=api_id,
        IntegrationType="AWS",
        IntegrationMethod="POST",
        IntegrationUri=f"arn:aws:apigateway:{REGION}:dynamodb:action/PutItem",
        RequestTemplates={"$default": '{"TableName": "chat-sockets", "Item": {}}'},
    )["IntegrationId"]
    gateway.create_route(ApiId=api_id, RouteKey="$connect", Target=f"integrations/{to_table}")
    gateway.create_route(ApiId=api_id, RouteKey="$disconnect", Target=f"integrations/{to_function}")
    gateway.create_stage(ApiId=api_id, StageName="live", StageVariables={"leave": "nobody"})
    done = init(reader, tmp_path, "--api", "direct", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:nobody"
    assert found["routes"] == [
        {"key": "$connect", "function": None, "tables": ["chat-sockets"]},
        {"key": "$disconnect", "function": function, "tables": []},
    ]
    assert (found["table"], found["disconnectFunction"]) == ("chat-sockets", function)
    assert "the environment of nobody cannot be read: there is no such function" in found["notes"]


def test_a_table_is_described_with_its_stream_time_to_live_and_encryption(
    app: App, reader: dict[str, str], tmp_path: Path
) -> None:
    key = app.engine.client("kms").create_key()["KeyMetadata"]["Arn"]
    dynamodb = app.engine.client("dynamodb")
    dynamodb.create_table(
        TableName="presence",
        KeySchema=[
            {"AttributeName": "room", "KeyType": "HASH"},
            {"AttributeName": "number", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "number", "AttributeType": "N"},
            {"AttributeName": "room", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )
    dynamodb.update_time_to_live(
        TableName="presence", TimeToLiveSpecification={"Enabled": True, "AttributeName": "gone"}
    )
    done = init(
        reader,
        tmp_path,
        *("--api", "chat", "--set", "table.name=presence", "--set", "table.connection_id=socket"),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    deployment = Deployment.from_file(tmp_path / "hangup.toml")
    assert deployment.table_schema.key_attributes == (("room", "S"), ("number", "N"))
    assert deployment["timeout.state_table"] is True
    assert deployment["table.kms_key"] == key
