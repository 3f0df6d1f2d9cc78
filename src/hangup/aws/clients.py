"""botocore clients with bounded patience and no retries of their own (``retries`` has those).

They are for the command line, and for a decorated function that has no libcurl. The project's own
functions use ``http.services``, and of this module the session, where the environment has no keys.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config
from botocore.session import Session

from hangup.core.timing import CONNECT_S, READ_S, THREADS

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

_CONFIG: Final = Config(
    connect_timeout=CONNECT_S,
    read_timeout=READ_S,
    retries={"mode": "standard", "total_max_attempts": 1},
    # Nobody has more threads; a connection that finds no room in the pool is thrown away.
    max_pool_connections=THREADS,
)


def dynamodb_client() -> "DynamoDBClient":
    """Return a client for tables."""
    client: DynamoDBClient = _client("dynamodb")
    return client


def management_client(endpoint: str) -> "ApiGatewayManagementApiClient":
    """Return a client for the connections of the stage behind a management endpoint."""
    client: ApiGatewayManagementApiClient = _client("apigatewaymanagementapi", endpoint)
    return client


def lambda_client() -> "LambdaClient":
    """Return a client for functions."""
    client: LambdaClient = _client("lambda")
    return client


def secrets_client() -> "SecretsManagerClient":
    """Return a client for secrets."""
    client: SecretsManagerClient = _client("secretsmanager")
    return client


def cloudformation_client() -> "CloudFormationClient":
    """Return a client for stacks."""
    client: CloudFormationClient = _client("cloudformation")
    return client


def sqs_client() -> "SQSClient":
    """Return a client for queues."""
    client: SQSClient = _client("sqs")
    return client


def _client(service: str, endpoint: str | None = None) -> Any:  # noqa: ANN401 - by the name
    return session().create_client(service, endpoint_url=endpoint, config=_CONFIG)


@cache
def session() -> Session:
    """Return the process's session: its clients share credentials and what was read of the data."""
    return Session()
