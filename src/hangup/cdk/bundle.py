"""Build the Lambda zip: the handlers and what they import, nothing else.

pip installs what ``lambda.txt`` pins (a copy of the project's ``requirements/lambda.txt``, so that
an installed package can build the zip too) for Lambda's platform, whatever machine this is. It
does so once per lock and architecture: a later build with the same lock needs no network.

The zip is the same byte for byte wherever one machine builds it: entries are sorted, with one
fixed time and mode. Between machines the compressed bytes may differ with zlib's version and the
bytecode with Python's patch release, so ``content_hash`` names what is inside.
"""

import ast
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from hangup.cdk.bytecode import PYTHON, bytecode
from hangup.errors import BuildError

__all__ = ["LOCK", "PLATFORMS", "build_lambda_zip", "content_hash"]

LOCK = Path(__file__).with_name("lambda.txt")

PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_28_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_28_x86_64"),
}
"""Lambda's architectures, and pip's names for them. Amazon Linux 2023 has a newer glibc (2.34)
than these wheels ask for (2.17 and 2.28)."""

_PACKAGE = Path(__file__).parents[1]

# A compiled dependency is taken for Lambda's processor and Python, not for this machine's.
_PIP_OPTIONS = shlex.split(
    "--quiet --disable-pip-version-check --no-input --no-compile --require-hashes --no-deps"
    f" --only-binary :all: --implementation cp --python-version {PYTHON}"
)

# The AWS services that the handlers call. botocore describes 400 more, in 24 MB.
_SERVICES = ("apigatewaymanagementapi", "dynamodb", "lambda", "secretsmanager", "sqs")
_ENDPOINTS = "botocore/data/endpoints.json"

# The first pattern that matches a file's path decides; ``*`` crosses folders.
_KEPT, _LEFT_OUT = True, False
_RULES: tuple[tuple[str, bool], ...] = (
    ("bin/*", _LEFT_OUT),
    # The package's name, version and licence, which vulnerability scanners look for.
    ("*.dist-info/METADATA", _KEPT),
    ("*.dist-info/*", _LEFT_OUT),
    ("*/py.typed", _LEFT_OUT),
    ("*.pyi", _LEFT_OUT),
    ("botocore/data/*/examples-1.json", _LEFT_OUT),
    *((f"botocore/data/{service}/*", _KEPT) for service in _SERVICES),
    ("botocore/data/*/*", _LEFT_OUT),
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

    ``architecture`` is one of ``PLATFORMS``. Return the zip's path. Raise BuildError for another
    architecture, if pip cannot install what the lock pins, and if that does not compile.
    """
    if architecture not in PLATFORMS:
        raise BuildError(f"Lambda runs on {' and '.join(PLATFORMS)}, not on {architecture}.")
    build_dir = build_dir or Path.cwd() / "build"
    dependencies = _install_dependencies(build_dir, architecture)
    files = {path: file for path, file in _files(dependencies) if _is_kept(path)}
    files |= _handler_modules()
    files |= bytecode({k: v for k, v in files.items() if k.endswith(".py")}, build_dir)
    target = build_dir / f"hangup-lambda-{architecture}.zip"
    _write_zip(target, files)
    return target


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


def _install_dependencies(build_dir: Path, architecture: str) -> Path:
    """Return the folder with what the lock pins, installed on an earlier build or now.

    Installing removes what another lock had pinned.
    """
    options = [*_PIP_OPTIONS, *(f"--platform={name}" for name in PLATFORMS[architecture])]
    settings = " ".join([*options, *_SERVICES])
    key = hashlib.sha256(LOCK.read_bytes() + settings.encode()).hexdigest()[:16]
    installed = build_dir / f"lambda-dependencies-{architecture}-{key}"
    if installed.is_dir():
        return installed
    build_dir.mkdir(parents=True, exist_ok=True)
    # Under another name until it is complete: an interrupted build must not look finished.
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=build_dir))
    try:
        _pip_install(unfinished, options)
        _trim_endpoints(unfinished / _ENDPOINTS)
        for previous in build_dir.glob(f"lambda-dependencies-{architecture}-*"):
            shutil.rmtree(previous)
        unfinished.rename(installed)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return installed


def _pip_install(target: Path, options: list[str]) -> None:
    # Asked first: without pip the error below would blame the package index.
    if find_spec("pip") is None:
        raise BuildError(
            "The Lambda zip could not be built, because this Python has no pip (uv installs none"
            f" into its environments): run {sys.executable} -m ensurepip, or uv pip install pip,"
            " once."
        )
    command = [sys.executable, "-m", "pip", "install", *options]
    result = subprocess.run(  # noqa: S603 - fixed words and our own paths
        [*command, "--target", str(target), "--requirement", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise BuildError(
            "The Lambda zip could not be built, because pip could not install what "
            f"{LOCK.name} pins (it needs a Python package index, once per lock): "
            f"{reason.removeprefix('ERROR: ')}"
        )


def _trim_endpoints(file: Path) -> None:
    """Leave out the endpoints of other services: 1.2 MB that the first client would parse."""
    endpoints = json.loads(file.read_text())
    for partition in endpoints["partitions"]:
        partition["services"] = {
            name: service for name, service in partition["services"].items() if name in _SERVICES
        }
    file.write_text(json.dumps(endpoints))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            file = Path(parent, name)
            yield file.relative_to(folder).as_posix(), file


def _is_kept(path: str) -> bool:
    return next(kept for pattern, kept in _RULES if fnmatchcase(path, pattern))


def _handler_modules() -> dict[str, Path]:
    """Return the package's modules that the handlers import, directly or not."""
    handlers = [f"hangup.handlers.{file.stem}" for file in (_PACKAGE / "handlers").glob("*.py")]
    found: dict[str, Path] = {}
    # The decorator too: a user's own functions may be built on this zip.
    waiting = [*handlers, "hangup.handlers.tracks_activity"]
    while waiting:
        name = waiting.pop()
        file = _module_file(name)
        if file is None or name in found:
            continue
        found[name] = file
        waiting += _imported_names(file)
        # Importing a module imports the packages around it first.
        waiting.append(name.rpartition(".")[0])
    return {file.relative_to(_PACKAGE.parent).as_posix(): file for file in found.values()}


def _module_file(name: str) -> Path | None:
    """Return the file of a module of this package; None if ``name`` is not one."""
    if name.partition(".")[0] != _PACKAGE.name:
        return None
    path = _PACKAGE.parent.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _imported_names(file: Path) -> Iterator[str]:
    """Yield what may be the name of a module in each import statement of ``file``."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import name``: the name may be a module or something inside one.
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _write_zip(target: Path, files: Mapping[str, Path]) -> None:
    unfinished = target.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for path, file in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_0644
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    unfinished.replace(target)
