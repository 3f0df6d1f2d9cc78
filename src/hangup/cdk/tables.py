"""The tables of a deployment: what the functions need to know of them, and may do with them.

A schema of the connections table may be a token, such as a CloudFormation parameter: the text of
its JSON, known only to the functions. They check it at each start.
"""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.cdk.arguments import check_place_of_table, check_table
from hangup.cdk.handler_function import allow
from hangup.config import STATE_TABLE, TABLE_SCHEMA
from hangup.core.guard import WHAT_DECIDES, LastActiveCounts
from hangup.errors import ConfigurationError


def checked(schema: object, last_active_counts: object, shards: int) -> TableSchema | str:
    """Return a schema that fits into an environment, by default the reference application's.

    A token is returned as it is. Refuse ``both`` as well where records do not decide, and shards of
    a partition.
    """
    if schema is None:
        schema = DEFAULT_SCHEMA
    elif isinstance(schema, str) and cdk.Token.is_unresolved(schema):
        return schema
    if not isinstance(schema, TableSchema):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"schema must be a hangup.TableSchema or a token, not {schema!r}."
        )
    try:
        schema.as_json()
    except ConfigurationError as error:
        raise ValueError(f"schema does not fit: {error}.") from None
    if last_active_counts == LastActiveCounts.BOTH and not schema.records_decide:
        raise ValueError(f"last_active_counts must not be both with this schema: {WHAT_DECIDES}.")
    if schema.partition is not None and shards > 1:
        raise ValueError(
            f"shards must be 1 with a schema that has a partition, not {shards}: it is read by one"
            " reader."
        )
    return schema


def environment_of(schema: TableSchema | str) -> Mapping[str, str]:
    """Return the variables that say a schema: none for the reference application's."""
    if isinstance(schema, str):
        return {TABLE_SCHEMA.name: schema}
    return {} if schema == DEFAULT_SCHEMA else {TABLE_SCHEMA.name: schema.as_json()}


def read_grants(
    schema: TableSchema | str, table: dynamodb.ITable, record_action: str
) -> Sequence[iam.PolicyStatement]:
    """Return what a sweep needs to find records, and what it does with each.

    With a token: to read the table or any of its indexes, whole or by partition.
    """
    if isinstance(schema, str):
        reads = ["dynamodb:Scan", "dynamodb:Query"]
        return [
            allow([*reads, record_action], table.table_arn),
            allow(reads, f"{table.table_arn}/index/*"),
        ]
    read = "dynamodb:Query" if schema.partition else "dynamodb:Scan"
    if schema.index is None:
        return [allow([read, record_action], table.table_arn)]
    return [
        allow([read], f"{table.table_arn}/index/{schema.index}"),
        allow([record_action], table.table_arn),
    ]


class StateTable:
    """The table of Hangup's own state, where nothing is to be written to the connections table.

    It says what one deployment's functions need of it, which is nothing where there is none.

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
            self.table = dynamodb.Table(
                scope,
                "StateTable",
                partition_key=dynamodb.Attribute(
                    name=DEFAULT_SCHEMA.connection_id, type=dynamodb.AttributeType.STRING
                ),
                encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if table_key else None,
                encryption_key=table_key,
                billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
                time_to_live_attribute=DEFAULT_SCHEMA.expires_at,
                removal_policy=cdk.RemovalPolicy.DESTROY,
            )
        elif given is not False:
            check_table("state_table", given, DEFAULT_SCHEMA)
            check_place_of_table(
                "state_table",
                given,
                region=cdk.Stack.of(scope).region,
                replicated=replicated,
            )
            self.table = given

    @property
    def environment(self) -> Mapping[str, str]:
        """The variable that names the table."""
        return {} if self.table is None else {STATE_TABLE.name: self.table.table_name}

    @property
    def grants(self) -> Sequence[iam.PolicyStatement]:
        """What a function that closes does with it."""
        actions = ["dynamodb:BatchGetItem", "dynamodb:UpdateItem"]
        return [] if self.table is None else [allow(actions, self.table.table_arn)]

    @property
    def record_action(self) -> str:
        """What such a function does with one record of the connections table."""
        return "dynamodb:UpdateItem" if self.table is None else "dynamodb:GetItem"

    @property
    def keys(self) -> Sequence[kms.IKey]:
        """The customer-managed keys of both tables."""
        own = None if self.table is None else self.table.encryption_key
        return list(dict.fromkeys(key for key in (self._table_key, own) if key is not None))
