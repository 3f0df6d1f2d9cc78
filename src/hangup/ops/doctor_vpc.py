"""The check of functions in a VPC: whether they can reach what a sweep calls.

Lambda gives a function in a VPC no public address, so it cannot use an internet gateway. A VPC
endpoint for API Gateway (``execute-api``) serves private REST APIs only, so a WebSocket API cannot
be reached through it. Where it takes the host names of API Gateway (private DNS), it answers 403
for those of all other APIs (AWS re:Post, "api-gateway-vpc-connections"). The logs and metrics of a
function do not pass its VPC.
"""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from hangup.aws.inspected import Function, RouteTable, VpcEndpoint
from hangup.ops.doctor_account import OWN_ADDRESS
from hangup.ops.doctor_case import Case, Finding, found, out_of_vpc, well

_PROXIES: Final = ("HTTPS_PROXY", "https_proxy")


def vpc(case: Case) -> Iterator[Finding]:
    """Check that functions in a VPC have a way to API Gateway and the other services."""
    for function in case.functions:
        if function.subnets:
            yield _of_function(case, function)


def _of_function(case: Case, function: Function) -> Finding:
    name, fix = function.name, out_of_vpc(function.name)
    tables = case.inspection.route_tables(function.vpc) if function.vpc else []
    unknown = _unknown_way(function, tables)
    if unknown:
        return found("vpc", f"{name} is in a VPC, and {unknown}", fix=fix)
    endpoints = case.inspection.vpc_endpoints(function.vpc)
    url = function.variables.get("API_GATEWAY_ENDPOINT", case.endpoint)
    host = urlsplit(url).hostname or ""
    for subnet in function.subnets:
        table = _table_of(subnet, tables)
        if not table.way_out.startswith("nat-"):
            leads = f"leads to {table.way_out}," if table.way_out else "leads nowhere,"
            return found(
                "vpc-no-way",
                f"the default route of {subnet}, a subnet of {name}, {leads} and not to a NAT"
                f" gateway: there is no way to {', '.join(_unreached(function, table, endpoints))}",
                fix=fix,
            )
    takers = [one for one in endpoints if one.service == "execute-api" and one.takes_names]
    if OWN_ADDRESS in host and takers:
        return found(
            "vpc-endpoint",
            f"{takers[0].endpoint_id} has private DNS, so it takes what {name} sends to {host}, and"
            " it serves private REST APIs only",
            fix=fix,
        )
    return well("vpc", f"{name} is in a VPC that has a NAT gateway")


def _unknown_way(function: Function, tables: Sequence[RouteTable]) -> str:
    """Return what leads out that cannot be looked into, empty where there is no such thing."""
    if any(function.variables.get(one) for one in _PROXIES):
        return "its calls go to a proxy"
    if not any(one.is_main for one in tables):
        return "its routes cannot be read"
    ways = {_table_of(one, tables).way_out for one in function.subnets}
    unknown = [one for one in sorted(ways) if one and not one.startswith(("nat-", "igw-"))]
    return f"its default route leads to {unknown[0]}" if unknown else ""


def _table_of(subnet: str, tables: Sequence[RouteTable]) -> RouteTable:
    """Return the route table of a subnet: its own, or else that of its VPC."""
    own = [one for one in tables if subnet in one.subnets]
    return (own or [one for one in tables if one.is_main])[0]


def _unreached(
    function: Function, table: RouteTable, endpoints: Sequence[VpcEndpoint]
) -> Sequence[str]:
    """Return the services that a subnet without a way out does not reach by endpoints either."""
    there = {
        one.service for one in endpoints if one.takes_names or table.table_id in (one.tables or ())
    }
    variables = function.variables
    by_endpoint = [
        ("DynamoDB", "dynamodb", True),
        ("Lambda", "lambda", variables.get("DISCONNECT_HANDLER_FUNCTION")),
        ("SQS", "sqs", variables.get("CLOSE_QUEUE_URL")),
    ]
    return [
        "API Gateway",
        *(name for name, service, needed in by_endpoint if needed and service not in there),
    ]
