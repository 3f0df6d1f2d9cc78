"""The program around the commands: examples, completion, its extra, what it loads."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import shellingham

from hangup import __version__
from hangup.cli.app import main
from hangup.cli.completion import Shell
from hangup.cli.program import command_of
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.documents import ROOT
from tests.support.terminal import HANGUP, on_terminal, plain_environment

COMMANDS = ("demo", "up", "token", "check", "redrive", "template", "init", "plan")

pytestmark = pytest.mark.usefixtures("signals_as_before")


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_has_an_example_that_is_accepted(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        examples = re.findall(rf"^ {{2}}hangup {name}\b(.*)$", help_of(capsys, name), re.MULTILINE)
        assert examples
        for words in map(shlex.split, examples):
            # It is read, and not run.
            with command_of(name).make_context(name, words):
                pass

    def test_the_example_of_the_program_is_one_of_a_command(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (example,) = re.findall(r"^ {2}(hangup .*)$", help_of(capsys), re.MULTILINE)
        name = example.split()[1]
        assert example in import_module(f"hangup.cli.{name}").EXAMPLES

    @pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
    def test_says_what_each_exit_status_means(
        self, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, _, text = help_of(capsys, *command).partition("Exit status:\n")
        assert re.findall(r"^ {2}(\d+) ", text, re.MULTILINE) == ["0", "1", "2", "130"]

    @pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
    def test_fits_80_columns(
        self, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert max(map(len, help_of(capsys, *command).splitlines())) <= 80

    def test_without_a_command_it_says_what_there_is(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([])
        assert left.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert [name for name in COMMANDS if f"\n    {name} " not in err] == []

    def test_suggests_the_command_that_was_meant(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["chek"])
        assert "No such command 'chek'. Did you mean 'check'?" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["plan", "--connections"], "hangup plan: Option '--connections' requires"),
            (["plan", "--heartbeat", "0"], "hangup plan: Invalid value for '--heartbeat': '0' is"),
            (["token", "--role", "speaker"], "hangup token: Missing option '--session'"),
            (["up", "--last-active", "x"], "hangup up: Invalid value for '--last-active': 'x' is"),
        ],
    )
    def test_an_error_names_the_option_and_the_command(
        self, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.startswith(f"Usage: hangup {words[0]} ")
        assert err.endswith(f"Try: hangup {words[0]} --help\n")


class TestCompletion:
    @pytest.mark.parametrize("shell", Shell)
    def test_prints_a_script_for_each_shell(
        self, shell: Shell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main(["--show-completion", "--shell", str(shell)])
        assert left.value.code == 0
        assert "_HANGUP_COMPLETE" in capsys.readouterr().out

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("typed", "completed"),
        [
            (["che"], ["check"]),
            (["check", "--pro"], ["--profile"]),
            (["token", "--role", ""], ["speaker", "listener"]),
            (["up", "--last-active", "b"], ["both"]),
        ],
    )
    def test_bash_completes_with_it(
        self, typed: list[str], completed: list[str], tmp_path: Path
    ) -> None:
        program = tmp_path / "hangup"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(HANGUP)} "$@"\n')
        program.chmod(0o700)
        words = shlex.join(["hangup", *typed])
        asks = (
            'eval "$(hangup --show-completion --shell bash)"\n'
            f"COMP_WORDS=({words})\nCOMP_CWORD={len(typed)}\n"
            '_hangup_completion hangup\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        environment = plain_environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        done = subprocess.run(
            ["bash", "-c", asks], capture_output=True, text=True, check=True, env=environment
        )
        assert (done.stdout.split(), done.stderr) == (completed, "")

    def test_bash_finds_it_where_it_is_installed(self, tmp_path: Path) -> None:
        environment = plain_environment(HOME=str(tmp_path))
        done = subprocess.run(
            [*HANGUP, "--install-completion", "--shell", "bash"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        script = tmp_path / ".bash_completions" / "hangup.sh"
        assert str(script) in done.stdout
        assert str(script) in (tmp_path / ".bashrc").read_text()
        assert subprocess.run(["bash", "-n", script], check=True).returncode == 0

    def test_a_shell_that_cannot_be_seen_is_that_of_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(shellingham, "detect_shell", not_seen)
        monkeypatch.setenv("SHELL", "/usr/bin/zsh")
        with pytest.raises(SystemExit):
            main(["--show-completion"])
        assert capsys.readouterr().out.startswith("#compdef hangup")

    @pytest.mark.parametrize("shell", ["", "/bin/dash"])
    def test_one_that_is_not_known_at_all_is_one_sentence(
        self, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(shellingham, "detect_shell", not_seen)
        monkeypatch.setenv("SHELL", shell)
        assert main(["--show-completion"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert "--shell" in err


def not_seen() -> tuple[str, str]:
    raise shellingham.ShellDetectionFailure


class TestExtra:
    """Python without its site packages, where neither Typer nor Rich is."""

    PROGRAM = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from hangup.cli.app import main\n"
        "sys.exit(main())\n"
    )

    @pytest.mark.parametrize("words", [[], ["demo"], ["--help"], ["--version"], ["plan", "--json"]])
    def test_without_it_the_command_line_says_what_to_install(self, words: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", self.PROGRAM, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert_one_sentence(done.stderr)
        assert "pip install 'hangup[cli]'" in done.stderr

    def test_what_a_command_lacks_is_one_sentence(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delitem(sys.modules, "hangup.cli.token", raising=False)
        monkeypatch.delitem(sys.modules, "hangup.sessions.tokens", raising=False)
        monkeypatch.setitem(sys.modules, "jwt", None)
        assert main(["token", "--session", "s", "--role", "speaker"]) == 1
        err = capsys.readouterr().err
        assert_one_sentence(err)
        assert "pip install 'hangup[sessions]'" in err


def loaded_by(*words: str) -> set[str]:
    """Return the modules that a command loads, in a process of its own."""
    program = (
        "import json, sys\n"
        "from hangup.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.slow
class TestStart:
    def test_the_version_loads_nothing_for_it(self) -> None:
        modules = {name.partition(".")[0] for name in loaded_by("--version")}
        assert not modules & {"botocore", "boto3", "ministack", "rich", "typer"}

    @pytest.mark.parametrize(
        "words", [("--help",), ("plan",), ("plan", "--help"), ("demo", "--help")]
    )
    def test_what_asks_nobody_loads_no_aws_and_draws_nothing(self, words: tuple[str, ...]) -> None:
        loaded = loaded_by(*words)
        assert not {name.partition(".")[0] for name in loaded} & {"botocore", "boto3", "ministack"}
        assert "rich.console" not in loaded

    def test_says_its_version_on_a_terminal_too(self) -> None:
        screen = on_terminal([*HANGUP, "--version"])
        assert (screen.output, screen.status) == (f"hangup {__version__}\r\n", 0)
