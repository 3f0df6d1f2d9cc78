"""``make`` in a new clone: the virtualenv is made once, heals itself, and says what it fetches."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.clone import WAITS, WITHIN_S, Clone, cloned, sentence, until
from tests.support.documents import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.install]

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "virtualenv.py"))
DOWNLOADING = "Downloading what requirements/local.txt pins: about {} MB ({} MB once installed) ..."
STATED: dict[str, tuple[int, int]] = SCRIPT["MEGABYTES"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """One clone for all tests: each finds or makes it whole, breaks it, and heals it."""
    return cloned(tmp_path_factory.mktemp("clones"))


@pytest.fixture
def whole(clone: Clone) -> Clone:
    made = clone.make()
    assert made.returncode == 0, made.stderr
    return clone


def hiding(folder: Path, program: str) -> dict[str, str]:
    """Return the environment in which each Python begins with this program."""
    (folder / "sitecustomize.py").write_text(program)
    return {"PYTHONPATH": str(folder)}


def assert_healed(clone: Clone, because: str) -> None:
    made = clone.make()
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"Making .venv anew, because {because} ...\n")
    clone.assert_whole()


def test_without_ensurepip_it_says_what_to_install_and_the_next_make_works(
    clone: Clone, tmp_path: Path
) -> None:
    # As the Makefile did before this script: Debian's venv leaves this behind.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone.venv], check=True)
    without = hiding(tmp_path, "import sys\nsys.modules['ensurepip'] = None\n")
    for _ in range(2):
        made = clone.make(without)
        assert made.returncode != 0
        assert made.stdout == ""
        said = sentence(made.stderr)
        assert said.startswith("hangup: ")
        assert "apt install python3-venv" in said
    assert_healed(clone, "it has no working Python 3.11 or newer with pip")


def test_the_first_time_it_says_each_step_and_the_size_beforehand(clone: Clone) -> None:
    shutil.rmtree(clone.venv, ignore_errors=True)
    made = clone.make()
    assert (made.returncode, made.stderr) == (0, "")
    version = ".".join(map(str, sys.version_info[:3]))
    fetched, on_disk = STATED["local"]
    assert made.stdout.splitlines() == [
        f"Making .venv (Python {version}) ...",
        DOWNLOADING.format(fetched, on_disk),
        "Installing it into .venv ...",
        "Installing Hangup from this folder ...",
    ]
    clone.assert_whole()


def test_the_second_time_it_says_nothing_and_needs_no_index(whole: Clone) -> None:
    again = whole.make(index=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_git_sees_nothing_of_it(whole: Clone) -> None:
    (whole.folder / ".gitignore").rename(whole.folder / "kept")
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all", ".venv"],
        cwd=whole.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    (whole.folder / "kept").rename(whole.folder / ".gitignore")
    assert listed.stdout == ""


def test_a_change_of_the_project_alone_needs_no_index(whole: Clone) -> None:
    with (whole.folder / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    again = whole.make(index=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "Installing Hangup from this folder ...\n"
    whole.assert_whole()


def test_a_failed_download_is_one_sentence_and_leaves_what_is_there(whole: Clone) -> None:
    lock = whole.folder / "requirements" / "local.txt"
    before = lock.read_text()
    lock.write_text(f"{before}another==1.0 --hash=sha256:{'0' * 64}\n")
    failed = whole.make(index=False)
    lock.write_text(before)
    assert failed.returncode != 0
    said = sentence(failed.stderr)
    assert said.startswith("hangup: Could not download what requirements/local.txt pins, for which")
    assert "No matching distribution found for another==1.0" in said
    again = whole.make(index=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_it_heals_after_the_clone_was_moved(whole: Clone) -> None:
    # The other tests go on there.
    whole.folder = whole.folder.rename(whole.folder.with_name("moved to Zoë"))
    assert_healed(whole, "it was moved")


def test_two_at_once_heal_a_virtualenv_whose_python_is_gone(whole: Clone) -> None:
    for name in ("python", "python3", f"python3.{sys.version_info[1]}"):
        (whole.venv / "bin" / name).unlink()
    (whole.venv / "bin" / "python").symlink_to("/nowhere/python3")
    with whole.making() as first:
        until(lambda: whole.state()["begun"] == "local" and whole.installed("many_files"))
        # Held in the middle of its install, so that the second one has to wait.
        os.killpg(first.pid, signal.SIGSTOP)
        with whole.making() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == WAITS
            os.killpg(first.pid, signal.SIGCONT)
            said, errors = first.communicate(timeout=WITHIN_S)
            assert (first.returncode, errors) == (0, "")
            assert "because it has no working Python" in said
            assert second.communicate(timeout=WITHIN_S) == ("", "")
            assert second.returncode == 0
    whole.assert_whole()


def test_it_heals_when_its_python_has_become_another_version(whole: Clone) -> None:
    # As after an upgrade of the system: the same path, another Python.
    note = {**whole.state(), "python": "cpython-310"}
    (whole.venv / "make.json").write_text(json.dumps(note))
    assert_healed(whole, "its Python has become another version")


def test_a_folder_that_is_no_virtualenv_is_left_alone(clone: Clone, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    if clone.venv.exists():
        clone.venv.rename(ours)
    clone.venv.mkdir()
    (clone.venv / "letters.txt").write_text("dear")
    made = clone.make()
    assert made.returncode != 0
    assert sentence(made.stderr).startswith(f"hangup: {clone.venv} is not a virtualenv: ")
    assert [file.name for file in clone.venv.iterdir()] == ["letters.txt"]
    shutil.rmtree(clone.venv)
    if ours.exists():
        ours.rename(clone.venv)


def test_a_python_that_is_too_old_is_one_sentence(clone: Clone, tmp_path: Path) -> None:
    shutil.rmtree(clone.venv, ignore_errors=True)
    old = hiding(tmp_path, "import sys\nsys.version_info = (3, 9, 18, 'final', 0)\n")
    made = clone.make(old)
    assert made.returncode != 0
    assert sentence(made.stderr).startswith("hangup: Python 3.11 or newer is needed, and ")
    assert not clone.venv.exists()


def test_no_python_is_one_sentence(clone: Clone) -> None:
    made = clone.make({"PYTHON": "python3.99"})
    assert made.returncode != 0
    assert sentence(made.stderr).startswith("hangup: there is no python3.99: install ")


def disk_megabytes(name: str) -> float:
    """Return what ``.venv`` takes with a set, as far as its packages are here: in blocks."""
    pins = re.findall(r"^([\w.-]+).*?==([^\s;]+)", lock_of(name), re.MULTILINE)
    # venv brings the first, and before Python 3.12 the other as well.
    own = {("pip", metadata.version("pip"))}
    with suppress(metadata.PackageNotFoundError):
        own.add(("setuptools", metadata.version("setuptools")))
    total = 0.0
    for package, version in own.union(pins):
        # Some are for other systems or Pythons.
        with suppress(metadata.PackageNotFoundError):
            found = metadata.distribution(package)
            files = [Path(str(file.locate())) for file in found.files or ()]
            is_compiled = name in SCRIPT["COMPILED"] or (package, version) in own
            if found.version == version:
                total += sum(blocks(file, is_compiled=is_compiled) for file in files)
    return total / 1_048_576


def blocks(file: Path, *, is_compiled: bool) -> int:
    """Return the bytes that a file takes, and about as many for a module's bytecode."""
    if file.suffix == ".pyc" or not file.is_file():
        return 0
    return file.stat().st_blocks * 512 * (2 if is_compiled and file.suffix == ".py" else 1)


def lock_of(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the sizes are those on Linux")
@pytest.mark.parametrize("name", STATED)
def test_the_stated_sizes_are_about_those_of_what_the_locks_pin(name: str) -> None:
    fetched, on_disk = STATED[name]
    assert on_disk == pytest.approx(disk_megabytes(name), rel=0.15)
    assert 2 < on_disk / fetched < 6  # wheels are compressed
