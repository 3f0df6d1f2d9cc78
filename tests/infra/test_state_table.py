"""The construct with Hangup's own state in a table of its own."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms

from tests.support.existing_stack import (
    KEY_ARN,
    TABLE_ARN,
    add_timeout,
    existing_stack,
    synthesised,
)
from tests.support.schemas import SHAPES
from tests.support.templates import Resources

pytestmark = pytest.mark.infra

STATE_ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/states"
STATE = {"dynamodb:BatchGetItem", "dynamodb:UpdateItem"}


def actions(resources: Resources) -> dict[str, dict[str, set[str]]]:
    """Return what each function may do with each table, by their names."""
    found: dict[str, dict[str, set[str]]] = {}
    for name, policy in resources.of_type("AWS::IAM::Policy").items():
        function = "close" if "CloseHandler" in name else "sweep"
        for statement in policy["PolicyDocument"]["Statement"]:
            names = statement["Action"]
            names = {names} if isinstance(names, str) else set(names)
            if any(one.startswith("dynamodb:") for one in names):
                arn = statement["Resource"]
                table = "connections" if str(arn).startswith(TABLE_ARN) else "states"
                found.setdefault(function, {}).setdefault(table, set()).update(names)
    return found


def variables(resources: Resources) -> list[Any]:
    functions = resources.of_type("AWS::Lambda::Function").values()
    every = [one["Environment"]["Variables"] for one in functions if "Environment" in one]
    return [one.get("STATE_TABLE") for one in every]


def test_there_is_none_by_default(lambda_zip: Path) -> None:
    stack = existing_stack()
    timeout = add_timeout(stack, lambda_zip)
    resources = synthesised(stack)
    assert timeout.state_table is None
    assert resources.of_type("AWS::DynamoDB::Table") == {}
    assert variables(resources) == [None]


def test_true_makes_a_table_that_empties_itself_and_goes_with_the_stack(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, state_table=True)
    resources = synthesised(stack)
    ((name, table),) = resources.of_type("AWS::DynamoDB::Table").items()
    assert table == {
        "AttributeDefinitions": [{"AttributeName": "connectionId", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "connectionId", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "TimeToLiveSpecification": {"AttributeName": "expiresAt", "Enabled": True},
    }
    assert resources.template["Resources"][name]["DeletionPolicy"] == "Delete"
    assert variables(resources) == [{"Ref": name}]


def test_it_has_the_key_of_the_connections_table(lambda_zip: Path) -> None:
    stack = existing_stack()
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
    add_timeout(stack, lambda_zip, state_table=True, connections_table_key=key)
    ((_, table),) = synthesised(stack).of_type("AWS::DynamoDB::Table").items()
    sse = table["SSESpecification"]
    assert sse == {"KMSMasterKeyId": KEY_ARN, "SSEEnabled": True, "SSEType": "KMS"}


@pytest.mark.parametrize("given", [True, False])
def test_the_connections_table_is_only_read(lambda_zip: Path, *, given: bool) -> None:
    stack = existing_stack()
    own = dynamodb.Table.from_table_arn(stack, "States", STATE_ARN)
    add_timeout(stack, lambda_zip, state_table=own if given else True, precise=True)
    resources = synthesised(stack)
    assert actions(resources) == {
        "sweep": {"connections": {"dynamodb:Scan", "dynamodb:GetItem"}, "states": STATE},
        "close": {"connections": {"dynamodb:GetItem"}, "states": STATE},
    }
    assert None not in variables(resources)


def test_but_for_the_rule_that_deletes_records(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, state_table=True, hand_over="delete", disconnect_handler=None)
    assert actions(synthesised(stack)) == {
        "sweep": {
            "connections": {"dynamodb:Scan", "dynamodb:GetItem", "dynamodb:DeleteItem"},
            "states": STATE,
        }
    }


def two(lambda_zip: Path, first: str, second: str) -> None:
    """Put two deployments with disjoint schemas and these state tables into one app."""
    app = cdk.App()
    environment = cdk.Environment(account="111122223333", region="eu-west-1")
    shapes = ("H, shared", "H, other stage")
    schemas = {
        shapes[0]: SHAPES["H, shared"],
        shapes[1]: type(SHAPES["H, shared"]).from_json('{"only":[["equals","stage","dev"]]}'),
    }
    for name, shape, arn in zip(("One", "Two"), shapes, (first, second), strict=True):
        stack = cdk.Stack(app, name, env=environment)
        table = dynamodb.Table.from_table_arn(stack, "States", arn)
        add_timeout(stack, lambda_zip, schema=schemas[shape], state_table=table)


def test_two_deployments_have_state_tables_of_their_own(lambda_zip: Path) -> None:
    two(lambda_zip, STATE_ARN, f"{STATE_ARN}-2")
    with pytest.raises(
        ValueError, match="One/IdleTimeout and Two/IdleTimeout have the same state_"
    ):
        two(lambda_zip, STATE_ARN, STATE_ARN)


def own_table(stack: cdk.Stack, key: str) -> dynamodb.Table:
    attribute = dynamodb.Attribute(name=key, type=dynamodb.AttributeType.STRING)
    return dynamodb.Table(stack, "Own", partition_key=attribute)


def test_a_table_of_your_own_has_the_key_that_is_needed(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, state_table=own_table(stack, "connectionId"))
    other = existing_stack()
    with pytest.raises(ValueError, match=r"^state_table must have the partition key connectionId"):
        add_timeout(other, lambda_zip, state_table=own_table(other, "id"))


@pytest.mark.parametrize("wrong", ["states", None, 1])
def test_refuses_what_is_no_table(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^state_table must be an aws_dynamodb.ITable"):
        add_timeout(existing_stack(), None, state_table=wrong)


def test_refuses_the_connections_table_itself() -> None:
    stack = existing_stack()
    table = dynamodb.Table.from_table_arn(stack, "Again", TABLE_ARN)
    with pytest.raises(ValueError, match=r"^state_table must be another table"):
        add_timeout(stack, None, state_table=table)
