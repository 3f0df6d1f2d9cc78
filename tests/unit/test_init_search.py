"""What `hangup init` looks at in an account, what it asks, and what it refuses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from hangup.aws import clients
from hangup.aws.discovery import (
    Account,
    FoundFunction,
    FoundTable,
    Route,
    WebSocketApi,
)
from hangup.aws.runtime import calls, clock
from hangup.core.connection import ConnectionInfo, EpochMs, NoConnection
from hangup.errors import BackendError, ConfigurationError
from hangup.ops.deployment_file import Deployment
from hangup.ops.evidence import Confidence
from hangup.ops.init import Choose, Found, Search, draft

ARN: Final = "arn:aws:lambda:eu-central-1:123456789012:function:"
CHAT: Final = WebSocketApi(api_id="a1", name="chat", has_endpoint=True)
ADMIN: Final = WebSocketApi(api_id="b2", name="2 admin", has_endpoint=False)
IDS: Final = ["L0SM9cOFvHcCIhw=", "L0SM9cOFvHcCIhx=", "L0SM9cOFvHcCIhy="]


@dataclass
class FakeAccount(Account):
    """An account with one app: what each member holds can be changed."""

    apis: list[WebSocketApi] = field(default_factory=lambda: [CHAT])
    of_stages: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"prod": {}})
    of_routes: list[Route] = field(
        default_factory=lambda: [
            Route(key="$connect", function=f"{ARN}hello"),
            Route(key="$disconnect", function=f"{ARN}bye"),
            Route(key="$default", function=f"{ARN}hello"),
        ]
    )
    variables: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: {"hello": {"TABLE": "sockets", "LEVEL": "INFO"}, "bye": {}}
    )
    tables: Mapping[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"sockets": [{"id": {"S": one}} for one in IDS], "other": []}
    )
    problem: str | None = None
    asked: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    refuses: bool = False
    is_at_aws: bool = True

    @property
    def region(self) -> str:
        return "eu-central-1"

    def web_socket_apis(self) -> list[WebSocketApi]:
        return self.apis

    def stages(self, api_id: str) -> Mapping[str, Mapping[str, str]]:
        return self.of_stages

    def routes(self, api_id: str, variables: Mapping[str, str]) -> list[Route]:
        return self.of_routes

    def function(self, arn: str) -> FoundFunction:
        name = arn.rpartition(":")[2]
        return FoundFunction(arn=arn, variables=self.variables[name], problem=self.problem)

    def table_names(self) -> set[str]:
        return set(self.tables)

    def table(self, name: str) -> FoundTable:
        return FoundTable(name=name, key=[("id", "S")])

    def pages(self, table: str) -> Iterator[Sequence[dict[str, Any]]]:
        items = self.tables[table]
        for start in range(0, len(items), 100):
            self.read += [table] * len(items[start : start + 100])
            yield items[start : start + 100]

    def endpoint_of(self, api_id: str, stage: str) -> str | None:
        return f"https://{api_id}/{stage}" if self.is_at_aws else None

    def connections_at(self, endpoint: str) -> Any:
        self.asked.append(endpoint)
        return self

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        self.asked.append(connection_id)
        if self.refuses:
            raise BackendError("GetConnection", "ForbiddenException", "no", retryable=False)
        known = connection_id != IDS[2]
        return ConnectionInfo(last_active_ms=EpochMs(1)) if known else NoConnection.GONE


def nobody(_question: str, _options: Sequence[str]) -> str | None:
    return None


def find(
    account: FakeAccount,
    wanted: str | None = None,
    *,
    choose: Choose = nobody,
    given: Mapping[str, str] | None = None,
) -> Found:
    return Search(account, clock=clock, given=given or {}, choose=choose).find(wanted)


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


def refusal(account: FakeAccount, wanted: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        find(account, wanted)
    return str(raised.value)


def test_finds_the_one_app_that_there_is(account: FakeAccount) -> None:
    found = find(account)
    assert (found.api, found.stage, found.table.name) == (CHAT, "prod", "sockets")
    assert found.disconnect is not None
    assert found.disconnect.name == "bye"
    assert (found.inferred.connections, found.inferred.known) == (2, 2)
    assert account.asked == ["https://a1/prod", *IDS]
    deployment = Deployment.from_text(draft(found.proposals, {}, "f").text, "f")
    assert (deployment["stack.name"], deployment["stack.region"]) == ("chat-hangup", "eu-central-1")
    assert deployment["api.disconnect_function"] == f"{ARN}bye"


@pytest.mark.parametrize("wanted", ["b2", "2 admin"])
def test_takes_the_api_that_is_named(account: FakeAccount, wanted: str) -> None:
    account.apis = [CHAT, ADMIN]
    found = find(account, wanted)
    assert found.api == ADMIN
    values = {one.key: one.value for one in found.proposals}
    assert values["stack.name"] == "app-2-admin-hangup"


def test_asks_which_api_and_stage_are_meant(account: FakeAccount) -> None:
    account.apis = [CHAT, ADMIN]
    account.of_stages = {"dev": {}, "prod": {}}
    questions = []

    def choose(question: str, options: Sequence[str]) -> str:
        questions.append((question, list(options)))
        return options[0]

    found = find(account, choose=choose)
    assert (found.api, found.stage) == (CHAT, "dev")
    assert questions == [
        ("Which API", ["a1 (chat)", "b2 (2 admin)"]),
        ("Which stage", ["dev", "prod"]),
    ]


def test_two_apis_and_nobody_to_ask_is_one_sentence(account: FakeAccount) -> None:
    account.apis = [CHAT, ADMIN]
    assert refusal(account) == ("Which API: name one with --api; there are a1 (chat), b2 (2 admin)")


def test_an_api_that_does_not_exist_is_one_sentence(account: FakeAccount) -> None:
    assert refusal(account, "x") == (
        "there is no WebSocket API x in eu-central-1; there are: a1 (chat)"
    )
    account.apis = []
    assert refusal(account) == (
        "there is no WebSocket API in eu-central-1: use --region or --profile"
    )


def test_takes_the_usual_stage_where_nobody_can_be_asked(account: FakeAccount) -> None:
    account.of_stages = {"dev": {}, "prod": {}}
    found = find(account)
    assert found.stage == "prod"
    assert found.notes == ["Which stage: prod, of dev, prod (--set api.stage=)"]
    account.of_stages = {"blue": {}, "green": {}}
    assert "name one with --set api.stage=; there are blue, green" in refusal(account)
    assert find(account, given={"api.stage": "green"}).stage == "green"
    account.of_stages = {}
    assert "has no stage: deploy it" in refusal(account)


class TestTables:
    def test_without_one_the_refusal_says_what_could_be_done(self, account: FakeAccount) -> None:
        account.variables = {"hello": {"LEVEL": "INFO"}, "bye": {}}
        assert refusal(account) == (
            "no table of connections is found for API a1 (chat): no environment variable of its"
            " functions names a DynamoDB table; name it with --set table.name=NAME, or let $connect"
            " write the connection id into a table and $disconnect delete it, because Hangup closes"
            " the connections that are in a table"
        )
        assert find(account, given={"table.name": "sockets"}).table.name == "sockets"

    def test_is_named_by_its_arn_or_in_a_request_template(self, account: FakeAccount) -> None:
        region = "arn:aws:dynamodb:eu-central-1:123456789012:table/sockets"
        elsewhere = "arn:aws:dynamodb:eu-west-1:123456789012:table/other"
        account.variables = {"hello": {"A": region, "B": elsewhere}, "bye": {}}
        assert find(account).tables == ["sockets"]
        account.variables = {"hello": {}, "bye": {}}
        account.of_routes = [Route(key="$connect", function=None, tables=["sockets"])]
        found = find(account)
        assert (found.tables, found.disconnect) == (["sockets"], None)

    def test_the_one_with_connections_is_taken(self, account: FakeAccount) -> None:
        account.variables = {"hello": {"A": "other", "B": "sockets"}, "bye": {}}
        found = find(account)
        assert (found.tables, found.table.name) == (["other", "sockets"], "sockets")

    def test_the_one_whose_connections_are_known_is_taken(self, account: FakeAccount) -> None:
        account.tables = {"old": [{"id": {"S": IDS[2]}}] * 2, "sockets": account.tables["sockets"]}
        account.variables = {"hello": {"A": "old", "B": "sockets"}, "bye": {}}
        assert find(account).table.name == "sockets"

    def test_several_with_connections_are_asked_about(self, account: FakeAccount) -> None:
        account.tables = {"one": account.tables["sockets"], "two": account.tables["sockets"]}
        account.variables = {"hello": {"A": "one", "B": "two"}, "bye": {}}
        assert refusal(account) == (
            "Which table: name one with --set table.name=; there are one, two"
        )
        assert find(account, choose=lambda _question, options: options[1]).table.name == "two"

    def test_is_read_until_enough_connections_were_seen(self, account: FakeAccount) -> None:
        many = [{"id": {"S": f"{number:016x}"}} for number in range(300)]
        account.tables = {"sockets": many}
        assert find(account).items == 100
        account.tables = {"sockets": [{"id": {"S": f"order {number}"}} for number in range(3_000)]}
        assert find(account).items == 1_000

    def test_that_has_an_attribute_that_hangup_writes_is_noted(self, account: FakeAccount) -> None:
        account.tables = {"sockets": [{"id": {"S": IDS[0]}, "handovers": {"N": "7"}}]}
        (note,) = find(account).notes
        assert "`handovers`" in note
        assert "--set table.names.handovers=NAME" in note
        assert not find(account, given={"table.names.handovers": "calls"}).notes

    def test_an_environment_that_cannot_be_read_is_noted(self, account: FakeAccount) -> None:
        account.problem = "KMS says no"
        assert find(account).notes == [
            "the environment of hello cannot be read: KMS says no",
            "the environment of bye cannot be read: KMS says no",
        ]


class TestApiGateway:
    def test_that_does_not_answer_is_noted_and_asked_once(self, account: FakeAccount) -> None:
        account.refuses = True
        found = find(account)
        assert account.asked[1:] == IDS[:1]
        assert (found.inferred.connections, found.inferred.known) == (3, 0)
        (note,) = found.notes
        assert note.startswith("API Gateway was not asked about connections, so less is certain: ")

    def test_is_asked_at_the_endpoint_that_is_given(self, account: FakeAccount) -> None:
        find(account, given={"api.endpoint": "http://127.0.0.1:1/x/prod"})
        assert account.asked[0] == "http://127.0.0.1:1/x/prod"

    def test_without_an_endpoint_is_not_asked_and_the_file_needs_one(
        self, account: FakeAccount
    ) -> None:
        account.apis = [ADMIN]
        found = find(account)
        assert account.asked == []
        (endpoint,) = [one for one in found.proposals if one.key == "api.endpoint"]
        assert endpoint.confidence is Confidence.UNSURE
        written = draft(found.proposals, {}, "hangup.toml")
        assert written.left_out == ["api.endpoint"]
        assert '\n#endpoint = "https://' in written.text
        given = {"api.endpoint": "https://ws.example.com/prod"}
        assert draft(found.proposals, given, "hangup.toml").left_out == []

    def test_that_is_not_at_aws_is_not_asked_unless_it_is_said_where(
        self, account: FakeAccount
    ) -> None:
        account.is_at_aws = False
        found = find(account)
        assert (account.asked, found.inferred.connections) == ([], 3)
        (note,) = found.notes
        assert note.startswith("API Gateway was not asked about connections, so less is certain: ")
        assert note.endswith(" --set api.endpoint=URL")

    @pytest.mark.parametrize(
        ("region", "url"),
        [
            ("eu-west-1", "https://a1.execute-api.eu-west-1.amazonaws.com/prod"),
            ("cn-north-1", "https://a1.execute-api.cn-north-1.amazonaws.com.cn/prod"),
        ],
    )
    def test_has_an_address_at_aws(
        self, region: str, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("DEFAULT_REGION", region), ("ACCESS_KEY_ID", "x")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        clients.session.cache_clear()
        assert Account(calls).endpoint_of("a1", "prod") == url
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
        clients.session.cache_clear()
        assert Account(calls).endpoint_of("a1", "prod") is None
        clients.session.cache_clear()


def test_a_file_that_lacks_something_says_what(account: FakeAccount) -> None:
    account.tables = {"sockets": [{"id": {"S": "x"}, "pk": {"S": "y"}}]}
    proposals = find(account).proposals
    assert {one.key: one.value for one in proposals}["table.key"] == [
        {"attribute": "id", "type": "S"}
    ]
    written = draft(proposals, {}, "hangup.toml")
    assert written.left_out == ["table.connection_id"]
    assert written.problem is not None
    assert written.problem.startswith("hangup.toml:")
    assert "table.connection_id is missing" in written.problem
    again = draft(find(account).proposals, {"table.connection_id": "id"}, "hangup.toml")
    assert again.problem is None
