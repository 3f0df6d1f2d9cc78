"""The SAM example with its nested stack, deployed on the local engine: who is silent is closed."""

import asyncio
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from websockets.asyncio.client import connect

from hangup.local.deploy import _lambda_zip as lambda_zip
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST, Engine
from hangup.local.ministack.template import prepared
from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.local_stack import IDLE_TIMEOUT_S, be_idle, eventually
from tests.support.node import node_folder, packages_of
from tests.support.sam import NoManagedPolicies

pytestmark = [pytest.mark.integration, pytest.mark.install]

BUCKET: Final = "code"
STACK: Final = "chat"
ROUTES: Final = ROOT / "examples" / "node"


def zipped(folder: Path, packages: Path) -> bytes:
    """Return the zip of the routes; the engine's Node.js has no SDK of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for file in folder.glob("*.mjs"):
            packed.write(file, file.name)
        for file in packages.rglob("*"):
            if file.suffix in (".js", ".mjs", ".cjs", ".json"):
                packed.write(file, Path("node_modules") / file.relative_to(packages))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    packages = packages_of(ROUTES) / "node_modules"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "defpath", f"{node_folder()}:{os.defpath}")
        started = Engine.start()
    with started:
        s3 = started.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        template = json.dumps(prepared(json.loads(timeout_template())))
        for key, body in (
            ("routes.zip", zipped(ROUTES, packages)),
            ("hangup.zip", lambda_zip()),
            ("hangup.json", template.encode()),
        ):
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        yield started


@pytest.fixture(scope="module")
def chat(engine: Engine) -> Mapping[str, str]:
    """Deploy the example, and return the outputs of the nested stack and the API's id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        document = yaml_parse((ROOT / "examples" / "sam" / "template.yaml").read_text())
        document["Globals"]["Function"]["CodeUri"] = f"s3://{BUCKET}/routes.zip"
        template: dict[str, Any] = transform(document, {"AWS::Region": REGION}, NoManagedPolicies())
    given = template["Resources"]["Hangup"]["Properties"]["Parameters"]
    # The engine's API is on loopback, and nobody wants to wait for 90 seconds.
    path = f"http://{HOST}:{engine.port}/_aws/execute-api"
    given["ManagementEndpoint"] = {"Fn::Sub": f"{path}/${{Api}}/live"}
    given["IdleTimeoutSeconds"] = str(IDLE_TIMEOUT_S)
    cloudformation = engine.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(prepared(template)),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in (
                ("HangupTemplateUrl", f"https://s3.{REGION}.amazonaws.com/{BUCKET}/hangup.json"),
                ("HangupCodeBucket", BUCKET),
                ("HangupCodeKey", "hangup.zip"),
            )
        ],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    resources = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    }
    (nested,) = cloudformation.describe_stacks(StackName=resources["Hangup"])["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in nested["Outputs"]}
    # The test sweeps by hand.
    engine.client("events").disable_rule(Name=outputs["SweepRuleName"])
    return {**outputs, "ApiId": resources["Api"], "Table": resources["Connections"]}


def test_a_silent_client_is_closed_by_the_nested_stack_and_a_talking_one_stays(
    engine: Engine, chat: Mapping[str, str]
) -> None:
    dynamodb = engine.client("dynamodb")

    def records() -> int:
        return int(dynamodb.scan(TableName=chat["Table"])["Count"])

    async def play() -> None:
        url = f"ws://{HOST}:{engine.port}/_aws/execute-api/{chat['ApiId']}/live"
        async with connect(url, proxy=None) as silent, connect(url, proxy=None) as talking:
            await eventually(lambda: records() == 2)
            await be_idle()
            await talking.send("hello")
            assert await talking.recv() == "hello"
            answer = await asyncio.to_thread(
                engine.client("lambda").invoke, FunctionName=chat["TimeoutFunctionName"]
            )
            assert "FunctionError" not in answer, answer["Payload"].read()
            notice = json.loads(await silent.recv())
            assert notice["type"] == "connectionTimeout"
            await silent.wait_closed()
            await eventually(lambda: records() == 1)
            await talking.send("still here")
            assert await talking.recv() == "still here"

    asyncio.run(play())
