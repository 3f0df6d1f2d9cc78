"""The checks of what is there before a deployment: who asks, the API, the endpoint."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from hangup.aws.gateway import gateway_address
from hangup.core.connection import NoConnection
from hangup.core.guard import MAX_CLOCK_ERROR_MS
from hangup.errors import BackendError
from hangup.ops.doctor_case import Case, aws, hangup, is_answered, setting
from hangup.ops.findings import Finding, found, well
from hangup.ops.sweep import own_endpoint_of

SET_CLOCK: Final = "sudo timedatectl set-ntp true"

NOT_ACCEPTED: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "NoCredentialsError",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
"""AWS does not take the credentials, or not any more."""

_THROTTLED: Final = {"LimitExceededException", "ThrottlingException", "TooManyRequestsException"}

_MIN_UNRESERVED: Final = 100
"""What Lambda keeps unreserved (Lambda developer guide, reserved concurrency)."""

_FASTEST: Final = 850
"""Closes a second without a pace (see ``core.timing``)."""

_CALLS_A_CLOSE: Final = 3
"""GetConnection, PostToConnection, DeleteConnection."""

_SHARE: Final = 0.5
"""More of the account's throttle than this is left for clients."""

_REFUSED: Final = ("AccessDeniedException", "ForbiddenException", "403")
OWN_ADDRESS: Final = ".execute-api."
"""What the host names of API Gateway's own addresses of an API have."""

_HERE: Final = ("127.0.0.1", "localhost", "::1")


def credentials_and_clock(case: Case) -> Iterator[Finding]:
    """Check who asks, and when."""
    caller = case.inspection.caller()
    yield well("credentials", f"AWS knows you as {caller.arn}, in the Region {case.region}")
    if caller.answered_at_ms is None:
        return
    off_s = (case.clock.now_ms() - caller.answered_at_ms) // 1000
    if abs(off_s) * 1000 > MAX_CLOCK_ERROR_MS:
        ahead = "ahead of" if off_s > 0 else "behind"
        yield found(
            "clock-skew",
            f"it is {abs(off_s):,} s {ahead} AWS's; AWS refuses calls from 300 s on",
            fix=SET_CLOCK,
        )
    else:
        yield well("clock-skew", "The clock of this machine is right")


def region(case: Case) -> Iterator[Finding]:
    """Check that what the file names by ARN is in the Region that is asked."""
    names = ("api.disconnect_function", "table.kms_key", "operation.alarm_topic")
    arns = {key: case[key] for key in names if case[key]}
    elsewhere = {key: arn for key, arn in arns.items() if arn.split(":")[3] != case.region}
    if elsewhere:
        key, arn = next(iter(elsewhere.items()))
        there = arn.split(":")[3]
        yield found(
            "other-region",
            f"{key} is in {there}, and {case.region} is asked",
            fix=hangup("doctor", "--region", there),
        )
    else:
        yield well("other-region", f"What the file names is in {case.region}")


def concurrency(case: Case) -> Iterator[Finding]:
    """Check that the executions that the sweeps reserve can be reserved."""
    if not case["operation.reserve_concurrency"]:
        return
    if case.stack is not None and case.stack.parameters.get("ReserveConcurrency") != "false":
        return  # they are reserved already
    shards, free = case["timeout.shards"], case.inspection.unreserved()
    if free - shards < _MIN_UNRESERVED:
        yield found(
            "no-concurrency",
            f"{free} executions are unreserved; {_MIN_UNRESERVED} must stay so, and the sweeps"
            f" reserve {shards}",
            fix=setting("operation.reserve_concurrency", "false"),
        )
    else:
        yield well("no-concurrency", f"The account can reserve {shards} of {free} executions")


def api_and_stage(case: Case) -> Iterator[Finding]:
    """Check that the API and the stage are there and deployed."""
    api_id, name = case["api.id"], case["api.stage"]
    anew = hangup("init", "--force")
    if not case.is_on_web_socket_api:
        kind = f"{api_id} is an {case.api[0]} API" if case.api else ""
        yield found("no-api", kind or f"{case.region} has no {api_id}", fix=anew)
        return
    stage = case.inspection.stage(api_id, name)
    if stage is None:
        stages = ", ".join(case.account.stages(api_id)) or "none"
        yield found("no-stage", f"{api_id} has no {name}; its stages: {stages}", fix=anew)
        return
    if not stage.is_deployed:
        yield found(
            "not-deployed",
            f"nothing is deployed to the stage {name} of {api_id}",
            fix=aws("apigatewayv2", "create-deployment", "--api-id", api_id, "--stage-name", name),
        )
    else:
        yield well("no-stage", f"The stage {name} of the API {api_id} is deployed")


def throttles(case: Case) -> Iterator[Finding]:
    """Check the throttles of the account and the stage against each other, and the pace."""
    rate = case.inspection.throttle()
    if rate is None or not case.is_on_web_socket_api:
        return
    stage = case.inspection.stage(case["api.id"], case["api.stage"])
    pace = case["timeout.closes_per_second"] or _FASTEST
    is_well = True
    if stage is not None and stage.rate == 0:
        is_well = False
        yield found(
            "stage-closed",
            f"the stage {case['api.stage']} allows 0 requests a second",
            fix=_throttle_at(case, rate),
        )
    if stage is not None and stage.rate is not None and stage.rate > rate:
        is_well = False
        yield found(
            "stage-throttle",
            f"the stage allows {stage.rate:,.0f} requests a second, the account {rate:,.0f}",
            fix=_throttle_at(case, rate),
        )
    if pace * _CALLS_A_CLOSE > rate * _SHARE:
        is_well = False
        yield found(
            "pace",
            f"{pace:,} closes a second make {pace * _CALLS_A_CLOSE:,} requests, and the account"
            f" has {rate:,.0f} a second for clients and sweeps",
            fix=setting("timeout.closes_per_second", int(rate * _SHARE / _CALLS_A_CLOSE)),
        )
    if is_well:
        yield well("pace", f"{pace:,} closes a second fit into the account's throttle")


def _throttle_at(case: Case, rate: float) -> str:
    """Return the command that lets a stage have what the account has; the burst is half of it."""
    limits = f"ThrottlingRateLimit={rate:.0f},ThrottlingBurstLimit={rate / 2:.0f}"
    return aws(
        *("apigatewayv2", "update-stage", "--api-id", case["api.id"]),
        *("--stage-name", case["api.stage"], "--default-route-settings", limits),
    )


def endpoint(case: Case) -> Iterator[Finding]:
    """Check that connections are managed at the endpoint."""
    if not case.is_on_web_socket_api:
        return
    trouble = misled(case)
    if trouble is not None:
        yield trouble
        return
    answer, fix = case.nobody, setting("api.endpoint", "https://YOUR_DOMAIN/PATH")
    if isinstance(answer, BackendError):
        if answer.code in (*_THROTTLED, *NOT_ACCEPTED):
            raise answer
        host = urlsplit(case.endpoint).hostname or ""
        if OWN_ADDRESS in host and case.inspection.is_private_here(host):
            # Not the caller's permissions, though a VPC endpoint answers 403 as well.
            domain = _own_domain(case)
            yield found(
                "endpoint-not-seen",
                f"{host} has a private address here: a VPC endpoint with private DNS takes what is"
                " sent to it, and serves private REST APIs only",
                fix=hangup("doctor", "--set", f"api.endpoint={domain}"),
            )
            return
        if answer.code in _REFUSED:
            raise answer
        if not is_answered(answer):
            case.inspection.caller()  # raises where it is the network, and not the endpoint
        yield found("endpoint-unreachable", f"{case.endpoint}: {answer}", fix=fix)
    elif answer is NoConnection.GONE:
        yield well("endpoint", f"Connections are managed at {case.endpoint}")
    else:
        yield found(
            "endpoint-unreachable",
            f"{case.endpoint} does not know the form of connection ids",
            fix=fix,
        )


def misled(case: Case) -> Finding | None:
    """Return what the endpoint's address shows by itself."""
    wanted = (case["api.id"], case["api.stage"])
    url = urlsplit(case.endpoint)
    address = gateway_address(case.endpoint)
    if address.api_id:
        own_works = case.api is not None and case.api[1]
        if (address.api_id, address.stage) != wanted:
            leads = f"{case.endpoint} is of {address.api_id}/{address.stage}"
            cause = f"{leads}, not {'/'.join(wanted)}"
            own = own_endpoint_of(case.deployment, region=case.region)
            right = own if own_works else _own_domain(case)
            return found("endpoint-elsewhere", cause, fix=setting("api.endpoint", right))
        if OWN_ADDRESS in (url.hostname or "") and not own_works:
            return found(
                "endpoint-disabled",
                f"the API {wanted[0]} has DisableExecuteApiEndpoint, and {case.endpoint} is used",
                fix=setting("api.endpoint", _own_domain(case)),
            )
        return None
    return None if url.hostname in _HERE else _misled_by_domain(case)


def _misled_by_domain(case: Case) -> Finding | None:
    wanted, url = (case["api.id"], case["api.stage"]), urlsplit(case.endpoint)
    mappings = case.inspection.api_mappings(url.hostname or "")
    if mappings is None:
        return found(
            "no-domain",
            f"API Gateway has no custom domain {url.hostname} in {case.region}",
            fix=setting("api.endpoint", _own_domain(case)),
        )
    path = url.path.strip("/")
    there = next(((api, stage) for api, stage, at in mappings if at == path), None)
    if there != wanted:
        leads = f"leads to {'/'.join(there)}" if there else "is mapped to no API"
        return found(
            "endpoint-elsewhere",
            f"{case.endpoint} {leads}, not {'/'.join(wanted)}",
            fix=setting("api.endpoint", _own_domain(case)),
        )
    return None


def _own_domain(case: Case) -> str:
    """Return the address of the stage at a custom domain, or what to put in its place."""
    for domain in case.inspection.domains():
        for api, stage, path in case.inspection.api_mappings(domain) or ():
            if (api, stage) == (case["api.id"], case["api.stage"]):
                return f"https://{domain}/{path}".rstrip("/")
    return "https://YOUR_DOMAIN/PATH"


def disconnect_function(case: Case) -> Iterator[Finding]:
    """Check that the function that is handed over to is that of ``$disconnect``."""
    arn = case["api.disconnect_function"]
    if arn is None:
        return
    function = case.inspection.function(arn)
    if function is None or function.problem:
        cause = f"Lambda has no {arn}" if function is None else function.problem
        yield found("no-function", cause, fix=hangup("init", "--force"))
        return
    if case.is_on_web_socket_api:
        routes = case.account.routes(case["api.id"], {})
        of_route = next((one.function for one in routes if one.key == "$disconnect"), None)
        if of_route is not None and "${" not in of_route and _name(of_route) != _name(arn):
            yield found(
                "other-function",
                f"$disconnect is of {_name(of_route)}, and the file names {_name(arn)}",
                fix=setting("api.disconnect_function", of_route),
            )
            return
    yield well("no-function", f"The $disconnect function {function.name} is there")


def _name(arn: str) -> str:
    return arn.split(":")[6]
