"""The engines that the contract suite runs on.

``fake`` is always there; ``ministack`` and ``dynamodb-local`` are integration tests. DynamoDB Local
alone is skipped, with the reason, where the machine cannot run it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from hangup.local.client import client
from hangup.local.engine import Engine
from tests.contract.dynamodb_local import DynamoDbLocal, Unavailable
from tests.contract.stores import DynamoDbStore, InMemoryStore, Store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REAL = [
    pytest.param("ministack", marks=pytest.mark.integration),
    pytest.param("dynamodb_local", marks=pytest.mark.integration, id="dynamodb-local"),
]


@pytest.fixture(scope="session")
def ministack() -> Iterator["DynamoDBClient"]:
    """DynamoDB as MiniStack has it."""
    with Engine.start(enforce_iam=False) as engine:
        yield engine.client("dynamodb")


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator["DynamoDBClient"]:
    """AWS's own local engine."""
    try:
        engine = DynamoDbLocal.start()
    except Unavailable as error:
        pytest.skip(str(error))
    with engine:
        yield client("dynamodb", engine.endpoint)


@pytest.fixture(params=["fake", *REAL])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Both repositories, empty, on each engine in turn."""
    if request.param == "fake":
        yield InMemoryStore()
    else:
        yield from _tables(request)


@pytest.fixture(params=REAL)
def tables(request: pytest.FixtureRequest) -> Iterator[DynamoDbStore]:
    """The same for what only a table can hold: attributes of every type."""
    yield from _tables(request)


def _tables(request: pytest.FixtureRequest) -> Iterator[DynamoDbStore]:
    tables = DynamoDbStore(request.getfixturevalue(request.param))
    yield tables
    tables.drop()
