"""The documentation says what the code does."""

import ast
import dataclasses
import inspect
import json
import math
import re
import runpy
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hangup import config, variables
from hangup.aws.gateway import gateway_address
from hangup.aws.schema import TableSchema
from hangup.core import events
from hangup.core import messages as notices
from hangup.core.bounds import WholeNumber
from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    TimeoutReason,
)
from hangup.core.report import (
    MIN_MOSTLY_GONE,
    OTHER_ROLE,
    ClosesReport,
    CloseStatus,
    SweepReport,
)
from hangup.core.timing import LOOK_AHEAD_S
from hangup.errors import ConfigurationError
from hangup.local.deploy import packaged_template
from hangup.sessions import messages
from hangup.sessions.model import Role
from tests.support.documents import DOCUMENTS, README, ROOT, page, table
from tests.support.templates import Resources

CONSTRUCT = ROOT / "src" / "hangup" / "cdk" / "idle_connection_timeout.py"

NOW_MS = EpochMs(1_699_500_000_000)

SETTINGS: Mapping[str, Callable[[Mapping[str, str]], object]] = {
    "timeout": config.TimeoutSettings.from_env,
    "close": config.CloseSettings.from_env,
    "connect": config.ConnectSettings.from_env,
    "message": config.MessageSettings.from_env,
    "disconnect": config.DisconnectSettings.from_env,
    "`tracks_activity`": config.TrackingSettings.from_env,
}
REQUIRED = {
    "API_GATEWAY_ENDPOINT": "https://a1b2c3.execute-api.us-east-1.amazonaws.com/prod",
    "CONNECTIONS_TABLE": "connections",
    "SESSIONS_TABLE": "sessions",
    "DISCONNECT_HANDLER_FUNCTION": "disconnect",
    "CLOSE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/111122223333/due",
    "JOIN_SECRET_ARN": "secret",
}


class Asked(dict[str, str]):
    """An environment that remembers which variables were looked up."""

    def __init__(self) -> None:
        super().__init__(REQUIRED)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def json_objects() -> Iterator[dict[str, Any]]:
    """Yield every JSON object in the documents' ``json`` blocks."""
    decoder = json.JSONDecoder()
    for document in DOCUMENTS:
        for block in re.findall(r"```json\n(.*?)```", document.read_text(), re.DOTALL):
            rest = block.strip()
            while rest:
                value, end = decoder.raw_decode(rest)
                yield value
                rest = rest[end:].strip()


def documented_messages(kind: str) -> list[dict[str, Any]]:
    return [value for value in json_objects() if value.get("type") == kind]


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {
        (target, document.name)
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", document.read_text())
    }
    assert {one for one in named if one[0] not in targets} == set()


def test_every_make_target_is_in_contributing() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [row[0] for row in table("Command", (ROOT / "CONTRIBUTING.md").read_text())]
    assert sorted(commands) == sorted(f"`make {target}`" for target in targets)


def test_the_layers_are_those_of_the_build() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in page("get-started")
    (layers,) = (c for c in contracts if c["type"] == "layers")
    rows = table("Layer", (ROOT / "CONTRIBUTING.md").read_text())
    assert [" | ".join(code(row[0])) for row in rows] == layers["layers"]


def test_every_relative_link_leads_somewhere() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)]+)\)", document.read_text())
        if not link.startswith("https://")
    ]
    for document, link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), (document.name, link)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in anchors, (document.name, link)


def test_uses_the_words_of_the_project() -> None:
    others = re.compile(r"\b(ping|kill|reap|stale|dead)(s|ed|ing)?\b", re.IGNORECASE)
    found = [
        f"{document.relative_to(ROOT)}: {word[0]}"
        for document in DOCUMENTS
        for word in others.finditer(document.read_text())
    ]
    assert found == []


def test_the_table_of_variables_is_the_one_of_the_code() -> None:
    _, _, rest = page("reference/environment").partition(
        "<!-- configuration: written by make docs -->\n"
    )
    assert rest.partition("\n<!-- /configuration -->")[0] == config.as_markdown()


def read_by(function: str) -> list[variables.Variable[Any]]:
    return [one for one in config.VARIABLES if function in one.read_by.split(", ")]


def test_every_reader_of_a_variable_is_a_function() -> None:
    readers = {reader for one in config.VARIABLES for reader in one.read_by.split(", ")}
    assert readers == set(SETTINGS)


@pytest.mark.parametrize("function", SETTINGS)
def test_every_variable_is_in_the_table_for_the_functions_that_read_it(function: str) -> None:
    environment = Asked()
    SETTINGS[function](environment)
    assert {one.name for one in read_by(function)} == environment.names


@pytest.mark.parametrize("function", SETTINGS)
def test_variables_are_optional_where_the_table_has_a_default(function: str) -> None:
    for variable in read_by(function):
        environment = {k: v for k, v in REQUIRED.items() if k != variable.name}
        if "| required |" in row_of(variable):
            with pytest.raises(ConfigurationError, match=f"^{variable.name} is not set"):
                SETTINGS[function](environment)
        else:
            SETTINGS[function](environment)


def row_of(variable: variables.Variable[Any]) -> str:
    """Return the variable's line in its table."""
    start = f"| `{variable.name}` | {variable.read_by} |"
    lines = page("reference/environment").splitlines()
    return next(line for line in lines if line.startswith(start))


@pytest.mark.parametrize(
    "variable", [one for one in config.VARIABLES if isinstance(one.accepted, WholeNumber)]
)
def test_defaults_and_bounds_are_those_of_the_code(variable: variables.Variable[int]) -> None:
    row = re.search(
        r"\| `([0-9]+)` \| a whole number from ([0-9]+) to ([0-9]+) \|", row_of(variable)
    )
    assert row is not None
    default, at_least, at_most = map(int, row.groups())
    assert variable.read({}) == default
    for value in (at_least, at_most):
        assert variable.read({variable.name: str(value)}) == value
    for value in (at_least - 1, at_most + 1):
        with pytest.raises(ConfigurationError, match=f"from {at_least} to {at_most}"):
            variable.read({variable.name: str(value)})


def default_of(node: ast.expr | None) -> str:
    """Return the default that an argument of the construct has, as the page writes it."""
    match node:
        case None:
            return "required"
        case ast.Attribute(value=ast.Name(id=variable), attr="default"):
            return repr(getattr(config, variable).default)
        case ast.Name(id=constant):
            return repr(getattr(config, constant))
        case _:
            return ast.unparse(node).rpartition(".")[2]


def test_every_argument_of_the_construct_is_documented_with_its_default() -> None:
    (constructor,) = (
        node
        for node in ast.walk(ast.parse(CONSTRUCT.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    defaults = {
        argument.arg: default_of(default)
        for argument, default in zip(
            constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True
        )
    }
    documented = {
        name: default.strip("`")
        for names, default, _ in table("Argument", page("reference/construct"))
        for name in code(names)
    }
    assert documented == defaults


def test_the_messages_are_those_that_clients_get() -> None:
    sent = [
        notices.connection_timeout(idle_ms=DurationMs(120_999), now_ms=NOW_MS),
        messages.session_ended(session_id="demo", now_ms=NOW_MS),
        messages.heartbeat_ack(now_ms=NOW_MS),
        messages.message_ack(now_ms=NOW_MS),
    ]
    for message in sent:
        documented = documented_messages(str(message["type"]))
        assert documented
        assert all(one == message for one in documented)
    assert "connectionTimeout" in README


def test_the_hand_over_is_the_event_that_the_disconnect_handler_gets() -> None:
    documented = next(value for value in json_objects() if "requestContext" in value)
    context = documented["requestContext"]
    connection = Connection(
        connection_id=context["connectionId"],
        session_id=documented["sessionId"],
        role=Role(documented["role"]),
        connected_at_ms=context["connectedAt"],
    )
    identity = context["identity"]
    info = ConnectionInfo(
        last_active_ms=context["connectedAt"],
        connected_at_ms=context["connectedAt"],
        source_ip=identity["sourceIp"],
        user_agent=identity["userAgent"],
    )
    address = gateway_address(f"https://{context['domainName']}/{context['stage']}")
    assert documented == events.disconnect_event(
        connection,
        info,
        address,
        now_ms=context["requestTimeEpoch"],
        correlation_id=documented["correlationId"],
    )


def test_the_metrics_are_those_that_a_sweep_emits() -> None:
    report: Any = SweepReport
    closes = ClosesReport(
        statuses=dict.fromkeys(CloseStatus, 1),
        timeouts={("speaker", reason): 1 for reason in TimeoutReason},
        lateness_ms=[DurationMs(1)],
        notices_failed=1,
        handovers_repeated=1,
        sockets_lost=1,
    )
    parameters = inspect.signature(SweepReport).parameters
    emitted: dict[str, set[str]] = {}
    # A flag may keep a metric back that it does not concern: each of them both ways.
    for flag in (False, True):
        values: dict[str, object] = {
            name: flag if p.annotation is bool else 1 for name, p in parameters.items()
        }
        values["hold"] = "why" if flag else None
        gone = {("speaker", TimeoutReason.GONE): MIN_MOSTLY_GONE}
        these = replace(closes, timeouts=gone) if flag else closes
        metrics = report(**{**values, "closes": these}).metrics()
        emitted |= {metric.name: set(metric.dimensions) for metric in metrics}
    rows = table("Metric", page("operate/metrics"))
    documented = {code(name)[0]: set(code(dimensions)) for name, dimensions, _ in rows}
    assert documented == emitted
    (meaning,) = (row[2] for row in rows if row[0] == "`ConnectionTimeout`")
    roles = {*config.DEFAULT_METRIC_ROLES, events.NO_ROLE, OTHER_ROLE}
    assert {*roles, *map(str, TimeoutReason)} == set(code(meaning)) - {"METRIC_ROLES"}


def documented_alarms(*, precise: bool) -> set[tuple[str, int, int, str]]:
    """Return metric, bound, minutes and severity of the rows about a bound that is passed."""
    found = set()
    for name, rings, severity in table("Alarm", page("operate/alarms")):
        above = re.search(r"`(\w+)` > (\d+) .*?(?:in a|for (\d+)) minute", rings)
        if above and (precise or "`precise`" not in name):
            metric, bound, minutes = above.groups()
            found.add((metric, int(bound), int(minutes or 1), severity))
    return found


@pytest.mark.parametrize("precise", [False, True])
def test_the_alarms_are_those_of_the_template(*, precise: bool) -> None:
    template = packaged_template(precise=precise)
    alarms = Resources(template=template).of_type("AWS::CloudWatch::Alarm").values()
    above = [a for a in alarms if a["ComparisonOperator"] == "GreaterThanThreshold"]
    assert documented_alarms(precise=precise) == {
        (
            alarm["MetricName"],
            alarm["Threshold"],
            alarm["EvaluationPeriods"],
            "".join(re.findall(r"^(Warning|Critical): ", alarm["AlarmDescription"])).lower(),
        )
        for alarm in above
    }
    assert {alarm["Period"] for alarm in alarms} == {60}
    (silence,) = (a for a in alarms if a["ComparisonOperator"] == "LessThanThreshold")
    rings = " ".join(row[1] for row in table("Alarm", page("operate/alarms")))
    assert f"no `{silence['MetricName']}` for {silence['EvaluationPeriods']} minutes" in rings


def test_each_row_about_alarms_stands_for_one_or_for_one_of_each_function() -> None:
    rows = [row[0] for row in table("Alarm", page("operate/alarms"))]
    for precise, functions in ((False, 4), (True, 5)):
        template = packaged_template(precise=precise)
        alarms = Resources(template=template).of_type("AWS::CloudWatch::Alarm")
        those = [name for name in rows if precise or "`precise`" not in name]
        assert len(alarms) == len(those) - 1 + functions
    assert "13 alarms" in page("guides/deploy")


def granted(function: str, *, precise: bool) -> set[str]:
    """Return what a function's role allows, besides its log."""
    template = packaged_template(precise=precise)
    grants = Resources(template=template).grants(f"{function}_handler").values()
    return {action for actions in grants for action in actions if not action.startswith("logs:")}


def documented_grants(function: str, header: str) -> set[str]:
    rows = table(header, (ROOT / "SECURITY.md").read_text())
    return {action for who, actions, _ in rows if who == function for action in code(actions)}


@pytest.mark.parametrize("function", ["connect", "message", "disconnect", "timeout"])
def test_the_grants_are_those_of_the_template(function: str) -> None:
    assert documented_grants(function, "Function") == granted(function, precise=False)


@pytest.mark.parametrize("function", ["timeout", "close"])
def test_the_grants_of_a_precise_stack_are_those_of_its_template(function: str) -> None:
    assert documented_grants(function, "Precise") == granted(function, precise=True)


def test_the_outputs_are_those_of_the_template() -> None:
    deploy = page("guides/deploy")
    outputs, _, rest = deploy.split("Outputs:", 1)[1].partition("\n\n")
    inline, precise = packaged_template()["Outputs"], packaged_template(precise=True)["Outputs"]
    assert set(code(outputs)) == set(inline)
    added = rest.split("and the outputs", 1)[1].split(".", 1)[0]
    assert set(code(added)) == set(precise) - set(inline)


def test_a_precise_stack_adds_the_alarms_that_are_documented() -> None:
    def alarms(*, precise: bool) -> int:
        template = packaged_template(precise=precise)
        return len(Resources(template=template).of_type("AWS::CloudWatch::Alarm"))

    assert alarms(precise=True) - alarms(precise=False) == 4
    assert "four alarms" in page("guides/deploy")


def test_the_look_ahead_is_the_one_that_is_documented() -> None:
    text = page("explanation/topologies")
    assert f"A sweep looks {LOOK_AHEAD_S} seconds ahead" in text
    assert f"**A timeout of {LOOK_AHEAD_S} seconds or more.**" in text
    assert f"`timeout - {LOOK_AHEAD_S}` seconds**, {120 - LOOK_AHEAD_S} at the default" in text


def cost(connections: int) -> dict[str, float]:
    """Return dollars a month, line by line, from the prices that the page of the costs states."""
    per_million, heartbeats, sweeps, gb_second = 1e-6, connections * 86_400, 43_200, 0.0000133334
    messages_sent = 2 * heartbeats
    scan_units = 16 * math.ceil(connections / 16 * 300 / 4096) / 2
    notice = 1 if messages_sent < 1e9 else 0.8
    cleanup_run = 0.2 + 0.05 * 0.25 * gb_second / per_million
    record = 2 * 0.625
    close = 0.625 + notice + 2 * 0.125 + record + 2 * cleanup_run
    being_there = {
        "heartbeats and their answers": per_million
        * (min(messages_sent, 1e9) + 0.8 * max(0, messages_sent - 1e9)),
        "activity writes": heartbeats * 0.625 * per_million,
        "looks whether the session has ended": connections * 43_200 * 0.125 * per_million,
        "heartbeat function": heartbeats * (0.2 * per_million + 0.015 * 0.25 * gb_second),
        "heartbeat logs": heartbeats * 265 / 1e9 * 0.5,
        "connection minutes": connections * 43_200 * 0.25 * per_million,
    }
    joins, leaves, closes = connections * 12 * 30, connections * 12 * 27, connections * 12 * 3
    coming_and_going = {
        "joins": joins * (record + 2 * 0.125 + cleanup_run) * per_million,
        "leaves by the client": leaves * (record + 0.125 + cleanup_run) * per_million,
        "logs of joins and cleanups": (joins + leaves + 2 * closes) * 520 / 1e9 * 0.5,
    }
    added = {
        "sweep: reading the table every minute": scan_units * sweeps * 0.125 * per_million,
        "sweep: function, if it ran all 60 s of every minute": sweeps
        * (0.2 * per_million + 60 * 0.25 * gb_second),
        "closes, with notice and cleanup": closes * close * per_million,
        "metrics and alarms, at most": 23 * 0.3 + 10 * 0.1,
    }
    return {
        **being_there,
        "**being there, with or without Hangup**": sum(being_there.values()),
        **coming_and_going,
        "**coming and going, with or without Hangup**": sum(coming_and_going.values()),
        **added,
        "**what Hangup adds**": sum(added.values()),
    }


def test_the_costs_add_up() -> None:
    columns = [cost(connections) for connections in (1_000, 10_000, 100_000, 1_000_000)]
    rows = table("Connections", page("explanation/costs"))
    documented = {row[0]: [cell.strip("*") for cell in row[1:]] for row in rows}
    assert documented == {
        line: [f"{column[line]:,.2f}" for column in columns] for line in columns[0]
    }


def test_the_readme_has_the_subtotals_of_the_bill() -> None:
    costs = page("explanation/costs")
    whole = {
        row[0].strip("*"): [cell.strip("*") for cell in row[1:]]
        for row in table("Connections", costs)
    }
    (precise,) = re.findall(r"`precise=True` adds ([$0-9., and]+) a month", costs)
    whole["`precise=True` adds"] = re.findall(r"\$([\d.]+)", precise)
    short = {row[0]: row[1:] for row in table("Connections", README)}
    assert len(short) == 4
    assert {line: whole[line] for line in short} == short


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 170


def test_the_fields_of_a_table_are_those_of_the_schema() -> None:
    documented = [
        field for cells in table("Field", page("reference/tables")) for field in code(cells[0])
    ]
    fields = [one for one in dataclasses.fields(TableSchema) if one.init]
    assert sorted(documented) == sorted(one.name for one in fields)
    defaults = dict(
        pair
        for cells in table("Field", page("reference/tables"))
        for pair in zip(code(cells[0]), code(cells[1]), strict=False)
    )
    names = {one.name: one.default for one in fields if one.name in defaults}
    del names["key_attributes"]
    assert {name: str(value) for name, value in names.items()} == {
        name: defaults[name] for name in names
    }


def test_the_stated_sizes_are_those_that_the_installation_states() -> None:
    stated = runpy.run_path(str(ROOT / "scripts" / "virtualenv.py"))["MEGABYTES"]
    rows = table("Command", page("get-started"))
    assert [
        tuple(int(cell.split(" MB")[0]) for cell in (download, on_disk))
        for _, download, on_disk in rows
    ] == list(stated.values())
    download, on_disk = stated["local"]
    assert f"first `make demo` downloads {download} MB and takes {on_disk} MB in" in README


def test_the_schemas_on_their_page_are_schemas_and_the_first_is_what_the_code_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = page("reference/tables")
    blocks = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert len(blocks) >= 8
    for block in blocks:
        assert TableSchema.from_json(block).as_json() == block
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(program, {})  # noqa: S102 - the page's own
    assert capsys.readouterr().out.strip() == blocks[0]
