"""``hangup up`` and ``hangup demo`` in somebody's repository, twice, and with a killed engine."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import LEAVES_WITHIN_S, engine_of, hangup

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"),
]


def read_until(process: "subprocess.Popen[str]", start: str) -> None:
    """Read a process's output up to the line that starts so."""
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(line)
        if line.startswith(start):
            return
    pytest.fail(f"it has never said {start!r}: {read}")


def the_sentence(process: "subprocess.Popen[str]") -> str:
    """Wait for the process to fail, and return the one line that it says about that."""
    _, errors = process.communicate(timeout=LEAVES_WITHIN_S)
    assert process.returncode == 1, errors
    (line,) = errors.splitlines()
    assert line.startswith("hangup: ")
    return line


def untracked(repository: Path) -> list[str]:
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return status.stdout.splitlines()


def test_up_hides_its_secret_from_git_and_a_second_up_names_the_first(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "theirs.py").touch()
    with hangup("up", cwd=tmp_path) as first:
        engine = engine_of(first)
        read_until(first, "Up: ")
        assert (tmp_path / ".hangup" / "state").is_dir()
        assert untracked(tmp_path) == ["?? theirs.py"]
        with hangup("up", cwd=tmp_path) as second:
            assert the_sentence(second) == (
                "hangup: `hangup up` already runs in this folder, at "
                f"http://127.0.0.1:{engine.port} (process {first.pid}): use that one, stop it, or "
                "start this one in another folder."
            )
        # The first one goes on.
        command = ("token", "--local", "--session", "demo", "--role", "listener")
        with hangup(*command, cwd=tmp_path) as token:
            _, errors = token.communicate(timeout=LEAVES_WITHIN_S)
            assert (token.returncode, errors) == (0, "")
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=LEAVES_WITHIN_S)
        assert first.returncode == 0
    assert untracked(tmp_path) == ["?? theirs.py"]


def test_a_killed_up_does_not_keep_the_next_one_from_starting(tmp_path: Path) -> None:
    with hangup("up", cwd=tmp_path) as first:
        engine = engine_of(first)
        read_until(first, "Up: ")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(LEAVES_WITHIN_S)
    assert engine.is_gone(), engine.remains()
    with hangup("up", cwd=tmp_path) as second:
        read_until(second, "Up: ")
        second.send_signal(signal.SIGINT)
        _, errors = second.communicate(timeout=LEAVES_WITHIN_S)
        assert (second.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("command", "when"),
    [("up", "Starting"), ("up", "Deploying"), ("up", "Up: "), ("demo", "Deploying")],
)
def test_a_killed_engine_is_one_sentence(command: str, when: str, tmp_path: Path) -> None:
    with hangup(command, cwd=tmp_path) as process:
        engine = engine_of(process)
        read_until(process, when)
        os.kill(engine.pid, signal.SIGKILL)
        assert the_sentence(process) == (
            f"hangup: The local stack's process {engine.pid} was killed (SIGKILL) by something else"
            " on this machine; start it again."
        )
    assert engine.is_gone(), engine.remains()


def test_a_demo_whose_engine_is_killed_amid_its_clients_is_one_sentence(tmp_path: Path) -> None:
    with hangup("demo", cwd=tmp_path) as demo:
        engine = engine_of(demo)
        assert demo.stdout is not None
        assert any("joins" in line for line in demo.stdout)
        os.kill(engine.pid, signal.SIGKILL)
        said = the_sentence(demo)
    assert re.search(rf"process {engine.pid} was killed \(SIGKILL\)", said)
    assert engine.is_gone(), engine.remains()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".hangup").write_text("a file")
    with hangup("up", cwd=tmp_path) as up:
        assert the_sentence(up).endswith(": start the stack in another folder.")
