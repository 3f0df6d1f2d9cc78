"""The template of the timeout alone, deployed by plain CloudFormation beside a small app."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hangup.local.deploy import Deployment, deploy
from hangup.local.deploy import _lambda_zip as lambda_zip
from hangup.local.ministack.aws_client import ROOT as ROOT_CREDENTIALS
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.template import prepared
from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.engine_stack import code, template

pytestmark = pytest.mark.acceptance

IDLE_TIMEOUT_S: Final = 2
BUCKET: Final = "my-artifacts"
CODE: Final = "code-of-this-machine"
STACK: Final = "chat-timeout"

HANDLER: Final = """
import boto3, os, time

def handler(event, context):
    table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])
    about = event["requestContext"]
    key = {"connectionId": about["connectionId"]}
    now = time.time_ns() // 1_000_000
    if about["eventType"] == "CONNECT":
        table.put_item(Item={**key, "connectedAt": now, "role": "guest"})
    elif about["eventType"] == "MESSAGE":
        table.put_item(Item={**key, "connectedAt": now, "lastActivityTime": now, "role": "guest"})
    else:
        table.delete_item(Key=key)
    return {"statusCode": 200}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as started:
        s3 = started.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.create_bucket(Bucket=CODE)
        # Not the zip for Lambda: its libraries are for Lambda's processor and Python.
        s3.put_object(Bucket=CODE, Key="hangup.zip", Body=lambda_zip())
        yield started


@pytest.fixture(scope="module")
def uploaded(engine: Engine) -> Mapping[str, str]:
    """What ``hangup package`` has uploaded, by its own account."""
    done = package(engine, "--bucket", BUCKET, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


def package(engine: Engine, *words: str) -> "subprocess.CompletedProcess[str]":
    account = {
        "AWS_ACCESS_KEY_ID": ROOT_CREDENTIALS.access_key_id,
        "AWS_SECRET_ACCESS_KEY": ROOT_CREDENTIALS.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    return subprocess.run(
        [sys.executable, "-m", "hangup.cli", "package", "--endpoint-url", engine.endpoint, *words],
        cwd=ROOT,
        env={**os.environ, **account},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def application(engine: Engine) -> Deployment:
    return deploy(engine, template=template(), code=code(HANDLER), stack_name="chat")


def settled(engine: Engine) -> Mapping[str, Any]:
    """Return the stack once it has stopped changing."""
    deadline = time.monotonic() + 60
    while True:
        (stack,) = engine.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            return dict(stack)
        assert time.monotonic() < deadline
        time.sleep(0.1)


def parameters_of(engine: Engine, application: Deployment, **others: str) -> list[dict[str, str]]:
    function = engine.client("lambda").get_function(
        FunctionName=application.outputs["ConnectFunction"]
    )["Configuration"]["FunctionArn"]
    values = {
        "ApiId": application.outputs["ApiId"],
        "StageName": "prod",
        "ManagementEndpoint": application.management_endpoint,
        "TableName": application.outputs["ConnectionsTable"],
        "DisconnectFunctionArn": function,
        "IdleTimeoutSeconds": str(IDLE_TIMEOUT_S),
        "MetricRoles": "host,guest",
        "CodeBucket": CODE,
        "CodeKey": "hangup.zip",
        **others,
    }
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def create(engine: Engine, body: str, parameters: list[dict[str, str]]) -> dict[str, str]:
    """Create the stack, and return its outputs."""
    engine.client("cloudformation").create_stack(
        StackName=STACK,
        TemplateBody=body,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=parameters,
    )
    stack = settled(engine)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


async def talk(client: ClientConnection) -> None:
    while True:
        await client.send("{}")
        await asyncio.sleep(0.3)


async def last_words(client: ClientConnection) -> list[dict[str, Any]]:
    """Return what the client is sent until it is closed."""
    heard = []
    try:
        async with asyncio.timeout(30):
            while True:
                heard.append(json.loads(await client.recv()))
    except ConnectionClosed:
        return heard


@pytest.mark.parametrize("precise", ["false", "true"])
def test_a_silent_client_is_closed_and_a_talking_one_stays(
    engine: Engine, application: Deployment, precise: str
) -> None:
    cloudformation = engine.client("cloudformation")
    body = json.dumps(prepared(json.loads(timeout_template())), separators=(",", ":"))
    parameters = parameters_of(engine, application, Precise=precise, Shards="2")
    outputs = create(engine, body, parameters)
    assert outputs["MetricsNamespace"] == f"Hangup/{STACK}"
    assert ("CloseQueueUrl" in outputs) == (precise == "true")
    # The test sweeps by hand.
    engine.client("events").disable_rule(Name=outputs["SweepRuleName"])

    async def play() -> None:
        url = application.web_socket_url
        async with connect(url, proxy=None) as silent, connect(url, proxy=None) as talking:
            talks = asyncio.create_task(talk(talking))
            await asyncio.sleep(IDLE_TIMEOUT_S + 0.5)
            for shard in range(2):
                answer = await asyncio.to_thread(
                    engine.client("lambda").invoke,
                    FunctionName=outputs["TimeoutFunctionName"],
                    Payload=json.dumps({"shard": shard, "shards": 2}),
                )
                assert "FunctionError" not in answer, answer["Payload"].read()
            (notice,) = await last_words(silent)
            assert notice["type"] == "connectionTimeout"
            assert not talks.done()
            await (await talking.ping())
            talks.cancel()

    try:
        asyncio.run(play())
    finally:
        cloudformation.delete_stack(StackName=STACK)


@pytest.mark.parametrize(
    ("contradiction", "said"),
    [
        ({"DisconnectFunctionArn": ""}, "DisconnectFunctionArn must be given"),
        ({"Precise": "true", "IdleTimeoutSeconds": "74"}, "IdleTimeoutSeconds must be 75 or more"),
        ({"IdleTimeoutSeconds": "7201"}, "whole number from 1 to 7200"),
        ({"ManagementEndpoint": "wss://chat.example.com/prod"}, "https:// URL"),
    ],
)
def test_what_contradicts_is_refused_with_what_to_do(
    engine: Engine,
    application: Deployment,
    contradiction: dict[str, str],
    said: str,
) -> None:
    parameters = parameters_of(engine, application, **contradiction)
    with pytest.raises(ClientError, match=said):
        create(engine, timeout_template(), parameters)


def test_both_are_uploaded_by_their_content(engine: Engine, uploaded: Mapping[str, str]) -> None:
    s3 = engine.client("s3")
    code_ = s3.get_object(Bucket=BUCKET, Key=uploaded["CodeKey"])["Body"].read()
    assert "hangup/handlers/timeout_handler.py" in zipfile.ZipFile(io.BytesIO(code_)).namelist()
    assert hashlib.sha256(code_).hexdigest()[:16] in uploaded["CodeKey"]
    host, _, key = uploaded["TemplateUrl"].partition(f"/{BUCKET}/")
    assert host == "https://s3.us-east-1.amazonaws.com"
    there = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert there == timeout_template()
    again = package(engine, "--bucket", BUCKET, "--json")
    assert json.loads(again.stdout) == uploaded
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bucket", "nobody-made-this"), "there is no bucket nobody-made-this: create it in us-"),
        (("--output", "no/such/folder/a.zip"), "cannot be written"),
    ],
)
def test_says_what_to_do_where_it_cannot_upload(
    engine: Engine, words: tuple[str, ...], said: str
) -> None:
    done = package(engine, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
