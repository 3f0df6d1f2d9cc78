"""The adapters' calls and the adapters of the tables, on the stub of AWS."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls, Deadline
from hangup.aws.sessions import DynamoDbSessions
from hangup.testing import FakeClock
from tests.support.aws_stub import AwsStub
from tests.support.cloudformation_stub import CloudFormation, cloudformation_beside


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock by which the calls sleep between attempts."""
    return FakeClock()


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline(clock)


@pytest.fixture
def calls(clock: FakeClock, deadline: Deadline) -> Calls:
    return Calls(clock, deadline)


@pytest.fixture
def connections(aws: AwsStub, calls: Calls, request: pytest.FixtureRequest) -> DynamoDbConnections:
    """Return the adapter; ``@pytest.mark.parametrize(..., indirect=True)`` chooses its client."""
    direct = getattr(request, "param", "boto3") == "direct"
    client = DirectDynamoDb() if direct else botocore_client("dynamodb")
    return DynamoDbConnections(client, calls, "connections")


@pytest.fixture(params=["boto3", "direct"])
def sessions(aws: AwsStub, calls: Calls, request: pytest.FixtureRequest) -> DynamoDbSessions:
    client = DirectDynamoDb() if request.param == "direct" else botocore_client("dynamodb")
    return DynamoDbSessions(
        client, calls, connections_table="connections", sessions_table="sessions"
    )


@pytest.fixture
def stack(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[CloudFormation]:
    """The stack that the command line finds, from a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with cloudformation_beside(aws, monkeypatch) as stack:
        yield stack


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    """Undo what a command does with SIGTERM, and with SIGINT once it was interrupted."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
