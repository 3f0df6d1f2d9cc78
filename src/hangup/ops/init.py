"""``hangup init``: find what a ``hangup.toml`` has to say about an app that is there.

It reads only. It needs:

| | |
|---|---|
| apigateway:GET | /apis, and of each /stages, /routes, /integrations |
| lambda:GetFunctionConfiguration | the functions of the routes |
| dynamodb:ListTables | |
| dynamodb:DescribeTable, DescribeTimeToLive, Scan | the tables that these functions name |
| execute-api:ManageConnections | GET on @connections of the stage; without it less is certain |
| kms:Decrypt | a customer-managed key of such a table or of a function's environment |
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from hangup.aws.discovery import (
    Account,
    ConnectionsAccount,
    FoundFunction,
    FoundTable,
    Route,
    WebSocketApi,
)
from hangup.aws.expressions import OWN
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.values import Item
from hangup.core.connection import ConnectionInfo, NoConnection
from hangup.errors import BackendError, ConfigurationError
from hangup.ops.deployment_file import Deployment
from hangup.ops.deployment_text import commented_file
from hangup.ops.evidence import Confidence, Evidence, Proposal, sure
from hangup.ops.inference import Inferred, infer
from hangup.ops.inferred_ids import id_attributes
from hangup.ports import Clock

Choose = Callable[[str, Sequence[str]], str | None]
"""Asks which of several texts is meant; None where nobody can be asked."""

_ENOUGH: Final = 25
"""Connections to learn from, and connections that API Gateway is asked about."""

_MOST_ITEMS: Final = 1_000
"""Items that are read of a table, at most: a few megabytes."""

_USUAL_STAGES: Final = ("prod", "production", "live", "main")
_TABLE_ARN: Final = re.compile(r"arn:[^:]+:dynamodb:([^:]+):\d+:table/([^/]+)")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9]+")
_Option = TypeVar("_Option")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found, and what is proposed for the file.

    ``notes`` are sentences about what could not be read or needs a look.
    """

    api: WebSocketApi
    stage: str
    region: str
    routes: Sequence[Route]
    functions: Sequence[FoundFunction]
    disconnect: FoundFunction | None
    table: FoundTable
    tables: Sequence[str]
    items: int
    inferred: Inferred
    proposals: Sequence[Proposal]
    notes: Sequence[str] = field(default=())


class Search:
    """Looks for an app in an account.

    ``given`` are the settings that are given on the command line, by dotted key: they are not
    looked for. ``choose`` is asked where several things could be meant.
    """

    def __init__(
        self, account: Account, *, clock: Clock, given: Mapping[str, Any], choose: Choose
    ) -> None:
        self._account = account
        self._clock = clock
        self._given = given
        self._choose = choose
        self._notes: list[str] = []

    def find(self, wanted: str | None) -> Found:
        """Return what was found of an API, by its id or name; None where there is one alone.

        Raises ``ConfigurationError`` where several things may be meant, or where there is no table,
        and ``BackendError`` for what AWS refuses.
        """
        region = self._account.region
        api = self._api(wanted or self._given.get("api.id"))
        stages = self._account.stages(api.api_id)
        stage = self._stage(api, list(stages))
        routes = self._account.routes(api.api_id, stages.get(stage, {}))
        functions = self._functions(routes)
        arn = next((route.function for route in routes if route.key == "$disconnect"), None)
        disconnect = functions.get(arn) if arn else None
        names = self._tables(api, routes, list(functions.values()))
        gateway = self._gateway(api, stage)
        table, items, inferred = self._best(
            [self._look(name, api, stage, gateway, disconnect) for name in names]
        )
        return Found(
            api=api,
            stage=stage,
            region=region,
            routes=routes,
            functions=list(functions.values()),
            disconnect=disconnect,
            table=table,
            tables=names,
            items=items,
            inferred=inferred,
            proposals=self._proposals(api, stage, region, table, disconnect, inferred),
            notes=self._notes,
        )

    def _api(self, wanted: str | None) -> WebSocketApi:
        apis = self._account.web_socket_apis()
        if wanted is not None:
            named = [one for one in apis if wanted in (one.api_id, one.name)]
            if not named:
                there_are = ", ".join(f"{one.api_id} ({one.name})" for one in apis) or "none"
                raise ConfigurationError(
                    f"there is no WebSocket API {wanted} in {self._account.region}; there are:"
                    f" {there_are}"
                )
            apis = named
        if not apis:
            raise ConfigurationError(
                f"there is no WebSocket API in {self._account.region}: use --region or --profile"
            )
        words = {f"{one.api_id} ({one.name})": one for one in apis}
        return self._one_of("Which API", words, "--api")

    def _stage(self, api: WebSocketApi, stages: Sequence[str]) -> str:
        given: str | None = self._given.get("api.stage")
        if given is not None:
            return given
        if not stages:
            raise ConfigurationError(
                f"API {api.api_id} ({api.name}) has no stage: deploy it, or say --set"
                " api.stage=NAME"
            )
        usual = next((one for one in _USUAL_STAGES if one in stages), None)
        options = {one: one for one in stages}
        return self._one_of("Which stage", options, "--set api.stage=", usual)

    def _one_of(
        self, question: str, options: Mapping[str, _Option], option: str, usual: str | None = None
    ) -> _Option:
        """Return the only option, the one that is chosen, or where nobody is asked the usual."""
        if len(options) == 1:
            return next(iter(options.values()))
        chosen = self._choose(question, list(options))
        if chosen is None and usual is not None:
            self._notes.append(f"{question}: {usual}, of {', '.join(options)} ({option})")
            chosen = usual
        if chosen is None:
            raise ConfigurationError(
                f"{question}: name one with {option}; there are {', '.join(options)}"
            )
        return options[chosen]

    def _functions(self, routes: Sequence[Route]) -> dict[str, FoundFunction]:
        """Return the functions of the routes, by their ARNs."""
        functions = {}
        for arn in dict.fromkeys(route.function for route in routes if route.function):
            function = functions[arn] = self._account.function(arn)
            if function.problem is not None:
                self._notes.append(
                    f"the environment of {function.name} cannot be read: {function.problem}"
                )
        return functions

    def _tables(
        self, api: WebSocketApi, routes: Sequence[Route], functions: Sequence[FoundFunction]
    ) -> list[str]:
        """Return the tables that may hold the connections."""
        given = self._given.get("table.name")
        if given is not None:
            return [given]
        said = [one for function in functions for one in function.variables.values()]
        said += [name for route in routes for name in route.tables]
        here = self._account.region
        names = [
            found[2] if (found := _TABLE_ARN.match(one)) and found[1] == here else one
            for one in said
        ]
        tables = self._account.table_names() if names else set()
        candidates = [name for name in dict.fromkeys(names) if name in tables]
        if not candidates:
            raise ConfigurationError(
                f"no table of connections is found for API {api.api_id} ({api.name}): no"
                " environment variable of its functions names a DynamoDB table; name it with --set"
                " table.name=NAME, or let $connect write the connection id into a table and"
                " $disconnect delete it, because Hangup closes the connections that are in a table"
            )
        return candidates

    def _gateway(self, api: WebSocketApi, stage: str) -> ConnectionsAccount | None:
        """Return who knows the connections of the stage; None where it cannot be reached."""
        endpoint = self._given.get("api.endpoint")
        if endpoint is None and api.has_endpoint:
            endpoint = self._account.endpoint_of(api.api_id, stage)
        if endpoint is not None:
            return self._account.connections_at(endpoint)
        self._notes.append(
            "API Gateway was not asked about connections, so less is certain: say where it is with"
            " --set api.endpoint=URL"
        )
        return None

    def _look(
        self,
        name: str,
        api: WebSocketApi,
        stage: str,
        gateway: ConnectionsAccount | None,
        disconnect: FoundFunction | None,
    ) -> tuple[FoundTable, int, Inferred]:
        """Return a table, how many items were read, and what they show."""
        table = self._account.table(name)
        items: list[Item] = []
        for page in self._account.pages(name):
            items += page
            found = id_attributes(items, table.key)
            if len(items) >= _MOST_ITEMS or (found and len(found[0].ids) >= _ENOUGH):
                break
        self._note_names_in_use(table, items)
        evidence = Evidence(
            key=table.key,
            ttl=table.ttl,
            items=items,
            answers=self._ask(gateway, items, table),
            api_id=api.api_id,
            stage=stage,
            now_ms=self._clock.now_ms(),
        )
        return table, len(items), infer(evidence, table, disconnect)

    def _note_names_in_use(self, table: FoundTable, items: Sequence[Item]) -> None:
        """Say which attributes Hangup would write over, if it has not written them itself."""
        keys = {getattr(DEFAULT_SCHEMA, one): f"table.names.{one}" for one in OWN}
        fields = {name: key for name, key in keys.items() if key not in self._given}
        for name in sorted(fields.keys() & {name for item in items for name in item}):
            self._notes.append(
                f"items of {table.name} have `{name}`, which Hangup writes: if it is not from an"
                f" earlier deployment of Hangup, choose another name with --set {fields[name]}=NAME"
            )

    def _ask(
        self, gateway: ConnectionsAccount | None, items: Sequence[Item], table: FoundTable
    ) -> Mapping[str, ConnectionInfo | NoConnection]:
        """Return what API Gateway knows of ids in the items, as far as it answers."""
        ids = [one for found in id_attributes(items, table.key) for one in found.ids]
        answers: dict[str, ConnectionInfo | NoConnection] = {}
        if gateway is None:
            return answers
        for an_id in list(dict.fromkeys(ids))[:_ENOUGH]:
            try:
                answers[an_id] = gateway.get_connection(an_id)
            except BackendError as error:
                self._notes.append(
                    f"API Gateway was not asked about connections, so less is certain: {error}"
                )
                break
        return answers

    def _best(
        self, looked: Sequence[tuple[FoundTable, int, Inferred]]
    ) -> tuple[FoundTable, int, Inferred]:
        """Return the table with the connections; the one that is chosen where several have some."""
        with_some = [one for one in looked if one[2].connections] or looked
        known = [one for one in with_some if one[2].known]
        tables = {one[0].name: one for one in known or with_some}
        return self._one_of("Which table", tables, "--set table.name=")

    def _proposals(  # noqa: PLR0913, PLR0917 - what was found
        self,
        api: WebSocketApi,
        stage: str,
        region: str,
        table: FoundTable,
        disconnect: FoundFunction | None,
        inferred: Inferred,
    ) -> list[Proposal]:
        """Return what is proposed for the whole file."""
        name = _NOT_IN_NAMES.sub("-", api.name).strip("-")
        prefix = "" if name[:1].isalpha() else "app-"
        proposed = [
            sure("stack.name", f"{prefix}{name}"[:120].rstrip("-") + "-hangup", "the API's name"),
            sure("stack.region", region, "where the API is"),
            sure("api.id", api.api_id, f"the API {api.name}"),
            sure("api.stage", stage, "a stage of the API"),
        ]
        if not api.has_endpoint:
            proposed.append(
                Proposal(
                    key="api.endpoint",
                    value=None,
                    confidence=Confidence.UNSURE,
                    why="the API's default endpoint is disabled: the https:// URL of its custom"
                    " domain, with the path that is mapped to the stage",
                )
            )
        if disconnect is not None:
            why = "the function of the route $disconnect"
            proposed.append(sure("api.disconnect_function", disconnect.arn, why))
        is_given = "table.name" in self._given
        why = "given" if is_given else "named in the environment of the API's functions"
        proposed.append(sure("table.name", table.name, why))
        if table.replicas:
            self._notes.append(
                f"table {table.name} has replicas in {', '.join(table.replicas)}: clients of"
                " another Region's API look gone here"
            )
        return [*proposed, *inferred.proposals]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The text of a file. ``left_out`` are the keys that are commented out because they are unsure.

    ``problem`` says what is to be done before the file can be used; None where it is complete.
    """

    text: str
    left_out: Sequence[str]
    problem: str | None


def draft(proposals: Sequence[Proposal], given: Mapping[str, Any], file_name: str) -> Draft:
    """Return the file that says what is given, and what is proposed and not unsure."""
    said = {one.key: one.value for one in proposals if one.confidence is not Confidence.UNSURE}
    doubts = {one.key: one.value for one in proposals if one.confidence is Confidence.UNSURE}
    notes = {
        one.key: f"{str(one.confidence).capitalize()}: {one.why}."
        for one in proposals
        if one.key not in given
    }
    left_out = [key for key in doubts if key not in given]
    text = commented_file({**said, **given}, notes=notes, doubts=doubts)
    problem = None
    try:
        Deployment.from_text(text, file_name)
    except ConfigurationError as error:
        problem = str(error)
    return Draft(text=text, left_out=left_out, problem=problem)
