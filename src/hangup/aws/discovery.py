"""What is in an account: WebSocket APIs, their routes and functions, tables and their items.

It only reads. Every call goes through ``retries``. What AWS refuses is a ``BackendError`` with the
name of the operation.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from hangup.aws import clients
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.retries import Calls
from hangup.aws.values import Item
from hangup.core.connection import ConnectionInfo, NoConnection
from hangup.errors import BackendError

_FUNCTION: Final = re.compile(r"functions/(arn:[^/]+)/invocations$")
_STAGE_VARIABLE: Final = re.compile(r"\$\{stageVariables\.(\w+)\}")
_TABLE_IN_TEMPLATE: Final = re.compile(r'"TableName"\s*:\s*"([A-Za-z0-9_.-]{3,255})"')
_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketApi:
    """An API. ``has_endpoint``: whether API Gateway's own address of it works."""

    api_id: str
    name: str
    has_endpoint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route, the ARN of its function, and the tables that its request templates name."""

    key: str
    function: str | None
    tables: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFunction:
    """A function and its environment; ``problem`` says why that could not be read."""

    arn: str
    variables: Mapping[str, str]
    problem: str | None = None

    @property
    def name(self) -> str:
        """Its name, without what qualifies it."""
        return self.arn.split(":")[6]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTable:
    """A table.

    ``key`` has the names and types of its key, ``ttl`` the attribute of its time to live,
    ``kms_key`` the ARN of the key in KMS that encrypts it, and ``replicas`` its other Regions.
    ``indexes`` are those that project all attributes.
    """

    name: str
    key: Sequence[tuple[str, str]]
    ttl: str | None = None
    has_stream: bool = False
    kms_key: str | None = None
    replicas: Sequence[str] = ()
    indexes: Sequence[str] = ()


class ConnectionsAccount(Protocol):
    """What is asked about connections: API Gateway, by a stage."""

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Return what it says; raise ``BackendError`` without an answer."""


class Account:
    """An account in one Region, as the caller's credentials see it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._clients: dict[tuple[str, str | None], Any] = {}

    @property
    def region(self) -> str:
        """The Region; raise ``BackendError`` where none is set."""
        region = clients.session().get_config_variable("region")
        if not region:
            # As botocore says it of a client.
            raise BackendError(
                "GetApis", "NoRegionError", "You must specify a region.", retryable=False
            )
        return str(region)

    def endpoint_of(self, api_id: str, stage: str) -> str | None:
        """Return the ``@connections`` URL of a stage as API Gateway has it.

        None where the account is reached somewhere else than at AWS: only its owner knows.
        """
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        if suffix not in self._client("apigatewayv2").meta.endpoint_url:
            return None
        return f"https://{api_id}.execute-api.{self.region}.{suffix}/{stage}"

    def web_socket_apis(self) -> list[WebSocketApi]:
        """Return the WebSocket APIs, by name."""
        apis = [
            WebSocketApi(
                api_id=one["ApiId"],
                name=one["Name"],
                has_endpoint=not one.get("DisableExecuteApiEndpoint", False),
            )
            for one in self._pages("GetApis", "get_apis", "Items")
            if one["ProtocolType"] == "WEBSOCKET"
        ]
        return sorted(apis, key=lambda one: (one.name, one.api_id))

    def stages(self, api_id: str) -> Mapping[str, Mapping[str, str]]:
        """Return the stages of an API with their variables, by name."""
        stages = self._pages("GetStages", "get_stages", "Items", ApiId=api_id)
        found = {one["StageName"]: one.get("StageVariables", {}) for one in stages}
        return dict(sorted(found.items()))

    def routes(self, api_id: str, variables: Mapping[str, str]) -> list[Route]:
        """Return the routes of an API, with the functions of a stage with these variables."""
        integrations = {
            one["IntegrationId"]: one
            for one in self._pages("GetIntegrations", "get_integrations", "Items", ApiId=api_id)
        }
        routes = []
        for one in self._pages("GetRoutes", "get_routes", "Items", ApiId=api_id):
            integration = integrations.get(one.get("Target", "").removeprefix("integrations/"), {})
            templates = " ".join(integration.get("RequestTemplates", {}).values())
            routes.append(
                Route(
                    key=one["RouteKey"],
                    function=_function_in(integration.get("IntegrationUri", ""), variables),
                    tables=_TABLE_IN_TEMPLATE.findall(templates),
                )
            )
        return sorted(routes, key=lambda route: route.key)

    def function(self, arn: str) -> FoundFunction:
        """Return a function with its environment, or with what keeps it from being read."""
        service = self._client("lambda")
        try:
            answer = self._calls(
                "GetFunctionConfiguration",
                lambda: service.get_function_configuration(FunctionName=arn),
            )
        except BackendError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return FoundFunction(arn=arn, variables={}, problem="there is no such function")
        environment = answer.get("Environment", {})
        return FoundFunction(
            arn=arn,
            variables=environment.get("Variables", {}),
            problem=environment.get("Error", {}).get("Message"),
        )

    def table_names(self) -> set[str]:
        """Return the names of all tables."""
        return set(self._pages("ListTables", "list_tables", "TableNames", service="dynamodb"))

    def table(self, name: str) -> FoundTable:
        """Return a table."""
        service = self._client("dynamodb")
        described = self._calls("DescribeTable", lambda: service.describe_table(TableName=name))[
            "Table"
        ]
        to_live = self._calls(
            "DescribeTimeToLive", lambda: service.describe_time_to_live(TableName=name)
        )["TimeToLiveDescription"]
        types = {
            one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]
        }
        keys = sorted(described["KeySchema"], key=lambda one: str(one["KeyType"]))  # HASH first
        encryption = described.get("SSEDescription", {})
        is_encrypted = encryption.get("Status") not in ("DISABLED", "DISABLING")
        is_on = to_live.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        return FoundTable(
            name=name,
            key=[(one["AttributeName"], types[one["AttributeName"]]) for one in keys],
            ttl=to_live.get("AttributeName") if is_on else None,
            has_stream=described.get("StreamSpecification", {}).get("StreamEnabled", False),
            kms_key=encryption.get("KMSMasterKeyArn") if is_encrypted else None,
            replicas=[one["RegionName"] for one in described.get("Replicas", [])],
            indexes=[
                one["IndexName"]
                for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
                for one in described.get(kind, [])
                if one["Projection"].get("ProjectionType") == "ALL"
            ],
        )

    def pages(self, table: str) -> Iterator[Sequence[Item]]:
        """Yield the items of a table, a hundred at a time, in no order."""
        service = self._client("dynamodb")
        request: dict[str, Any] = {"TableName": table, "Limit": _PAGE}
        while True:
            page = self._calls("Scan", partial(service.scan, **request))
            yield page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def connections_at(self, endpoint: str) -> ConnectionsAccount:
        """Return who knows the connections of a stage, by its ``@connections`` URL."""
        return ManagementApiGateway(self._client("apigatewaymanagementapi", endpoint), self._calls)

    def _pages(
        self, operation: str, method: str, members: str, service: str = "apigatewayv2", **of: str
    ) -> list[Any]:
        paginator = self._client(service).get_paginator(method)
        pages = self._calls(operation, lambda: list(paginator.paginate(**of)))
        return [one for page in pages for one in page[members]]

    def _client(self, service: str, endpoint: str | None = None) -> Any:  # noqa: ANN401 - botocore's
        if (service, endpoint) not in self._clients:
            # Made within a call, so that a missing Region is an error like any other.
            made = self._calls("CreateClient", lambda: clients.client(service, endpoint))
            self._clients[service, endpoint] = made
        return self._clients[service, endpoint]


def _function_in(uri: str, variables: Mapping[str, str]) -> str | None:
    found = _FUNCTION.search(uri)
    if found is None:
        return None
    return _STAGE_VARIABLE.sub(lambda one: variables.get(one[1], one[0]), found[1])
