"""A table for Hangup's own state, where nothing is to be written to the connections table."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.cdk.arguments import check_place_of_table, check_table
from hangup.cdk.handler_function import allow
from hangup.config import STATE_TABLE


class StateTable:
    """What one deployment's functions need of its state table; nothing where there is none.

    ``given`` is that table, True for a new one, False for none. A new one has the ``table_key`` of
    the connections table, if that has one, and goes with the stack: without the API there are no
    connections that its items could be about. It needs no backup either.
    """

    def __init__(
        self,
        scope: Construct,
        given: "bool | dynamodb.ITable",
        *,
        table_key: kms.IKey | None,
        replicated: bool,
    ) -> None:
        self.table: dynamodb.ITable | None = None
        self._table_key = table_key
        if given is True:
            self.table = _new_table(scope, table_key)
        elif given is not False:
            check_table("state_table", given, DEFAULT_SCHEMA)
            region = cdk.Stack.of(scope).region
            check_place_of_table("state_table", given, region=region, replicated=replicated)
            self.table = given

    @property
    def environment(self) -> Mapping[str, str]:
        """The variable that names the table."""
        return {} if self.table is None else {STATE_TABLE.name: self.table.table_name}

    @property
    def grants(self) -> Sequence[iam.PolicyStatement]:
        """What a function that closes does with it."""
        if self.table is None:
            return []
        return [allow(["dynamodb:BatchGetItem", "dynamodb:UpdateItem"], self.table.table_arn)]

    @property
    def record_action(self) -> str:
        """What such a function does with one record of the connections table."""
        return "dynamodb:UpdateItem" if self.table is None else "dynamodb:GetItem"

    @property
    def keys(self) -> Sequence[kms.IKey]:
        """The customer-managed keys of both tables."""
        own = None if self.table is None else self.table.encryption_key
        return list(dict.fromkeys(key for key in (self._table_key, own) if key is not None))


def _new_table(scope: Construct, key: kms.IKey | None) -> dynamodb.Table:
    return dynamodb.Table(
        scope,
        "StateTable",
        partition_key=dynamodb.Attribute(
            name=DEFAULT_SCHEMA.connection_id, type=dynamodb.AttributeType.STRING
        ),
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else None,
        encryption_key=key,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute=DEFAULT_SCHEMA.expires_at,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
