"""`hangup init` finds each of the apps, with nothing but its API named.

It runs as a user who has the documented permissions and no others.
"""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from hangup.aws.schema import TableSchema
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST
from hangup.ops.deployment_file import Deployment
from tests.support.apps import APPS, Client, Cloud, deploy_app, started_cloud
from tests.support.documents import page, table
from tests.support.terminal import HANGUP, plain_environment

pytestmark = pytest.mark.acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What clients connect with and say, and who removes a record of the app.

    The talking one speaks for ``speaks_s`` seconds at least: so its last activity is not its
    connect, by more than a function takes to start.
    """

    silent: Mapping[str, str] = field(default_factory=dict)
    talking: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, Any] = field(default_factory=lambda: {"action": "here"})
    speaks_s: float = 3.0
    hand_over: str = "if_left"


CASES: Final[Mapping[str, Case]] = {
    "a_bare": Case(says={"action": "sendmessage", "data": "hello"}),
    "b_renamed": Case(hand_over="delete"),
    "c_composite": Case(),
    "d_single_table": Case(
        silent={"user": "bob", "room": "lobby"},
        talking={"user": "ann", "room": "lobby"},
        says={"action": "say", "room": "lobby", "text": "hello"},
    ),
    "e_rooms": Case(
        silent={"room": "kitchen"},
        talking={"room": "hall"},
        says={"room": "hall", "text": "hello"},
        hand_over="delete",
    ),
    "f_users": Case(silent={"user": "bob"}, talking={"user": "ann"}),
    "g_ttl": Case(speaks_s=8.0),
    "h_shared": Case(),
    "i_encrypted": Case(),
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with started_cloud() as started:
        yield started


@pytest.fixture(scope="module")
def reader(cloud: Cloud) -> dict[str, str]:
    """Return the environment of a user with the documented permissions."""
    iam = cloud.engine.client("iam")
    iam.create_user(UserName="reader")
    statements = [
        {
            "Effect": "Allow",
            "Action": [one.strip(" `") for one in action.split(",")],
            "Resource": resource.strip(" `"),
        }
        for action, resource, _ in table("Action", page("guides/find-your-app"))
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    return plain_environment(
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=cloud.engine.endpoint,
    )


@pytest.mark.parametrize("folder", CASES)
def test_init_proposes_the_right_file(
    cloud: Cloud, reader: dict[str, str], tmp_path: Path, folder: str
) -> None:
    case, outputs = CASES[folder], deploy_app(cloud, folder)
    expected = json.loads((APPS / folder / "timeout.json").read_text())
    dynamodb = cloud.engine.client("dynamodb")
    for item in json.loads((APPS / folder / "items.json").read_text()):
        dynamodb.put_item(TableName=outputs["TableName"], Item=item)
    path = f"_aws/execute-api/{outputs['ApiId']}/{expected['StageName']}"
    if "TableKeyArn" in outputs:  # which the engine takes by its API, and not in a template
        key = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": outputs["TableKeyArn"]}
        dynamodb.update_table(TableName=outputs["TableName"], SSESpecification=key)
    words = ["--api", outputs["ApiId"], "--set", f"api.endpoint={cloud.engine.endpoint}/{path}"]

    async def play() -> None:
        async with AsyncExitStack() as clients:
            silent, talking = [
                await clients.enter_async_context(
                    Client.connected(f"ws://{HOST}:{cloud.engine.port}/{path}?{urlencode(query)}")
                )
                for query in (case.silent, case.talking)
            ]
            talking.talk(case.says)
            await asyncio.sleep(case.speaks_s)
            await talking.fall_silent()
            await at_rest(lambda: scanned(cloud, outputs["TableName"]))
            await asyncio.to_thread(init, reader, tmp_path, words)
            assert await silent.is_open()

    asyncio.run(play())
    deployment = Deployment.from_file(tmp_path / "hangup.toml")
    schema = TableSchema.from_json(json.dumps(expected["TableSchema"]))
    found = deployment.table_schema
    # Labels; the timeouts that the tests of the apps deploy have them, or have them not.
    assert found == replace(schema, session_id=found.session_id, role=found.role)
    parameters = deployment.parameters()
    assert parameters["TableName"] == outputs["TableName"]
    assert parameters["StageName"] == expected["StageName"]
    assert parameters["Activity"] == expected["Activity"]
    assert parameters.get("StateTable", "false") == expected.get("StateTable", "false")
    assert parameters.get("TableKeyArn") == outputs.get("TableKeyArn")
    assert parameters["HandOver"] == case.hand_over
    if case.hand_over == "if_left":
        assert parameters["DisconnectFunctionArn"] == outputs["DisconnectFunctionArn"]


def scanned(cloud: Cloud, name: str) -> object:
    return cloud.engine.client("dynamodb").scan(TableName=name)["Items"]


async def at_rest(look: Callable[[], object]) -> None:
    """Return once nothing has changed for a second: the functions have done what they were sent."""
    before = None
    while (now := await asyncio.to_thread(look)) != before:
        before = now
        await asyncio.sleep(1)


def init(reader: Mapping[str, str], folder: Path, words: list[str]) -> None:
    done = subprocess.run(
        [*HANGUP, "init", *words],
        cwd=folder,
        env=reader,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
