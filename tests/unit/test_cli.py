"""The command line: what it prints where, and its exit status. AWS is a stub on loopback."""

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from hangup import __version__
from hangup.cli import main
from hangup.core.model import EpochMs, JoinRequest, Role
from hangup.tokens import authorise_join
from tests.unit.aws_stub import JOIN_SECRET, AwsStub, Call

NOW_MS = 1_700_000_000_000
COMMANDS = ("demo", "up", "token", "check", "redrive")
NAMES = (
    "ConnectionsTable",
    "SessionsTable",
    "DisconnectFunction",
    "JoinSecretArn",
    "FailedCleanupsQueueUrl",
)
TOKEN = ["token", "--session", "s1", "--role", "listener"]


class CloudFormation:
    """DescribeStacks, which speaks XML, of one stack whose outputs a test may change."""

    def __init__(self, management_endpoint: str) -> None:
        self.outputs = {name: f"the-{name}" for name in NAMES} | {
            "ManagementEndpoint": management_endpoint
        }
        self.asked: list[str] = []
        self.happens: Callable[[], object] = bool
        """What happens while the question is being answered."""

    def answer(self, body: bytes) -> tuple[int, str]:
        name = parse_qs(body.decode())["StackName"][0]
        self.asked.append(name)
        self.happens()
        if name != "Hangup":
            message = f"Stack with id {name} does not exist"
            return 400, (
                "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>"
                f"<Message>{message}</Message></Error></ErrorResponse>"
            )
        members = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in self.outputs.items()
        )
        return 200, (
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
            f"<StackName>Hangup</StackName><Outputs>{members}</Outputs>"
            "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        )


@pytest.fixture
def stack(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[CloudFormation]:
    cloudformation = CloudFormation(aws.management_endpoint)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = cloudformation.answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            # Who was interrupted does not wait for it.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", endpoint)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.chdir(tmp_path)
    yield cloudformation
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def assert_one_sentence(text: str) -> None:
    """Check that an error is one line that begins with who says it, without a traceback."""
    assert text.startswith("hangup: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")


class TestUsage:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        help_text = capsys.readouterr().out
        assert help_text.startswith(f"usage: hangup {command}")
        assert len(help_text.splitlines()) > 5

    def test_help_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--help"])
        listed = re.findall(r"^ {4}(\w+) ", capsys.readouterr().out, re.MULTILINE)
        assert tuple(listed) == COMMANDS

    def test_says_its_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"hangup {__version__}\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["ping"],
            ["check", "--stack", "A", "--local"],
            ["check", "everything"],
            ["redrive", "--fix"],
            ["redrive", "--local", "--stack", "A"],
            ["token", "--session", "s1"],
            ["token", "--session", "s1", "--role", "owner"],
            [*TOKEN, "--expires-in", "0"],
            [*TOKEN, "--expires-in", "604801"],
            [*TOKEN, "--expires-in", "ten"],
            ["up", "--port", "65536"],
            ["up", "--idle-timeout", "7201"],
        ],
    )
    def test_wrong_usage_is_status_2(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert capsys.readouterr().err.startswith("usage: hangup")


@pytest.mark.parametrize("arguments", [["check"], ["redrive"], TOKEN])
class TestWhereTheStackIs:
    def test_it_has_a_default_name(self, stack: CloudFormation, arguments: list[str]) -> None:
        assert main(arguments) == 0
        assert stack.asked == ["Hangup"]

    def test_one_that_does_not_exist_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        assert main([*arguments, "--stack", "Other"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert "Stack with id Other does not exist" in err

    def test_one_of_another_kind_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        stack.outputs = {"Something": "else"}
        assert main(arguments) == 1
        _, err = capsys.readouterr()
        assert_one_sentence(err)
        assert "stack Hangup has no output" in err

    def test_without_a_region_it_is_one_sentence(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        assert main(arguments) == 1
        _, err = capsys.readouterr()
        assert_one_sentence(err)
        assert "region" in err.lower()

    def test_no_local_stack_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        assert main([*arguments, "--local"]) == 1
        assert_one_sentence(capsys.readouterr().err)
        assert stack.asked == []

    def test_no_local_parts_are_one_sentence(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
        assert main([*arguments, "--local"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "pip install 'hangup[local]'" in err

    def test_an_interruption_is_status_130(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        stack.happens = lambda: os.kill(os.getpid(), signal.SIGTERM)
        assert main(arguments) == 130
        assert capsys.readouterr().err == ""


class TestToken:
    def test_prints_the_token_and_nothing_else(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(TOKEN) == 0
        out, err = capsys.readouterr()
        assert err == ""
        request = JoinRequest(session_id="s1", role=Role.LISTENER)
        now_ms = EpochMs(time.time_ns() // 1_000_000)
        authorise_join(out.strip(), request, secret=JOIN_SECRET, now_ms=now_ms)

    def test_mints_none_for_a_session_that_nobody_could_join(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["token", "--session", "a b", "--role", "speaker"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert stack.asked == []


def connection(connection_id: str, role: str) -> dict[str, Any]:
    return {
        "connectionId": {"S": connection_id},
        "sessionId": {"S": "s1"},
        "role": {"S": role},
        "connectedAt": {"N": str(NOW_MS)},
    }


def session(listener_count: int) -> dict[str, Any]:
    return {
        "sessionId": {"S": "s1"},
        "isActive": {"BOOL": True},
        "speakerConnectionId": {"S": "speaker"},
        "listenerCount": {"N": str(listener_count)},
        "startedAt": {"N": str(NOW_MS)},
    }


class Tables:
    """Just enough of DynamoDB for a check: whole scans, single items, and counts that change."""

    def __init__(self, aws: AwsStub, *, count: int) -> None:
        self.items = {
            "the-ConnectionsTable": [
                connection("speaker", "speaker"),
                connection("listener", "listener"),
            ],
            "the-SessionsTable": [session(count)],
        }
        aws.answer("Scan", self.scan)
        aws.answer("GetItem", self.get)
        aws.answer("UpdateItem", self.update)

    def scan(self, call: Call) -> dict[str, Any]:
        items = self.items[call.content["TableName"]]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def get(self, call: Call) -> dict[str, Any]:
        ((name, value),) = call.content["Key"].items()
        found = [i for i in self.items[call.content["TableName"]] if i[name] == value]
        return {"Item": found[0]} if found else {}

    def update(self, call: Call) -> dict[str, Any]:
        values = call.content["ExpressionAttributeValues"]
        self.items["the-SessionsTable"][0]["listenerCount"] = values[":correct"]
        return {}


class TestCheck:
    def test_a_healthy_stack_is_status_0(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, count=1)
        assert main(["check"]) == 0
        out, err = capsys.readouterr()
        assert out == "Checked 2 connections and 1 session: nothing is broken.\n"
        assert err == ""
        assert aws.writes == []

    def test_a_broken_stack_is_status_1_and_says_how_to_mend_it(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, count=7)
        assert main(["check"]) == 1
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            "wrong count: session s1 has a listenerCount of 7, and 1 on record",
            "1 broken among 2 connections and 1 session; mend it with: hangup check --fix",
        ]
        assert err.startswith("hangup: counting the listeners")
        assert aws.writes == []

    def test_mends_and_is_status_0(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tables = Tables(aws, count=7)
        assert main(["check", "--fix"]) == 0
        assert tables.items["the-SessionsTable"] == [session(1)]
        assert capsys.readouterr().out.splitlines() == [
            "wrong count: session s1 has a listenerCount of 7, and 1 on record",
            "Checked 2 connections and 1 session: 1 mended, nothing is broken now.",
        ]

    def test_what_is_not_mended_is_status_1(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, count=7)
        aws.fail("UpdateItem", status=400, code="AccessDeniedException")
        assert main(["check", "--fix"]) == 1
        out = capsys.readouterr().out
        assert "not mended: session s1" in out
        assert "AccessDenied" in out
        assert out.endswith("1 still broken among 2 connections and 1 session.\n")

    def test_prints_json_alone_on_standard_output(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, count=7)
        assert main(["check", "--json"]) == 1
        wrong = {
            "kind": "wrong count",
            "what": "session s1 has a listenerCount of 7, and 1 on record",
        }
        assert json.loads(capsys.readouterr().out) == {
            "connections": 2,
            "sessions": 1,
            "broken": [wrong],
            "mended": [],
            "notMended": [],
            "notJudged": [],
        }
        aws.fail("UpdateItem", status=400, code="AccessDeniedException", times=1)
        assert main(["check", "--json", "--fix"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["broken"], result["mended"]) == ([], [wrong])
        assert "AccessDenied" in result["notMended"][0]["why"]

    def test_names_the_sessions_that_it_could_not_judge(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tables = Tables(aws, count=50)

        def busy(call: Call) -> dict[str, Any]:
            count = tables.items["the-SessionsTable"][0]["listenerCount"]
            count["N"] = str(int(count["N"]) + 1)
            return tables.get(call)

        aws.answer("GetItem", busy)
        assert main(["check"]) == 0
        assert capsys.readouterr().out.endswith("came and went all the time: s1.\n")

    def test_what_cannot_be_read_is_one_sentence(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, count=1)
        aws.fail("GetConnection", status=403, code="ForbiddenException")
        assert main(["check"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)

    def test_a_notice_that_fails_is_said_aside(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tables = Tables(aws, count=1)
        del tables.items["the-SessionsTable"][0]
        listener = tables.items["the-ConnectionsTable"].pop()
        tables.items["the-ConnectionsTable"] = [listener]
        aws.answer("Query", {"Items": [listener], "Count": 1, "ScannedCount": 1})

        def leave(_call: Call) -> dict[str, Any]:
            tables.items["the-ConnectionsTable"].clear()
            return {}

        aws.answer("TransactWriteItems", leave)
        aws.fail("PostToConnection", status=403, code="ForbiddenException")
        assert main(["check", "--fix"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("lost listeners: session s1 does not exist")
        assert "hangup: notice failed: connectionId listener, error PostToConnection" in err


def dead_letter(message_id: str, body: str) -> dict[str, Any]:
    return {"MessageId": message_id, "ReceiptHandle": f"receipt of {message_id}", "Body": body}


EVENT = {"requestContext": {"routeKey": "$disconnect", "connectionId": "c1="}}


class TestRedrive:
    def test_an_empty_queue_is_status_0(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["redrive"]) == 0
        assert capsys.readouterr().out == "0 replayed.\n"

    def test_replays_and_is_status_0(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        letter = dead_letter("m1", json.dumps({"requestPayload": EVENT}))
        aws.answer("ReceiveMessage", {"Messages": [letter]}, {})
        assert main(["redrive"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "replayed: the cleanup of connection c1=",
            "1 replayed.",
        ]
        assert aws.calls("Invoke") == [EVENT]
        assert aws.targets("Invoke") == ["the-DisconnectFunction"]
        assert [call.invocation_type for call in aws.log if call.operation == "Invoke"] == ["Event"]
        assert [d["ReceiptHandle"] for d in aws.calls("DeleteMessage")] == ["receipt of m1"]

    def test_what_stays_is_status_1_and_is_named(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aws.answer("ReceiveMessage", {"Messages": [dead_letter("m1", "a secret")]}, {})
        assert main(["redrive"]) == 1
        out, _ = capsys.readouterr()
        assert out.splitlines() == [
            "left in the queue: message m1: it is no JSON",
            "0 replayed, 1 left in the queue.",
        ]
        assert aws.calls("DeleteMessage") == []
        assert len(aws.calls("ChangeMessageVisibility")) == 1

    def test_a_dry_run_only_says_what_would_be(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        letter = dead_letter("m1", json.dumps({"requestPayload": EVENT}))
        aws.answer("ReceiveMessage", {"Messages": [letter]}, {})
        assert main(["redrive", "--dry-run"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "would replay: the cleanup of connection c1=",
            "1 would be replayed.",
        ]
        assert aws.calls("Invoke") == aws.calls("DeleteMessage") == []
