"""``status``, ``explain`` and ``tail`` by a user who has what the guide says and nothing else."""

import json
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import Final

import pytest
from websockets.sync.client import connect

from hangup.local.ministack.engine import Engine
from tests.support.chat_app import deployed, policy
from tests.support.chat_user import User
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.command import PROGRAM
from tests.support.documents import page, table
from tests.support.relay import relay_to

pytestmark = pytest.mark.integration

NOBODY: Final = "00000000000000bb"
"""Of the engine's form, and never given."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Somebody in the folder of a deployment with a queue that closes."""
    with Engine.start() as engine, relay_to(engine.port) as relay, ExitStack() as clients:
        user = User(deployed(engine), tmp_path_factory.mktemp("chat"))
        endpoint = f"api.endpoint={user.app.endpoint}"
        for _ in range(2):
            clients.enter_context(connect(user.app.address))
        words = ("--set", endpoint, "--set", "timeout.precise=true")
        user.done("init", "--api", "chat", "--yes", *words)
        user.done("deploy", "--zip", "code.zip", "--skip-checks", "--yes")
        user.sweep()
        iam = engine.client("iam")
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        user.environment |= {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            # The engine speaks no TLS, which the queue demands of everybody but root.
            "AWS_ENDPOINT_URL_SQS": relay.endpoint,
        }
        yield user


def allow(reader: User, *, but: Collection[str] = ()) -> None:
    """Let the reader do what the guide says, but for some actions."""
    statements = [
        {
            "Effect": "Allow",
            "Action": allowed,
            "Resource": [one.strip(" `") for one in resource.split(",")],
        }
        for action, resource, _ in table("Action", page("operate/look-into"))
        if (allowed := [one.strip(" `") for one in action.split(",") if one.strip(" `") not in but])
    ]
    reader.app.engine.client("iam").put_user_policy(
        UserName="reader", PolicyName="read", PolicyDocument=policy(*statements)
    )


@pytest.fixture
def function(reader: User) -> list[str]:
    allow(reader)
    return ["--function", reader.outputs["TimeoutFunctionName"]]


def is_watched(reader: User, *words: str) -> str:
    """Return the first line that ``hangup tail`` shows of the last minutes."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "tail", "--minutes", "10", *words],
        cwd=reader.folder,
        env=reader.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        line = tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=30)
    assert tail.returncode == 0
    return line


def test_they_are_enough(reader: User, function: list[str]) -> None:
    connection_id = reader.items()[0]["socket"]["S"].removeprefix("ws#")
    statuses = []
    for which in ([], function):
        done = reader.hangup("status", "--json", *which)
        assert done.stderr == ""
        statuses.append(json.loads(done.stdout))
        (record,) = json.loads(reader.done("explain", connection_id, "--json", *which))["records"]
        assert record["nextSweep"]["does"] in ("keep", "queue")
        assert "sweep done" in is_watched(reader, *which)
    by_file, by_function = statuses
    assert by_file["connections"] == by_function["connections"] == 2
    # Those of its queues as well.
    names = [sorted(alarm["name"] for alarm in one["alarms"]) for one in statuses]
    assert names[0] == names[1]
    assert any("ScheduledCloses" in name for name in names[0])


@pytest.mark.parametrize(
    ("action", "command"),
    [
        ("lambda:GetFunctionConfiguration", ["tail"]),
        ("cloudformation:DescribeStacks", ["tail"]),
        ("dynamodb:DescribeTable", ["status"]),
        ("dynamodb:Scan", ["status"]),
        ("dynamodb:GetItem", ["explain", NOBODY]),
        ("cloudwatch:GetMetricData", ["status"]),
        ("cloudwatch:DescribeAlarms", ["status"]),
        ("logs:FilterLogEvents", ["explain", NOBODY]),
        ("lambda:ListEventSourceMappings", ["tail", "--function"]),
        ("sqs:GetQueueAttributes", ["status", "--function"]),
    ],
)
def test_each_is_needed(reader: User, function: list[str], action: str, command: list[str]) -> None:
    allow(reader, but=[action])
    name = function[1:] if command[-1] == "--function" else []
    done = reader.hangup(*command, *name)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr)
    assert f"{action.partition(':')[2]} failed with AccessDenied" in done.stderr


def test_without_api_gateways_account_explain_says_what_it_cannot_know(
    reader: User, function: list[str]
) -> None:
    allow(reader, but=["execute-api:ManageConnections"])
    done = reader.hangup("explain", NOBODY)
    assert "GetConnection failed with" in done.stdout
