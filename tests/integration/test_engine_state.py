"""The start of ``hangup up``: what its state lacks is said, and what its options do."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from hangup.aws.deployment import stack_outputs
from hangup.errors import LocalStackError
from hangup.local.deploy import deploy, packaged_template
from hangup.local.ministack.aws_client import aws_client
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.last_active import LastActive
from hangup.local.resources import missing_resources
from hangup.local.up import run_up

pytestmark = pytest.mark.integration

STACK = "Hangup"
TABLE = "AWS::DynamoDB::Table Connections"
FUNCTION = "AWS::Lambda::Function ConnectHandler"


class UpError(Exception):
    """Raised where ``hangup up`` would run on."""


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a stack that was up and has been stopped."""
    folder = tmp_path_factory.mktemp("complete")
    with Engine.start(state_dir=folder / "state") as engine:
        deploy(engine, template=packaged_template(precise=True))
    return folder


def up(
    folder: Path,
    *,
    say: Callable[[str], None] | None = None,
    last_active: LastActive = LastActive.CLIENT,
) -> None:
    def stop_when_up(line: str) -> None:
        if line.startswith("Up:"):
            raise UpError

    run_up(
        say or stop_when_up,
        port=0,
        idle_timeout_s=120,
        precise=True,
        last_active=last_active,
        state_dir=folder,
        program="hangup",
        python="python",
    )


def connection_ids(engine: str) -> list[str]:
    outputs = stack_outputs(aws_client("cloudformation", engine), STACK)
    table = aws_client("dynamodb", engine).scan(TableName=outputs["ConnectionsTable"])
    return [item["connectionId"]["S"] for item in table["Items"]]


def without(*files: str) -> Callable[[Path], None]:
    def remove(state: Path) -> None:
        for file in files:
            (state / "services" / file).unlink()

    return remove


def with_damaged(file: str) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        path = state / "services" / file
        path.write_bytes(path.read_bytes()[:-100])

    return damage


def with_newer(file: str) -> Callable[[Path], None]:
    def replace(state: Path) -> None:
        path = state / "services" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"__ministack_format__": 99}))

    return replace


def without_code(state: Path) -> None:
    shutil.rmtree(state / "services" / "lambda-blobs")


def test_complete_state_is_restored_and_up(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    with pytest.raises(UpError):
        up(folder)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (without("dynamodb.json"), [TABLE]),
        (with_damaged("dynamodb.json"), [TABLE]),
        (with_newer("dynamodb.json"), [TABLE]),
        (without_code, [FUNCTION]),
        (
            without(
                "apigateway.json", "cloudwatch.json", "cloudwatch_logs.json", "eventbridge.json"
            ),
            [
                "AWS::ApiGatewayV2::Api Api",
                "AWS::CloudWatch::Alarm IdleTimeoutHeld",
                "AWS::Events::Rule IdleTimeoutEveryMinute",
                "AWS::Logs::LogGroup ConnectHandlerLogs",
            ],
        ),
        (
            without("iam.json", "lambda.json", "secretsmanager.json", "sqs.json"),
            [
                "AWS::IAM::Role ConnectHandler",
                "AWS::Lambda::EventSourceMapping IdleTimeoutScheduledCloses",
                "AWS::SQS::Queue FailedCleanups",
                "AWS::SecretsManager::Secret JoinSecret",
                FUNCTION,
            ],
        ),
    ],
    ids=["no table", "damaged", "newer version", "no code", "four services", "four others"],
)
def test_state_that_lacks_a_part_of_the_stack_is_said_with_what_to_do(
    complete: Path, tmp_path: Path, change: Callable[[Path], None], missing: list[str]
) -> None:
    folder = shutil.copytree(complete, tmp_path / "copy")
    change(folder / "state")
    with pytest.raises(LocalStackError) as said:
        up(folder)
    assert [part for part in missing if part not in str(said.value)] == []
    assert f"remove {folder / 'state'}, with all its data, and start again" in str(said.value)


@pytest.mark.parametrize("last_active", LastActive)
def test_up_simulates_either_meaning_of_the_last_activity(
    tmp_path: Path, last_active: LastActive
) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "Management endpoint" not in line:
            return
        (endpoint,) = re.findall(r"Management endpoint +(\S+)", line)
        (url,) = re.findall(r"websockets '(\S+)'", line)
        gateway = aws_client("apigatewaymanagementapi", endpoint)
        with connect(url, proxy=None) as client:
            (connection_id,) = connection_ids(endpoint.partition("/_aws/")[0])
            before = gateway.get_connection(ConnectionId=connection_id)["LastActiveAt"]
            time.sleep(0.05)
            gateway.post_to_connection(ConnectionId=connection_id, Data=b"push")
            assert client.recv(timeout=10) == "push"
            after = gateway.get_connection(ConnectionId=connection_id)["LastActiveAt"]
        assert (after > before) == (last_active is LastActive.BOTH)
        raise UpError

    with pytest.raises(UpError):
        up(tmp_path, say=say, last_active=last_active)
    told = "Messages that are posted to a client move its lastActiveAt too."
    assert (told in said) == (last_active is LastActive.BOTH)


def test_resource_that_was_deleted_by_hand_is_missing() -> None:
    with Engine.start() as engine:
        deployed = deploy(engine)
        assert missing_resources(engine, STACK) == []
        engine.client("dynamodb").delete_table(TableName=deployed.outputs["SessionsTable"])
        (missing,) = missing_resources(engine, STACK)
        assert missing.startswith("AWS::DynamoDB::Table Sessions")
        with pytest.raises(LocalStackError, match="The engine lacks parts of the stack Hangup"):
            deploy(engine)
