"""boto3 clients with bounded patience and no retries of their own (``calls`` has those)."""

from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

__all__ = [
    "CONCURRENCY",
    "CONNECT_S",
    "READ_S",
    "cloudformation_client",
    "dynamodb_client",
    "lambda_client",
    "management_client",
    "secrets_client",
    "sqs_client",
]

CONCURRENCY: Final = 8
"""Calls in flight at once: more threads than this only contend for the interpreter's lock."""

CONNECT_S: Final = 1
READ_S: Final = 3
"""``calls.ATTEMPT_MS`` is their sum. A page of a scan, the slowest call there is, takes DynamoDB
well below a second."""

_CONFIG: Final = Config(
    connect_timeout=CONNECT_S,
    read_timeout=READ_S,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=CONCURRENCY,
)


def dynamodb_client() -> "DynamoDBClient":
    """Return a client for tables."""
    return boto3.client("dynamodb", config=_CONFIG)


def management_client(endpoint: str) -> "ApiGatewayManagementApiClient":
    """Return a client for the connections of the stage behind a management endpoint."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, config=_CONFIG)


def lambda_client() -> "LambdaClient":
    """Return a client for functions."""
    return boto3.client("lambda", config=_CONFIG)


def secrets_client() -> "SecretsManagerClient":
    """Return a client for secrets."""
    return boto3.client("secretsmanager", config=_CONFIG)


def cloudformation_client() -> "CloudFormationClient":
    """Return a client for stacks."""
    return boto3.client("cloudformation", config=_CONFIG)


def sqs_client() -> "SQSClient":
    """Return a client for queues."""
    return boto3.client("sqs", config=_CONFIG)
