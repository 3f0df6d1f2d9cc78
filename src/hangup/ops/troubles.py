"""Every trouble that ``hangup doctor`` can find, with the message that people see of it elsewhere.

One table, from which findings are made and the page of the docs is written. Each is a name, a
status, what it is, and the message, word for word, empty where there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One kind of trouble. ``is_before``: it can be found before anything is deployed."""

    name: str
    status: Status
    what: str
    message: str
    is_before: bool


_WARN, _BROKEN = Status.WARN, Status.BROKEN

_BEFORE: Final = (
    (
        "not-checked",
        _WARN,
        "Something could not be checked",
        "AccessDeniedException: ... is not authorized to perform: ...",
    ),
    (
        "credentials",
        _BROKEN,
        "AWS does not accept the credentials",
        "ExpiredTokenException: The security token included in the request is expired",
    ),
    (
        "other-region",
        _BROKEN,
        "The deployment is in another Region",
        "NotFoundException: Invalid API identifier specified",
    ),
    (
        "clock-skew",
        _WARN,
        "The clock of this machine is wrong",
        "InvalidSignatureException: Signature expired",
    ),
    (
        "no-concurrency",
        _BROKEN,
        "The account cannot reserve concurrent executions",
        (
            "Specified ReservedConcurrentExecutions for function decreases account's "
            "UnreservedConcurrentExecution below its minimum value"
        ),
    ),
    (
        "no-api",
        _BROKEN,
        "There is no such WebSocket API",
        "NotFoundException: Invalid API identifier specified",
    ),
    ("no-stage", _BROKEN, "The API has no such stage", "Unexpected server response: 403"),
    ("not-deployed", _BROKEN, "The stage has no deployment", "Unexpected server response: 403"),
    (
        "stage-closed",
        _BROKEN,
        "The stage lets nobody in: its throttle is 0",
        "Unexpected server response: 429",
    ),
    (
        "stage-throttle",
        _WARN,
        "The stage's throttle protects nothing: it is above the account's",
        "LimitExceededException: Too Many Requests",
    ),
    (
        "pace",
        _WARN,
        "The closes may take most of the account's throttle",
        "LimitExceededException: Too Many Requests",
    ),
    (
        "endpoint-disabled",
        _BROKEN,
        "API Gateway's own address of the API is turned off",
        "ForbiddenException: Forbidden",
    ),
    (
        "no-domain",
        _BROKEN,
        "The custom domain is not one of this account and Region",
        "Could not connect to the endpoint URL",
    ),
    (
        "endpoint-elsewhere",
        _BROKEN,
        "The endpoint leads to another API or stage",
        "No method found matching route .../@connections/... for http method POST",
    ),
    (
        "endpoint-unreachable",
        _BROKEN,
        "The endpoint does not answer as API Gateway does",
        "Could not connect to the endpoint URL",
    ),
    (
        "endpoint-not-seen",
        _WARN,
        "This machine cannot reach the endpoint: a VPC endpoint takes the calls",
        "ForbiddenException: Forbidden",
    ),
    (
        "no-function",
        _BROKEN,
        "There is no such $disconnect function",
        "ResourceNotFoundException: Function not found",
    ),
    ("other-function", _WARN, "The function is not that of the $disconnect route", ""),
    (
        "no-table",
        _BROKEN,
        "There is no such table",
        "ResourceNotFoundException: Requested resource not found",
    ),
    (
        "other-key",
        _BROKEN,
        "The table has another key than the file says",
        "ValidationException: The provided key element does not match the schema",
    ),
    (
        "no-index",
        _BROKEN,
        "The table has no such index that projects all attributes",
        "ValidationException: The table does not have the specified index",
    ),
    (
        "no-kms-key",
        _BROKEN,
        "The key that encrypts the table is not in the file",
        "AccessDeniedException: ... is not authorized to perform: kms:Decrypt on resource",
    ),
    (
        "kms-key-off",
        _BROKEN,
        "The key that encrypts the table is not enabled",
        "InaccessibleEncryptionMaterials: DynamoDB cannot access the customer managed key",
    ),
    (
        "no-connections",
        _BROKEN,
        "No item is a connection by what the file says",
        "ignored records that are not connections",
    ),
    (
        "none-selected",
        _WARN,
        "None of the items that were read is a connection of this deployment",
        "",
    ),
    (
        "unreadable-times",
        _BROKEN,
        "Times are not what the file says",
        "skipped records with invalid timestamps",
    ),
    ("not-recorded", _WARN, "Activity is not recorded", "activity not recorded"),
    (
        "other-connections",
        _BROKEN,
        "API Gateway does not know the connections in the table",
        "sweep held",
    ),
    ("second-timeout", _BROKEN, "Another timeout is on the same table", ""),
    (
        "stack-name-taken",
        _BROKEN,
        "Another stack has this name",
        "AlreadyExistsException: Stack [...] already exists",
    ),
)

_AFTER: Final = (
    (
        "no-stack",
        _BROKEN,
        "The stack is not deployed",
        "ValidationError: Stack with id ... does not exist",
    ),
    (
        "stack-failed",
        _BROKEN,
        "The last change of the stack failed",
        "ValidationError: Stack ... is in UPDATE_ROLLBACK_FAILED state and can not be updated",
    ),
    ("drift", _WARN, "The stack is not as the file says", ""),
    ("other-version", _WARN, "The stack was deployed by another version of Hangup", ""),
    (
        "environment",
        _BROKEN,
        "The function's environment is invalid",
        "ConfigurationError: API_GATEWAY_ENDPOINT ...",
    ),
    (
        "no-bytecode",
        _WARN,
        "The functions' zip has no bytecode: each cold start compiles the code",
        "Init Duration: ...",
    ),
    (
        "no-grant",
        _BROKEN,
        "The function's role lacks a grant",
        "AccessDeniedException: User: ... is not authorized to perform: ...",
    ),
    (
        "vpc-no-way",
        _BROKEN,
        "The function is in a VPC without a way to AWS",
        "GetConnection failed with ConnectTimeoutError: no answer from ...",
    ),
    (
        "vpc-endpoint",
        _BROKEN,
        "The function is in a VPC with an endpoint that takes its calls of API Gateway",
        "GetConnection failed with ForbiddenException: Forbidden",
    ),
    (
        "vpc",
        _WARN,
        "The function is in a VPC, and its way to AWS is not known",
        "GetConnection failed with ConnectTimeoutError: no answer from ...",
    ),
    ("rule-off", _BROKEN, "The schedule is disabled", ""),
    ("no-target", _BROKEN, "The schedule starts nothing", ""),
    (
        "no-permission",
        _BROKEN,
        "EventBridge may not start the function",
        "AccessDeniedException (metric FailedInvocations of AWS/Events)",
    ),
    (
        "no-executions",
        _BROKEN,
        "The function may not run: its reserved concurrency is 0",
        (
            "TooManyRequestsException: Rate Exceeded. "
            "(ReservedFunctionConcurrentInvocationLimitExceeded)"
        ),
    ),
    ("no-ticks", _BROKEN, "No sweep has started lately", ""),
    ("mapping-off", _BROKEN, "The close function gets no messages", ""),
    ("function-errors", _BROKEN, "A function fails", "SweepFailed: ..."),
    (
        "function-throttled",
        _WARN,
        "Lambda throttles a function",
        "TooManyRequestsException: Rate Exceeded.",
    ),
    (
        "events-dropped",
        _BROKEN,
        "Lambda dropped events of a function",
        "metric AsyncEventsDropped of AWS/Lambda",
    ),
    ("held", _BROKEN, "Sweeps were held: they closed nobody", "sweep held"),
    (
        "incomplete",
        _WARN,
        "Sweeps did not get through the table",
        "sweep incomplete: the next sweep starts at another segment",
    ),
    ("unrecorded", _WARN, "Clients were active without a record of it", "activity not recorded"),
    (
        "unconfirmed",
        _WARN,
        "API Gateway did not say whether connections are active",
        "left connections that API Gateway did not answer about in time",
    ),
    ("closes-failed", _WARN, "Closes failed", "close failed"),
    (
        "handed-over-again",
        _WARN,
        "Records stay after their $disconnect function was called",
        "hand-over failed",
    ),
    (
        "writes-throttled",
        _WARN,
        "DynamoDB throttles writes to the table",
        (
            "ProvisionedThroughputExceededException: The level of configured provisioned "
            "throughput for the table was exceeded"
        ),
    ),
    (
        "sockets-lost",
        _WARN,
        "Sockets that were kept for the next request were found closed",
        "found kept sockets closed",
    ),
    ("silent-alarms", _WARN, "Alarms tell nobody", ""),
    ("alarm", _WARN, "An alarm is ringing", ""),
    (
        "probe-refused",
        _BROKEN,
        "The client of the probe cannot connect",
        "Unexpected server response: 401",
    ),
    ("probe-unseen", _BROKEN, "The client of the probe is not in the table", ""),
    ("probe-no-message", _BROKEN, "A message to the client of the probe did not arrive", ""),
    (
        "counts-unsettled",
        _WARN,
        "The file does not say whose messages count as activity: the probe has settled it",
        "",
    ),
    ("counts-otherwise", _BROKEN, "The setting of whose messages count as activity is wrong", ""),
    ("probe-not-closed", _BROKEN, "The silent client of the probe was not closed", ""),
    (
        "probe-not-noticed",
        _WARN,
        "The client of the probe was closed without a notice",
        "notice failed",
    ),
    (
        "probe-not-removed",
        _BROKEN,
        "The record of the probe's client was not removed",
        "hand-over failed",
    ),
)

TROUBLES: Final[Mapping[str, Trouble]] = {
    name: Trouble(name=name, status=status, what=what, message=message, is_before=is_before)
    for is_before, troubles in ((True, _BEFORE), (False, _AFTER))
    for name, status, what, message in troubles
}
"""Every trouble by its name."""


def as_markdown() -> str:
    """Return the table of the docs: a row of ``TROUBLES`` a line."""
    lines = ["| Name | Status | What | Seen elsewhere as | `--before` |", "|---|---|---|---|---|"]
    for one in TROUBLES.values():
        message = f"`{one.message}`" if one.message else ""
        before = "yes" if one.is_before else ""
        lines.append(f"| `{one.name}` | {one.status} | {one.what} | {message} | {before} |")
    return "\n".join(lines)
