"""What a cold start loads: modules are counted, not milliseconds, which vary with the machine."""

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hangup.cdk.bundle import PYTHON, build_lambda_zip, find_interpreter

pytestmark = pytest.mark.infra

ROOT = Path(__file__).parents[2]

BUDGETS = {
    "close_handler": 403,
    "connect_handler": 412,
    "disconnect_handler": 402,
    "message_handler": 400,
    "timeout_handler": 405,
}
"""How many modules each handler may load, the standard library's included.

At the time of writing it is 3 to 5 less on Python 3.11. About 330 are botocore's and what
it needs; the rest are Powertools', and ours. A new module of ours may raise a number by one. Before
it is raised by more, see whether the import can wait until it is needed:
``python -X importtime -c 'import hangup.handlers.timeout_handler'`` says where the time goes.
"""

HEAVY = {
    # libcurl: 10 ms of CPU, which belong to the first use of it.
    "pycurl",
    # Likewise.
    "greenlet",
    "orjson",
    # botocore's clients do without them.
    "boto3",
    "s3transfer",
    "multiprocessing",
    # What only the deployment, the tests and the local stack need.
    "aws_cdk",
    "hangup.cdk",
    "hangup.local",
    "hangup.testing",
    "unittest",
    # Powertools loads them if its tracer, validation or parser is used.
    "aws_xray_sdk",
    "fastjsonschema",
    "pydantic",
    # Nothing here serves or awaits.
    "asyncio",
    "http.server",
}

IMPORT = """
import importlib, json, sys
unpacked, handler = sys.argv[1:]
sys.path.insert(0, unpacked)
# First, as Python does for any of them.
import hangup.handlers
from botocore.session import Session

def refuse(*_, **__):
    raise AssertionError("a client at import")

create_client, Session.create_client = Session.create_client, refuse
importlib.import_module("hangup.handlers." + handler)
loaded = set(sys.modules)

Session.create_client = create_client
from hangup.aws.clients import dynamodb_client, lambda_client, management_client, secrets_client
dynamodb_client(), lambda_client(), secrets_client(), management_client("https://localhost/prod")
print(json.dumps({"import": sorted(loaded), "clients": sorted(sys.modules)}))
"""

RUNTIME = """
import sys
sys.path.insert(0, sys.argv[1])
import hangup.handlers.timeout_handler
from hangup.aws.http.loop import Interleaved
assert Interleaved(2)(abs, [-1, 2]) == [1, 2]
from hangup.aws.http.json import to_json
assert to_json({"a": "b"}) == b'{"a":"b"}'
import pycurl
for name in "greenlet", "orjson", "pycurl":
    assert sys.modules[name].__file__.startswith(sys.argv[1])
from hangup.aws.http.services import direct_lambda
from botocore.exceptions import EndpointConnectionError
try:
    direct_lambda().invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")
except EndpointConnectionError:
    sys.exit()
raise AssertionError("somebody answered")
"""

# The credentials and the Region, as Lambda sets them; no setting of ours is needed to import.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    # Where nobody listens: no test asks the real one.
    "AWS_ENDPOINT_URL_LAMBDA": "https://127.0.0.1:1",
}


@pytest.fixture(scope="module")
def unpacked(lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the zip's content, with the libraries for this machine's processor."""
    machine = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(build_lambda_zip(lambda_zip.parent, architecture=machine)) as archive:
        archive.extractall(folder)
    return folder


def run_clean(script: str, *arguments: str, python: str = sys.executable) -> str:
    """Run in an interpreter that has its standard library and nothing that is installed."""
    result = subprocess.run(
        [python, "-I", "-S", "-B", "-c", script, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_handler_has_a_budget() -> None:
    handlers = (ROOT / "src" / "hangup" / "handlers").glob("*_handler.py")
    assert {file.stem for file in handlers} == BUDGETS.keys()


@pytest.mark.parametrize("handler", BUDGETS)
def test_a_handler_loads_no_more_than_its_budget_and_no_client(
    unpacked: Path, handler: str
) -> None:
    loaded = json.loads(run_clean(IMPORT, str(unpacked), handler))
    for modules in loaded.values():
        assert len(modules) <= BUDGETS[handler]
        assert not HEAVY & set(modules)
    assert ("jwt" in loaded["import"]) == (handler == "connect_handler")


@pytest.mark.skipif(sys.platform != "linux", reason="the zip's libraries are Linux's")
def test_the_libraries_are_there_for_who_needs_them(unpacked: Path) -> None:
    python = find_interpreter()
    if python is None:
        pytest.skip(f"no Python {PYTHON} here, for which the zip's libraries were built")
    run_clean(RUNTIME, str(unpacked), python=python)
