"""One ``hangup up`` a folder: what a second one finds, at whatever moment it comes."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hangup.errors import LocalStackError
from hangup.local.only_run import only_run

# Each test starts a process or two.
pytestmark = pytest.mark.slow

HOLDER = """
import sys
from pathlib import Path
from hangup.local.only_run import only_run
with only_run(Path(sys.argv[1])) as note_address:
    if len(sys.argv) > 2:
        note_address(sys.argv[2])
    print("holds", flush=True)
    sys.stdin.read()
"""
ADDRESS = "http://127.0.0.1:4566"


@contextmanager
def held(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Hold a folder in another process, which ends at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process


def refusal(folder: Path) -> str:
    with pytest.raises(LocalStackError) as refused, only_run(folder):
        pytest.fail("two processes hold the folder")
    return str(refused.value)


def test_the_second_is_given_the_address_and_the_process_of_the_first(tmp_path: Path) -> None:
    with held(tmp_path, ADDRESS) as first:
        assert refusal(tmp_path).startswith(
            f"`hangup up` already runs in this folder, at {ADDRESS} (process {first.pid}): "
        )


def test_the_second_learns_that_the_first_is_still_starting(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        assert refusal(tmp_path).startswith(
            f"`hangup up` already runs in this folder and is starting (process {first.pid}): "
        )


def test_a_first_that_has_noted_nothing_yet_is_one_all_the_same(tmp_path: Path) -> None:
    # As between the lock and the note; here for as long as the second one looks.
    with (tmp_path / "running.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert refusal(tmp_path) == "Another `hangup up` has just started in this folder."


def test_the_note_of_a_process_that_was_killed_is_never_taken_for_a_run(tmp_path: Path) -> None:
    with held(tmp_path, ADDRESS) as first:
        first.kill()
        first.wait()
    assert ADDRESS in (tmp_path / "running.json").read_text()
    with only_run(tmp_path):
        assert ADDRESS not in (tmp_path / "running.json").read_text()


def test_it_is_free_again_after_the_first_and_holds_nothing_of_it(tmp_path: Path) -> None:
    for _ in range(2):
        with only_run(tmp_path) as note_address:
            note_address(ADDRESS)
            assert str(os.getpid()) in (tmp_path / "running.json").read_text()
    assert (tmp_path / "running.json").read_text() == ""


def test_other_folders_are_free(tmp_path: Path) -> None:
    with held(tmp_path / "one"), only_run(tmp_path / "other"):
        pass


def test_a_folder_that_cannot_be_made_is_said_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file") == (
        f"{tmp_path / 'file'} cannot be used to keep state (File exists): "
        "start the stack in another folder."
    )
