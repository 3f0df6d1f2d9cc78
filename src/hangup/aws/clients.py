"""boto3 clients with bounded patience, and AWS's errors as Hangup's."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

__all__ = [
    "CONCURRENCY",
    "CONFIG",
    "as_backend_error",
    "cancellation_codes",
    "cloudformation_client",
    "dynamodb_client",
    "error_code",
    "lambda_client",
    "management_client",
    "no_answer",
    "secrets_client",
    "translated",
]

CONCURRENCY: Final = 8
"""Closes in flight at once: more threads than this only contend for the interpreter's lock."""

CONFIG: Final = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=CONCURRENCY,
)
"""Seconds. Standard mode backs off exponentially with jitter on throttling, 5xx and time-outs."""

# What botocore's standard mode retries, for errors that outlive its attempts. The transaction
# codes are those that the TransactWriteItems reference calls safe to retry.
_RETRYABLE_CODES: Final = frozenset(
    {
        "InternalServerError",
        "InternalServerException",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottledException",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


def dynamodb_client() -> "DynamoDBClient":
    """Return a client for tables."""
    return boto3.client("dynamodb", config=CONFIG)


def management_client(endpoint: str) -> "ApiGatewayManagementApiClient":
    """Return a client for the connections of the stage behind a management endpoint."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, config=CONFIG)


def lambda_client() -> "LambdaClient":
    """Return a client for functions."""
    return boto3.client("lambda", config=CONFIG)


def cloudformation_client() -> "CloudFormationClient":
    """Return a client for stacks."""
    return boto3.client("cloudformation", config=CONFIG)


def secrets_client() -> "SecretsManagerClient":
    """Return a client for secrets."""
    return boto3.client("secretsmanager", config=CONFIG)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what boto3 raises inside the block into ``BackendError``."""
    try:
        yield
    except ClientError as error:
        raise as_backend_error(operation, error) from error
    except BotoCoreError as error:
        raise no_answer(operation, error) from error


def as_backend_error(operation: str, error: ClientError) -> BackendError:
    """Say what AWS's answer means to the caller of ``operation``."""
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    causes = [code, *cancellation_codes(error)]
    retryable = (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status == HTTPStatus.TOO_MANY_REQUESTS
        or any(cause in _RETRYABLE_CODES for cause in causes)
    )
    message = error.response.get("Error", {}).get("Message", "")
    return BackendError(operation, code, message, retryable=retryable)


def no_answer(operation: str, error: BotoCoreError) -> BackendError:
    """Say that AWS did not answer: a connection that broke, timed out or was never made."""
    return BackendError(operation, type(error).__name__, str(error), retryable=True)


def error_code(error: ClientError) -> str:
    """Return AWS's name of the error, ``Unknown`` if the answer had none."""
    return error.response.get("Error", {}).get("Code", "Unknown")


def cancellation_codes(error: ClientError) -> list[str]:
    """Return why each item of a transaction failed (``"None"`` where it did not), in order."""
    reasons = error.response.get("CancellationReasons", [])
    return [reason.get("Code", "None") for reason in reasons]
