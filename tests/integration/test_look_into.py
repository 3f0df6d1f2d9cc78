"""What is going on in a deployment: ``hangup status``, ``explain`` and ``tail``, real sockets."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hangup.cli.app import main
from hangup.local.ministack.engine import Engine
from tests.support.chat_app import deployed
from tests.support.chat_user import STACK, User
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.command import PROGRAM
from tests.support.local_stack import Stack
from tests.support.repeated import repeated

pytestmark = pytest.mark.integration

IDLE_S = 4
LONG_AGO_S = 3_600
GHOST, NOBODY = "00000000000000aa", "00000000000000bb"
"""Of the engine's form, and never given."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with Engine.start(enforce_iam=False) as engine:
        user = User(deployed(engine), tmp_path_factory.mktemp("chat"))
        endpoint = f"api.endpoint={user.app.endpoint}"
        words = ("--set", endpoint, "--set", f"timeout.idle_seconds={IDLE_S}")
        with connect(user.app.address), connect(user.app.address):
            user.done("init", "--api", "chat", "--yes", *words)
        user.done("deploy", "--zip", "code.zip", "--yes")
        # Sweeps come when the test says so.
        engine.client("events").disable_rule(Name=user.outputs["SweepRuleName"])
        yield user


@pytest.fixture
def user(deployment: User) -> User:
    """Somebody whose table is empty."""
    for item in deployment.items():
        deployment.app.engine.client("dynamodb").delete_item(
            TableName="chat-sockets", Key={"socket": item["socket"]}
        )
    return deployment


def ids(user: User) -> list[str]:
    return [item["socket"]["S"].removeprefix("ws#") for item in user.items()]


def joined(user: User, clients: ExitStack) -> tuple[ClientConnection, str]:
    """Return a client that has just connected, and its connection id."""
    before = ids(user)
    client = clients.enter_context(connect(user.app.address))
    (connection_id,) = set(ids(user)) - set(before)
    return client, connection_id


def put(user: User, connection_id: str, since: dict[str, str]) -> None:
    item = {"socket": {"S": f"ws#{connection_id}"}, "since": since, "env": {"S": "prod"}}
    user.app.engine.client("dynamodb").put_item(TableName="chat-sockets", Item=item)


def explained(user: User, connection_id: str, *, status: int = 0) -> Any:
    done = user.hangup("explain", connection_id, "--json")
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    return json.loads(done.stdout)


def next_sweep(user: User, connection_id: str) -> Any:
    (record,) = explained(user, connection_id)["records"]
    return record["nextSweep"]


def status_of(user: User, *words: str) -> Any:
    done = user.hangup("status", "--json", *words)
    shown = json.loads(done.stdout)
    # Without sweeps, an alarm rings.
    is_on = any(one["state"] == "ALARM" for one in shown["alarms"])
    assert (done.returncode, done.stderr) == (int(is_on), "")
    return shown


def test_who_is_there_why_and_what_happens(user: User) -> None:
    with ExitStack() as clients:
        silent, silent_id = joined(user, clients)
        talking, talking_id = joined(user, clients)
        clients.enter_context(repeated(lambda: talking.send("{}"), every_s=0.2))
        time.sleep(IDLE_S + 1.5)

        doomed = next_sweep(user, silent_id)
        assert doomed["does"] == "close"
        assert "by API Gateway's account too" in doomed["why"]
        kept = next_sweep(user, talking_id)
        assert kept["does"] == "keep"
        assert "API Gateway saw it active" in kept["why"]

        put(user, talking_id, {"N": str(int(time.time()) + 600)})
        shown = status_of(user)
        assert (shown["stack"], shown["mode"], shown["connections"]) == (STACK, "close", 2)
        assert (shown["idle"], shown["idleSoon"]) == (1, 0)
        assert [one["connectionId"] for one in shown["due"]] == [silent_id]
        said = user.hangup("status").stdout
        assert "Connections on record: 2" in said
        assert "Idle on record: 1, and 0 more within a minute" in said
        assert silent_id in said
        assert "Alarm chat-hangup-" in said or "No alarm is on" in said

        with closed_as_it_is_watched(user, silent, silent_id) as lines:
            assert user.sweep()["closed"] == 1
        assert any("closed idle connections" in line and silent_id in line for line in lines)
        talking.send("{}")

        over = explained(user, silent_id)
        assert over["records"] == []
        assert over["account"]["seen"] == "gone"
        closing, done = over["history"]
        assert closing["line"].startswith("closed idle connections: ")
        assert done["line"].startswith("sweep done: ")
        assert closing["correlationId"] == done["correlationId"]
        words = user.done("explain", silent_id)
        assert words.startswith("It is over: it has no record, and API Gateway does not know it.")
        swept = status_of(user)["sweeps"]
        assert sum(one["closed"] for one in swept) == 1


@contextmanager
def closed_as_it_is_watched(
    user: User, client: ClientConnection, connection_id: str
) -> Iterator[list[str]]:
    """Yield an empty list; what ``hangup tail`` printed is in it afterwards."""
    lines: list[str] = []
    with watched(user, "tail") as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert f"watching {STACK}" in tail.stderr.readline()
        yield lines
        assert json.loads(client.recv(timeout=5))["type"] == "connectionTimeout"
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=5)
        for line in tail.stdout:
            lines.append(line)
            if "sweep done" in line:
                break


@contextmanager
def watched(user: User, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield a command that goes on; Ctrl-C ends it, and then it has no more to say."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=user.folder,
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        yield command
        command.send_signal(signal.SIGINT)
        rest, errors = command.communicate(timeout=30)
    assert (command.returncode, rest, errors) == (0, "", "")


def test_records_without_a_client_and_ids_without_a_record(user: User) -> None:
    long_ago = {"N": str(int(time.time()) - LONG_AGO_S)}
    put(user, GHOST, long_ago)
    ghost = next_sweep(user, GHOST)
    assert ghost["does"] == "hand_over"
    assert "API Gateway does not know it" in ghost["why"]

    put(user, "odd=", {"S": "yesterday"})
    odd = next_sweep(user, "odd=")
    assert odd["does"] == "skip"
    assert "since is yesterday, which looks like no time" in odd["why"]

    put(user, "not a connection", long_ago)
    assert next_sweep(user, "not a connection")["does"] == "ignore"

    nobody = explained(user, NOBODY, status=1)
    assert (nobody["isKnown"], nobody["records"], nobody["history"]) == (False, [], [])
    said = user.hangup("explain", NOBODY)
    assert said.stdout.startswith("Nobody knows it: ")

    shown = status_of(user)
    assert (shown["connections"], shown["unreadable"], shown["otherItems"]) == (2, 1, 1)

    done = user.hangup("check", "--stack", STACK)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the stack {STACK} is a timeout alone, without sessions" in done.stderr


def test_a_deployment_is_found_by_its_function(user: User, tmp_path: Path) -> None:
    functions = user.app.engine.client("lambda")
    name = user.outputs["TimeoutFunctionName"]
    elsewhere = User(user.app, tmp_path)
    with ExitStack() as clients:
        _, silent_id = joined(user, clients)
        time.sleep(IDLE_S + 1.5)

        by_file = status_of(user)
        shown = status_of(elsewhere, "--function", name)
        assert (by_file["stack"], shown["stack"]) == (STACK, None)
        assert by_file["function"] == shown["function"] == name
        for same in ("mode", "idleTimeoutSeconds", "connections", "idle"):
            assert shown[same] == by_file[same]
        assert alarms_in(shown) == alarms_in(by_file)

        arn = functions.get_function_configuration(FunctionName=name)["FunctionArn"]
        del elsewhere.environment["AWS_DEFAULT_REGION"]  # the ARN has it
        done = elsewhere.done("explain", silent_id, "--function", arn, "--json")
        (record,) = json.loads(done)["records"]
        assert record["nextSweep"]["does"] == "close"

        swept = json.loads(elsewhere.done("sweep", "--dry-run", "--function", arn, "--json"))
        decisions = {one["connectionId"]: one["decision"] for one in swept["connections"]}
        assert decisions == {silent_id: "close"}
        done = elsewhere.done("sweep", "--yes", "--function", arn)
        assert "1 closed" in done

        with watched(elsewhere, "tail", "--function", arn) as tail:
            assert tail.stderr is not None
            assert f"watching {name}" in tail.stderr.readline()

    refused = elsewhere.hangup("status", "--function", user.app.function_arn)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert_one_sentence(refused.stderr)
    assert "chat is not a timeout function of Hangup: its handler is app.handler" in refused.stderr
    none = elsewhere.hangup("check", "--function", arn)
    assert (none.returncode, none.stdout) == (1, "")
    assert f"{name} is the function of a timeout alone, without sessions" in none.stderr


def alarms_in(status: Any) -> list[str]:
    return sorted(one["name"] for one in status["alarms"])


def test_the_reference_stack_is_found_by_its_name(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", stack.engine.endpoint),
    ):
        monkeypatch.setenv(name, value)
    stack.sweep()
    main(["status", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["stack"], shown["activity"]) == ("Hangup", "recorded")
    assert shown["sweeps"]
    assert shown["alarms"]
    assert main(["explain", NOBODY, "--stack", "Hangup"]) == 1
    assert "Nobody knows it" in capsys.readouterr().out
    function = ["--function", shown["function"]]
    main(["status", "--json", *function])
    named = json.loads(capsys.readouterr().out)
    # The other functions of the stack have alarms too.
    assert set(alarms_in(named)) < set(alarms_in(shown))
    assert main(["check", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    main(["check", "--json", *function])
    assert json.loads(capsys.readouterr().out).keys() == found.keys()
    assert main(["redrive", "--dry-run", *function]) == 0
    assert "0 would be replayed" in capsys.readouterr().out
    assert main(["status", "--stack", "Other"]) == 1
    assert "Stack with id Other does not exist" in capsys.readouterr().err
