# ruff: noqa: INP001 - a script: nothing imports it
"""Keep ``.venv`` ready: ``python3 scripts/virtualenv.py SET`` installs ``requirements/SET.txt``.

``make`` runs this before everything that needs packages. When all is in place, it takes a tenth of
a second and asks no package index. It may be killed at any moment:

1. One process at a time works on ``.venv``. It holds a lock, and so does every process below it: a
   pip that goes on after this process was killed still holds it.
2. Everything is downloaded first. A failed download leaves ``.venv`` as it was.
3. ``.venv/make.json`` says before each change that it has begun, and afterwards that it is whole.
   If a change began and did not end, the next run builds ``.venv`` anew.
4. The next run also builds it anew if it was moved, or if its Python is gone or has become another
   version.

A virtualenv that was made by other means is used as it is, if it works. Nothing here needs more
than Python 3.6 until the version is checked, so that an old Python can say that it is too old.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "make.json"
WHEELS = VENV / "wheels"

OLDEST = (3, 11)
MEGABYTES = {"local": (30, 140), "docs": (46, 230), "cdk": (179, 563), "dev": (265, 850)}
"""What each set downloads, and what ``.venv`` takes then: on Linux (x86_64), with Python 3.11."""
COMPILED = ("local",)
"""Sets whose bytecode is written at once. CDK's has 200 MB and takes 20 s, and little is used."""

_INTERRUPTED = 130
_ABOUT_ITSELF = (
    "import sys, pip; assert sys.version_info >= (3, 11); print(sys.implementation.cache_tag)"
)
_INSTALLED = (
    "import importlib.metadata as metadata, json;"
    "print(json.dumps([[one.name, one.version] for one in metadata.distributions()]))"
)

State = Any  # dict[str, Any], which Python 3.6 cannot subscript


class CannotInstallError(Exception):
    """``.venv`` cannot be made ready; the text is one sentence for the user."""


def main() -> int:
    """Do what the command line says; return its exit status."""
    parser = argparse.ArgumentParser(description="Keep .venv ready for make.")
    parser.add_argument("set", choices=MEGABYTES, help="the file in requirements/ to install")
    parser.add_argument(
        "--with-this-python", action="store_true", help="build .venv anew if it has another Python"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare(options.set, with_this_python=options.with_this_python)
    except CannotInstallError as error:
        sys.stderr.write(f"hangup: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"hangup: .venv could not be made ({error})\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("hangup: stopped before .venv was complete; run make again to go on\n")
        return _INTERRUPTED
    return 0


def _prepare(name: str, *, with_this_python: bool) -> None:
    state = _read_state()
    if _fault(state, with_this_python=with_this_python) is None and _has(name, state):
        return
    # The script itself is what is locked, so that no file is left behind. Opened for writing
    # because NFS wants that.
    lock = os.open(__file__, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("Waiting for another make, which installs into .venv ...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    # Again, because it may have been another's turn.
    state = _read_state()
    fault = _fault(state, with_this_python=with_this_python)
    if fault is not None:
        state = _build_anew(fault, lock)
    if not _has(name, state):
        _install(name, state or _adopted(), lock)


def _has(name: str, state: "State | None") -> bool:
    """Return whether the set is in place, and the project as ``pyproject.toml`` has it."""
    return (
        state is not None
        and state["project"] == _digest("pyproject.toml")
        and any(state["sets"].get(one) == _digest(_lock_of(one)) for one in _sets_with(name))
    )


def _fault(state: "State | None", *, with_this_python: bool) -> "str | None":
    """Return why ``.venv`` has to be built anew; empty if there is none, None if it is sound."""
    if not VENV.is_dir() or not any(VENV.iterdir()):
        return ""
    if state is None and STATE.exists():
        return "make.json in it is damaged"
    if state is None and not (VENV / "pyvenv.cfg").exists():
        raise CannotInstallError(f"{VENV} is not a virtualenv: move it elsewhere, then run make")
    if state is not None and state["begun"]:
        return "an install was interrupted"
    tag = _tag()
    faults = {
        f"it has no working Python {_dotted(OLDEST)} or newer with pip": tag is None,
        "it was moved": not _is_at_its_place(state),
        "its Python has become another version": state is not None and state["python"] != tag,
        "another Python was asked for": with_this_python and sys.implementation.cache_tag != tag,
    }
    return next((fault for fault, is_so in faults.items() if is_so), None)


def _is_at_its_place(state: "State | None") -> bool:
    """Return whether the paths that are written into ``.venv`` are those of this folder."""
    if state is not None:
        return bool(state["folder"] == str(VENV))
    activate = VENV / "bin" / "activate"
    return activate.exists() and str(VENV) in activate.read_text()


def _build_anew(fault: str, lock: int) -> State:
    if sys.version_info < OLDEST:
        newer = [f"python3.{minor}" for minor in range(20, 10, -1)]
        found = next((one for one in newer if _answers(one, "")), None)
        raise CannotInstallError(
            f"Python {_dotted(OLDEST)} or newer is needed, and {sys.executable} is "
            f"{_dotted(sys.version_info[:2])}: "
            + (f"add PYTHON={found} to the make command" if found else "install a newer one")
        )
    # On Debian they come apart from Python. Without them venv would leave a half-made folder.
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise CannotInstallError(
            f"{_base_python()} cannot make a virtualenv, because it has no module ensurepip: "
            "install it (on Debian and Ubuntu: apt install python3-venv), then run make again"
        )
    version = ".".join(map(str, sys.version_info[:3]))
    _say(
        f"Making .venv anew, because {fault} ..."
        if fault
        else f"Making .venv (Python {version}) ..."
    )
    if VENV.is_symlink() and not VENV.exists():
        VENV.unlink()
    VENV.mkdir(exist_ok=True)
    state = {
        "folder": str(VENV),
        "python": sys.implementation.cache_tag,
        "begun": "virtualenv",
        "sets": {},
        "project": "",
    }
    _write_state(state)
    for entry in VENV.iterdir():
        if entry != STATE:
            _remove(entry)
    _run([_base_python(), "-m", "venv", str(VENV)], lock, what="The virtualenv could not be made")
    (VENV / ".gitignore").write_text("*\n")
    return _ended(state)


def _adopted() -> State:
    """Return the state of a virtualenv that was made by other means, and works."""
    return {"folder": str(VENV), "python": _tag(), "begun": "", "sets": {}, "project": ""}


def _install(name: str, state: State, lock: int) -> None:
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    locked = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    # A terminal shows pip's progress.
    quiet = [] if sys.stdout.isatty() else ["-q"]
    _remove(WHEELS)
    entries, missing = _entries(name), _missing(name)
    if missing:
        WHEELS.mkdir()
        todo = WHEELS / "requirements.txt"
        todo.write_text("".join(missing))
        download, on_disk = MEGABYTES[name]
        about = "about" if len(missing) == len(entries) else "at most"
        _say(
            f"Downloading what requirements/{name}.txt pins: {about} {download} MB"
            f" ({on_disk} MB once installed) ..."
        )
        _run(
            [*pip, "download", *quiet, *locked, "-d", str(WHEELS), "-r", str(todo)],
            lock,
            what=f"Could not download what requirements/{name}.txt pins, for which a Python package"
            " index is needed, once",
        )
    state["begun"] = name
    _write_state(state)
    if missing:
        _say("Installing it into .venv ...")
        compiled = [] if name in COMPILED else ["--no-compile"]
        _run(
            [
                *(*pip, "install", "-q", "--no-index", "--find-links", str(WHEELS)),
                *(*locked, *compiled, "-r", str(todo)),
            ],
            lock,
            what=f"Could not install what requirements/{name}.txt pins",
        )
    _say("Installing Hangup from this folder ...")
    _run(
        [*pip, "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
        lock,
        what="Could not install Hangup from this folder",
    )
    _point_at_source()
    _remove(WHEELS)
    state["sets"][name] = _digest(_lock_of(name))
    state["project"] = _digest("pyproject.toml")
    _ended(state)


def _point_at_source() -> None:
    """Let ``hangup.pth`` hold nothing but ASCII.

    Python reads such files in the locale's encoding, and does not start if that is ASCII (LC_ALL=C)
    and the path of this folder has other letters. A relative path has none of them.
    """
    if not str(ROOT).isascii():
        for file in VENV.glob("lib/python*/site-packages/hangup.pth"):
            file.write_text(os.path.relpath(str(ROOT / "src"), str(file.parent)) + "\n")


def _entries(name: str) -> "list[tuple[str, str, str]]":
    """Return name, version and text of each entry of a set's lock."""
    texts = re.split(r"^(?=\w)", (ROOT / _lock_of(name)).read_text(), flags=re.MULTILINE)
    found = [(re.match(r"([\w.-]+)(?:\[.*?\])?==([^\s;]+)", text), text) for text in texts]
    return [(_normal(is_pin[1]), is_pin[2], text) for is_pin, text in found if is_pin]


def _missing(name: str) -> "list[str]":
    """Return the lock's entries of packages that ``.venv`` does not have in a pinned version."""
    answer = _answers(str(PYTHON), _INSTALLED) or "[]"
    installed = {(_normal(one), version) for one, version in json.loads(answer)}
    entries = _entries(name)
    # A package may have several entries, each for other Pythons.
    there = {one for one, version, _ in entries if (one, version) in installed}
    return [text for one, _, text in entries if one not in there]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lock_of(name: str) -> str:
    return f"requirements/{name}.txt"


def _sets_with(name: str) -> "list[str]":
    """Return the sets that hold this one: itself, and those whose ``.in`` file includes it."""
    include = re.compile(rf"^-r {name}\.in$", re.MULTILINE)
    including = [
        one
        for one in MEGABYTES
        if include.search((ROOT / "requirements" / f"{one}.in").read_text())
    ]
    return [name, *including]


def _digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()


def _tag() -> "str | None":
    """Return which Python ``.venv`` has, ``cpython-311`` say; None if it does not work."""
    answer = _answers(str(PYTHON), _ABOUT_ITSELF)
    return None if answer is None else answer.strip()


def _answers(python: str, program: str) -> "str | None":
    """Return what a Python prints, None if it is not there or fails."""
    try:
        done = subprocess.run(  # noqa: S603 - likewise
            [python, "-Ic", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode()


def _base_python() -> str:
    """Return this interpreter outside of any virtualenv: the one that is active may be ours."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _dotted(version: "tuple[int, ...]") -> str:
    return ".".join(map(str, version))


def _read_state() -> "State | None":
    try:
        state = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return None
    expected = {"folder", "python", "begun", "sets", "project"}
    return state if isinstance(state, dict) and expected <= set(state) else None


def _write_state(state: State) -> None:
    """Write the state, or nothing of it: this process may be killed while it writes."""
    unfinished = STATE.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(state, indent=1) + "\n")
    unfinished.replace(STATE)


def _ended(state: State) -> State:
    state["begun"] = ""
    _write_state(state)
    return state


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    elif path.exists() or path.is_symlink():
        path.unlink()


def _run(command: "list[str]", lock: int, *, what: str) -> None:
    """Run a step; raise CannotInstallError with its last words if it fails.

    The lock is its standard input, because its own children inherit that too. That it tries an
    index again is shown at once, for that may take a minute. Its errors are kept for the sentence:
    after Ctrl-C a step complains as well, and nobody needs to read that.
    """
    errors = []
    with subprocess.Popen(  # noqa: S603 - our own words and paths
        command, cwd=str(ROOT), stdin=lock, stderr=subprocess.PIPE
    ) as step:
        try:
            for raw in step.stderr or ():
                line = raw.decode(errors="replace").strip()
                if line.startswith("WARNING: Retrying"):
                    sys.stderr.write(f"{line}\n")
                elif line:
                    errors.append(line)
            status = step.wait()
        except BaseException:
            step.terminate()
            raise
    if status in {-signal.SIGINT, _INTERRUPTED}:
        raise KeyboardInterrupt
    if status:
        said = [line for line in errors if line.startswith("ERROR: ")] or errors
        why = said[-1] if said else f"status {status}"
        raise CannotInstallError(f"{what} ({why})")


def _say(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads on (`make demo | head`): the install goes on without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
