"""Apps that were written without Hangup, deployed on the local engine, and a timeout beside each.

An app is a folder of ``tests/acceptance/apps``: its CloudFormation template and its functions in
whatever language, ``items.json`` with what else is in its table, and ``timeout.json`` with the
parameters of the timeout for it.
"""

import asyncio
import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hangup.aws.schema import TableSchema
from hangup.local.deploy import _lambda_zip
from hangup.local.ministack import template as emulator_template
from hangup.local.ministack.aws_client import Credentials
from hangup.local.ministack.engine import HOST, Engine
from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.local_stack import IDLE_TIMEOUT_S, eventually
from tests.support.node import bundle, node_folder

APPS: Final = ROOT / "tests" / "acceptance" / "apps"
BUCKET: Final = "code-of-apps"

Item = dict[str, Any]

_MAX_DEPLOY_S: Final = 60.0
_TALKS_EVERY_S: Final = 0.3
_ABNORMAL_CLOSE: Final = 1006
_NOT_CODE: Final = (".json", ".yaml", ".mjs")
_MAY_DEPLOY: Final = [
    {
        "Effect": "Allow",
        "Action": [
            "cloudformation:CreateStack",
            "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStacks",
        ],
        "Resource": "arn:aws:cloudformation:*:*:stack/*",
    },
    {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    },
]
"""All that whoever deploys may do. CloudFormation makes the resources here by itself."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """An engine with IAM enforced, a bucket for code, and a user who may deploy and no more."""

    engine: Engine
    deployer: Credentials
    apps: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """The outputs of the apps that are deployed, by their folders."""

    def client(self, service: str) -> Any:
        """Return a client with the deployer's rights."""
        return self.engine.client(service, self.deployer)

    def upload(self, name: str, code: bytes) -> str:
        """Put a zip into the bucket, and return its key."""
        key = f"{name}-{hashlib.sha256(code).hexdigest()[:16]}.zip"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=code)
        return key

    def deploy(
        self, stack_name: str, template: str, parameters: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Create a stack, and return its outputs; fail with the reason if that fails."""
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=template,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        )
        deadline = time.monotonic() + _MAX_DEPLOY_S
        while True:
            (stack,) = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            assert time.monotonic() < deadline, f"{stack_name} is still {stack['StackStatus']}"
            time.sleep(0.05)
        events = cloudformation.describe_stack_events(StackName=stack_name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        assert stack["StackStatus"] == "CREATE_COMPLETE", failed
        return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}


@contextmanager
def started_cloud() -> Iterator[Cloud]:
    """Yield an engine of its own, on which nothing is deployed."""
    with Engine.start(programs=node_folder()) as engine:
        engine.client("s3").create_bucket(Bucket=BUCKET)
        iam = engine.client("iam")
        iam.create_user(UserName="deployer")
        iam.put_user_policy(
            UserName="deployer",
            PolicyName="deploy",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": _MAY_DEPLOY}),
        )
        key = iam.create_access_key(UserName="deployer")["AccessKey"]
        yield Cloud(
            engine,
            Credentials(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A deployed app, and the timeout that was deployed beside it."""

    cloud: Cloud
    folder: str
    key: Sequence[str]
    """The names of the table's key."""
    outputs: Mapping[str, str]
    """Those of all stacks of the app."""
    timeout: Mapping[str, str]
    """The outputs of the timeout's stack."""
    parameters: Mapping[str, str]
    """The parameters of the timeout's stack."""
    strangers: Sequence[Item]
    """What is in the table from the beginning, and no connection."""

    @property
    def schema(self) -> TableSchema:
        return TableSchema.from_json(self.parameters["TableSchema"])

    def address(self, query: Mapping[str, str], *, api: str = "ApiId", stage: str = "") -> str:
        """Return where a client connects: by default at the API and stage of the timeout."""
        stage = stage or self.parameters["StageName"]
        path = f"_aws/execute-api/{self.outputs[api]}/{stage}"
        return f"ws://{HOST}:{self.cloud.engine.port}/{path}?{urlencode(query)}"

    def items(self) -> list[Item]:
        """Return what is in the table, in DynamoDB's own JSON."""
        page = self.cloud.engine.client("dynamodb").scan(
            TableName=self.parameters["TableName"], ConsistentRead=True
        )
        assert "LastEvaluatedKey" not in page
        return list(page["Items"])

    def records(self) -> list[Item]:
        """Return the items that are connections of this deployment."""
        return [item for item in self.items() if self._is_record(item)]

    def connection_ids(self) -> list[str]:
        """Return the id of each record."""
        return [self.id_in(record) for record in self.records()]

    def id_in(self, record: Item) -> str:
        """Return the connection id in a record."""
        value: str = record[self.schema.connection_id]["S"]
        return value.removeprefix(self.schema.id_prefix)

    def others(self) -> list[Item]:
        """Return the items that are not connections of this deployment."""
        return [item for item in self.items() if not self._is_record(item)]

    def key_of(self, item: Item) -> Item:
        """Return the key of an item."""
        return {name: item[name] for name in self.key}

    def without_marks(self, item: Item) -> Item:
        """Return an item without what Hangup adds to a record."""
        schema = self.schema
        marks = {
            *(schema.gateway_active, schema.noticed_at, schema.handovers),
            *(schema.claim_expires_at, schema.claim_token),
        }
        return {name: value for name, value in item.items() if name not in marks}

    def claimed_for_s(self, record: Item) -> float:
        """Return for how many seconds a record is claimed from now on, and a moment."""
        expires_ms = int(record[self.schema.claim_expires_at]["N"])
        return max(0.0, expires_ms / 1000 - time.time() + 0.1)

    def _is_record(self, item: Item) -> bool:
        return item not in self.strangers and self.schema.matches(item)

    def functions(self) -> Sequence[str]:
        """Return the names of the app's own functions."""
        resources = self.cloud.engine.client("cloudformation").describe_stack_resources(
            StackName=stack_name(self.folder)
        )["StackResources"]
        return [
            resource["PhysicalResourceId"]
            for resource in resources
            if resource["ResourceType"] == "AWS::Lambda::Function"
        ]

    @contextmanager
    def without_disconnects(self) -> Iterator[None]:
        """Let API Gateway lose the ``$disconnect`` events of clients that leave meanwhile."""
        gateway = self.cloud.engine.client("apigatewayv2")
        api = {"ApiId": self.parameters["ApiId"]}
        (route,) = (
            one for one in gateway.get_routes(**api)["Items"] if one["RouteKey"] == "$disconnect"
        )
        gateway.delete_route(**api, RouteId=route["RouteId"])
        try:
            yield
        finally:
            gateway.create_route(**api, RouteKey=route["RouteKey"], Target=route["Target"])

    @contextmanager
    def swept_by_its_rule(self) -> Iterator[None]:
        """Let the timeout's rule do its work meanwhile."""
        events = self.cloud.engine.client("events")
        rule = self.timeout["SweepRuleName"]
        events.enable_rule(Name=rule)
        try:
            yield
        finally:
            events.disable_rule(Name=rule)

    def is_gone(self, connection_id: str) -> bool:
        """Return whether API Gateway knows of no such connection."""
        clients = self.cloud.engine.client(
            "apigatewaymanagementapi", endpoint_url=self.parameters["ManagementEndpoint"]
        )
        try:
            clients.get_connection(ConnectionId=connection_id)
        except clients.exceptions.GoneException:
            return True
        return False

    def sweep(self) -> Mapping[str, Any]:
        """Invoke the timeout function, as its rule does, and return its counts."""
        answer = self.cloud.engine.client("lambda").invoke(
            FunctionName=self.timeout["TimeoutFunctionName"], Payload=b"{}"
        )
        counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, counts
        return counts

    def invocations(self, function: str, metric: str = "Invocations") -> int:
        """Return how often a function was called, or failed (``Errors``), so far."""
        now_s = time.time()
        points = self.cloud.engine.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": function.rpartition(":")[2]}],
            StartTime=now_s - 3_600,
            EndTime=now_s + 60,
            Period=7_200,
            Statistics=["Sum"],
        )["Datapoints"]
        return int(sum(point["Sum"] for point in points))

    @asynccontextmanager
    async def client(self, query: Mapping[str, str], **place: str) -> AsyncIterator["Client"]:
        """Yield a client that is connected."""
        async with Client.connected(self.address(query, **place)) as client:
            yield client


def stack_name(folder: str) -> str:
    """Return the name of an app's stack."""
    return folder.replace("_", "-")


def deployed(cloud: Cloud, folder: str) -> App:
    """Deploy an app of ``APPS``, with what is in its table, and the timeout beside it."""
    outputs = deploy_app(cloud, folder)
    parameters = timeout_parameters(folder, outputs, cloud.engine.endpoint)
    dynamodb = cloud.engine.client("dynamodb")
    strangers = dynamodb.scan(TableName=outputs["TableName"])["Items"]
    table = dynamodb.describe_table(TableName=outputs["TableName"])["Table"]
    return App(
        cloud=cloud,
        folder=folder,
        key=[one["AttributeName"] for one in table["KeySchema"]],
        outputs=outputs,
        timeout=deploy_timeout(cloud, f"{stack_name(folder)}-timeout", parameters),
        parameters=parameters,
        strangers=strangers,
    )


def deploy_app(cloud: Cloud, folder: str) -> Mapping[str, str]:
    """Return the outputs of the stacks of an app of ``APPS``, whose table is as in the beginning.

    It is deployed the first time, as its authors would.
    """
    if folder not in cloud.apps:
        cloud.apps[folder] = _deploy_app(cloud, folder)
    outputs = cloud.apps[folder]
    about = {"TableName": outputs["TableName"]}
    dynamodb = cloud.engine.client("dynamodb")
    key = [one["AttributeName"] for one in dynamodb.describe_table(**about)["Table"]["KeySchema"]]
    for item in dynamodb.scan(**about)["Items"]:
        dynamodb.delete_item(**about, Key={name: item[name] for name in key})
    for item in json.loads((APPS / folder / "items.json").read_text()):
        dynamodb.put_item(**about, Item=item)
    return outputs


def _deploy_app(cloud: Cloud, folder: str) -> Mapping[str, str]:
    name = stack_name(folder)
    outputs: dict[str, str] = {}
    parameters = {}
    data = APPS / folder / "data.yaml"
    if data.is_file():
        outputs |= cloud.deploy(f"{name}-data", data.read_text(), {})
        parameters["DataStack"] = f"{name}-data"
    template = (APPS / folder / "template.yaml").read_text()
    parameters |= {"CodeBucket": BUCKET, "CodeKey": cloud.upload(name, code_of(APPS / folder))}
    if "Endpoint:" in template:
        parameters["Endpoint"] = cloud.engine.endpoint
    return outputs | dict(cloud.deploy(name, template, parameters))


def timeout_settings(folder: str) -> dict[str, str]:
    """Return what ``timeout.json`` says, as parameters of a template."""
    values = json.loads((APPS / folder / "timeout.json").read_text())
    return {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in values.items()
    }


def timeout_parameters(folder: str, outputs: Mapping[str, str], endpoint: str) -> dict[str, str]:
    """Return the parameters of the timeout for an app with these outputs."""
    parameters = timeout_settings(folder)
    of_app = ["ApiId", "TableName", "TableKeyArn"]
    if parameters["HandOver"] in ("always", "if_left"):
        of_app.append("DisconnectFunctionArn")
    parameters |= {name: outputs[name] for name in of_app if name in outputs}
    path = f"_aws/execute-api/{parameters['ApiId']}/{parameters['StageName']}"
    return parameters | {
        "ManagementEndpoint": f"{endpoint}/{path}",
        "IdleTimeoutSeconds": str(IDLE_TIMEOUT_S),
    }


def deploy_timeout(
    cloud: Cloud, stack_name: str, parameters: Mapping[str, str]
) -> Mapping[str, str]:
    """Deploy the template of the timeout alone, and return its outputs.

    Its rule is disabled: tests sweep by hand.
    """
    template = emulator_template.prepared(json.loads(timeout_template()))
    code = {"CodeBucket": BUCKET, "CodeKey": cloud.upload("hangup", _lambda_zip())}
    body = json.dumps(template, separators=(",", ":"))
    outputs = cloud.deploy(stack_name, body, {**parameters, **code})
    cloud.engine.client("events").disable_rule(Name=outputs["SweepRuleName"])
    return outputs


def code_of(folder: Path) -> bytes:
    """Return the zip of an app's functions: what is in JavaScript is bundled with its packages."""
    files = {file.name: file for file in folder.iterdir() if file.suffix not in _NOT_CODE}
    if modules := sorted(folder.glob("*.mjs")):
        files |= {file.name: file for file in bundle(APPS, modules)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(files.items()):
            if file.is_file():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (0o755 if os.access(file, os.X_OK) else 0o644) << 16
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@dataclass(slots=True, eq=False)
class Client:
    """A WebSocket client that keeps what it receives, and talks if it is told to."""

    socket: ClientConnection
    received: list[dict[str, Any]] = field(default_factory=list)
    close_code: int | None = None
    _talker: "asyncio.Task[None] | None" = None

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Self]:
        """Connect, and leave at the end. The client sends no pings by itself."""
        async with connect(url, ping_interval=None, open_timeout=20, proxy=None) as socket:
            client = cls(socket)
            reader = asyncio.create_task(client._read())
            try:
                yield client
            finally:
                await client.fall_silent()
                await socket.close()
                await reader

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    def talk(self, message: Mapping[str, Any]) -> None:
        """Send a message a few times a second from now on."""
        self._talker = asyncio.create_task(self._keep_saying(message))

    async def fall_silent(self) -> None:
        if self._talker is not None:
            self._talker.cancel()
            await asyncio.wait({self._talker})
            self._talker = None

    async def is_open(self) -> bool:
        """Say whether the other side still answers."""
        with suppress(ConnectionClosed):
            async with asyncio.timeout(15):
                await (await self.socket.ping())
                return True
        return False

    async def wait_closed(self) -> None:
        await eventually(lambda: self.close_code is not None)

    async def hears(self, member: str) -> None:
        """Return once a further message with this member is received."""
        before = len(self.received)
        await eventually(lambda: any(member in message for message in self.received[before:]))

    def notices(self) -> Sequence[Mapping[str, Any]]:
        """Return the timeout's notices so far."""
        return [message for message in self.received if message.get("type") == "connectionTimeout"]

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self.socket:
                self.received.append(json.loads(text))
        self.close_code = self.socket.close_code or _ABNORMAL_CLOSE

    async def _keep_saying(self, message: Mapping[str, Any]) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self.say(message)
                await asyncio.sleep(_TALKS_EVERY_S)
