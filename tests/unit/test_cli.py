"""The command line: what it prints where, and its exit status. AWS is a stub on loopback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hangup import __version__
from hangup.aws.clients import session
from hangup.cli.app import main
from hangup.core.connection import EpochMs
from hangup.sessions.model import JoinRequest, Role
from hangup.sessions.tokens import authorise_join
from tests.support.aws_stub import JOIN_SECRET
from tests.support.cloudformation_stub import (
    CloudFormation,
    assert_one_sentence,
)
from tests.support.loopback import service

COMMANDS = (
    *("demo", "up", "init", "sweep", "deploy", "doctor", "mode", "destroy", "template"),
    *("package", "status", "explain", "tail", "token", "check", "redrive", "plan"),
)
TOKEN = ["token", "--session", "s1", "--role", "listener"]

pytestmark = pytest.mark.usefixtures("signals_as_before")


def note(port: int) -> None:
    """Let the local stack of the current folder seem to run on this port."""
    Path(".hangup").mkdir()
    last_run = {"port": port, "join_secret_arn": "arn:aws:secretsmanager:::secret:s"}
    Path(".hangup", "last_run.json").write_text(json.dumps(last_run))


class TestUsage:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        help_text = capsys.readouterr().out
        assert help_text.startswith(f"Usage: hangup {command}")
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
            ["up", "--last-active", "server"],
        ],
    )
    def test_wrong_usage_is_status_2(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert capsys.readouterr().err.startswith("Usage: hangup")

    def test_a_misspelt_option_shows_the_usage_of_its_command(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main(["up", "--prot", "4600"])
        assert left.value.code == 2
        err = capsys.readouterr().err
        assert err.splitlines() == [
            "Usage: hangup up [OPTIONS]",
            "hangup up: No such option: --prot (Possible options: --port)",
            "Try: hangup up --help",
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "arguments", [["plan"], ["plan", "--json"], ["plan", "--help"], ["--help"], ["--version"]]
    )
    def test_whoever_stops_reading_ends_it_without_a_word(self, arguments: list[str]) -> None:
        reads, writes = os.pipe()
        os.close(reads)
        command = [sys.executable, "-m", "hangup.cli", *arguments]
        done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
        os.close(writes)
        assert (done.returncode, done.stderr) == (130, b"")


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

    @pytest.mark.parametrize(
        ("missing", "advice"),
        [
            (["AWS_DEFAULT_REGION"], "AWS_DEFAULT_REGION"),
            (["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"], "AWS_PROFILE"),
        ],
    )
    def test_without_a_region_or_credentials_it_is_one_sentence(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        missing: list[str],
        advice: str,
    ) -> None:
        for name in missing:
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BOTO_CONFIG"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        session.cache_clear()
        assert main(arguments) == 1
        _, err = capsys.readouterr()
        assert_one_sentence(err)
        assert advice in err
        assert "--local" in err

    def test_no_local_stack_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        assert main([*arguments, "--local"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "start it with: hangup up" in err
        assert stack.asked == []

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, "<html>\n<body>welcome</body>\n</html>"),
            (200, "{}"),
            (200, "[]"),
            (200, "null"),
            (200, "<DescribeStacksResponse></DescribeStacksResponse>"),
            (501, "not implemented"),
            (404, '{"__type": "ResourceNotFoundException", "message": "no such thing"}'),
        ],
    )
    def test_another_service_on_the_port_of_the_local_stack_is_one_sentence(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        status: int,
        body: str,
    ) -> None:
        with service(lambda _body: (status, body)) as port:
            note(port)
            assert main([*arguments, "--local"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert err.startswith(f"hangup: What listens on port {port} is not the local stack of this")
        assert err.endswith("start it with: hangup up\n")

    def test_a_service_that_says_nothing_is_not_waited_for(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.setattr("hangup.local.up._ANSWERS_WITHIN_S", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            note(mute.getsockname()[1])
            assert main([*arguments, "--local"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "(it does not answer like one)" in err

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
        err = capsys.readouterr().err
        assert err.startswith("hangup: interrupted: ")
        assert_one_sentence(err)


@pytest.mark.parametrize("command", ["check", "redrive"])
def test_the_stack_of_another_folder_is_left_alone(
    command: str, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.outputs["JoinSecretArn"] = "of another folder"
    with service(stack.answer) as port:
        note(port)
        assert main([command, "--local"]) == 1
    err = capsys.readouterr().err
    assert_one_sentence(err)
    assert "its stack is of another folder" in err


@pytest.mark.parametrize("command", ["demo", "up"])
def test_without_the_local_parts_it_is_one_sentence(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main([command]) == 1
    assert_one_sentence(capsys.readouterr().err)


class TestToken:
    def test_prints_the_token_and_nothing_else(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*TOKEN, "--expires-in", "60"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        request = JoinRequest(session_id="s1", role=Role.LISTENER)
        now_ms = EpochMs(time.time_ns() // 1_000_000)
        authorise_join(out.strip(), request, secret=JOIN_SECRET, now_ms=now_ms)

    def test_prints_json_alone(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*TOKEN, "--expires-in", "60", "--json"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        result = json.loads(out)
        now_ms = EpochMs(time.time_ns() // 1_000_000)
        assert (result["sessionId"], result["role"]) == ("s1", "listener")
        assert now_ms < result["expiresAt"] * 1000 <= now_ms + 60_000
        request = JoinRequest(session_id="s1", role=Role.LISTENER)
        authorise_join(result["token"], request, secret=JOIN_SECRET, now_ms=now_ms)

    def test_mints_none_for_a_session_that_nobody_could_join(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["token", "--session", "a b", "--role", "speaker"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert err.startswith("hangup: --session must be")
        assert stack.asked == []
