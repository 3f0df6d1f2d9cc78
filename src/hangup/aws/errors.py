"""The errors of a call to AWS, and which is which: the one table that retries and outcomes go by.

``ServiceError`` is what AWS answered, ``UnansweredError`` says why there was no answer. Whichever
client makes the call, adapters and retries see these two: see ``in_our_terms``.

| kind      | means                                          | what happens              |
|-----------|------------------------------------------------|---------------------------|
| RETRYABLE | throttled, overloaded, or out of reach for now | tried again, with backoff |
| CONFLICT  | another writer had the same item               | tried again, with backoff |
| REFUSED   | not allowed, not found, or not valid: for good | raised at once            |

``GoneException`` and a condition that does not hold are no errors but outcomes: the adapters that
expect them say so. A code that the table does not have is RETRYABLE with a 5xx or 429, else
REFUSED.
"""

import sys
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from hangup.errors import BackendError


class ServiceError(Exception):
    """AWS answered a call with an error.

    ``code`` is AWS's name of it, ``status`` that of HTTP (0 if unknown), and ``members`` has what
    else the answer says, such as the item that refused a condition.
    """

    def __init__(
        self,
        operation: str,
        code: str,
        message: str,
        *,
        status: int,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{operation} was answered {status} {code}: {message}")
        self.operation = operation
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}


class UnansweredError(Exception):
    """A call got no answer. ``code`` is botocore's name for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_final(self) -> bool:
        """Whether the same call would fail again."""
        return self.code in _FINAL

    @property
    def is_unsent(self) -> bool:
        """Whether AWS cannot have received the call."""
        return self.code in _UNSENT


_FINAL: Final = {"NoCredentialsError", "NoRegionError", "ParamValidationError"}
_UNSENT: Final = {"ConnectTimeoutError", "CredentialRetrievalError", "EndpointConnectionError"}


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
    "MalformedAnswer": Kind.RETRYABLE,  # ours, for a success that cannot be read (``services``)
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


# Not http.HTTPStatus: its import takes longer than that of this whole module.
_TOO_MANY_REQUESTS: Final = 429
_FIRST_SERVER_ERROR: Final = 500


def kind_of(error: ServiceError) -> Kind:
    """Return the kind of an error that AWS answered."""
    if error.code == "TransactionCanceledException":
        return _kind_of_cancellation(cancellation_codes(error))
    busy = error.status >= _FIRST_SERVER_ERROR or error.status == _TOO_MANY_REQUESTS
    return _KINDS.get(error.code, Kind.RETRYABLE if busy else Kind.REFUSED)


def cancellation_codes(error: ServiceError | UnansweredError) -> list[str]:
    """Return why each item of a transaction failed (``"None"`` where it did not), in order.

    The list is empty if the error is no cancellation.
    """
    members = error.members if isinstance(error, ServiceError) else {}
    return [reason.get("Code", "None") for reason in members.get("CancellationReasons", [])]


def in_our_terms(error: Exception) -> ServiceError | UnansweredError:
    """Return an error of botocore as one of ours, and one of ours as it is.

    Raises ``error`` itself if it is neither.
    """
    if isinstance(error, ServiceError | UnansweredError):
        return error
    # Not imported: handlers do without botocore, and its errors come only from where it is loaded.
    botocore = sys.modules.get("botocore.exceptions")
    if botocore is not None and isinstance(error, botocore.ClientError):
        response = error.response
        about = response.get("Error", {})
        answered = ServiceError(
            error.operation_name,
            about.get("Code", "Unknown"),
            about.get("Message", ""),
            status=response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
            members=response,
        )
        answered.__cause__ = error
        return answered
    if botocore is not None and isinstance(error, botocore.BotoCoreError):
        reason = error.kwargs.get("error")
        message = f"{error} ({reason})" if reason else str(error)
        unanswered = UnansweredError(type(error).__name__, message)
        unanswered.__cause__ = error
        return unanswered
    raise error


def _kind_of_cancellation(codes: list[str]) -> Kind:
    # A conflict outweighs the other reasons: without it they may turn out otherwise.
    kinds = {_KINDS.get(code, Kind.REFUSED) for code in codes if code != "None"}
    for kind in (Kind.CONFLICT, Kind.RETRYABLE):
        if kind in kinds:
            return kind
    return Kind.REFUSED
