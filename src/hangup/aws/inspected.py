"""What an inspection of an account returns: see ``inspection``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hangup.core.connection import EpochMs

_TARGETS: Final = (
    "NatGatewayId",
    "GatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
)
"""Where a route may lead, by the names of EC2."""

UNKNOWN: Final = "a target of another kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller. ``answered_at_ms`` is AWS's time in the answer, None where it had none."""

    account: str
    arn: str
    answered_at_ms: EpochMs | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage. ``rate`` is its throttle, requests a second; None is the account's."""

    is_deployed: bool
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as Lambda has it; ``problem`` says why it cannot run.

    ``subnets`` are those of its VPC, none where it is in no VPC. ``vpc`` may be empty.
    """

    name: str
    arn: str
    role: str
    variables: Mapping[str, str]
    vpc: str
    subnets: Sequence[str]
    changed_at_ms: EpochMs | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of EventBridge."""

    name: str
    arn: str
    is_enabled: bool
    targets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm of CloudWatch; ``metric`` is the name of what it watches."""

    name: str
    metric: str
    about: str
    is_on: bool
    has_actions: bool
    actions_enabled: bool


class Metric(NamedTuple):
    """One metric, by its namespace, its name and one dimension if it has any."""

    namespace: str
    name: str
    dimension: tuple[str, str] | None = None


class Resource(NamedTuple):
    """A resource of a stack."""

    kind: str
    logical_id: str
    physical_id: str


class RouteTable(NamedTuple):
    """A route table of a VPC.

    ``way_out`` is where its default route leads: an id, ``UNKNOWN``, or empty for nowhere.
    """

    table_id: str
    is_main: bool
    subnets: Sequence[str]
    way_out: str


class VpcEndpoint(NamedTuple):
    """An endpoint in a VPC for a service, by its name in host names.

    ``tables`` are the route tables that lead to it, None for one with an address of its own.
    ``takes_names`` is whether the service's own host names lead to it.
    """

    endpoint_id: str
    service: str
    tables: Sequence[str] | None
    takes_names: bool


def route_table(answer: Mapping[str, Any]) -> RouteTable:
    """Return a route table of DescribeRouteTables."""
    associations = answer.get("Associations", [])
    ways = [
        next((route[name] for name in _TARGETS if name in route), UNKNOWN)
        for route in answer.get("Routes", [])
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State") != "blackhole"
    ]
    return RouteTable(
        table_id=answer["RouteTableId"],
        is_main=any(one.get("Main") for one in associations),
        subnets=[one["SubnetId"] for one in associations if "SubnetId" in one],
        way_out=ways[0] if ways else "",
    )


def is_in_service(answer: Mapping[str, Any], vpc: str) -> bool:
    """Return whether an endpoint of DescribeVpcEndpoints is one of this VPC, and works."""
    return answer["VpcId"] == vpc and str(answer["State"]).lower() == "available"


def vpc_endpoint(answer: Mapping[str, Any]) -> VpcEndpoint:
    """Return an endpoint of DescribeVpcEndpoints."""
    return VpcEndpoint(
        endpoint_id=answer["VpcEndpointId"],
        # com.amazonaws.eu-central-1.execute-api
        service=answer["ServiceName"].rpartition(".")[2],
        tables=answer["RouteTableIds"] if answer["VpcEndpointType"] == "Gateway" else None,
        takes_names=answer.get("PrivateDnsEnabled", False),
    )
