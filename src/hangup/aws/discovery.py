"""What is in an account: WebSocket APIs, their routes and functions, tables and their items."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hangup.aws import clients
from hangup.aws.account_reads import AccountReads
from hangup.aws.retries import pages
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


class Account(AccountReads):
    """What ``hangup init`` looks at."""

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
            for one in self._listed("apigatewayv2", "GetApis", "Items")
            if one["ProtocolType"] == "WEBSOCKET"
        ]
        return sorted(apis, key=lambda one: (one.name, one.api_id))

    def stages(self, api_id: str) -> Mapping[str, Mapping[str, str]]:
        """Return the stages of an API with their variables, by name."""
        stages = self._listed("apigatewayv2", "GetStages", "Items", ApiId=api_id)
        return dict(sorted((one["StageName"], one.get("StageVariables", {})) for one in stages))

    def routes(self, api_id: str, variables: Mapping[str, str]) -> list[Route]:
        """Return the routes of an API, with the functions of a stage with these variables."""
        integrations = {
            one["IntegrationId"]: one
            for one in self._listed("apigatewayv2", "GetIntegrations", "Items", ApiId=api_id)
        }
        routes = []
        for one in self._listed("apigatewayv2", "GetRoutes", "Items", ApiId=api_id):
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
        answer = self._found("lambda", "GetFunctionConfiguration", FunctionName=arn)
        if answer is None:
            return FoundFunction(arn=arn, variables={}, problem="there is no such function")
        environment = answer.get("Environment", {})
        return FoundFunction(
            arn=arn,
            variables=environment.get("Variables", {}),
            problem=environment.get("Error", {}).get("Message"),
        )

    def table_names(self) -> set[str]:
        """Return the names of all tables."""
        return set(self._listed("dynamodb", "ListTables", "TableNames"))

    def table(self, name: str) -> FoundTable:
        """Return a table."""
        described = self._ask("dynamodb", "DescribeTable", TableName=name)["Table"]
        to_live = self._ask("dynamodb", "DescribeTimeToLive", TableName=name)[
            "TimeToLiveDescription"
        ]
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
        """Return the items of a table, a hundred at a time, in no order."""
        scanned = pages(
            self._calls,
            "Scan",
            self._client("dynamodb").scan,
            {"TableName": table, "Limit": _PAGE},
            more="LastEvaluatedKey",
            start="ExclusiveStartKey",
        )
        return (page["Items"] for page in scanned)


def _function_in(uri: str, variables: Mapping[str, str]) -> str | None:
    found = _FUNCTION.search(uri)
    if found is None:
        return None
    return _STAGE_VARIABLE.sub(lambda one: variables.get(one[1], one[0]), found[1])
