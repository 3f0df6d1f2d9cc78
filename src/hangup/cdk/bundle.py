"""Build the Lambda zip: the handlers and what they import, nothing else.

uv installs what ``lambda.txt`` pins (a copy of the project's ``requirements/lambda.txt``, so that
an installed package can build the zip too) for Lambda's platform, whatever machine this is. It
does so once per lock and architecture: a later build with the same lock needs no network.

The zip also holds bytecode, so that a cold start compiles nothing. Bytecode belongs to one minor
version of Python. uv finds or downloads an interpreter of that version, and the interpreter's own
``compileall`` writes the bytecode. ``uv pip install --compile-bytecode`` cannot do this: it embeds
the paths of the build's folder, and it compiles what it installs but not the project's own modules.

The zip is the same byte for byte wherever one machine builds it: entries are sorted, with one
fixed time and mode. Between machines the compressed bytes may differ with zlib's version and the
bytecode with Python's patch release, so ``content_hash`` names what is inside.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from modulefinder import ModuleFinder
from pathlib import Path

from hangup.errors import BuildError
from hangup.ops.folders import make_ignored_folder

LOCK = Path(__file__).with_name("lambda.txt")

PYTHON = "3.13"
"""The minor version of Python that the functions run on."""

PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
"""Lambda's architectures, and uv's names for them. Amazon Linux 2023 has a newer glibc (2.34) than
these wheels ask for (2.28 or less)."""

_PACKAGE = Path(__file__).parents[1]
_UV = (sys.executable, "-m", "uv")

# A compiled dependency is taken for Lambda's processor and Python, not for this machine's. Files
# are copied because some are changed afterwards, and uv's cache must not change with them.
_INSTALL_OPTIONS = shlex.split(
    "--quiet --require-hashes --no-deps --only-binary :all: --link-mode copy"
    f" --python-version {PYTHON}"
)

# The bytecode is loaded without a look at the source (PEP 552), and holds no time of this machine.
_COMPILE = shlex.split("-I -S -m compileall -q --invalidation-mode unchecked-hash -p /var/task -s")

_NO_INTERPRETER = (
    f"The Lambda zip has no bytecode, because there is no Python {PYTHON} here and uv could not"
    " download one: each cold start compiles what it imports and takes about twice as long. Run"
    f" `uv python install {PYTHON}`, or put python{PYTHON} on the PATH, and build again."
)

# Packages that are older than the ``licenses`` folder (PEP 639) have them beside their metadata.
_LICENCES = ("licenses/*", "LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*")

# What pycurl's wheel does not say: whose libraries it brings, under which licences.
_LIBRARIES = Path(__file__).with_name("libraries.txt")

# The first pattern that matches a file's path decides; ``*`` crosses folders.
_KEPT, _LEFT_OUT = True, False
_RULES: tuple[tuple[str, bool], ...] = (
    ("bin/*", _LEFT_OUT),
    # uv's own, and the bytecode of this machine's Python where uv is set to write it.
    (".lock", _LEFT_OUT),
    ("*__pycache__/*", _LEFT_OUT),
    # The package's name and version, which vulnerability scanners look for, and its licence.
    ("*.dist-info/METADATA", _KEPT),
    *((f"*.dist-info/{name}", _KEPT) for name in _LICENCES),
    ("*.dist-info/*", _LEFT_OUT),
    ("*/py.typed", _LEFT_OUT),
    ("*.pyi", _LEFT_OUT),
    # botocore finds credentials without its description of AWS's services, which has 24 MB.
    ("botocore/data/*", _LEFT_OUT),
    # An interface to libcurl that is easier to use.
    ("curl/*", _LEFT_OUT),
    ("greenlet/__init__.py", _KEPT),
    ("greenlet/_greenlet.*.so", _KEPT),
    ("greenlet/*", _LEFT_OUT),
    ("include/*", _LEFT_OUT),
    # A copy of the time zone database, for zones other than the local one and UTC.
    ("dateutil/zoneinfo/*", _LEFT_OUT),
    # Powertools' logger and EMF metrics, and what its __init__ imports along with them.
    ("aws_lambda_powertools/metrics/provider/datadog/*", _LEFT_OUT),
    ("aws_lambda_powertools/logging/formatters/*", _LEFT_OUT),
    *(
        (f"aws_lambda_powertools/{name}", _KEPT)
        for name in (
            "__init__.py",
            "package_logger.py",
            "exceptions/*",
            "logging/*",
            "metrics/*",
            "shared/*",
            "tracing/*",
            "utilities/__init__.py",
            "utilities/jmespath_utils/*",
            "warnings/*",
        )
    ),
    ("aws_lambda_powertools/*", _LEFT_OUT),
    ("*", _KEPT),
)

# 1980-01-01: the earliest time that a zip can hold.
_TIME = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE_0644 = 0o100644 << 16
_UNIX = 3
_MAGIC_NUMBER_BYTES = 4


def build_lambda_zip(build_dir: Path | None = None, *, architecture: str = "arm64") -> Path:
    """Build the zip for ``architecture`` in ``build_dir`` (default: ``build``, here).

    git sees nothing of that folder, unless it is there already and holds something else.
    ``architecture`` is one of ``PLATFORMS``. Return the zip's path. Warn if there is no interpreter
    to compile the bytecode: the zip works without it. Raise BuildError for another architecture, if
    uv cannot install what the lock pins, and if that does not compile.
    """
    if architecture not in PLATFORMS:
        raise BuildError(f"Lambda runs on {' and '.join(PLATFORMS)}, not on {architecture}.")
    build_dir = build_dir or Path.cwd() / "build"
    make_ignored_folder(build_dir)
    dependencies = _install_dependencies(build_dir, architecture)
    files = {path: file for path, file in _files(dependencies) if _is_kept(path)}
    files |= _handler_modules() | {"pycurl.libs/LICENCES.txt": _LIBRARIES}
    # In another folder until it is complete: an interrupted build must not look finished.
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=build_dir) as folder:
        unpacked, unfinished = Path(folder, "unpacked"), Path(folder, "zip")
        for path, file in files.items():
            copy = unpacked / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        _compile(unpacked)
        _write_zip(unfinished, unpacked)
        return unfinished.replace(build_dir / f"hangup-lambda-{architecture}.zip")


def content_hash(lambda_zip: Path) -> str:
    """Return the SHA-256 (hexadecimal) of what the zip holds: paths and contents, in order.

    Bytecode counts as its magic number, since the rest follows from the sources. So the zip of
    another machine has the same hash, unless only one of them has bytecode.
    """
    digest = hashlib.sha256()
    with zipfile.ZipFile(lambda_zip) as archive:
        for path in archive.namelist():
            content = archive.read(path)
            if path.endswith(".pyc"):
                content = content[:_MAGIC_NUMBER_BYTES]
            digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


def find_interpreter() -> str | None:
    """Return the path of a CPython of the functions' version; None if there is none to be had.

    uv looks for one among those that run this, that are on the PATH and that it installed. Then it
    tries to download one, unless its settings (``UV_PYTHON_DOWNLOADS``) forbid that.
    """
    command = (f"--python=cpython@{PYTHON}", "python", "-Ic", "import sys; print(sys.executable)")
    environment = {
        # A machine without a network must not wait for it: bytecode is optional.
        "UV_HTTP_CONNECT_TIMEOUT": "5",
        "UV_HTTP_RETRIES": "0",
        **os.environ,
        # Otherwise pyenv's python3.13 fails where another version is active.
        "PYENV_VERSION": PYTHON,
    }
    # Second without those on the PATH: uv stops at one that fails, as pyenv's do without a 3.13.
    for options in ((), ("--managed-python",)):
        found = _run([*_UV, "run", "--no-project", *options, *command], environment)
        if not found.returncode:
            return found.stdout.strip()
    return None


def _install_dependencies(build_dir: Path, architecture: str) -> Path:
    """Return the folder with what the lock pins, installed on an earlier build or now.

    Installing removes what another lock had pinned.
    """
    options = [*_INSTALL_OPTIONS, f"--python-platform={PLATFORMS[architecture]}"]
    key = hashlib.sha256(LOCK.read_bytes() + " ".join(options).encode()).hexdigest()[:16]
    installed = build_dir / f"lambda-dependencies-{architecture}-{key}"
    if installed.is_dir():
        return installed
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=build_dir) as folder:
        unfinished = Path(folder, "installed")
        result = _run([*_UV, "pip", "install", *options, f"--target={unfinished}", f"-r{LOCK}"])
        if result.returncode:
            raise BuildError(
                f"The Lambda zip could not be built, because uv could not install what {LOCK.name}"
                " pins. It needs a Python package index, once per lock (UV_DEFAULT_INDEX names"
                f" another than PyPI). uv says: {_one_line(result)}"
            )
        for previous in build_dir.glob(f"lambda-dependencies-{architecture}-*"):
            shutil.rmtree(previous)
        unfinished.rename(installed)
    return installed


def _compile(folder: Path) -> None:
    """Add the bytecode of every module in ``folder``, with the paths that they have in Lambda."""
    interpreter = find_interpreter()
    if interpreter is None:
        warnings.warn(_NO_INTERPRETER, stacklevel=3)
        return
    # One process and one order: then the same sources give the same bytes.
    result = _run([interpreter, *_COMPILE, str(folder), str(folder)])
    if result.returncode:
        raise BuildError(
            f"Python {PYTHON} could not compile the Lambda zip's code: {_one_line(result)}"
        )


def _run(
    command: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed words and our own paths
        command, env=environment, capture_output=True, text=True, check=False
    )


def _one_line(result: subprocess.CompletedProcess[str]) -> str:
    return " ".join(f"{result.stdout} {result.stderr}".split())


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the path within ``folder`` and the place of each file."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file


def _is_kept(path: str) -> bool:
    return next(kept for pattern, kept in _RULES if fnmatchcase(path, pattern))


def _handler_modules() -> dict[str, Path]:
    """Return the package's modules that the handlers import, directly or not, by path."""
    source = _PACKAGE.parent
    # Beside an installed package are its dependencies, which the lock pins for the zip.
    others = [file.name.partition(".")[0] for file in source.iterdir() if file != _PACKAGE]
    finder = ModuleFinder([str(source)], excludes=others)
    # The decorator too: a user's own functions may be built on this zip.
    for file in (_PACKAGE / "handlers").glob("*.py"):
        finder.import_hook(f"hangup.handlers.{file.stem}")
    # None for the modules that are built into Python.
    files = (vars(module)["__file__"] for module in finder.modules.values())
    return {Path(file).relative_to(source).as_posix(): Path(file) for file in files if file}


def _write_zip(target: Path, folder: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path, file in sorted(_files(folder)):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_0644
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
