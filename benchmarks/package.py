"""The Lambda zip: its size, and what its import costs a new environment."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.endpoints import WorkNotDoneError
from benchmarks.measures import Run
from hangup.cdk.bundle import PLATFORMS, build_lambda_zip

__all__ = ["cold_start", "cold_start_message", "lambda_python", "zip_size"]

_HERE: Final = Path(__file__).parent

_PYTHON: Final = "3.13"
"""The function's: see ``hangup.cdk.handler_function``."""

_NAIVE_PACKAGES: Final = (
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "s3transfer",
    "urllib3",
)
_NAIVE_MODULES: Final = ("six", "typing_extensions")

_HANGUP: Final = """
from contextlib import suppress
import hangup.handlers.timeout_handler
from hangup.aws.errors import UnansweredError
from hangup.aws.http.services import DirectDynamoDb
with suppress(UnansweredError):
    DirectDynamoDb().scan(TableName="connections")
"""
"""The client is made by its first call, which reaches nobody: see ``_environment``."""
_NAIVE: Final = """
import boto3
boto3.resource("dynamodb").Table("connections")
"""
_MESSAGE: Final = """
from {module} import lambda_handler
from heartbeat_event import EVENT, Context
assert "heartbeatAck" in lambda_handler(EVENT, Context())["body"]
"""
_MEASURED: Final = """
import sys
from resource import RUSAGE_SELF, getrusage
before = getrusage(RUSAGE_SELF)
sys.path.insert(0, sys.argv[1])
{work}
after = getrusage(RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def zip_size(run: Run) -> None:
    """Measure the larger of the zips for Lambda's two architectures, in MB of 2**20 bytes."""
    run.say("building the Lambda zip")
    run.take("zip_mb", "hangup", max(_zip(name).stat().st_size for name in PLATFORMS) / 2**20)


def cold_start(run: Run) -> None:
    """Measure the timeout handler's import and first client, in interpreters with nothing else.

    Hangup's side is the zip as it is, and nothing is written beside it, as Lambda's folder for the
    code is read-only. The naive side is boto3 whole, compiled, as Lambda brings it.
    """
    _in_turns(run, "cold_start_cpu_ms", _environment(), hangup=_HANGUP, naive=_NAIVE)


def cold_start_message(run: Run) -> None:
    """Measure the message handler's import and first message, likewise.

    Both record it with the stub, over TLS, and read the root certificates for that.
    """
    environment = _environment() | {
        "API_GATEWAY_ENDPOINT": f"{run.aws.urls['execute-api']}/prod",
        "AWS_CA_BUNDLE": str(run.aws.ca_file),
        "AWS_ENDPOINT_URL_DYNAMODB": run.aws.urls["dynamodb"],
        "CONNECTIONS_TABLE": "connections",
        "SESSIONS_TABLE": "sessions",
        "NO_PROXY": "localhost",
    }
    run.aws.reset(records=0)
    _in_turns(
        run,
        "cold_start_message_cpu_ms",
        environment,
        hangup=_MESSAGE.format(module="hangup.handlers.message_handler"),
        naive=_MESSAGE.format(module="naive_messages"),
    )
    expected = {"claims": 2 * run.scale.cold_starts}
    if run.aws.counts != expected:
        raise WorkNotDoneError(f"first messages: {run.aws.counts} instead of {expected}")


def _in_turns(
    run: Run, row: str, environment: Mapping[str, str], *, hangup: str, naive: str
) -> None:
    python = lambda_python()
    works = {"hangup": hangup, "naive": naive}
    folders = {side: run.folder / f"cold-start-{side}" for side in works}
    if not folders["hangup"].is_dir():
        _unpack(folders["hangup"])
        _copy_boto3(folders["naive"])
        _compile(folders["naive"], python)
    for number in range(run.scale.cold_starts):
        run.say(f"{row}: {number + 1} of {run.scale.cold_starts}, with {python}")
        for side, work in works.items():
            run.take(row, side, _start_ms(python, folders[side], work, environment))


def lambda_python() -> str:
    """Return an interpreter of the function's Python, or this one where there is none."""
    found = [shutil.which(f"python{_PYTHON}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += map(str, sorted(pyenv.glob(f"versions/{_PYTHON}.*/bin/python{_PYTHON}")))
    for python in filter(None, found):
        if _version(python) == _PYTHON:
            return python
    return sys.executable


def _version(python: str) -> str:
    # A name on the path may be a shim of a version that is not there.
    asked = subprocess.run(  # noqa: S603 - an interpreter
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def _start_ms(python: str, folder: Path, work: str, environment: Mapping[str, str]) -> float:
    started = subprocess.run(  # noqa: S603 - an interpreter and our own script
        [python, "-I", "-S", "-B", "-c", _MEASURED.format(work=work), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if started.returncode:
        raise RuntimeError(f"the import in {folder.name} failed:\n{started.stderr}")
    return float(started.stdout.splitlines()[-1]) * 1_000


def _environment() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
        "AWS_LAMBDA_FUNCTION_NAME": "timeout",
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _unpack(target: Path) -> None:
    with zipfile.ZipFile(_zip(_architecture())) as archive:
        archive.extractall(target)
    shutil.copy(_HERE / "heartbeat_event.py", target)


def _copy_boto3(target: Path) -> None:
    target.mkdir()
    for name in (*_NAIVE_PACKAGES, *_NAIVE_MODULES):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{name} is not installed")
        origin = Path(spec.origin)
        if name in _NAIVE_PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin.parent, target / name, ignore=ignored)
        else:
            shutil.copy(origin, target)
    for name in ("heartbeat_event.py", "naive_messages.py"):
        shutil.copy(_HERE / name, target)


def _compile(folder: Path, python: str) -> None:
    subprocess.run(  # noqa: S603 - an interpreter and its own compiler
        [python, "-m", "compileall", "-q", str(folder)], check=True
    )


def _zip(architecture: str) -> Path:
    return build_lambda_zip(_HERE.parent / "build", architecture=architecture)


def _architecture() -> str:
    """Return the zip that this machine can run."""
    return "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
