"""`hangup doctor` on networks, by stubs: VPCs, their endpoints, and sockets that were kept."""

import json
import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from hangup.aws.errors import ServiceError, UnansweredError
from hangup.aws.inspection import Inspection
from hangup.aws.runtime import calls
from hangup.errors import BackendError
from hangup.ops.doctor import examine
from tests.support.doctor_stub import ACCOUNT, FUNCTION, World, failed, look, only, refused

HOST = "abc123.execute-api.eu-central-1.amazonaws.com"
OUT_OF_VPC = (
    f"aws lambda update-function-configuration --function-name {FUNCTION}"
    " --vpc-config 'SubnetIds=[],SecurityGroupIds=[]'"
)
LOCAL = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}


def default_route(target: str, *, state: str = "active") -> dict[str, str]:
    kinds = {"nat": "NatGatewayId", "tgw": "TransitGatewayId", "eni": "NetworkInterfaceId"}
    kinds["new"] = "KindOfTomorrowId"
    name = kinds.get(target.partition("-")[0], "GatewayId")
    return {"DestinationCidrBlock": "0.0.0.0/0", name: target, "State": state}


def route_table(name: str, *routes: dict[str, str], subnets: Sequence[str] = ()) -> dict[str, Any]:
    """Return a route table of these subnets, or without any that of the VPC."""
    associations: list[dict[str, Any]] = [{"SubnetId": one, "Main": False} for one in subnets]
    return {
        "RouteTableId": name,
        "Associations": associations or [{"Main": True}],
        "Routes": [LOCAL, *routes],
    }


def endpoint(service: str, **more: Any) -> dict[str, Any]:
    return {
        "VpcEndpointId": f"vpce-{service}",
        "ServiceName": f"com.amazonaws.eu-central-1.{service}",
        "VpcEndpointType": "Interface",
        "RouteTableIds": [],
        "PrivateDnsEnabled": True,
        "State": "available",
        "VpcId": "vpc-1",
        **more,
    }


class Network(World):
    """A world whose function of the sweep is in two subnets of a VPC."""

    def __init__(
        self,
        *overrides: str,
        tables: Sequence[dict[str, Any]],
        endpoints: Sequence[dict[str, Any]] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(*overrides)
        known = self.answers["GetFunctionConfiguration"]

        def in_vpc(request: Any) -> Any:
            answer = known(request)
            if answer["FunctionName"] == FUNCTION:
                answer["VpcConfig"] = {"SubnetIds": ["subnet-a", "subnet-b"], "VpcId": "vpc-1"}
                answer["Environment"]["Variables"] |= variables
            return answer

        self.answers["GetFunctionConfiguration"] = in_vpc
        self.answers["DescribeRouteTables"] = {"RouteTables": list(tables)}
        self.answers["DescribeVpcEndpoints"] = {"VpcEndpoints": list(endpoints)}


NAT = route_table("rtb-main", default_route("nat-1"))


class TestVpc:
    def test_a_nat_gateway_is_a_way(self) -> None:
        world = Network(tables=[NAT])
        assert look(world) == {}
        said = [one.what for one in examine(world.anew(), before=False) if one.name == "vpc"]
        assert said == [f"{FUNCTION} is in a VPC that has a NAT gateway"]

    @pytest.mark.parametrize(
        ("route", "leads"),
        [
            (None, "leads nowhere"),
            (default_route("igw-1"), "leads to igw-1"),
            (default_route("nat-1", state="blackhole"), "leads nowhere"),
        ],
    )
    def test_without_one_there_is_none(self, route: dict[str, str] | None, leads: str) -> None:
        world = Network(tables=[route_table("rtb-main", *([route] if route else []))])
        finding = only(world, "vpc-no-way")
        assert f"the default route of subnet-a, a subnet of {FUNCTION}, {leads}" in finding.cause
        assert finding.cause.endswith("API Gateway, DynamoDB, Lambda")
        assert finding.fix == OUT_OF_VPC

    def test_a_subnet_has_its_own_route_table(self) -> None:
        public = route_table("rtb-b", default_route("igw-1"), subnets=["subnet-b"])
        assert "of subnet-b," in only(Network(tables=[NAT, public]), "vpc-no-way").cause

    def test_endpoints_of_other_services_are_ways_to_these(self) -> None:
        by_route = {"VpcEndpointType": "Gateway", "PrivateDnsEnabled": False}
        endpoints = [
            endpoint("dynamodb", RouteTableIds=["rtb-main"], **by_route),
            endpoint("lambda", State="pending"),
            endpoint("sqs", VpcId="vpc-2"),
            endpoint("execute-api", PrivateDnsEnabled=False),
        ]
        queue = f"https://sqs.eu-central-1.amazonaws.com/{ACCOUNT}/q"
        tables = [route_table("rtb-main")]
        world = Network(tables=tables, endpoints=endpoints, variables={"CLOSE_QUEUE_URL": queue})
        assert only(world, "vpc-no-way").cause.endswith("no way to API Gateway, Lambda, SQS")

    def test_an_endpoint_with_private_dns_takes_the_calls_of_api_gateway(self) -> None:
        finding = only(Network(tables=[NAT], endpoints=[endpoint("execute-api")]), "vpc-endpoint")
        assert f"vpce-execute-api has private DNS, so it takes what {FUNCTION}" in finding.cause
        assert HOST in finding.cause
        assert finding.fix == OUT_OF_VPC

    @pytest.mark.parametrize(
        ("endpoints", "variables"),
        [
            ([endpoint("execute-api", PrivateDnsEnabled=False)], {}),
            ([endpoint("dynamodb")], {}),
            ([endpoint("execute-api")], {"API_GATEWAY_ENDPOINT": "https://ws.example.com/live"}),
        ],
    )
    def test_others_take_none(
        self, endpoints: Sequence[dict[str, Any]], variables: dict[str, str]
    ) -> None:
        assert look(Network(tables=[NAT], endpoints=endpoints, variables=variables)) == {}

    @pytest.mark.parametrize(
        ("tables", "variables", "why"),
        [
            ([route_table("rtb-main", default_route("tgw-1"))], {}, "leads to tgw-1"),
            (
                [route_table("rtb-main", default_route("new-1"))],
                {},
                "leads to a target of another kind",
            ),
            ([], {}, "its routes cannot be read"),
            ([route_table("rtb-main")], {"HTTPS_PROXY": "http://proxy"}, "go to a proxy"),
        ],
    )
    def test_what_cannot_be_looked_into_is_a_warning(
        self, tables: Sequence[dict[str, Any]], variables: dict[str, str], why: str
    ) -> None:
        finding = only(Network(tables=tables, variables=variables), "vpc")
        assert why in finding.cause
        assert finding.fix == OUT_OF_VPC

    def test_who_may_not_ask_is_told_the_action(self) -> None:
        world = Network(tables=[NAT])
        world.answers["DescribeRouteTables"] = refused("DescribeRouteTables")
        policy = json.loads(shlex.split(only(world, "not-checked").fix)[-1])
        assert policy["Statement"][0]["Action"] == "ec2:DescribeRouteTables"


def forbidden() -> BackendError:
    """Return what boto3's 403 of a VPC endpoint becomes: it is no refusal by IAM."""
    return failed("GetConnection", ServiceError("ForbiddenException", "Forbidden", status=403))


class TestEndpointFromHere:
    def test_a_vpc_endpoint_that_takes_the_calls_of_this_machine(self) -> None:
        world = World()
        world.endpoint_answer, world.private = forbidden(), [HOST]
        finding = only(world, "endpoint-not-seen", before=True)
        assert HOST in finding.cause
        assert finding.fix == "hangup doctor --set api.endpoint=https://YOUR_DOMAIN/PATH"

    def test_a_refusal_by_iam_is_none(self) -> None:
        world = World()
        world.endpoint_answer = forbidden()
        assert "execute-api:ManageConnections" in only(world, "not-checked", before=True).fix

    def test_a_private_address_that_answers_is_a_way(self) -> None:
        world = World()
        world.private = [HOST]
        assert look(world, before=True) == {}

    @pytest.mark.parametrize(
        ("host", "is_private"), [("10.0.0.1", True), ("8.8.8.8", False), ("no.such.invalid", False)]
    )
    def test_what_dns_says_here(self, host: str, *, is_private: bool) -> None:
        assert Inspection(calls).is_private_here(host) is is_private


def lost(*lines: str) -> World:
    world = World()
    events = [{"timestamp": n, "logStreamName": "s", "message": m} for n, m in enumerate(lines)]
    world.answers["FilterLogEvents"] = {"events": events}
    return world


def line(count: object) -> str:
    return json.dumps({"level": "WARNING", "message": "found kept sockets closed", "count": count})


class TestKeptSockets:
    def test_that_were_found_closed_are_counted(self) -> None:
        finding = only(lost(line(16), line(2)), "sockets-lost")
        assert finding.cause.startswith("18 requests of the last hour met a socket")
        assert finding.fix == "aws logs tail /aws/log --since 1h"

    def test_the_logs_of_the_stack_are_asked_for_the_last_hour(self) -> None:
        world = World()
        asked: list[Any] = []

        def answer(request: Any) -> Any:
            asked.append(request)
            return {"events": []}

        world.answers["FilterLogEvents"] = answer
        assert look(world) == {}
        (request,) = asked
        assert request["logGroupName"] == "/aws/log"
        assert request["filterPattern"] == '"found kept sockets closed"'
        assert world.clock.now_ms() - request["startTime"] == 3_600_000

    def test_a_vpc_may_be_why(self) -> None:
        world = Network(tables=[NAT])
        world.answers["FilterLogEvents"] = lost(line(6)).answers["FilterLogEvents"]
        finding = only(world, "sockets-lost")
        assert "is in a VPC, whose network may close them" in finding.cause
        assert finding.fix == OUT_OF_VPC

    def test_a_few_are_normal(self) -> None:
        assert look(lost(line(3), line(2))) == {}

    @pytest.mark.parametrize("text", ["found kept sockets closed", line(None), line(0), "[1]"])
    def test_a_line_of_another_form_is_none(self, text: str) -> None:
        assert look(lost(text)) == {}


class TestEndpointThatFails:
    """Whatever concerns all calls is not a trouble of the endpoint."""

    def unanswered(self, operation: str) -> BackendError:
        return failed(operation, UnansweredError("EndpointConnectionError", "no answer"))

    @pytest.mark.parametrize("code", ["ThrottlingException", "ExpiredTokenException"])
    def test_throttled_or_expired(self, code: str) -> None:
        world = World()
        world.endpoint_answer = failed("GetConnection", ServiceError(code, "no", status=400))
        with pytest.raises(BackendError, match=f"GetConnection failed with {code}"):
            list(examine(world.anew(), before=True))

    def test_the_network_is_lost(self) -> None:
        world = World()
        world.endpoint_answer = self.unanswered("GetConnection")
        first = world.answers["GetCallerIdentity"]
        answers = iter([first, self.unanswered("GetCallerIdentity")])

        def answer(_request: Any) -> Any:
            one = next(answers)
            if isinstance(one, Exception):
                raise one
            return one

        world.answers["GetCallerIdentity"] = answer
        with pytest.raises(BackendError, match="GetCallerIdentity failed"):
            list(examine(world.anew(), before=True))

    def test_only_the_endpoint_is_not_reached(self) -> None:
        world = World()
        world.endpoint_answer = self.unanswered("GetConnection")
        assert HOST in only(world, "endpoint-unreachable", before=True).cause
