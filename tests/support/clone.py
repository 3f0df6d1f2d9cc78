"""A clone of this tree in which ``make`` installs something small, from a folder.

pip, virtualenv and packages are real. What is exchanged is what ``requirements/local.txt`` pins,
because the real packages would take minutes for all tests together, and the package index, for
which a folder of wheels stands.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.support.documents import ROOT

MODULES = 1_000
"""So many that the install of a package can be met in the middle."""

WITHIN_S = 60.0
WAITS = "Waiting for another make, which installs into .venv ...\n"

# A shell that runs the tests in the background has SIGINT ignored, and make would leave it so.
_WITH_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)
_WHERE_HANGUP_IS = "import importlib.util as util; print(util.find_spec('hangup').origin)"
_COMMAND = ("make", "--no-print-directory", ".venv/.local")


class Clone:
    """The clone, and the folder of wheels."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.wheels = wheels

    @property
    def venv(self) -> Path:
        """Return the folder of the virtualenv."""
        return self.folder / ".venv"

    def installed(self, name: str) -> list[Path]:
        """Return the places of what is installed in the virtualenv by this name, if any."""
        return list(self.venv.glob(f"lib/python*/site-packages/{name}"))

    def state(self) -> dict[str, Any]:
        """Return what make noted about the virtualenv."""
        state: dict[str, Any] = json.loads((self.venv / "make.json").read_text())
        return state

    def environment(
        self, more: Mapping[str, str] | None = None, *, index: bool = True
    ) -> dict[str, str]:
        """Return the environment of make; without ``index`` nothing can be fetched."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON", "MAKE"))}
        return {
            **kept,
            "LANG": "C",
            "LC_ALL": "C",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels if index else self.wheels / "none"),
            "PYTHON": sys.executable,
            **(more or {}),
        }

    def make(
        self, more: Mapping[str, str] | None = None, *, index: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``make .venv/.local`` to its end."""
        return subprocess.run(
            _COMMAND,
            cwd=self.folder,
            env=self.environment(more, index=index),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @contextmanager
    def making(self) -> Iterator["subprocess.Popen[str]"]:
        """Start ``make .venv/.local`` in a session of its own; at the end nothing is left of it."""
        with subprocess.Popen(
            [sys.executable, "-c", _WITH_CTRL_C, *_COMMAND],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def assert_whole(self) -> None:
        """Look without make's help: everything is there, complete, and made for this folder."""
        tool = subprocess.run(
            [self.venv / "bin" / "tool"], capture_output=True, text=True, check=False
        )
        assert tool.stdout == f"{MODULES} modules\n", tool.stderr
        project = subprocess.run(
            [self.venv / "bin" / "python", "-c", _WHERE_HANGUP_IS],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        hangup = self.folder / "src" / "hangup" / "__init__.py"
        assert project.stdout == f"{hangup}\n", project.stderr
        assert f"{self.venv}/bin/python" in (self.venv / "bin" / "hangup").read_text()
        assert self.state()["begun"] == ""
        assert not (self.venv / "wheels").exists()


def cloned(folder: Path) -> Clone:
    """Return a clone below ``folder``, in one with a space and a letter beyond ASCII."""
    clone = Clone(folder / "a folder of Zoë", folder / "wheels")
    clone.wheels.mkdir()
    # What is in the working tree, committed or not.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone.folder / name)
    subprocess.run(["git", "init", "-q"], cwd=clone.folder, check=True)
    pins = [_wheel_of_installed("flit_core", clone.wheels), _made_up_wheel(clone.wheels)]
    (clone.folder / "requirements" / "local.txt").write_text("".join(pins))
    return clone


def _wheel_of_installed(name: str, folder: Path) -> str:
    """Put an installed package into a wheel again; return its entry in a lock."""
    package = metadata.distribution(name)
    files = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in package.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name != "RECORD"
    }
    return _wheel(folder, name, package.version, files)


def _made_up_wheel(folder: Path) -> str:
    about = "many_files-1.0.dist-info"
    main = "import pathlib\ndef main(): print(len([*pathlib.Path(__file__).parent.glob('m*.py')])"
    files = {f"many_files/m{n:04}.py": b"VALUE = 1\n" * 50 for n in range(MODULES)}
    files["many_files/__init__.py"] = f"{main}, 'modules')\n".encode()
    files[f"{about}/METADATA"] = b"Metadata-Version: 2.1\nName: many-files\nVersion: 1.0\n"
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{about}/entry_points.txt"] = b"[console_scripts]\ntool = many_files:main\n"
    return _wheel(folder, "many_files", "1.0", files)


def _wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> str:
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    record = f"{name}-{version}.dist-info/RECORD"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, and look often: what it waits for may be over soon."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def sentence(errors: str) -> str:
    """Return the one line that is said, beside make's own."""
    (line,) = (line for line in errors.splitlines() if not line.startswith("make: "))
    return line
