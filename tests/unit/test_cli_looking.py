"""``hangup status``, ``explain`` and ``tail``: which deployment, and tables."""

import sys
from pathlib import Path

import pytest

from hangup.aws.table_size import TableSize
from hangup.cli.app import main
from hangup.cli.questions import may_read
from hangup.errors import ConfigurationError
from tests.support.aws_stub import AwsStub
from tests.support.cloudformation_stub import CloudFormation, assert_one_sentence
from tests.support.terminal import on_terminal, plain_environment

pytestmark = pytest.mark.usefixtures("signals_as_before")

COMMANDS = [["status"], ["explain", "c1"], ["tail"]]
FILE = """
[stack]
name = "chat-hangup"
[api]
id = "abc123"
stage = "prod"
[table]
name = "sockets"
connection_id = "id"
[timeout]
hand_over = "never"
"""

TABLE = """
from hangup.cli.tables import Column, say_table
columns = (Column("role"), Column("connections", is_number=True))
say_table("Roles", columns, [("[red]spe\\x1b[2Jaker", "1,000"), ("x", "2")])
say_table("Nobody", columns, [])
"""


@pytest.mark.parametrize("command", COMMANDS)
class TestWhichDeployment:
    def test_without_any_it_says_how_to_name_one(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        stack.name = "Other"
        assert main(command) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "there is no hangup.toml here or in a folder above, and no stack Hangup" in err
        assert all(option in err for option in ("--config", "--stack", "--function", "--local"))
        assert stack.asked == ["Hangup"]

    def test_the_file_here_names_the_stack(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        Path("hangup.toml").write_text(FILE)
        assert main(command) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "Stack with id chat-hangup does not exist" in err
        assert main([*command, "--set", "stack.name=chat-two"]) == 1
        assert main([*command, "--stack", "Hangup"]) == 1
        assert stack.asked == ["chat-hangup", "chat-two", "Hangup"]

    def test_a_stack_without_a_timeout_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        assert main([*command, "--stack", "Hangup"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "stack Hangup has no output TimeoutFunctionName or TimeoutFunction" in err

    @pytest.mark.parametrize("other", [["--config", "hangup.toml"], ["--set", "api.stage=dev"]])
    def test_a_stack_and_a_file_exclude_each_other(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        command: list[str],
        other: list[str],
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([*command, "--stack", "Hangup", *other])
        assert left.value.code == 2
        assert "exclude --config and --set" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("other", "says"),
        [
            (["--config", "hangup.toml"], "exclude --config and --set"),
            (["--set", "api.stage=dev"], "exclude --config and --set"),
            (["--stack", "Hangup"], "excludes --stack and --local"),
            (["--local"], "excludes --stack and --local"),
        ],
    )
    def test_a_function_excludes_all_else(
        self,
        stack: CloudFormation,
        capsys: pytest.CaptureFixture[str],
        command: list[str],
        other: list[str],
        says: str,
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([*command, "--function", "my-timeout", *other])
        assert left.value.code == 2
        assert says in capsys.readouterr().err
        assert stack.asked == []

    def test_no_local_stack_is_one_sentence(
        self, stack: CloudFormation, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        assert main([*command, "--local"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "start it with: hangup up" in err


@pytest.mark.parametrize(
    "command", [["check"], ["redrive"], ["token", "--session", "s1", "--role", "speaker"]]
)
def test_what_is_about_sessions_does_not_apply_to_a_timeout_alone(
    stack: CloudFormation, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    Path("hangup.toml").write_text(FILE)
    assert main(command) == 1
    err = capsys.readouterr().err
    assert_one_sentence(err)
    assert "hangup.toml describes a timeout alone, without sessions" in err
    assert stack.asked == []
    stack.outputs = {"TimeoutFunctionName": "chat-timeout"}
    assert main([*command, "--stack", "Hangup"]) == 1
    err = capsys.readouterr().err
    assert_one_sentence(err)
    assert "the stack Hangup is a timeout alone, without sessions" in err


@pytest.mark.parametrize(
    "command", [*COMMANDS, ["sweep", "--dry-run"], ["check"], ["redrive", "--dry-run"]]
)
class TestFunction:
    def test_what_cannot_be_one_is_wrong_usage(
        self, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([*command, "--function", "my timeout"])
        assert left.value.code == 2
        assert "'my timeout' is not the name or ARN of a function" in capsys.readouterr().err

    def test_one_that_is_not_hangups_is_refused_in_one_sentence(
        self, aws: AwsStub, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        arn = "arn:aws:lambda:eu-west-1:123456789012:function:theirs"
        function = {"FunctionName": "theirs", "FunctionArn": arn, "Handler": "index.handler"}
        aws.answer("GetFunctionConfiguration", function)
        assert main([*command, "--function", arn]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "theirs is not a timeout function of Hangup: its handler is index.handler" in err
        assert aws.targets("GetFunctionConfiguration") == [arn]
        assert aws.operations == ["GetFunctionConfiguration"]


def test_a_sweep_by_a_function_takes_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["sweep", "--function", "my-timeout", "--set", "timeout.idle_seconds=3"])
    assert left.value.code == 2
    assert "excludes --config and --set" in capsys.readouterr().err


@pytest.mark.parametrize("odd", ["", "a\nb", "x" * 1_025])
def test_what_cannot_be_an_id_is_wrong_usage(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["explain", odd])
    assert left.value.code == 2
    assert "1 to 1,024 characters" in capsys.readouterr().err


class TestLargeTables:
    def test_a_small_one_is_read_without_a_word(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert may_read("sockets", TableSize(10, 999_999_999), yes=False)
        assert capsys.readouterr().err == ""

    def test_a_large_one_is_read_once_somebody_agrees(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        large = TableSize(50_000_000, 20_000_000_000)
        with pytest.raises(ConfigurationError, match="add --yes"):
            may_read("sockets", large, yes=False)
        assert may_read("sockets", large, yes=True)
        assert may_read("sockets", large, yes=True, consistently=True)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 3
        assert "50,000,000 items and 20.0 GB: one read of it costs about $0.31" in said[0]
        assert said[2].endswith("costs about $0.61 on demand, strongly consistent")


class TestTables:
    def test_a_pipe_gets_columns(self, capfd: pytest.CaptureFixture[str]) -> None:
        exec(TABLE)  # noqa: S102 - the program that the terminal runs too
        assert capfd.readouterr().out.splitlines() == [
            "Roles",
            "  ROLE              CONNECTIONS",
            "  [red]spe?[2Jaker        1,000",
            "  x                           2",
        ]

    def test_a_terminal_gets_boxes(self) -> None:
        screen = on_terminal([sys.executable, "-c", TABLE], environment=plain_environment())
        assert screen.status == 0
        title, top, head, _, first, *_ = screen.lines
        assert title == "Roles"
        assert top.startswith("╭")
        assert head.startswith("│ role")
        assert first.startswith("│ [red]spe?[2Jaker │")
