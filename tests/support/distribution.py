"""The wheel and the sdist, built as users get them, and virtualenvs to install them in."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.support.documents import ROOT

__all__ = ["TOOLS", "build", "copy_of_the_sources", "python_of", "uv", "without_fast"]

TOOLS: Final = Path(sys.executable).parent

_SOURCES: Final = ("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml")


def copy_of_the_sources(folder: Path) -> Path:
    """Copy what the archives are made of, and with what."""
    for name in _SOURCES:
        shutil.copy(ROOT / name, folder / name)
    for name in ("src", "requirements", "scripts"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore, copy_function=shutil.copy)
    # What is installed for the Lambda zips already, so that no index is asked again.
    (folder / "build").mkdir()
    for installed in (ROOT / "build").glob("lambda-dependencies-*"):
        (folder / "build" / installed.name).symlink_to(installed)
    return folder


def build(sources: Path, target: Path) -> Path:
    """Run ``make dist`` in a copy of the sources, with the tools of this virtualenv."""
    subprocess.run(
        ["make", "dist", f"BIN={TOOLS}", f"DIST={target}", "--old-file=.venv/.dev"],
        cwd=sources,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        timeout=300,
    )
    return target


def python_of(virtualenv: Path) -> str:
    return str(virtualenv / "bin" / "python")


def uv(*arguments: str | Path) -> None:
    """Run uv, and show what it says if it fails."""
    result = subprocess.run(
        [TOOLS / "uv", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr


def without_fast(folder: Path, wheel: Path) -> Path:
    """Make a virtualenv with the wheel and all that this one has but the extra ``fast``."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    left_out = set()
    for name in ("hangup", "greenlet", "orjson", "pycurl"):
        left_out |= {file.parts[0] for file in metadata.distribution(name).files or ()}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name not in left_out and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    uv("pip", "install", "--offline", "--no-deps", "--python", python_of(folder), wheel)
    return folder
