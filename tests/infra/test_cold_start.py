"""What a cold start loads: what is slow to load stays out of it, above all botocore."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hangup.cdk.bundle import PYTHON, build_lambda_zip, find_interpreter
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.scheduled_close import ScheduledClose, as_message
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from tests.support.aws_stub import ACTIVE_SESSION, JOIN_SECRET, AwsStub
from tests.support.recorded import CONNECTION_ID, recorded

pytestmark = pytest.mark.infra

ROOT = Path(__file__).parents[2]

MODULES = (
    "close_handler",
    "connect_handler",
    "disconnect_handler",
    "message_handler",
    "timeout_handler",
    "tracks_activity",
)

HEAVY = {
    # With the keys in the environment, as Lambda gives them, these are for nothing. botocore alone
    # takes a tenth of a second of CPU; its own __init__, which Powertools imports, next to none.
    "boto3",
    "botocore.client",
    "botocore.config",
    "botocore.exceptions",
    "botocore.session",
    "dateutil",
    "s3transfer",
    "urllib3",
    "multiprocessing",
    # What only the deployment, the tests and the local stack need.
    "aws_cdk",
    "hangup.cdk",
    "hangup.local",
    "hangup.ops",
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

LATER = {
    # Machine code: its CPU time belongs to the first call.
    "greenlet",
    "orjson",
    "pycurl",
}

IMPORT = """
import importlib, json, sys
unpacked, module = sys.argv[1:]
sys.path.insert(0, unpacked)
importlib.import_module("hangup.handlers." + module)
print(json.dumps(sorted(sys.modules)))
"""

CALL = """
import importlib, json, sys
module, event = sys.argv[1:]
class Context:
    aws_request_id = "cold-start"
    def get_remaining_time_in_millis(self):
        return 60_000
handlers = importlib.import_module("hangup.handlers." + module)
if module == "tracks_activity":
    handler = handlers.tracks_activity(lambda event, context: {})
else:
    handler = handlers.lambda_handler
handler(json.loads(event), Context())
print(json.dumps(sorted(sys.modules)))
"""

RUNTIME = """
import sys
sys.path.insert(0, sys.argv[1])
import hangup.handlers.timeout_handler
from hangup.aws.http.loop import Loop
assert Loop(2).map(abs, [-1, 2]) == [1, 2]
from hangup.aws.http.json import to_json
assert to_json({"a": "b"}) == b'{"a":"b"}'
import pycurl
for name in "greenlet", "orjson", "pycurl":
    assert sys.modules[name].__file__.startswith(sys.argv[1])
from hangup.aws.errors import UnansweredError
from hangup.aws.http import services
for call in (
    lambda: services.DirectDynamoDb().scan(TableName="t"),
    lambda: services.DirectLambda().invoke(
        FunctionName="f", InvocationType="Event", Payload=b"{}"
    ),
    lambda: services.DirectSecrets().get_secret_value(SecretId="s"),
    lambda: services.DirectSqs().send_message_batch(QueueUrl="q", Entries=[]),
    lambda: services.DirectManagementApi(url="https://127.0.0.1:1/prod").delete_connection(
        ConnectionId="a="
    ),
):
    try:
        call()
    except UnansweredError as error:
        assert error.code == "EndpointConnectionError", error
    else:
        raise AssertionError("somebody answered")
"""

# The credentials and the Region, as Lambda sets them; no setting of ours is needed to import.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_CONFIG_FILE": os.devnull,
    # Where nobody listens: no test asks the real one.
    "AWS_ENDPOINT_URL": "https://127.0.0.1:1",
}

NOW_MS = EpochMs(time.time_ns() // 1_000_000)
ITEM = {
    "connectionId": {"S": CONNECTION_ID},
    "sessionId": {"S": "s1"},
    "role": {"S": "listener"},
    "lastActivityTime": {"N": str(NOW_MS - 3_600_000)},
}
CLOSE = ["GetConnection", "UpdateItem", "PostToConnection", "DeleteConnection", "Invoke"]


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
    return output([python, "-I", "-S", "-B", "-c", script, *arguments], ENVIRONMENT)


def output(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def heavy(modules: list[str]) -> set[str]:
    """Return what should not have been loaded, and whatever is in botocore."""
    return HEAVY & {*modules} | {name for name in modules if name.startswith("botocore.")}


def test_every_handler_is_looked_at() -> None:
    handlers = (ROOT / "src" / "hangup" / "handlers").glob("*_handler.py")
    assert {file.stem for file in handlers} < {*MODULES}


def test_what_is_looked_for_is_there() -> None:
    for name in HEAVY - {"aws_xray_sdk", "fastjsonschema", "pydantic"} | LATER:
        assert importlib.util.find_spec(name) is not None, name


@pytest.mark.parametrize("module", MODULES)
def test_an_import_loads_nothing_that_is_slow_or_can_wait(unpacked: Path, module: str) -> None:
    modules = json.loads(run_clean(IMPORT, str(unpacked), module))
    assert heavy(modules) == set()
    assert not LATER & {*modules}
    assert ("jwt" in modules) == (module == "connect_handler")


def idle_connection(aws: AwsStub) -> object:
    aws.answer("Scan", {"Items": [ITEM], "Count": 1, "ScannedCount": 1})
    return {}


def due_connection(aws: AwsStub) -> object:
    aws.answer("GetItem", {"Item": ITEM})
    connection = Connection(
        connection_id=CONNECTION_ID, last_activity_ms=EpochMs(NOW_MS - 3_600_000)
    )
    body = as_message(
        ScheduledClose(
            silence_ms=DurationMs(120_000),
            judged_at_ms=EpochMs(1_700_000_000_000),
            connection=connection,
            deadline_ms=NOW_MS,
            correlation_id="tick-1",
        )
    )
    return {"Records": [{"messageId": "m1", "receiptHandle": "r1", "body": body}]}


def listener(aws: AwsStub) -> object:
    aws.answer("GetItem", {"Item": ACTIVE_SESSION})
    token = mint_join_token(
        session_id="s1",
        role=Role.LISTENER,
        secret=JOIN_SECRET,
        now_ms=NOW_MS,
        lifetime_ms=DurationMs(3_600_000),
    )
    query = {"sessionId": "s1", "role": "listener", "token": token}
    return recorded("connect") | {"queryStringParameters": query}


def closed_connection(aws: AwsStub) -> object:
    aws.answer("GetItem", {"Item": ITEM})
    return recorded("disconnect")


def heartbeat(_aws: AwsStub) -> object:
    return recorded("message") | {"body": '{"action": "heartbeat"}'}


def orphan(aws: AwsStub) -> object:
    aws.fail("UpdateItem", status=400, code="ConditionalCheckFailedException")
    return heartbeat(aws)


@pytest.mark.parametrize(
    ("module", "event", "operations"),
    [
        ("close_handler", due_connection, ["GetItem", *CLOSE]),
        ("connect_handler", listener, ["GetSecretValue", "GetItem", "PutItem", "GetItem"]),
        ("disconnect_handler", closed_connection, ["GetItem", "DeleteItem"]),
        ("message_handler", heartbeat, ["UpdateItem"]),
        ("message_handler", orphan, ["UpdateItem", "DeleteConnection"]),
        ("timeout_handler", idle_connection, ["Scan", "Scan", "Scan", *CLOSE]),
        ("tracks_activity", heartbeat, ["UpdateItem"]),
    ],
)
def test_a_first_call_loads_nothing_that_is_slow(
    aws: AwsStub, module: str, event: Callable[[AwsStub], Any], operations: list[str]
) -> None:
    # Settled, so that no notice is followed by another question.
    environment = {**os.environ, "LAST_ACTIVE_COUNTS": "client", "SCAN_SEGMENTS": "1"}
    if module == "close_handler":
        environment["CLOSE_QUEUE_URL"] = f"{aws.endpoint}/queue"
    command = [sys.executable, "-c", CALL, module, json.dumps(event(aws))]
    modules = json.loads(output(command, environment).splitlines()[-1])
    assert heavy(modules) == set()
    assert aws.operations == operations


@pytest.mark.skipif(sys.platform != "linux", reason="the zip's libraries are Linux's")
def test_every_service_can_be_called_with_the_libraries_of_the_zip(unpacked: Path) -> None:
    python = find_interpreter()
    if python is None:
        pytest.skip(f"no Python {PYTHON} here, for which the zip's libraries were built")
    run_clean(RUNTIME, str(unpacked), python=python)
