"""The engines that the contract suite runs on.

``fake`` is always there; ``ministack`` and ``dynamodb-local`` are integration tests. DynamoDB Local
alone is skipped, with the reason, where the machine cannot run it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from hangup.aws.http.account import Keys
from hangup.aws.http.answer import Transport
from hangup.aws.http.choice import transport_class
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, SessionSchema
from hangup.local.ministack.aws_client import REGION, ROOT, aws_client
from hangup.local.ministack.engine import Engine
from tests.support.dynamodb_local import DynamoDbLocal, Unavailable
from tests.support.stores import OTHER_SCHEMA, STRANGE_SCHEMA, DynamoDbStore, InMemoryStore, Store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ENGINES = [
    pytest.param("ministack", marks=pytest.mark.integration),
    pytest.param("dynamodb_local", marks=pytest.mark.integration, id="dynamodb-local"),
]
"""The fixtures of the real engines, which are clients."""

REAL = [
    pytest.param(
        (*engine.values, direct, schema, False),
        marks=engine.marks,
        id=f"{engine.id or engine.values[0]}{', direct' * direct}{other_names}",
    )
    for engine in ENGINES
    for direct, schema, other_names in (
        (False, DEFAULT_SESSION_SCHEMA, ""),
        (True, DEFAULT_SESSION_SCHEMA, ""),
        (True, OTHER_SCHEMA, ", other names"),
        (True, STRANGE_SCHEMA, ", strange key"),
    )
]
"""Each engine, with calls through botocore and through the sweep's own transport, which also has
tables whose attributes are called otherwise, or have another key."""

FAKES = [
    pytest.param((DEFAULT_SESSION_SCHEMA, False), id="fake"),
    pytest.param((OTHER_SCHEMA, False), id="fake, other names"),
    pytest.param((STRANGE_SCHEMA, False), id="fake, strange key"),
]
"""The fake with each kind of table."""

WITH_STATE_TABLE = [
    pytest.param((DEFAULT_SESSION_SCHEMA, True), id="fake, state table"),
    pytest.param((STRANGE_SCHEMA, True), id="fake, strange key, state table"),
    *(
        pytest.param(
            (*engine.values, True, schema, True),
            marks=engine.marks,
            id=f"{engine.id or engine.values[0]}{other_names}, state table",
        )
        for engine, schema, other_names in (
            (ENGINES[0], STRANGE_SCHEMA, ", strange key"),
            (ENGINES[1], OTHER_SCHEMA, ", other names"),
        )
    ),
]
"""Some of both with Hangup's own state in a table of its own."""

DYNAMODB_LOCAL = [param for param in REAL if str(param.id).startswith("dynamodb-local")]
"""The same without MiniStack, for what that refuses."""


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
        yield aws_client("dynamodb", engine.endpoint)


@pytest.fixture(params=[*FAKES, *REAL])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Both repositories, empty, on each engine in turn."""
    yield from store_of(request)


def store_of(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Yield what one of the parameters above stands for."""
    if isinstance(request.param[0], SessionSchema):
        schema, state_table = request.param
        yield InMemoryStore(schema, state_table=state_table)
    else:
        yield from _tables(request)


@pytest.fixture(params=REAL)
def tables(request: pytest.FixtureRequest) -> Iterator[DynamoDbStore]:
    """The same for what only a table can hold: attributes of every type."""
    yield from _tables(request)


def direct_to(client: "DynamoDBClient") -> DirectDynamoDb:
    """Return what calls the engine of ``client`` in the sweep's way."""
    transport = transport_to(client.meta.endpoint_url, service="dynamodb")
    return DirectDynamoDb(lambda: transport)


def transport_to(url: str, *, service: str) -> Transport:
    """Return the sweep's own transport, as it is where this runs, to a service of an engine."""
    return transport_class()(
        url,
        service=service,
        region=REGION,
        keys=lambda: Keys(ROOT.access_key_id, ROOT.secret_access_key, None),
        ca_file="unused: the engines speak HTTP",
    )


def _tables(request: pytest.FixtureRequest) -> Iterator[DynamoDbStore]:
    engine, direct, schema, state_table = request.param
    client: DynamoDBClient = request.getfixturevalue(engine)
    tables = DynamoDbStore(
        client, direct_to(client) if direct else None, schema, state_table=state_table
    )
    yield tables
    tables.drop()
