"""Build the Lambda zip: the handlers and what they import, nothing else.

pip installs what ``lambda.txt`` pins (a copy of the project's ``requirements/lambda.txt``, so that
an installed package can build the zip too) for Lambda's platform, whatever machine this is. It
does so once per lock: a later build with the same lock needs no network.

The zip is the same byte for byte wherever it is built, since CDK names it by its hash and a
different hash is a deployment: entries are sorted, with one fixed time and mode, without bytecode,
and stored without compression, because zlib's output differs between its versions.
"""

import ast
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from hangup.errors import BuildError

__all__ = ["LOCK", "build_lambda_zip"]

LOCK = Path(__file__).with_name("lambda.txt")

_PACKAGE = Path(__file__).parents[1]
_ZIP_NAME = "hangup-lambda.zip"

# Lambda's python3.13 on arm64. All of today's dependencies are pure Python; with these options a
# compiled one would be taken for Lambda's processor, not for this machine's.
_PIP_OPTIONS = shlex.split(
    "--quiet --disable-pip-version-check --no-input --no-compile --require-hashes --no-deps"
    " --only-binary :all: --platform manylinux2014_aarch64 --implementation cp"
    " --python-version 3.13"
)

# The AWS services that the handlers call. botocore describes 400 more, in 24 MB.
_SERVICES = ("apigatewaymanagementapi", "dynamodb", "lambda", "secretsmanager", "sqs")

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
    # boto3's resources (Table, Bucket); the handlers use its clients alone.
    ("boto3/data/*", _LEFT_OUT),
    ("boto3/examples/*", _LEFT_OUT),
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


def build_lambda_zip(build_dir: Path | None = None) -> Path:
    """Build the zip in ``build_dir`` (default: ``build`` in the working directory).

    Return its path. Raise BuildError if pip cannot install what the lock pins.
    """
    build_dir = build_dir or Path.cwd() / "build"
    dependencies = _install_dependencies(build_dir)
    files = {path: file for path, file in _files(dependencies) if _is_kept(path)}
    files |= _handler_modules()
    target = build_dir / _ZIP_NAME
    _write_zip(target, files)
    return target


def _install_dependencies(build_dir: Path) -> Path:
    """Return the folder with what the lock pins, installed on an earlier build or now."""
    key = hashlib.sha256(LOCK.read_bytes() + " ".join(_PIP_OPTIONS).encode()).hexdigest()[:16]
    installed = build_dir / f"lambda-dependencies-{key}"
    if installed.is_dir():
        return installed
    build_dir.mkdir(parents=True, exist_ok=True)
    # Under another name until it is complete: an interrupted build must not look finished.
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=build_dir))
    try:
        _pip_install(unfinished)
        unfinished.rename(installed)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return installed


def _pip_install(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", *_PIP_OPTIONS]
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
    waiting = [*handlers, "hangup.activity"]
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
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for path, file in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_0644
            archive.writestr(entry, file.read_bytes())
    unfinished.replace(target)
