"""Which error of AWS is which: the one table that retries and outcomes go by.

| kind     | means                                          | what happens              |
|----------|------------------------------------------------|---------------------------|
| BUSY     | throttled, overloaded, or out of reach for now | tried again, with backoff |
| CONFLICT | another writer had the same item               | tried again, with backoff |
| REFUSED  | not allowed, not found, or not valid: for good | raised at once            |

``GoneException`` and a condition that does not hold are no errors but outcomes: the adapters that
expect them say so. A code that the table does not have is BUSY with a 5xx or 429, else REFUSED.
"""

from enum import Enum, auto
from http import HTTPStatus
from typing import Final, NamedTuple

from botocore.exceptions import ClientError

from hangup.errors import BackendError

__all__ = ["Kind", "Table", "cancellation_codes", "error_code", "kind_of"]


class Kind(Enum):
    """What an error means to whoever called."""

    RETRYABLE = auto()
    CONFLICT = auto()
    REFUSED = auto()


_OTHER_KEY: Final = ("key element does not match", "Missing the key", "mismatch for key")
"""DynamoDB's words for a request that has another key than the table."""


class Table(NamedTuple):
    """A table that a call is about. ``key`` is its partition key, a string; it has no sort key."""

    name: str
    key: str

    def explain(self, message: str) -> str:
        """Return what DynamoDB said, and of which table: it names none itself."""
        if any(words in message for words in _OTHER_KEY):
            return f"{message} ({self._must_have_its_key()})"
        return f"{message} (table {self.name})"

    def has_another_key(self, operation: str) -> BackendError:
        """Return the error where it turns out by what ``operation`` answered."""
        return BackendError(operation, "OtherKey", self._must_have_its_key(), retryable=False)

    def _must_have_its_key(self) -> str:
        return f"table {self.name} must have the partition key {self.key} (string) and no sort key"


# Sources: the error sections of the DynamoDB, Lambda, API Gateway Management, Secrets Manager and
# SQS API references, and the codes that botocore's standard retry mode takes for throttling.
_KINDS: Final = {
    # SQS has two names for an error, the older one for those who knew its query protocol.
    "AWS.SimpleQueueService.RequestThrottled": Kind.RETRYABLE,
    "InternalError": Kind.RETRYABLE,
    "InternalFailure": Kind.RETRYABLE,
    "InternalServerError": Kind.RETRYABLE,
    "InternalServiceError": Kind.RETRYABLE,
    "InternalServerException": Kind.RETRYABLE,
    "LimitExceededException": Kind.RETRYABLE,
    "MalformedAnswer": Kind.RETRYABLE,  # ours, for a success that cannot be read (``direct``)
    "ProvisionedThroughputExceeded": Kind.RETRYABLE,
    "ProvisionedThroughputExceededException": Kind.RETRYABLE,
    "RequestLimitExceeded": Kind.RETRYABLE,
    "RequestThrottled": Kind.RETRYABLE,
    "RequestTimeout": Kind.RETRYABLE,
    "ServiceException": Kind.RETRYABLE,
    "ServiceUnavailable": Kind.RETRYABLE,
    "ServiceUnavailableException": Kind.RETRYABLE,
    "ThrottledException": Kind.RETRYABLE,
    "Throttling": Kind.RETRYABLE,
    "ThrottlingError": Kind.RETRYABLE,
    "ThrottlingException": Kind.RETRYABLE,
    "TooManyRequestsException": Kind.RETRYABLE,
    "TransactionConflict": Kind.CONFLICT,
    "TransactionConflictException": Kind.CONFLICT,
    "TransactionInProgressException": Kind.CONFLICT,
    "AccessDeniedException": Kind.REFUSED,
    "ConditionalCheckFailedException": Kind.REFUSED,
    "ForbiddenException": Kind.REFUSED,
    "GoneException": Kind.REFUSED,
    "ResourceNotFoundException": Kind.REFUSED,
    "UnrecognizedClientException": Kind.REFUSED,
    "ValidationException": Kind.REFUSED,
}


def kind_of(error: ClientError) -> Kind:
    """Return the kind of an error that AWS answered."""
    code = error_code(error)
    if code == "TransactionCanceledException":
        return _kind_of_cancellation(cancellation_codes(error))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    busy = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    return _KINDS.get(code, Kind.RETRYABLE if busy else Kind.REFUSED)


def error_code(error: ClientError) -> str:
    """Return AWS's name of the error, ``Unknown`` if the answer had none."""
    return error.response.get("Error", {}).get("Code", "Unknown")


def cancellation_codes(error: ClientError) -> list[str]:
    """Return why each item of a transaction failed (``"None"`` where it did not), in order."""
    reasons = error.response.get("CancellationReasons", [])
    return [reason.get("Code", "None") for reason in reasons]


def _kind_of_cancellation(codes: list[str]) -> Kind:
    # A conflict outweighs the other reasons: without it they may turn out otherwise.
    kinds = {_KINDS.get(code, Kind.REFUSED) for code in codes if code != "None"}
    for kind in (Kind.CONFLICT, Kind.RETRYABLE):
        if kind in kinds:
            return kind
    return Kind.REFUSED
