"""The construct on tables that were not made for Hangup."""

import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_

from hangup.aws.conditions import begins_with, equals
from hangup.aws.schema import TableSchema
from tests.support.existing_stack import (
    FUNCTION_ARN,
    TABLE_ARN,
    add_timeout,
    existing_stack,
    synthesised,
)
from tests.support.schemas import SHAPES

pytestmark = pytest.mark.infra

D = SHAPES["D, prefixes"]


def new_function(stack: cdk.Stack, name: str) -> lambda_.Function:
    return lambda_.Function(
        stack,
        name,
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="route.handler",
        code=lambda_.Code.from_inline("def handler(event, context): ..."),
    )


def actions_on_the_table(stack: cdk.Stack) -> dict[str, set[str]]:
    """Return what each role may do with the table, and with its indexes, by what it is for."""
    found: dict[str, set[str]] = {}
    for policy in synthesised(stack).of_type("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            resources = statement["Resource"]
            for resource in resources if isinstance(resources, list) else [resources]:
                if str(resource).startswith(TABLE_ARN):
                    actions = statement["Action"]
                    names = actions if isinstance(actions, list) else [actions]
                    found.setdefault(resource.removeprefix(TABLE_ARN), set()).update(names)
    return found


def environments(stack: cdk.Stack) -> list[Any]:
    functions = synthesised(stack).of_type("AWS::Lambda::Function").values()
    variables = [one["Environment"]["Variables"] for one in functions if "Environment" in one]
    return [one.get("TABLE_SCHEMA") for one in variables]


def test_without_a_schema_nothing_is_said_of_it(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip)
    assert environments(stack) == [None]


@pytest.mark.parametrize("precise", [False, True])
def test_every_function_gets_the_schema(lambda_zip: Path, *, precise: bool) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, schema=D, precise=precise)
    assert environments(stack) == [D.as_json()] * (1 + precise)


@pytest.mark.parametrize(
    ("schema", "may"),
    [
        (D, {"": {"dynamodb:Scan", "dynamodb:UpdateItem"}}),
        (SHAPES["C, by partition"], {"": {"dynamodb:Query", "dynamodb:UpdateItem"}}),
        (
            TableSchema(index="by-kind"),
            {"/index/by-kind": {"dynamodb:Scan"}, "": {"dynamodb:UpdateItem"}},
        ),
        (
            TableSchema(index="by-kind", partition=equals("kind", "c")),
            {"/index/by-kind": {"dynamodb:Query"}, "": {"dynamodb:UpdateItem"}},
        ),
    ],
)
def test_a_sweep_may_do_what_its_schema_needs_and_no_more(
    lambda_zip: Path, schema: TableSchema, may: dict[str, set[str]]
) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, schema=schema)
    assert actions_on_the_table(stack) == may


def test_takes_a_table_with_the_key_of_the_schema_and_no_other(lambda_zip: Path) -> None:
    text = dynamodb.AttributeType.STRING
    stack = existing_stack()
    own = dynamodb.Table(
        stack,
        "Own",
        partition_key=dynamodb.Attribute(name="pk", type=text),
        sort_key=dynamodb.Attribute(name="sk", type=text),
    )
    add_timeout(stack, lambda_zip, connections_table=own, schema=D)
    message = (
        "connections_table must have the partition key room (string) and the sort key connectionId"
        " (string), not pk (HASH, S), sk (RANGE, S)."
    )
    other = existing_stack()
    own = dynamodb.Table(
        other,
        "Own",
        partition_key=dynamodb.Attribute(name="pk", type=text),
        sort_key=dynamodb.Attribute(name="sk", type=text),
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(
            other,
            lambda_zip,
            connections_table=own,
            schema=SHAPES["E, room and connection"],
        )


def stack_with_an_index(
    kind: type[dynamodb.Table | dynamodb.TableV2], index: dict[str, Any]
) -> tuple[cdk.Stack, dynamodb.ITable]:
    """Return a stack with a table of its own whose index ``by-kind`` has the key ``kind``."""
    stack = existing_stack()
    table = kind(stack, "Own", partition_key=attribute("connectionId"))
    table.add_global_secondary_index(index_name="by-kind", partition_key=attribute("kind"), **index)
    return stack, table


def attribute(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


@pytest.mark.parametrize("kind", [dynamodb.Table, dynamodb.TableV2])
def test_takes_an_index_that_an_own_table_has(
    lambda_zip: Path, kind: type[dynamodb.Table | dynamodb.TableV2]
) -> None:
    stack, table = stack_with_an_index(kind, {})
    schema = TableSchema(index="by-kind", partition=equals("kind", "c"))
    assert add_timeout(stack, lambda_zip, connections_table=table, schema=schema).alarms


@pytest.mark.parametrize("kind", [dynamodb.Table, dynamodb.TableV2])
@pytest.mark.parametrize(
    ("index", "schema", "message"),
    [
        (
            {},
            TableSchema(index="by-type"),
            "connections_table must have the schema's index by-type, and has by-kind: add it",
        ),
        (
            {"projection_type": dynamodb.ProjectionType.KEYS_ONLY},
            TableSchema(index="by-kind"),
            "connections_table's index by-kind must project all attributes.",
        ),
        (
            {},
            TableSchema(index="by-kind", partition=equals("type", "c")),
            "connections_table's index by-kind has the partition key kind, and the schema's ",
        ),
    ],
)
def test_refuses_an_index_that_an_own_table_does_not_have(
    lambda_zip: Path,
    kind: type[dynamodb.Table | dynamodb.TableV2],
    index: dict[str, Any],
    schema: TableSchema,
    message: str,
) -> None:
    stack, table = stack_with_an_index(kind, index)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        add_timeout(stack, lambda_zip, connections_table=table, schema=schema)


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        (TableSchema(), ": last_active_counts='both' settles that"),
        (SHAPES["F, attribute"], "with this table schema their records cannot decide."),
        (cdk.Fn.ref("TableSchema"), "where the table schema lets the records decide."),
    ],
)
def test_advises_both_only_where_the_schema_allows_it(
    lambda_zip: Path, schema: TableSchema | str, advice: str
) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, schema=schema)
    assert advice in synthesised(stack).alarm("ActivityUnrecorded")["AlarmDescription"]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, '{"overrideGuard": true}. Runbook'),
        ({"activity": "gateway"}, "cannot be overridden here: the records cannot decide."),
        ({"schema": SHAPES["F, attribute"]}, "cannot be overridden here: the records cannot"),
        ({"schema": cdk.Fn.ref("TableSchema")}, '{"overrideGuard": true}: refused with Activity='),
        ({"activity": cdk.Fn.ref("Activity")}, '{"overrideGuard": true}: refused with Activity='),
    ],
)
def test_advises_the_override_only_where_it_is_not_refused(
    lambda_zip: Path, options: dict[str, Any], advice: str
) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, **options)
    description = synthesised(stack).alarm("SweepsHeld")["AlarmDescription"]
    assert advice in description
    assert ("overrideGuard" in description) == ("overrideGuard" in advice)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": D.as_json()}, "schema must be a hangup.TableSchema or a token, not '"),
        (
            {"schema": TableSchema(only=tuple(equals(f"{n}{'x' * 250}", 1) for n in range(9)))},
            "schema does not fit: the table schema has ",
        ),
        (
            {"schema": SHAPES["F, attribute"], "last_active_counts": "both"},
            "last_active_counts must not be both with this schema: ",
        ),
    ],
)
def test_refuses_a_schema_that_no_function_takes(
    lambda_zip: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        add_timeout(existing_stack(), lambda_zip, **options)


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ("B, renamed", {"last_active_counts": "both"}, "last_active_counts must not be both"),
        ("G, TTL", {"last_active_counts": "both"}, "last_active_counts must not be both"),
        (
            "F, attribute",
            {"hand_over": "delete", "disconnect_handler": None},
            "hand_over must not be delete: with this schema the id is not in the key",
        ),
        ("C, by partition", {"shards": 4}, "shards must be 1 with a schema that has a partition"),
    ],
)
def test_refuses_what_would_go_wrong_with_a_schema(
    shape: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        add_timeout(existing_stack(), None, schema=SHAPES[shape], **options)


def test_a_function_may_be_tracked_twice(lambda_zip: Path) -> None:
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip)
    function = new_function(stack, "Message")
    assert timeout.track(function) is timeout.track(function, function)
    assert len(synthesised(stack).of_type("AWS::Logs::MetricFilter")) == 1


@pytest.mark.parametrize("name", ["idle_timeout_seconds", "activity_resolution_seconds"])
def test_refuses_a_fraction_of_a_second(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be whole seconds, not"):
        add_timeout(existing_stack(), None, **{name: cdk.Duration.millis(1_500)})


def test_a_tracked_function_knows_the_schema(lambda_zip: Path) -> None:
    schema = TableSchema(connection_id="id")
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip, schema=schema)
    timeout.track(new_function(stack, "Route"))
    assert sorted(environments(stack)) == [schema.as_json()] * 2


@pytest.mark.parametrize("shape", ["E, room and connection", "B, renamed"])
def test_no_function_is_tracked_where_it_could_not_record(lambda_zip: Path, shape: str) -> None:
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip, schema=SHAPES[shape])
    with pytest.raises(ValueError, match=r"^track needs a schema with a last_activity"):
        timeout.track(new_function(stack, "Route"))


def two_on_one_table(lambda_zip: Path, first: TableSchema, second: TableSchema) -> None:
    app = cdk.App()
    environment = cdk.Environment(account="111122223333", region="eu-west-1")
    for name, schema in (("One", first), ("Two", second)):
        add_timeout(cdk.Stack(app, name, env=environment), lambda_zip, schema=schema)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (equals("stage", "prod"), equals("stage", "dev")),
        (equals("stage", 1), equals("stage", "1")),
        (begins_with("api", "chat#"), begins_with("api", "game#")),
        (begins_with("api", "chat#"), equals("api", "game#1")),
        (begins_with("api", "chat#"), equals("api", "chat")),
        (begins_with("api", "chat#"), equals("api", 7)),
    ],
)
def test_two_may_be_on_one_table_where_no_item_is_of_both(
    lambda_zip: Path, first: Any, second: Any
) -> None:
    two_on_one_table(lambda_zip, TableSchema(only=(first,)), TableSchema(only=(second,)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((), ()),
        ((equals("stage", "prod"),), ()),
        ((equals("stage", "prod"),), (equals("stage", "prod"),)),
        ((equals("stage", "prod"),), (equals("api", "dev"),)),
        ((begins_with("api", "chat#"),), (begins_with("api", "chat#2"),)),
        ((begins_with("api", "chat#"),), (equals("api", "chat#2"),)),
        ((begins_with("api", "chat#"),), (equals("api", "chat#"),)),
        ((equals("api", "chat#"),), (begins_with("api", "chat#"),)),
    ],
)
def test_two_may_not_where_an_item_may_be_of_both(
    lambda_zip: Path, first: Any, second: Any
) -> None:
    with pytest.raises(ValueError, match="are on the same connections_table"):
        two_on_one_table(lambda_zip, TableSchema(only=first), TableSchema(only=second))


def test_with_a_schema_that_only_the_functions_know_a_sweep_may_read_table_and_indexes(
    lambda_zip: Path,
) -> None:
    stack = existing_stack()
    schema = cdk.CfnParameter(stack, "Schema").value_as_string
    timeout = add_timeout(stack, lambda_zip, schema=schema, precise=True)
    assert environments(stack) == [{"Ref": "Schema"}] * 2
    reads = {"dynamodb:Scan", "dynamodb:Query"}
    assert actions_on_the_table(stack) == {
        "": {*reads, "dynamodb:UpdateItem", "dynamodb:GetItem"},
        "/index/*": reads,
    }
    with pytest.raises(ValueError, match=r"^track needs a schema that is known at synthesis"):
        timeout.track(new_function(stack, "Route"))


@pytest.mark.parametrize("first_is_known", [False, True])
def test_a_schema_that_only_the_functions_know_may_select_any_item(
    lambda_zip: Path, *, first_is_known: bool
) -> None:
    app = cdk.App()
    token = cdk.Fn.ref("Schema")
    known = TableSchema(only=(equals("stage", "prod"),))
    environment = cdk.Environment(account="111122223333", region="eu-west-1")
    first, second = (known, token) if first_is_known else (token, known)
    add_timeout(cdk.Stack(app, "One", env=environment), lambda_zip, schema=first)
    with pytest.raises(ValueError, match="are on the same connections_table"):
        add_timeout(cdk.Stack(app, "Two", env=environment), lambda_zip, schema=second)


def test_a_rule_of_handing_over_that_is_a_token_gets_what_each_rule_needs(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, hand_over=cdk.Fn.ref("HandOver"))
    grants = synthesised(stack).grants("timeout_handler")
    assert "lambda:InvokeFunction" in grants[FUNCTION_ARN]
    assert "dynamodb:DeleteItem" in grants[TABLE_ARN]
    with pytest.raises(ValueError, match="disconnect_handler must be an"):
        add_timeout(
            existing_stack(),
            lambda_zip,
            hand_over=cdk.Fn.ref("HandOver"),
            disconnect_handler=None,
        )
