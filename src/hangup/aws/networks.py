"""What EC2 says of a VPC, and DNS of a host: where requests go, and which endpoints take them."""

import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

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


def has_private_address(host: str) -> bool:
    """Return whether a host has, as seen from this machine, an address of a private network."""
    try:
        found = socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)
    except OSError:
        return False
    return any(ip_address(address[0]).is_private for *_, address in found)
