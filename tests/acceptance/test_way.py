"""The whole way with each of the apps: found, looked at, observed, closed, and removed again.

Each command runs as a process, with nothing but the API named, as a user who has the permissions
that its guide documents and no others. What CloudFormation does, it does by itself: the engine asks
nobody for the permissions of ``resources`` in the guide.
"""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from hangup.aws.schema import TableSchema
from hangup.local.deploy import _lambda_zip
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST
from hangup.ops.deployment_file import Deployment
from tests.support.apps import APPS, Client, Cloud, Item, deploy_app, stack_name
from tests.support.documents import page, table
from tests.support.local_stack import eventually
from tests.support.relay import Relay, relay_to
from tests.support.terminal import HANGUP, plain_environment

pytestmark = pytest.mark.acceptance

IDLE_TIMEOUT_S: Final = 5


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

WARNED: Final = {
    "drift": "it observes, and the file does not say so",
    "no-bytecode": "the zip of these tests has none",
    "silent-alarms": "the file names no topic",
}
"""What the doctor warns of after the deployment, and why. Nothing is broken, and nothing else."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a command line in a folder of their own, with permissions of their own."""

    environment: Mapping[str, str]

    def hangup(self, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*HANGUP, *words],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def done(self, folder: Path, *words: str) -> str:
        done = self.hangup(folder, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def person(cloud: Cloud, relay: Relay, name: str, rows: Sequence[Sequence[str]]) -> Person:
    """Make a user who may do what the rows of a guide's table say, and nothing else."""
    iam = cloud.engine.client("iam")
    iam.create_user(UserName=name)
    statements = [
        {
            "Effect": "Allow",
            "Action": [one.strip(" `") for one in actions.split(",")],
            "Resource": [one.strip(" `") for one in resources.split(",")],
        }
        for actions, resources, *_ in rows
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="documented", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Person(
        plain_environment(
            AWS_ACCESS_KEY_ID=key["AccessKeyId"],
            AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
            AWS_DEFAULT_REGION=REGION,
            AWS_ENDPOINT_URL=cloud.engine.endpoint,
            AWS_ENDPOINT_URL_S3=relay.endpoint,
        )
    )


def rows_of(guide: str) -> list[list[str]]:
    return table("Action", page(guide))


@dataclass(frozen=True, slots=True)
class People:
    finder: Person
    looker: Person
    deployer: Person
    doctor: Person


@pytest.fixture(scope="module")
def relay(cloud: Cloud) -> Iterator[Relay]:
    """What ends TLS in front of S3: the bucket that is made takes no other."""
    with relay_to(cloud.engine.port) as relay:
        yield relay


@pytest.fixture(scope="module")
def people(cloud: Cloud, relay: Relay) -> People:
    looks = [row for row in rows_of("guides/look-first") if row[2] != "closing"]
    # The engine takes GetFunctionConcurrency for the last one, which AWS does not.
    asks = [[row[0], "*"] for row in rows_of("operate/doctor")]
    asks.append(["lambda:PutFunctionConcurrency", "*"])
    return People(
        finder=person(cloud, relay, "finder", rows_of("guides/find-your-app")),
        looker=person(cloud, relay, "looker", looks),
        deployer=person(cloud, relay, "deployer-of-hangup", rows_of("guides/deploy-beside")),
        doctor=person(cloud, relay, "doctor", asks),
    )


@dataclass(slots=True)
class Way:
    """An app and its timeout on their way, in a folder with the ``hangup.toml``."""

    cloud: Cloud
    people: People
    folder: Path
    case: Case
    expected: Mapping[str, Any]
    outputs: Mapping[str, str]
    strangers: Sequence[Item]
    """What is in the table from the beginning, and no connection."""

    @property
    def path(self) -> str:
        return f"_aws/execute-api/{self.outputs['ApiId']}/{self.expected['StageName']}"

    @property
    def schema(self) -> TableSchema:
        return TableSchema.from_json(json.dumps(self.expected["TableSchema"]))

    @property
    def deployment(self) -> Deployment:
        return Deployment.from_file(self.folder / "hangup.toml")

    def address(self, query: Mapping[str, str]) -> str:
        return f"ws://{HOST}:{self.cloud.engine.port}/{self.path}?{urlencode(query)}"

    def items(self) -> list[Item]:
        answer = self.cloud.engine.client("dynamodb").scan(TableName=self.outputs["TableName"])
        return sorted(answer["Items"], key=repr)

    def ids(self) -> set[str]:
        """Return the ids of the clients' connections on record."""
        schema = self.schema
        items = [one for one in self.items() if one not in self.strangers and schema.matches(one)]
        named = [one[schema.connection_id]["S"] for one in items]
        return {one.removeprefix(schema.id_prefix) for one in named}

    def stack(self) -> dict[str, Any] | None:
        stacks = self.cloud.engine.client("cloudformation").describe_stacks()["Stacks"]
        name = self.deployment["stack.name"]
        return next((dict(one) for one in stacks if one["StackName"] == name), None)

    def output(self, name: str) -> str:
        stack = self.stack()
        assert stack is not None
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        return str(outputs[name])

    def sweep_by_hand_alone(self) -> None:
        """Disable the rule, which a deployment enables."""
        self.cloud.engine.client("events").disable_rule(Name=self.output("SweepRuleName"))

    def sweep(self) -> Mapping[str, Any]:
        """Invoke the deployed function, as its rule does, and return its counts."""
        answer = self.cloud.engine.client("lambda").invoke(
            FunctionName=self.output("TimeoutFunctionName"), Payload=b"{}"
        )
        counts: Mapping[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, counts
        return counts

    def log(self) -> str:
        """Return all that the deployed function has logged."""
        logs = self.cloud.engine.client("logs")
        function = self.cloud.engine.client("lambda").get_function_configuration(
            FunctionName=self.output("TimeoutFunctionName")
        )
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=function["LoggingConfig"]["LogGroup"]
        )
        return "".join(event["message"] for one in pages for event in one["events"])

    # -- the commands --------------------------------------------------------------------------

    def init(self) -> None:
        endpoint = f"api.endpoint={self.cloud.engine.endpoint}/{self.path}"
        words = ["--api", self.outputs["ApiId"], "--set", endpoint]
        words += ["--set", f"timeout.idle_seconds={IDLE_TIMEOUT_S}"]
        self.people.finder.done(self.folder, "init", *words)

    def closed_in_dry_run(self) -> set[str]:
        shown = self.people.looker.done(self.folder, "sweep", "--dry-run", "--json")
        swept = json.loads(shown)
        return {
            one["connectionId"]
            for one in swept["connections"]
            if one["decision"] in ("close", "hand over", "failed", "unreadable")
        }

    def doctor(self, *words: str) -> dict[str, dict[str, str]]:
        """Return what the doctor does not find well, by its name; nothing may be broken."""
        seen = json.loads(self.people.doctor.done(self.folder, "doctor", "--json", *words))
        return {one["name"]: one for one in seen["findings"] if one["status"] != "ok"}

    def deploy(self) -> str:
        words = ("--mode", "observe", "--yes", "--zip", "code.zip")
        return self.people.deployer.done(self.folder, "deploy", *words)

    def close(self) -> str:
        said = self.people.deployer.done(self.folder, "mode", "close", "--yes")
        self.sweep_by_hand_alone()
        return said

    def destroy(self) -> None:
        """Remove it, and once more for what was being closed just now."""
        done = self.people.deployer.hangup(self.folder, "destroy", "--clean", "--yes")
        assert done.returncode in (0, 1), done.stderr
        assert self.stack() is None, done.stdout + done.stderr


@pytest.mark.parametrize("folder", CASES)
def test_found_looked_at_observed_closed_and_removed(
    cloud: Cloud, people: People, tmp_path: Path, folder: str
) -> None:
    case, outputs = CASES[folder], deploy_app(cloud, folder)
    expected = json.loads((APPS / folder / "timeout.json").read_text())
    if "TableKeyArn" in outputs:  # which the engine takes by its API, and not in a template
        key = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": outputs["TableKeyArn"]}
        cloud.engine.client("dynamodb").update_table(
            TableName=outputs["TableName"], SSESpecification=key
        )
    stop_timeouts(cloud, f"{stack_name(folder)}-timeout")
    (tmp_path / "code.zip").write_bytes(_lambda_zip())
    strangers = json.loads((APPS / folder / "items.json").read_text())
    way = Way(cloud, people, tmp_path, case, expected, outputs, strangers)
    buckets = bucket_names(cloud)
    asyncio.run(play(way))
    assert bucket_names(cloud) == buckets


def stop_timeouts(cloud: Cloud, stack: str) -> None:
    """Stop those that other tests have left beside an app, as the doctor says to do."""
    functions = cloud.engine.client("lambda")
    for page_ in functions.get_paginator("list_functions").paginate():
        for one in page_["Functions"]:
            if one["FunctionName"].startswith(stack):
                functions.put_function_concurrency(
                    FunctionName=one["FunctionName"], ReservedConcurrentExecutions=0
                )


async def play(way: Way) -> None:
    async with AsyncExitStack() as clients:
        silent = await clients.enter_async_context(Client.connected(way.address(way.case.silent)))
        await eventually(lambda: len(way.ids()) == 1)
        (silent_id,) = way.ids()
        talking = await clients.enter_async_context(Client.connected(way.address(way.case.talking)))
        talking.talk(way.case.says)
        await asyncio.sleep(way.case.speaks_s)
        await talking.fall_silent()
        before = await at_rest(way.items)
        (talking_id,) = way.ids() - {silent_id}

        await asyncio.to_thread(way.init)
        check_file(way)

        talking.talk(way.case.says)
        await until_idle()
        assert await asyncio.to_thread(way.closed_in_dry_run) == {silent_id}

        assert await asyncio.to_thread(way.doctor, "--before") == {}
        assert "It observes: it closes nobody." in await asyncio.to_thread(way.deploy)
        assert set(await asyncio.to_thread(way.doctor)) == set(WARNED)
        way.sweep_by_hand_alone()
        counts = await asyncio.to_thread(way.sweep)
        assert (counts["wouldClose"], counts["closed"], counts["gone"]) == (1, 0, 0), counts
        assert '"wouldClose":1' in way.log().replace(": ", ":")
        assert await silent.is_open()
        assert silent.notices() == []
        assert without(moving(way), way.items()) == without(moving(way), before)

        assert "in the mode close now" in await asyncio.to_thread(way.close)
        await asyncio.to_thread(sweep_until_closed, way)
        await silent.wait_closed()
        assert (silent.close_code, len(silent.notices())) == (1000, 1)
        await eventually(lambda: way.ids() == {talking_id})
        assert await talking.is_open()
        assert talking.notices() == []

        await talking.fall_silent()
        last = await at_rest(way.items)
        own = set(way.schema.own_attributes)
        assert not own & attributes(before)
        await asyncio.to_thread(way.destroy)
        claimed_until_s = 120
        await eventually(lambda: cleaned(way), within_s=claimed_until_s)
        assert way.items() == without(own, last)
        assert await talking.is_open()


def sweep_until_closed(way: Way) -> None:
    """Sweep until one is closed. The first may note the time of one that has none on record."""
    counts = [way.sweep()]
    while not counts[-1]["closed"]:
        assert len(counts) < 3, counts
        counts.append(way.sweep())
    assert counts[-1]["closed"] == 1, counts


def check_file(way: Way) -> None:
    """The file says what ``timeout.json`` does."""
    case, expected, outputs = way.case, way.expected, way.outputs
    found = way.deployment.table_schema
    # Labels; the timeouts that the tests of the apps deploy have them, or have them not.
    assert found == replace(way.schema, session_id=found.session_id, role=found.role)
    parameters = way.deployment.parameters()
    assert parameters["TableName"] == outputs["TableName"]
    assert parameters["StageName"] == expected["StageName"]
    assert parameters["Activity"] == expected["Activity"]
    assert parameters.get("StateTable", "false") == expected.get("StateTable", "false")
    assert parameters.get("TableKeyArn") == outputs.get("TableKeyArn")
    assert parameters["HandOver"] == case.hand_over
    if case.hand_over == "if_left":
        assert parameters["DisconnectFunctionArn"] == outputs["DisconnectFunctionArn"]


def moving(way: Way) -> set[str]:
    """Return what the app itself writes with each message."""
    return {way.schema.last_activity} if way.schema.last_activity else set()


def attributes(items: Sequence[Item]) -> set[str]:
    return {name for item in items for name in item}


def without(names: set[str], items: Sequence[Item]) -> list[Item]:
    return sorted(({k: v for k, v in item.items() if k not in names} for item in items), key=repr)


def cleaned(way: Way) -> bool:
    """Clean again; return whether nothing was left, as a claim lasts for a minute."""
    return way.people.deployer.hangup(way.folder, "destroy", "--clean", "--yes").returncode == 0


def bucket_names(cloud: Cloud) -> list[str]:
    return [one["Name"] for one in cloud.engine.client("s3").list_buckets()["Buckets"]]


async def until_idle() -> None:
    """Wait until whoever says nothing is idle."""
    await asyncio.sleep(IDLE_TIMEOUT_S + 1)


async def at_rest(look: Callable[[], list[Item]]) -> list[Item]:
    """Return it once nothing has changed for a second: the functions have done what they had to."""
    before = None
    while (now := await asyncio.to_thread(look)) != before:
        before = now
        await asyncio.sleep(1)
    return now
