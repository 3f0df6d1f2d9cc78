"""Is everything there that a timeout needs, and does it work? Each check returns findings.

A check that AWS does not allow is a finding as well, and the others go on. Without an answer from
AWS, or with credentials that it does not take, nothing can be said.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from hangup.aws.errors import ServiceError
from hangup.errors import BackendError
from hangup.ops import doctor_account, doctor_stack, doctor_sweeps, doctor_table, doctor_vpc
from hangup.ops.doctor_account import NOT_ACCEPTED, SET_CLOCK
from hangup.ops.doctor_case import Case, Finding, aws, found, is_answered, may_do

Check = Callable[[Case], Iterable[Finding]]

BEFORE: Final[tuple[Check, ...]] = (
    doctor_account.region,
    doctor_stack.name_is_free,
    doctor_account.concurrency,
    doctor_account.api_and_stage,
    doctor_account.throttles,
    doctor_account.endpoint,
    doctor_account.disconnect_function,
    doctor_table.table,
    doctor_table.encryption,
    doctor_table.items,
    doctor_table.activity,
    doctor_table.conflicts,
)
"""What can be known before a deployment."""

AFTER: Final[tuple[Check, ...]] = (
    doctor_stack.stack,
    doctor_stack.environment,
    doctor_vpc.vpc,
    doctor_stack.code,
    doctor_stack.grants,
    doctor_stack.schedule,
    doctor_stack.queue,
    doctor_sweeps.ticks,
    doctor_sweeps.metrics,
    doctor_sweeps.sockets,
    doctor_stack.alarms,
)
"""What a deployed stack shows."""

_ACTIONS: Final = {
    "apigateway": "GetAccount GetApi GetApiMappings GetDomainNames GetIntegrations GetRoutes"
    " GetStage GetStages",
    "cloudformation": "DescribeStackResources DescribeStacks GetTemplate",
    "cloudwatch": "DescribeAlarms GetMetricData",
    "dynamodb": "DescribeTable DescribeTimeToLive GetItem Scan",
    "ec2": "DescribeRouteTables DescribeVpcEndpoints",
    "events": "DescribeRule ListTargetsByRule",
    "execute-api": "DeleteConnection GetConnection PostToConnection",
    "iam": "SimulatePrincipalPolicy",
    "kms": "DescribeKey",
    "lambda": "GetAccountSettings GetFunctionConcurrency GetFunctionConfiguration GetPolicy"
    " ListEventSourceMappings ListFunctions",
    "logs": "FilterLogEvents",
    "s3": "GetObject",
}
"""The operations that are called, by the service that IAM knows them by."""

_NAMED_OTHERWISE: Final = {"apigateway": "GET", "execute-api": "ManageConnections"}


def examine(case: Case, *, before: bool) -> Iterator[Finding]:
    """Yield what the checks find, one by one. ``before``: only what needs no deployed stack.

    Raise ``BackendError`` where AWS gives no answer, or stops taking the credentials.
    """
    try:
        yield from doctor_account.credentials_and_clock(case)
    except BackendError as error:
        if error.code not in NOT_ACCEPTED:
            raise
        yield found("credentials", str(error), fix=_sign_in(error))
        return
    for check in BEFORE if before else (*BEFORE, *AFTER):
        try:
            yield from check(case)
        except BackendError as error:
            if error.code in NOT_ACCEPTED or error.retryable or not is_answered(error):
                raise
            words = check.__name__.replace("_", " ")
            yield found("not-checked", f"{words}: {error}", fix=_allow(case, error.operation))


def _sign_in(error: BackendError) -> str:
    reason = error.__cause__
    if isinstance(reason, ServiceError) and reason.is_of_another_time:
        return SET_CLOCK
    return aws("sso", "login") if error.code.startswith("Expired") else aws("configure")


def _allow(case: Case, operation: str) -> str:
    """Return the command that allows the caller an operation."""
    service = next(
        (one for one, operations in _ACTIONS.items() if operation in operations.split()), "*"
    )
    action = f"{service}:{_NAMED_OTHERWISE.get(service, operation)}"
    return may_do(case.inspection.caller().arn, [(action, "*")])
