"""``hangup check`` and ``hangup redrive``: what they print where, and their exit status."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hangup.cli.app import main
from tests.support.aws_stub import AwsStub, Call
from tests.support.cloudformation_stub import (
    CloudFormation,
    assert_one_sentence,
)

NOW_MS = 1_700_000_000_000

pytestmark = pytest.mark.usefixtures("signals_as_before")


def connection(connection_id: str, role: str) -> dict[str, Any]:
    return {
        "connectionId": {"S": connection_id},
        "sessionId": {"S": "s1"},
        "role": {"S": role},
        "connectedAt": {"N": str(NOW_MS)},
    }


SESSION = {
    "sessionId": {"S": "s1"},
    "isActive": {"BOOL": True},
    "speakerConnectionId": {"S": "speaker"},
    "startedAt": {"N": str(NOW_MS)},
}
CHECKED = "Checked 25 connections and 1 session"
LOST = "session s1 has listeners on record, but the run that they joined has ended"


class Tables:
    """Just enough of DynamoDB for a check: whole scans, single items, and records that go."""

    def __init__(self, aws: AwsStub, *, run: str = "speaker") -> None:
        self.items = {
            "the-ConnectionsTable": [
                connection("speaker", "speaker"),
                connection("listener", "listener") | {"sessionRun": {"S": run}},
            ],
            "the-SessionsTable": [SESSION],
        }
        aws.answer("Scan", self.scan)
        aws.answer("GetItem", self.get)
        aws.answer("Query", self.query)
        aws.answer("DeleteItem", self.delete)

    def scan(self, call: Call) -> dict[str, Any]:
        items = self.items[call.content["TableName"]]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def get(self, call: Call) -> dict[str, Any]:
        ((name, value),) = call.content["Key"].items()
        found = [i for i in self.items[call.content["TableName"]] if i[name] == value]
        return {"Item": found[0]} if found else {}

    def query(self, call: Call) -> dict[str, Any]:
        listeners = self.items["the-ConnectionsTable"][1:]
        return {"Items": listeners, "Count": len(listeners), "ScannedCount": len(listeners)}

    def delete(self, _call: Call) -> dict[str, Any]:
        self.items["the-ConnectionsTable"].pop()
        return {}


def several_kinds(aws: AwsStub) -> None:
    """Let 25 listeners be gone, and a speaker without a record."""
    tables = Tables(aws)
    tables.items["the-ConnectionsTable"] = [
        connection(f"c{number}", "listener") | {"sessionRun": {"S": "speaker"}}
        for number in range(25)
    ]
    aws.fail("GetConnection", status=410, code="GoneException")


class TestCheck:
    def test_a_healthy_stack_is_status_0(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws)
        assert main(["check"]) == 0
        out, err = capsys.readouterr()
        assert out == "Checked 2 connections and 1 session: no violations.\n"
        assert err == ""
        assert aws.writes == []

    def test_violations_are_status_1_and_it_says_how_to_repair_them(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, run="earlier")
        assert main(["check"]) == 1
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            f"lost listeners: {LOST}",
            "Checked 2 connections and 1 session: 1 violation. To repair, run: hangup check --fix",
        ]
        assert err == "hangup: checking 1 suspected violation again\n"
        assert aws.writes == []

    @pytest.mark.parametrize(
        ("called", "how"),
        [
            (".venv/bin/hangup", ".venv/bin/hangup"),
            ("{here}/.venv/bin/hangup", ".venv/bin/hangup"),
            ("/opt/a b/hangup", "'/opt/a b/hangup'"),
            ("{here}/src/hangup/cli/__main__.py", "{python} -m hangup.cli"),
            ("pytest", "hangup"),
        ],
    )
    def test_says_it_the_way_it_was_called(
        self,
        stack: CloudFormation,
        aws: AwsStub,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        called: str,
        how: str,
    ) -> None:
        monkeypatch.setattr("sys.argv", [called.format(here=Path.cwd())])
        monkeypatch.setenv("PATH", "/nowhere")
        Tables(aws, run="earlier")
        assert main(["check"]) == 1
        words = how.format(python=sys.executable)
        assert capsys.readouterr().out.endswith(f"To repair, run: {words} check --fix\n")

    def test_says_it_short_where_the_program_is_on_the_path(
        self,
        stack: CloudFormation,
        aws: AwsStub,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        program = tmp_path / "bin" / "hangup"
        program.parent.mkdir()
        program.touch(mode=0o700)
        monkeypatch.setattr("sys.argv", [str(program)])
        monkeypatch.setenv("PATH", str(program.parent))
        Tables(aws, run="earlier")
        assert main(["check"]) == 1
        assert capsys.readouterr().out.endswith("To repair, run: hangup check --fix\n")

    def test_says_how_to_repair_the_stack_that_was_checked(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stack.name = "My-Hangup"
        Tables(aws, run="earlier")
        assert main(["check", "--stack", "My-Hangup"]) == 1
        out = capsys.readouterr().out
        assert out.endswith("To repair, run: hangup check --fix --stack My-Hangup\n")

    def test_repairs_and_is_status_0(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tables = Tables(aws, run="earlier")
        assert main(["check", "--fix"]) == 0
        assert tables.items["the-ConnectionsTable"] == [connection("speaker", "speaker")]
        assert aws.targets("DeleteConnection") == ["listener"]
        assert capsys.readouterr().out.splitlines() == [
            f"lost listeners: {LOST}",
            "Checked 1 connection and 1 session: no violations left, 1 repaired.",
        ]

    def test_what_is_not_repaired_is_status_1(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, run="earlier")
        aws.fail("DeleteItem", status=400, code="AccessDeniedException")
        assert main(["check", "--fix"]) == 1
        out = capsys.readouterr().out
        assert "not repaired: session s1" in out
        assert "AccessDenied" in out
        assert out.endswith("Checked 2 connections and 1 session: 1 violation left, 0 repaired.\n")

    def test_prints_json_alone_on_standard_output(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, run="earlier")
        assert main(["check", "--json"]) == 1
        wrong = {"kind": "lost listeners", "sessionId": "s1", "what": LOST}
        assert json.loads(capsys.readouterr().out) == {
            "connections": 2,
            "sessions": 1,
            "violations": [wrong],
            "repaired": [],
            "notRepaired": [],
        }
        aws.fail("DeleteItem", status=400, code="AccessDeniedException", times=1)
        assert main(["check", "--json", "--fix"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["violations"], result["repaired"]) == ([], [wrong])
        assert "AccessDenied" in result["notRepaired"][0]["why"]

    def test_prints_the_first_of_each_kind_and_how_many_there_are(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        several_kinds(aws)
        assert main(["check"]) == 1
        lines = capsys.readouterr().out.splitlines()
        kinds = [line.partition(":")[0] for line in lines]
        assert kinds.count("ghost") == 11
        assert kinds.count("orphaned session") == 1
        assert "ghost: ... and 15 more; --all or --json lists all" in lines
        assert lines[-3:] == [
            "     25  ghost",
            "      1  orphaned session",
            f"{CHECKED}: 26 violations. To repair, run: hangup check --fix",
        ]

    @pytest.mark.parametrize("option", ["--all", "--json"])
    def test_prints_every_one_when_told_to(
        self,
        stack: CloudFormation,
        aws: AwsStub,
        capsys: pytest.CaptureFixture[str],
        option: str,
    ) -> None:
        several_kinds(aws)
        assert main(["check", option]) == 1
        out = capsys.readouterr().out
        assert [f"connection c{number} is gone" in out for number in range(25)] == [True] * 25
        assert "more" not in out

    def test_limits_what_is_not_repaired_too(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        several_kinds(aws)
        aws.fail("DeleteItem", status=400, code="AccessDeniedException")
        assert main(["check", "--fix"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("not repaired: connection c") for line in lines) <= 10
        assert any(line.startswith("not repaired: ... and ") for line in lines)

    def test_json_has_fields_for_each_kind(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        several_kinds(aws)
        assert main(["check", "--json"]) == 1
        violations = json.loads(capsys.readouterr().out)["violations"]
        ghost = next(one for one in violations if one["kind"] == "ghost")
        assert (ghost["connectionId"], ghost["sessionId"], ghost["role"]) == (
            "c0",
            "s1",
            "listener",
        )
        (orphan,) = (one for one in violations if one["kind"] == "orphaned session")
        assert (orphan["sessionId"], orphan["speakerConnectionId"]) == ("s1", "speaker")

    def test_what_cannot_be_read_is_one_sentence(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws)
        aws.fail("GetConnection", status=403, code="ForbiddenException")
        assert main(["check"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)

    def test_a_notice_that_fails_is_said_aside(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Tables(aws, run="earlier")
        aws.fail("PostToConnection", status=403, code="ForbiddenException")
        assert main(["check", "--fix"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("lost listeners: session s1")
        assert "hangup: message failed: connectionId listener, error PostToConnection" in err


def dead_letter(message_id: str, body: str) -> dict[str, Any]:
    return {"MessageId": message_id, "ReceiptHandle": f"receipt of {message_id}", "Body": body}


EVENT = {
    "requestContext": {
        "routeKey": "$disconnect",
        "eventType": "DISCONNECT",
        "connectionId": "c1=",
    }
}


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
            "left in the queue: message m1: the message is not JSON",
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

    def test_prints_json_alone(
        self, stack: CloudFormation, aws: AwsStub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        letters = [
            dead_letter("m1", json.dumps({"requestPayload": EVENT})),
            dead_letter("m2", "a secret"),
        ]
        aws.answer("ReceiveMessage", {"Messages": letters}, {})
        assert main(["redrive", "--json"]) == 1
        out, err = capsys.readouterr()
        assert err == ""
        assert json.loads(out) == {
            "dryRun": False,
            "replayed": 1,
            "connectionIds": ["c1="],
            "left": [{"messageId": "m2", "why": "the message is not JSON"}],
        }
