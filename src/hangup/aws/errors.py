"""The errors of a call to AWS, and which of them are tried again: the one table of both.

``ServiceError`` is what AWS answered, ``UnansweredError`` says why there was no answer. Whichever
client makes the call, adapters and retries see these two: see ``in_our_terms``.

Tried again, with backoff, is what was throttled, overloaded or out of reach, and what conflicted
with another writer of the same item. What is not allowed, not found or not valid is raised at once.
``GoneException`` and a condition that does not hold are outcomes, not errors: the adapters that
expect them say so. A code that neither set has is tried again with a 5xx or 429. What was signed at
another time is signed and tried again once: the function may have been frozen since.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hangup.errors import BackendError

# Sources: the error sections of the DynamoDB, Lambda, API Gateway Management, Secrets Manager and
# SQS API references, and the codes that botocore's standard retry mode takes for throttling.
_RETRYABLE: Final = {
    # SQS has two names for an error, the older one for those who knew its query protocol.
    "AWS.SimpleQueueService.RequestThrottled",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceError",
    "InternalServerException",
    "LimitExceededException",
    "MalformedAnswer",  # ours, for a success that cannot be read (``services``)
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceException",
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
_REFUSED: Final = {
    "AccessDeniedException",
    "ConditionalCheckFailedException",
    "ForbiddenException",
    "GoneException",
    "ResourceNotFoundException",
    "UnrecognizedClientException",
    "ValidationException",
}
_OTHER_TIME: Final = {"RequestExpired", "RequestTimeTooSkewed"}
_BAD_SIGNATURE: Final = {"InvalidSignatureException", "SignatureDoesNotMatch"}
_OF_OTHER_TIME: Final = ("Signature expired", "not yet current")
"""What is said of a signature that is bad for its time alone (AWS general reference, "Troubleshoot
signed requests")."""
_FINAL: Final = {"NoCredentialsError", "NoRegionError", "ParamValidationError"}
_UNSENT: Final = {"ConnectTimeoutError", "CredentialRetrievalError", "EndpointConnectionError"}

# Not http.HTTPStatus: its import takes longer than that of this whole module.
_GONE: Final = 410
_TOO_MANY_REQUESTS: Final = 429
_FIRST_SERVER_ERROR: Final = 500


class CallError(Exception):
    """A call to AWS failed; ``code`` names the reason.

    ``members`` has what else was answered, such as the item that refused a condition.
    """

    def __init__(self, code: str, message: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.members = members or {}


class ServiceError(CallError):
    """AWS answered a call with an error.

    ``code`` is AWS's name of it, and ``status`` that of HTTP (0 if unknown). Status 410 is always
    ``GoneException``: API Gateway is known to answer it without that name, and no other service
    answers it.
    """

    def __init__(
        self, code: str, message: str, *, status: int, members: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__("GoneException" if status == _GONE else code, message, members)
        self.status = status

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        if self.code == "TransactionCanceledException":
            # A conflict outweighs the other reasons: without it they may turn out otherwise.
            return not _RETRYABLE.isdisjoint(cancellation_codes(self))
        is_busy = self.status >= _FIRST_SERVER_ERROR or self.status == _TOO_MANY_REQUESTS
        return self.code in _RETRYABLE or (is_busy and self.code not in _REFUSED)

    @property
    def is_of_another_time(self) -> bool:
        """Whether the call was refused because of when it was signed."""
        return self.code in _OTHER_TIME or (
            self.code in _BAD_SIGNATURE and any(said in str(self) for said in _OF_OTHER_TIME)
        )


class UnansweredError(CallError):
    """A call got no answer. ``code`` is botocore's name for the reason."""

    is_of_another_time = False

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.code not in _FINAL

    @property
    def is_unsent(self) -> bool:
        """Whether AWS cannot have received the call."""
        return self.code in _UNSENT


class KeptSocketClosedError(UnansweredError):
    """A call found the socket of an earlier call closed, and was not sent on another."""

    def __init__(self, url: str) -> None:
        super().__init__(
            "ConnectionClosedError", f"no answer from {url}: the kept socket was closed"
        )


_OTHER_KEY: Final = ("key element does not match", "Missing the key", "mismatch for key")
"""DynamoDB's words for a request that has another key than the table."""


class Table(NamedTuple):
    """A table that a call is about.

    ``key`` is its partition key, a string, without a sort key; else ``whole_key`` describes it.
    """

    name: str
    key: str
    whole_key: str | None = None

    def explain(self, message: str) -> str:
        """Return what DynamoDB said, and of which table: it names none itself."""
        if any(words in message for words in _OTHER_KEY):
            return f"{message} ({self._must_have_its_key()})"
        return f"{message} (table {self.name})"

    def has_another_key(self, operation: str) -> BackendError:
        """Return the error where it turns out by what ``operation`` answered."""
        return BackendError(operation, "OtherKey", self._must_have_its_key(), retryable=False)

    def _must_have_its_key(self) -> str:
        key = self.whole_key or f"partition key {self.key} (string) and no sort key"
        return f"table {self.name} must have the {key}"


def cancellation_codes(error: CallError) -> list[str]:
    """Return why each item of a transaction failed (``"None"`` where it did not), in order.

    The list is empty if the error is not a cancellation.
    """
    return [reason.get("Code", "None") for reason in error.members.get("CancellationReasons", [])]


def in_our_terms(error: Exception) -> ServiceError | UnansweredError:
    """Return an error of botocore as one of ours, and one of ours as it is.

    Raises ``error`` itself if it is neither.
    """
    if isinstance(error, ServiceError | UnansweredError):
        return error
    # Not imported: handlers do without botocore, and its errors come only from where it is loaded.
    botocore = sys.modules.get("botocore.exceptions")
    ours: ServiceError | UnansweredError
    if botocore is not None and isinstance(error, botocore.ClientError):
        response = error.response
        about = response.get("Error", {})
        ours = ServiceError(
            about.get("Code", "Unknown"),
            about.get("Message", ""),
            status=response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
            members=response,
        )
    elif botocore is not None and isinstance(error, botocore.BotoCoreError):
        reason = error.kwargs.get("error")
        ours = UnansweredError(
            type(error).__name__, f"{error} ({reason})" if reason else str(error)
        )
    else:
        raise error
    ours.__cause__ = error
    return ours
