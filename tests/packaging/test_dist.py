"""``make dist``: the wheel and the sdist are complete, and the same wherever they are built."""

import io
import os
import re
import subprocess
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from hangup import __version__
from tests.support.distribution import TOOLS, build, copy_of_the_sources
from tests.support.documents import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.install]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("hangup*")}


def test_two_builds_give_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "else where", tmp_path / "target"
    elsewhere.mkdir()
    previous_mask = os.umask(0o077)
    try:
        copy = copy_of_the_sources(elsewhere)
        for file in copy.rglob("*"):
            os.utime(file, (1, 1_234_567_890))
        again = contents(build(copy, target))
    finally:
        os.umask(previous_mask)
    assert again.keys() == {
        f"hangup-{__version__}-py3-none-any.whl",
        f"hangup-{__version__}.tar.gz",
        f"hangup_lambda-{__version__}-py3-none-any.whl",
    }
    assert again == contents(dist)


def test_a_build_leaves_nothing_of_the_last_one(dist: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "hangup-0.0.1-py3-none-any.whl").touch()
    (target / "hangup_lambda-0.0.1-py3-none-any.whl").touch()
    (target / "not ours").touch()
    (tmp_path / "sources").mkdir()
    build(copy_of_the_sources(tmp_path / "sources"), target)
    assert contents(target) == contents(dist)
    assert (target / "not ours").exists()


def test_a_description_that_an_index_cannot_show_is_refused(tmp_path: Path) -> None:
    copy = copy_of_the_sources(tmp_path)
    settings = (copy / "pyproject.toml").read_text()
    (copy / "README.rst").write_text("Hangup\n====\n\n`unfinished <")
    (copy / "pyproject.toml").write_text(settings.replace("README.md", "README.rst"))
    with pytest.raises(subprocess.CalledProcessError):
        build(copy, tmp_path / "target")
    wheel = next((tmp_path / "target").glob("hangup-*.whl"))
    checked = subprocess.run(
        [TOOLS / "twine", "check", wheel], capture_output=True, text=True, check=False
    )
    assert "syntax errors in markup" in checked.stdout


def test_the_wheel_holds_the_package_as_it_is_in_the_repository(wheel: Path) -> None:
    # With what is not committed yet, and without what git ignores.
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/hangup"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    with zipfile.ZipFile(wheel) as archive:
        ours = {name for name in archive.namelist() if ".dist-info/" not in name}
        typed = {name: archive.read(name) for name in ours}
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    assert ours == {name.removeprefix("src/") for name in files}
    assert all(typed[name] == (ROOT / "src" / name).read_bytes() for name in ours)


def test_both_carry_the_licence_and_the_sdist_the_changelog(dist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"hangup-{__version__}.dist-info"
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["License-Expression"] == "MIT"
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = set(archive.getnames())
    assert {f"hangup-{__version__}/{name}" for name in ("LICENSE", "CHANGELOG.md")} <= names


def test_the_data_distribution_holds_both_zips_and_no_code(dist: Path) -> None:
    (data,) = dist.glob("hangup_lambda-*.whl")
    with zipfile.ZipFile(data) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert files == {
            "hangup_lambda/__init__.py",
            "hangup_lambda/hangup-lambda-arm64.zip",
            "hangup_lambda/hangup-lambda-x86_64.zip",
        }
        assert archive.read("hangup_lambda/__init__.py").count(b"\n") == 1
        for architecture, machine in (("arm64", b"aarch64"), ("x86_64", b"x86_64")):
            content = io.BytesIO(archive.read(f"hangup_lambda/hangup-lambda-{architecture}.zip"))
            names = " ".join(zipfile.ZipFile(content).namelist())
            assert "hangup/handlers/timeout_handler.py" in names
            assert re.findall(r"greenlet/_greenlet\.cpython-\d+-(\w+)-linux", names) == [
                machine.decode()
            ]
