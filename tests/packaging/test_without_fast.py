"""The adapters' contracts, the handlers and the local stack where ``fast`` is not installed.

The tests are those that run with it everywhere else. Here they run in a virtualenv that has all but
libcurl, greenlets and orjson, on the wheel. Left out are the cases in which none of the three takes
part (the fakes, and the adapters on boto3's clients), and those that mostly wait.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.distribution import python_of, without_fast
from tests.support.documents import ROOT

pytestmark = pytest.mark.install

CONTRACTS = [
    f"tests/contract/test_{name}_contract.py"
    for name in ("close_queue", "connections", "consistency", "gateway", "sessions")
]
ON_A_STUB = [
    f"tests/unit/test_{name}.py"
    for name in (
        "account",
        "activity",
        "adapters",
        "aws_answers",
        "close_handler",
        "close_queue",
        "connect_handler",
        "disconnect_handler",
        "dynamodb_adapters",
        "message_handler",
        "timeout_handler",
    )
]
STACK = ["tests/integration/test_timeout_flow.py"]

OUR_CALLS = "(direct and not names) or gateway or queue"
SHORT_WAITS = "not (until_the_deadline or outage)"
CLOSES = "idle_listener or idle_speaker or fifty_idle"

CHECK = """
import sys
from importlib.util import find_spec
import hangup
assert hangup.__file__.startswith(sys.prefix), hangup.__file__
assert not any(map(find_spec, ("pycurl", "greenlet", "orjson")))
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    python = python_of(without_fast(tmp_path_factory.mktemp("all but fast") / "venv", wheel))
    subprocess.run([python, "-c", CHECK], cwd=ROOT, check=True)
    return python


def run(python: str, files: list[str], *, marked: str, named: str, at_least: int) -> None:
    """Run tests, and expect that they pass, and that so many do."""
    chosen = ["-m", marked, "-k", named]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *files]
    # Not of the process that runs this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        command, cwd=ROOT, env=own, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None, result.stdout
    assert int(passed[1]) >= at_least


@pytest.mark.integration
def test_adapters_keep_their_contracts(python: str) -> None:
    run(python, CONTRACTS, marked="not lateness", named=OUR_CALLS, at_least=800)


@pytest.mark.integration
@pytest.mark.lateness
def test_the_queue_keeps_its_contract(python: str) -> None:
    run(python, CONTRACTS, marked="lateness", named="direct", at_least=6)


@pytest.mark.slow
def test_handlers_do_on_a_stub_what_they_do_with_it(python: str) -> None:
    marked = "not (slow or integration or infra)"
    run(python, ON_A_STUB, marked=marked, named=SHORT_WAITS, at_least=500)


@pytest.mark.integration
def test_the_local_stack_closes_idle_connections(python: str) -> None:
    run(python, STACK, marked="integration", named=CLOSES, at_least=3)
