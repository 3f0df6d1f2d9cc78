"""Folders that are made in somebody's repository: git sees nothing of them."""

import subprocess
from pathlib import Path

import pytest

from hangup.ops.folders import make_ignored_folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def seen_by_git(repository: Path) -> list[str]:
    added = subprocess.run(
        ["git", "add", "--dry-run", "."],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return added.stdout.splitlines()


def test_git_sees_nothing_of_a_new_folder(repository: Path) -> None:
    make_ignored_folder(repository / "deep" / "build")
    (repository / "deep" / "build" / "secret").touch()
    assert seen_by_git(repository) == []


def test_a_folder_with_files_of_somebody_else_stays_as_it_is(repository: Path) -> None:
    (repository / "build").mkdir()
    (repository / "build" / "theirs.py").touch()
    make_ignored_folder(repository / "build")
    assert seen_by_git(repository) == ["add 'build/theirs.py'"]


def test_a_folder_that_is_always_ours_is_hidden_though_it_was_there(repository: Path) -> None:
    (repository / ".hangup").mkdir()
    (repository / ".hangup" / "secret").touch()
    make_ignored_folder(repository / ".hangup", always_ours=True)
    assert seen_by_git(repository) == []


def test_a_gitignore_of_somebody_else_stays_as_it_is(repository: Path) -> None:
    (repository / ".hangup").mkdir()
    (repository / ".hangup" / ".gitignore").write_text("*.log\n")
    make_ignored_folder(repository / ".hangup", always_ours=True)
    assert (repository / ".hangup" / ".gitignore").read_text() == "*.log\n"
