"""What the construct is put on: its API's endpoint, its table with key and Region, and its name.

No engine here has customer-managed keys, replicas or custom domains, so templates are all that can
be looked at.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms

from hangup.cdk import HangupStack
from hangup.cdk.code import code_of
from tests.support.existing_stack import (
    TABLE_ARN,
    add_timeout,
    existing_stack,
    synthesised,
)
from tests.support.templates import Resources, readable

pytestmark = pytest.mark.infra

KEY = dynamodb.Attribute(name="connectionId", type=dynamodb.AttributeType.STRING)
KEY_ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234"
ENCRYPT_AND_DECRYPT = {
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
}


def refused(lambda_zip: Path, message: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(existing_stack(), lambda_zip, **options)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("url", "fix"),
        [
            (
                "wss://a1b2c3.execute-api.eu-west-1.amazonaws.com/live",
                ": that is the address for clients: write https:// in place of it",
            ),
            (
                "https://a1b2c3.execute-api.eu-west-1.amazonaws.com/live/@connections",
                ": leave out /@connections and what follows it",
            ),
            (
                "https://ws.example.com/%40connections/L0SM9cOFvHcCIhw=",
                ": leave out /@connections and what follows it",
            ),
            (
                "https://a1b2c3.execute-api.eu-west-1.amazonaws.com",
                ": add a slash and the name of the stage",
            ),
            ("ws.example.com/live", ""),
            ("http://ws.example.com/live", ""),
            ("", ""),
            (5, ""),
        ],
    )
    def test_refuses_an_address_that_no_call_would_reach(
        self, lambda_zip: Path, url: object, fix: str
    ) -> None:
        refused(
            lambda_zip,
            "management_endpoint must be an https:// URL that ends with the stage or a token, not"
            f" {url!r}{fix}.",
            management_endpoint=url,
        )

    @pytest.mark.parametrize(
        "url", ["https://ws.example.com", "https://ws.example.com/chat", "http://127.0.0.1:4566/x"]
    )
    def test_takes_a_custom_domain_and_an_emulator(self, lambda_zip: Path, url: str) -> None:
        stack = existing_stack()
        add_timeout(stack, lambda_zip, management_endpoint=url)
        environment = synthesised(stack).function("timeout_handler")["Environment"]["Variables"]
        assert environment["API_GATEWAY_ENDPOINT"] == url

    def test_an_api_without_its_default_endpoint_needs_another(self, lambda_zip: Path) -> None:
        def api_of(stack: cdk.Stack) -> apigatewayv2.WebSocketApi:
            api = apigatewayv2.WebSocketApi(stack, "Own")
            resource = api.node.default_child
            assert isinstance(resource, apigatewayv2.CfnApi)
            resource.disable_execute_api_endpoint = True
            return api

        stack = existing_stack()
        with pytest.raises(ValueError, match="disabled, so management_endpoint must be given"):
            add_timeout(stack, lambda_zip, api=api_of(stack))
        other = existing_stack()
        url = "https://ws.example.com/live"
        assert add_timeout(other, lambda_zip, api=api_of(other), management_endpoint=url).alarms


def own_table(stack: cdk.Stack) -> dynamodb.ITable:
    return dynamodb.Table(
        stack,
        "Own",
        partition_key=KEY,
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
    )


def own_table_v2(stack: cdk.Stack) -> dynamodb.ITable:
    key = kms.Key(stack, "OwnKey")
    encryption = dynamodb.TableEncryptionV2.customer_managed_key(key)
    return dynamodb.TableV2(stack, "Own", partition_key=KEY, encryption=encryption)


class TestKey:
    @pytest.mark.parametrize("table_of", [own_table, own_table_v2])
    def test_each_function_may_use_the_key_of_the_table(
        self, lambda_zip: Path, table_of: Callable[[cdk.Stack], dynamodb.ITable]
    ) -> None:
        stack = existing_stack()
        add_timeout(stack, lambda_zip, precise=True, connections_table=table_of(stack))
        resources = synthesised(stack)
        for handler in ("timeout_handler", "close_handler"):
            assert ENCRYPT_AND_DECRYPT in resources.grants(handler).values()

    def test_the_key_of_an_imported_table_is_given(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
        add_timeout(stack, lambda_zip, precise=True, connections_table_key=key)
        resources = synthesised(stack)
        for handler in ("timeout_handler", "close_handler"):
            assert resources.grants(handler)[KEY_ARN] == ENCRYPT_AND_DECRYPT

    def test_an_imported_table_may_know_its_key(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        table = dynamodb.Table.from_table_attributes(
            stack,
            "WithKey",
            table_arn=TABLE_ARN,
            encryption_key=kms.Key.from_key_arn(stack, "Key", KEY_ARN),
        )
        add_timeout(stack, lambda_zip, connections_table=table)
        assert synthesised(stack).grants("timeout_handler")[KEY_ARN] == ENCRYPT_AND_DECRYPT

    def test_each_function_of_the_reference_stack_may_use_the_key_of_its_tables(
        self, lambda_zip: Path
    ) -> None:
        app = cdk.App()
        keys = cdk.Stack(app, "Keys")
        stack = HangupStack(
            app,
            "Hangup",
            code=code_of(lambda_zip),
            precise=True,
            table_key=kms.Key.from_key_arn(keys, "Key", KEY_ARN),
        )
        resources = synthesised(stack)
        handlers = ("connect", "message", "disconnect", "timeout", "close")
        for handler in handlers:
            assert resources.grants(f"{handler}_handler")[KEY_ARN] == ENCRYPT_AND_DECRYPT
        for table in resources.of_type("AWS::DynamoDB::Table").values():
            assert table["SSESpecification"] == {
                "KMSMasterKeyId": KEY_ARN,
                "SSEEnabled": True,
                "SSEType": "KMS",
            }

    def test_without_a_key_nobody_may_use_one(self, resources: Resources) -> None:
        assert "kms:" not in str(resources.template)


def replicated(stack: cdk.Stack) -> dynamodb.ITable:
    return dynamodb.Table(stack, "Own", partition_key=KEY, replication_regions=["us-east-1"])


def replicated_v2(stack: cdk.Stack) -> dynamodb.ITable:
    replicas = [dynamodb.ReplicaTableProps(region="us-east-1")]
    return dynamodb.TableV2(stack, "Own", partition_key=KEY, replicas=replicas)


class TestRegion:
    @pytest.mark.parametrize("table_of", [replicated, replicated_v2])
    def test_a_replicated_table_is_refused_unless_told(
        self, lambda_zip: Path, table_of: Callable[[cdk.Stack], dynamodb.ITable]
    ) -> None:
        stack = existing_stack()
        with pytest.raises(ValueError, match=r"replicas in other Regions.* replicated_table=True"):
            add_timeout(stack, lambda_zip, connections_table=table_of(stack))
        other = existing_stack()
        table = table_of(other)
        assert add_timeout(other, lambda_zip, connections_table=table, replicated_table=True)

    def test_a_table_of_one_region_is_no_replicated_one(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        table = dynamodb.TableV2(stack, "Own", partition_key=KEY)
        assert add_timeout(stack, lambda_zip, connections_table=table)

    def test_refuses_an_imported_table_of_another_region(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        arn = TABLE_ARN.replace("eu-west-1", "us-east-1")
        table = dynamodb.Table.from_table_arn(stack, "Far", arn)
        message = (
            "connections_table must be in the Region of the stack, eu-west-1, not in us-east-1: the"
            " functions look for it in their own. Put the construct into a stack of that Region."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            add_timeout(stack, lambda_zip, connections_table=table)

    def test_refuses_a_table_of_a_stack_in_another_region(self, lambda_zip: Path) -> None:
        stack = existing_stack()
        there = cdk.Environment(account="111122223333", region="us-east-1")
        far = cdk.Stack(stack, "Far", env=there)
        table = dynamodb.Table(far, "Own", partition_key=KEY, table_name="chat")
        with pytest.raises(ValueError, match="Region of the stack, eu-west-1, not in us-east-1"):
            add_timeout(stack, lambda_zip, connections_table=table)

    def test_takes_an_arn_where_the_region_of_the_stack_is_not_known(
        self, lambda_zip: Path
    ) -> None:
        assert add_timeout(cdk.Stack(cdk.App(), "Anywhere"), lambda_zip)


def two_in(app: cdk.App, first: str, second: str) -> tuple[cdk.Stack, cdk.Stack]:
    return cdk.Stack(app, first), cdk.Stack(app, second)


class TestDeployment:
    def test_two_on_one_table_are_refused(self, lambda_zip: Path) -> None:
        chat, shop = two_in(cdk.App(), "Chat", "Shop")
        table = dynamodb.Table(chat, "Own", partition_key=KEY)
        add_timeout(chat, lambda_zip, connections_table=table)
        message = (
            "Chat/IdleTimeout and Shop/IdleTimeout are on the same connections_table: each would"
            " take the other's connections for gone, or close them. Give each a table of its own,"
            " or a schema whose conditions (only) tell their connections apart."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            add_timeout(shop, lambda_zip, connections_table=table)

    def test_two_imports_of_one_table_are_the_same_table(self, lambda_zip: Path) -> None:
        # By its ARN, which is what existing_stack does; and by its name.
        chat, shop = two_in(cdk.App(), "Chat", "Shop")
        add_timeout(chat, lambda_zip)
        with pytest.raises(ValueError, match="same connections_table"):
            add_timeout(shop, lambda_zip)
        chat, shop = two_in(cdk.App(), "Chat", "Shop")
        named = [dynamodb.Table.from_table_name(stack, "Named", "chat") for stack in (chat, shop)]
        add_timeout(chat, lambda_zip, connections_table=named[0])
        with pytest.raises(ValueError, match="same connections_table"):
            add_timeout(shop, lambda_zip, connections_table=named[1])

    def test_one_table_for_each_of_them_and_a_namespace_too(self, lambda_zip: Path) -> None:
        chat, shop = two_in(cdk.App(), "Chat", "Shop")
        namespaces = []
        for stack in (chat, shop):
            table = dynamodb.Table(stack, "Own", partition_key=KEY)
            timeout = add_timeout(stack, lambda_zip, connections_table=table)
            namespaces.append(timeout.metrics_namespace)
        assert namespaces == ["Hangup/Chat/IdleTimeout", "Hangup/Shop/IdleTimeout"]
        # The alarms of each look at its own, and the metrics' dimensions are the contract's.
        for stack, namespace in zip((chat, shop), namespaces, strict=True):
            alarms = synthesised(stack).of_type("AWS::CloudWatch::Alarm").values()
            ours = [alarm for alarm in alarms if alarm["Namespace"] != "AWS/Lambda"]
            assert {alarm["Namespace"] for alarm in ours} == {namespace}
            assert not any("Dimensions" in alarm for alarm in ours)

    def test_two_of_one_name_are_refused(self, lambda_zip: Path) -> None:
        chat, shop = two_in(cdk.App(), "Chat", "Shop")
        tables = [dynamodb.Table(stack, "Own", partition_key=KEY) for stack in (chat, shop)]
        add_timeout(chat, lambda_zip, connections_table=tables[0], deployment="live")
        with pytest.raises(ValueError, match="have the same deployment: their metrics would be"):
            add_timeout(shop, lambda_zip, connections_table=tables[1], deployment="live")

    def test_one_name_may_be_used_in_two_regions(self, lambda_zip: Path) -> None:
        app = cdk.App()
        for region in ("eu-west-1", "us-east-1"):
            env = cdk.Environment(account="111122223333", region=region)
            stack = cdk.Stack(app, f"Chat-{region}", env=env)
            table = dynamodb.Table.from_table_name(stack, "Named", "chat")
            add_timeout(stack, lambda_zip, connections_table=table, deployment="chat")

    def test_two_reference_stacks_are_told_apart_by_their_names(self, lambda_zip: Path) -> None:
        app = cdk.App()
        stacks = [HangupStack(app, name, code=code_of(lambda_zip)) for name in ("Live", "Test")]
        for stack in stacks:
            variables = synthesised(stack).function("timeout_handler")["Environment"]["Variables"]
            assert readable(variables["METRICS_NAMESPACE"]) == "Hangup/${AWS::StackName}"

    def test_a_path_becomes_a_name_that_cloudwatch_takes(self, lambda_zip: Path) -> None:
        environment = cdk.Environment(account="111122223333", region="eu-west-1")
        app = cdk.App()
        stage = cdk.Stage(app, "Live")
        stack = cdk.Stack(stage, "Chat (beta)", env=environment, stack_name="Chat")
        timeout = add_timeout(stack, lambda_zip)
        assert timeout.metrics_namespace == "Hangup/Live/Chat--beta-/IdleTimeout"

    @pytest.mark.parametrize("name", ["", "two words", "x" * 249, "é", 5])
    def test_refuses_what_can_be_no_namespace(self, lambda_zip: Path, name: object) -> None:
        refused(
            lambda_zip,
            f"deployment must be 1 to 248 letters, digits or ._/#:- or a token, not {name!r}.",
            deployment=name,
        )
