"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from hangup.aws import clients
from tests.support.aws_stub import AwsStub
from tests.support.lambda_process import log_to_current_stdout, start_cold

_UNSET = (
    "ACTIVITY_RESOLUTION_SECONDS",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "CLOSES_PER_SECOND",
    "CONNECTION_IDLE_TIMEOUT_SECONDS",
    "IDLE_TIMEOUTS_BY_ROLE",
    "CLOSE_QUEUE_URL",
    "HEARTBEAT_ACK",
    "LAST_ACTIVE_COUNTS",
    "LOG_LEVEL",
    "METRICS_NAMESPACE",
    "METRIC_ROLES",
    "MODE",
    "PACE_SHARED_BY",
    "POWERTOOLS_LOG_LEVEL",
    "POWERTOOLS_SERVICE_NAME",
    "SCAN_SEGMENTS",
)

_INFRA = "tests/infra/"
_LONGEST = ("faults", "infra", "integration")
"""The folders whose tests take longest, in that order."""


class _FilesAndInfra(LoadFileScheduling):  # type: ignore[misc]
    """One process has a file, for its fixtures, and all of infra, for its one build folder."""

    def _split_scope(self, nodeid: str) -> str:
        return _INFRA if nodeid.startswith(_INFRA) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Say which process of ``--dist loadfile`` runs what."""
    return _FilesAndInfra(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long ones first, so that no process is left alone with one of them at the end."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep out what the shell that started the tests has set."""
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _read_service_models_once() -> Iterator[None]:
    """Keep what botocore reads: each of its sessions would parse the same megabytes again."""
    with pytest.MonkeyPatch.context() as patch:
        read = cache(JSONFileLoader().load_file)

        def load_file(_self: JSONFileLoader, file_path: str) -> Any:
            return read(file_path)

        patch.setattr(JSONFileLoader, "load_file", load_file)
        yield


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsStub]:
    """The stub's server, one for all tests."""
    clients.session.cache_clear()  # for one that has not looked for credentials before
    with AwsStub() as stub:
        yield stub


@pytest.fixture
def aws(aws_server: AwsStub, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsStub]:
    """AWS on loopback, the environment of every function, and nothing kept from other tests.

    What the functions log and measure is on standard output, where ``capsys`` has it.
    """
    environment = {
        "API_GATEWAY_ENDPOINT": aws_server.management_endpoint,
        "AWS_ACCESS_KEY_ID": "unit-test",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": aws_server.endpoint,
        "AWS_SECRET_ACCESS_KEY": "unit-test",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "CONNECTIONS_TABLE": "connections",
        "DISCONNECT_HANDLER_FUNCTION": "disconnect-handler",
        "JOIN_SECRET_ARN": "join-secret",
        "NO_PROXY": "127.0.0.1",
        "SESSIONS_TABLE": "sessions",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    aws_server.reset()
    log_to_current_stdout()
    start_cold()
    yield aws_server
    start_cold()
