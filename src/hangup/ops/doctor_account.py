"""The checks of what is there before a deployment: who asks, the API, the endpoint."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from hangup.aws.gateway import gateway_address
from hangup.core.connection import NoConnection
from hangup.core.guard import MAX_CLOCK_ERROR_MS
from hangup.errors import BackendError
from hangup.ops.doctor_case import Case, Finding, aws, found, hangup, is_answered, setting, well
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

_ANY_DOMAIN: Final = "https://YOUR_DOMAIN/PATH"
_HERE: Final = ("127.0.0.1", "localhost", "::1")


def credentials_and_clock(case: Case) -> Iterator[Finding]:
    """Check who asks, and when."""
    caller = case.inspection.caller()
    yield well("credentials", f"AWS knows you as {caller.arn}, in the Region {case.region}")
    if caller.answered_at_ms is None:
        return
    off_s = (case.clock.now_ms() - caller.answered_at_ms) // 1000
    if abs(off_s) * 1000 > MAX_CLOCK_ERROR_MS:
        yield found(
            "clock-skew",
            f"it is {abs(off_s):,} s {'ahead of' if off_s > 0 else 'behind'} AWS's; AWS refuses"
            " calls from 300 s on",
            fix=SET_CLOCK,
        )
    else:
        yield well("clock-skew", "The clock of this machine is right")


def region(case: Case) -> Sequence[Finding]:
    """Check that what the file names by ARN is in the Region that is asked."""
    for key in ("api.disconnect_function", "table.kms_key", "operation.alarm_topic"):
        there = case[key].split(":")[3] if case[key] else case.region
        if there != case.region:
            cause = f"{key} is in {there}, and {case.region} is asked"
            return [found("other-region", cause, fix=hangup("doctor", "--region", there))]
    return [well("other-region", f"What the file names is in {case.region}")]


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


def api_and_stage(case: Case) -> Sequence[Finding]:
    """Check that the API and the stage are there and deployed."""
    api_id, name = case["api.id"], case["api.stage"]
    anew = hangup("init", "--force")
    if not case.is_on_web_socket_api:
        kind = f"{api_id} is an {case.api[0]} API" if case.api else ""
        return [found("no-api", kind or f"{case.region} has no {api_id}", fix=anew)]
    stage = case.inspection.stage(api_id, name)
    if stage is None:
        stages = ", ".join(case.account.stages(api_id)) or "none"
        return [found("no-stage", f"{api_id} has no {name}; its stages: {stages}", fix=anew)]
    if stage.is_deployed:
        return [well("no-stage", f"The stage {name} of the API {api_id} is deployed")]
    return [
        found(
            "not-deployed",
            f"nothing is deployed to the stage {name} of {api_id}",
            fix=aws("apigatewayv2", "create-deployment", "--api-id", api_id, "--stage-name", name),
        )
    ]


def throttles(case: Case) -> Sequence[Finding]:
    """Check the throttles of the account and the stage against each other, and the pace."""
    rate = case.inspection.throttle()
    if rate is None or not case.is_on_web_socket_api:
        return []
    pace = case["timeout.closes_per_second"] or _FASTEST
    return list(_too_fast(case, rate, pace)) or [
        well("pace", f"{pace:,} closes a second fit into the account's throttle")
    ]


def _too_fast(case: Case, rate: float, pace: int) -> Iterator[Finding]:
    stage = case.inspection.stage(case["api.id"], case["api.stage"])
    if stage is not None and stage.rate == 0:
        yield found(
            "stage-closed",
            f"the stage {case['api.stage']} allows 0 requests a second",
            fix=_throttle_at(case, rate),
        )
    if stage is not None and stage.rate is not None and stage.rate > rate:
        yield found(
            "stage-throttle",
            f"the stage allows {stage.rate:,.0f} requests a second, the account {rate:,.0f}",
            fix=_throttle_at(case, rate),
        )
    if pace * _CALLS_A_CLOSE > rate * _SHARE:
        yield found(
            "pace",
            f"{pace:,} closes a second make {pace * _CALLS_A_CLOSE:,} requests, and the account"
            f" has {rate:,.0f} a second for clients and sweeps",
            fix=setting("timeout.closes_per_second", int(rate * _SHARE / _CALLS_A_CLOSE)),
        )


def _throttle_at(case: Case, rate: float) -> str:
    """Return the command that lets a stage have what the account has; the burst is half of it."""
    limits = f"ThrottlingRateLimit={rate:.0f},ThrottlingBurstLimit={rate / 2:.0f}"
    return aws(
        *("apigatewayv2", "update-stage", "--api-id", case["api.id"]),
        *("--stage-name", case["api.stage"], "--default-route-settings", limits),
    )


def endpoint(case: Case) -> Sequence[Finding]:
    """Check that connections are managed at the endpoint."""
    if not case.is_on_web_socket_api:
        return []
    trouble = misled(case)
    if trouble is not None:
        return [trouble]
    answer, fix = case.nobody, setting("api.endpoint", _ANY_DOMAIN)
    if answer is NoConnection.GONE:
        return [well("endpoint", f"Connections are managed at {case.endpoint}")]
    if not isinstance(answer, BackendError):
        cause = f"{case.endpoint} does not know the form of connection ids"
        return [found("endpoint-unreachable", cause, fix=fix)]
    if answer.code in (*_THROTTLED, *NOT_ACCEPTED):
        raise answer
    host = urlsplit(case.endpoint).hostname or ""
    if OWN_ADDRESS in host and case.inspection.is_private_here(host):
        # Not the caller's permissions, though a VPC endpoint answers 403 as well.
        return [
            found(
                "endpoint-not-seen",
                f"{host} has a private address here: a VPC endpoint with private DNS takes what is"
                " sent to it, and serves private REST APIs only",
                fix=hangup("doctor", "--set", f"api.endpoint={_own_domain(case)}"),
            )
        ]
    if answer.code in _REFUSED:
        raise answer
    if not is_answered(answer):
        case.inspection.caller()  # raises where it is the network, and not the endpoint
    return [found("endpoint-unreachable", f"{case.endpoint}: {answer}", fix=fix)]


def misled(case: Case) -> Finding | None:
    """Return what the endpoint's address shows by itself."""
    wanted = (case["api.id"], case["api.stage"])
    url = urlsplit(case.endpoint)
    address = gateway_address(case.endpoint)
    if address.api_id:
        own_works = case.api is not None and case.api[1]
        if (address.api_id, address.stage) != wanted:
            own = own_endpoint_of(case.deployment, region=case.region)
            return found(
                "endpoint-elsewhere",
                f"{case.endpoint} is of {address.api_id}/{address.stage}, not {'/'.join(wanted)}",
                fix=setting("api.endpoint", own if own_works else _own_domain(case)),
            )
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
    there = next(((api, stage) for api, stage, at in mappings if at == url.path.strip("/")), None)
    if there == wanted:
        return None
    leads = f"leads to {'/'.join(there)}" if there else "is mapped to no API"
    return found(
        "endpoint-elsewhere",
        f"{case.endpoint} {leads}, not {'/'.join(wanted)}",
        fix=setting("api.endpoint", _own_domain(case)),
    )


def _own_domain(case: Case) -> str:
    """Return the address of the stage at a custom domain, or what to put in its place."""
    for domain in case.inspection.domains():
        for api, stage, path in case.inspection.api_mappings(domain) or ():
            if (api, stage) == (case["api.id"], case["api.stage"]):
                return f"https://{domain}/{path}".rstrip("/")
    return _ANY_DOMAIN


def disconnect_function(case: Case) -> Sequence[Finding]:
    """Check that the function that is handed over to is that of ``$disconnect``."""
    arn = case["api.disconnect_function"]
    if arn is None:
        return []
    function = case.inspection.function(arn)
    if function is None or function.problem:
        cause = f"Lambda has no {arn}" if function is None else function.problem
        return [found("no-function", cause, fix=hangup("init", "--force"))]
    routes = case.account.routes(case["api.id"], {}) if case.is_on_web_socket_api else []
    of_route = next((one.function for one in routes if one.key == "$disconnect"), None)
    if of_route is not None and "${" not in of_route and _name(of_route) != _name(arn):
        return [
            found(
                "other-function",
                f"$disconnect is of {_name(of_route)}, and the file names {_name(arn)}",
                fix=setting("api.disconnect_function", of_route),
            )
        ]
    return [well("no-function", f"The $disconnect function {function.name} is there")]


def _name(arn: str) -> str:
    return arn.split(":")[6]
