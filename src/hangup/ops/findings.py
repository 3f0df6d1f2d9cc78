"""What ``hangup doctor`` can find: every trouble with the message that people see of it.

One table, from which findings are made and the page of the docs is written.
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
class Finding:
    """What one check found.

    ``name`` is the trouble's, or the check's where all is well. ``message`` is what a user sees
    elsewhere because of it, word for word, empty where that is nothing. ``fix`` is a command,
    empty where all is well.
    """

    status: Status
    name: str
    what: str
    cause: str = ""
    fix: str = ""
    message: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return self.status is Status.OK

    def as_json(self) -> Mapping[str, str]:
        """Return it for programs."""
        return {
            "status": str(self.status),
            "name": self.name,
            "what": self.what,
            "cause": self.cause,
            "fix": self.fix,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of trouble. ``is_before``: it can be found before anything is deployed."""

    name: str
    status: Status
    what: str
    message: str
    is_before: bool = True


def well(name: str, what: str) -> Finding:
    """Return that all is well with something."""
    return Finding(status=Status.OK, name=name, what=what)


def found(name: str, cause: str, *, fix: str) -> Finding:
    """Return a trouble of ``TROUBLES`` with its cause, and the command that ends it."""
    trouble = TROUBLES[name]
    return Finding(
        status=trouble.status,
        name=name,
        what=trouble.what,
        cause=cause,
        fix=fix,
        message=trouble.message,
    )


def worst(findings: "list[Finding]") -> Status:
    """Return the worst status of all; ok for none."""
    order = list(Status)
    return max((one.status for one in findings), key=order.index, default=Status.OK)


_WARN, _BROKEN = Status.WARN, Status.BROKEN

_ALL: Final = (
    Trouble(
        "not-checked",
        _WARN,
        "Something could not be checked",
        "AccessDeniedException: ... is not authorized to perform: ...",
    ),
    Trouble(
        "credentials",
        _BROKEN,
        "AWS does not accept the credentials",
        "ExpiredTokenException: The security token included in the request is expired",
    ),
    Trouble(
        "other-region",
        _BROKEN,
        "The deployment is in another Region",
        "NotFoundException: Unable to find Api by ID ...",
    ),
    Trouble(
        "clock-skew",
        _WARN,
        "The clock of this machine is wrong",
        "InvalidSignatureException: Signature expired",
    ),
    Trouble(
        "no-concurrency",
        _BROKEN,
        "The account cannot reserve concurrent executions",
        "Specified ReservedConcurrentExecutions for function decreases account's"
        " UnreservedConcurrentExecution below its minimum value",
    ),
    Trouble(
        "no-api",
        _BROKEN,
        "There is no such WebSocket API",
        "NotFoundException: Unable to find Api by ID ...",
    ),
    Trouble("no-stage", _BROKEN, "The API has no such stage", "Unexpected server response: 403"),
    Trouble(
        "not-deployed",
        _BROKEN,
        "The stage has no deployment",
        "Unexpected server response: 403",
    ),
    Trouble(
        "stage-closed",
        _BROKEN,
        "The stage lets nobody in: its throttle is 0",
        "Unexpected server response: 429",
    ),
    Trouble(
        "stage-throttle",
        _WARN,
        "The stage's throttle protects nothing: it is above the account's",
        "LimitExceededException: Too Many Requests",
    ),
    Trouble(
        "pace",
        _WARN,
        "The closes may take most of the account's throttle",
        "LimitExceededException: Too Many Requests",
    ),
    Trouble(
        "endpoint-disabled",
        _BROKEN,
        "API Gateway's own address of the API is turned off",
        "ForbiddenException: Forbidden",
    ),
    Trouble(
        "no-domain",
        _BROKEN,
        "The custom domain is not one of this account and Region",
        "Could not connect to the endpoint URL",
    ),
    Trouble(
        "endpoint-elsewhere",
        _BROKEN,
        "The endpoint leads to another API or stage",
        "GoneException: An error occurred (GoneException) when calling the GetConnection operation",
    ),
    Trouble(
        "endpoint-unreachable",
        _BROKEN,
        "The endpoint does not answer as API Gateway does",
        "Could not connect to the endpoint URL",
    ),
    Trouble(
        "no-function",
        _BROKEN,
        "There is no such $disconnect function",
        "ResourceNotFoundException: Function not found",
    ),
    Trouble(
        "other-function",
        _WARN,
        "The function is not that of the $disconnect route",
        "",
    ),
    Trouble(
        "no-table",
        _BROKEN,
        "There is no such table",
        "ResourceNotFoundException: Requested resource not found",
    ),
    Trouble(
        "other-key",
        _BROKEN,
        "The table has another key than the file says",
        "ValidationException: The provided key element does not match the schema",
    ),
    Trouble(
        "no-index",
        _BROKEN,
        "The table has no such index that projects all attributes",
        "ValidationException: The table does not have the specified index",
    ),
    Trouble(
        "no-kms-key",
        _BROKEN,
        "The key that encrypts the table is not in the file",
        "AccessDeniedException: ... is not authorized to perform: kms:Decrypt on resource",
    ),
    Trouble(
        "kms-key-off",
        _BROKEN,
        "The key that encrypts the table is not enabled",
        "InaccessibleEncryptionMaterials: DynamoDB cannot access the customer managed key",
    ),
    Trouble(
        "no-connections",
        _BROKEN,
        "No item is a connection by what the file says",
        "ignored records that are not connections",
    ),
    Trouble(
        "unreadable-times",
        _BROKEN,
        "Times are not what the file says",
        "skipped records with invalid timestamps",
    ),
    Trouble(
        "not-recorded",
        _BROKEN,
        "Activity is not recorded",
        "activity not recorded",
    ),
    Trouble(
        "other-connections",
        _BROKEN,
        "API Gateway does not know the connections in the table",
        "sweep held",
    ),
    Trouble(
        "second-timeout",
        _BROKEN,
        "Another timeout is on the same table",
        "",
    ),
    Trouble(
        "no-stack",
        _BROKEN,
        "The stack is not deployed",
        "ValidationError: Stack with id ... does not exist",
        is_before=False,
    ),
    Trouble(
        "stack-name-taken",
        _BROKEN,
        "Another stack has this name",
        "AlreadyExistsException: Stack [...] already exists",
    ),
    Trouble(
        "stack-failed",
        _BROKEN,
        "The last change of the stack failed",
        "ValidationError: Stack ... is in UPDATE_ROLLBACK_FAILED state and can not be updated",
        is_before=False,
    ),
    Trouble(
        "drift",
        _WARN,
        "The stack is not as the file says",
        "",
        is_before=False,
    ),
    Trouble(
        "other-version",
        _WARN,
        "The stack was deployed by another version of Hangup",
        "",
        is_before=False,
    ),
    Trouble(
        "environment",
        _BROKEN,
        "The function's environment is invalid",
        "ConfigurationError: API_GATEWAY_ENDPOINT ...",
        is_before=False,
    ),
    Trouble(
        "no-bytecode",
        _WARN,
        "The functions' zip has no bytecode: each cold start compiles the code",
        "Init Duration: ...",
        is_before=False,
    ),
    Trouble(
        "no-grant",
        _BROKEN,
        "The function's role lacks a grant",
        "AccessDeniedException: User: ... is not authorized to perform: ...",
        is_before=False,
    ),
    Trouble(
        "vpc",
        _WARN,
        "The function is in a VPC",
        "Could not connect to the endpoint URL",
        is_before=False,
    ),
    Trouble("rule-off", _BROKEN, "The schedule is disabled", "", is_before=False),
    Trouble("no-target", _BROKEN, "The schedule starts nothing", "", is_before=False),
    Trouble(
        "no-permission",
        _BROKEN,
        "EventBridge may not start the function",
        "AccessDeniedException (metric FailedInvocations of AWS/Events)",
        is_before=False,
    ),
    Trouble(
        "no-executions",
        _BROKEN,
        "The function may not run: its reserved concurrency is 0",
        "TooManyRequestsException: Rate Exceeded. (ReservedFunctionConcurrentInvocationLimitExceeded)",
        is_before=False,
    ),
    Trouble("no-ticks", _BROKEN, "No sweep has started lately", "", is_before=False),
    Trouble(
        "mapping-off",
        _BROKEN,
        "The close function gets no messages",
        "",
        is_before=False,
    ),
    Trouble("function-errors", _BROKEN, "A function fails", "SweepFailed: ...", is_before=False),
    Trouble(
        "function-throttled",
        _WARN,
        "Lambda throttles a function",
        "TooManyRequestsException: Rate Exceeded.",
        is_before=False,
    ),
    Trouble(
        "events-dropped",
        _BROKEN,
        "Lambda dropped events of a function",
        "metric AsyncEventsDropped of AWS/Lambda",
        is_before=False,
    ),
    Trouble("held", _BROKEN, "Sweeps were held: they closed nobody", "sweep held", is_before=False),
    Trouble(
        "incomplete",
        _WARN,
        "Sweeps did not get through the table",
        "sweep incomplete: the next sweep starts at another segment",
        is_before=False,
    ),
    Trouble(
        "unrecorded",
        _WARN,
        "Clients were active without a record of it",
        "activity not recorded",
        is_before=False,
    ),
    Trouble(
        "unconfirmed",
        _WARN,
        "API Gateway did not say whether connections are active",
        "left connections that API Gateway did not answer about in time",
        is_before=False,
    ),
    Trouble("closes-failed", _WARN, "Closes failed", "close failed", is_before=False),
    Trouble(
        "handed-over-again",
        _WARN,
        "Records stay after their $disconnect function was called",
        "hand-over failed",
        is_before=False,
    ),
    Trouble(
        "writes-throttled",
        _WARN,
        "DynamoDB throttles writes to the table",
        "ProvisionedThroughputExceededException: The level of configured provisioned throughput"
        " for the table was exceeded",
        is_before=False,
    ),
    Trouble("silent-alarms", _WARN, "Alarms tell nobody", "", is_before=False),
    Trouble("alarm", _WARN, "An alarm is ringing", "", is_before=False),
    Trouble(
        "probe-refused",
        _BROKEN,
        "The client of the probe cannot connect",
        "Unexpected server response: 401",
        is_before=False,
    ),
    Trouble(
        "probe-unseen",
        _BROKEN,
        "The client of the probe is not in the table",
        "",
        is_before=False,
    ),
    Trouble(
        "probe-no-message",
        _BROKEN,
        "A message to the client of the probe did not arrive",
        "",
        is_before=False,
    ),
    Trouble(
        "counts-unsettled",
        _WARN,
        "The file does not say whose messages count as activity: the probe has settled it",
        "",
        is_before=False,
    ),
    Trouble(
        "counts-otherwise",
        _BROKEN,
        "The file says otherwise whose messages count as activity",
        "",
        is_before=False,
    ),
    Trouble(
        "probe-not-closed",
        _BROKEN,
        "The silent client of the probe was not closed",
        "",
        is_before=False,
    ),
    Trouble(
        "probe-not-noticed",
        _WARN,
        "The client of the probe was closed without a notice",
        "notice failed",
        is_before=False,
    ),
    Trouble(
        "probe-not-removed",
        _BROKEN,
        "The record of the probe's client was not removed",
        "hand-over failed",
        is_before=False,
    ),
)

TROUBLES: Final[Mapping[str, Trouble]] = {one.name: one for one in _ALL}
"""Every trouble by its name, in the order in which the checks look for them."""


def as_markdown() -> str:
    """Return the table of the docs: a row of ``TROUBLES`` a line."""
    lines = ["| Name | Status | What | Message elsewhere | `--before` |", "|---|---|---|---|---|"]
    for one in _ALL:
        message = f"`{one.message}`" if one.message else ""
        before = "yes" if one.is_before else ""
        lines.append(f"| `{one.name}` | {one.status} | {one.what} | {message} | {before} |")
    return "\n".join(lines)
