"""Bytecode for the Lambda zip, so that a cold start does not compile what it imports.

Bytecode belongs to one minor version of Python, so it takes an interpreter of exactly the
functions' own: this one, or another that uv finds or installs. The same interpreter compiles the
same sources to the same bytes: a fresh process, one order, the paths that the files have in Lambda.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hangup.errors import BuildError

__all__ = ["PYTHON", "bytecode", "find_interpreter"]

PYTHON = "3.13"
"""The minor version of Python that the functions run on."""

_LAMBDA_ROOT = "/var/task"
_SCRIPT = Path(__file__).with_name("compile_bytecode.py")

_NO_INTERPRETER = (
    f"The Lambda zip has no bytecode, because there is no Python {PYTHON} here and uv could not "
    "install one: each cold start compiles what it imports and takes about twice as long. Run "
    f"`uv python install {PYTHON}`, or put python{PYTHON} on the PATH, and build again."
)


def bytecode(sources: Mapping[str, Path], build_dir: Path) -> dict[str, Path]:
    """Compile ``sources`` (path in the zip: file); return the bytecode files in the same way.

    The last result is kept in ``build_dir``, and the same sources need no interpreter again.
    Without an interpreter return nothing, with a warning that says what this costs. Raise
    BuildError for a source that does not compile.
    """
    compiled = build_dir / f"lambda-bytecode-{_key(sources)}"
    if not compiled.is_dir():
        interpreter = find_interpreter()
        if interpreter is None:
            warnings.warn(_NO_INTERPRETER, stacklevel=2)
            return {}
        # Under another name until it is complete: an interrupted build must not look finished.
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=build_dir))
        try:
            _compile(interpreter, sources, unfinished)
            for previous in build_dir.glob("lambda-bytecode-*"):
                shutil.rmtree(previous)
            unfinished.rename(compiled)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return {_cached(path): compiled / _cached(path) for path in sources}


def find_interpreter() -> str | None:
    """Return the path of a CPython of the functions' version; None if none can be had.

    uv looks for one on the PATH (and in the registry of Windows), among those that it installed,
    and then tries to install one, unless its own settings (``UV_PYTHON_DOWNLOADS``) forbid that.
    """
    here = (sys.implementation.name, "{}.{}".format(*sys.version_info), sys.version_info[3])
    if here == ("cpython", PYTHON, "final"):
        return sys.executable
    installed = ("find", "--managed-python")
    found = _uv("find") or _uv(*installed)
    if found is None and _uv("install", "--no-bin") is not None:
        found = _uv(*installed)
    return found


def _uv(command: str, *options: str) -> str | None:
    """Return what ``uv python`` prints; None if it fails, as it does where there is no uv."""
    environment = {
        # A machine without a network shall not wait for it: bytecode is worth having, no more.
        "UV_HTTP_CONNECT_TIMEOUT": "5",
        "UV_HTTP_RETRIES": "0",
        **os.environ,
        # pyenv's commands only run a version that is active, and say so with an error.
        "PYENV_VERSION": PYTHON,
    }
    result = subprocess.run(  # noqa: S603 - fixed words
        [sys.executable, "-m", "uv", "python", command, *options, f"cpython@{PYTHON}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return None if result.returncode else result.stdout.strip()


def _compile(interpreter: str, sources: Mapping[str, Path], folder: Path) -> None:
    jobs = [
        (str(source.resolve()), str(folder / _cached(path)), f"{_LAMBDA_ROOT}/{path}")
        for path, source in sorted(sources.items())
    ]
    result = subprocess.run(  # noqa: S603 - our own script
        [interpreter, "-I", "-S", str(_SCRIPT)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise BuildError(f"Python {PYTHON} could not compile the Lambda zip's code: {reason}")


def _key(sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256(_SCRIPT.read_bytes() + PYTHON.encode())
    for path, source in sorted(sources.items()):
        digest.update(path.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _cached(path: str) -> str:
    """Return where Python looks for the bytecode of the source at ``path``."""
    source = PurePosixPath(path)
    tag = f"cpython-{PYTHON.replace('.', '')}"
    return str(source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc")
