"""What the schema of a connections table means for the functions: environment and grants.

A schema may be a token, such as a CloudFormation parameter: the text of its JSON, known only to the
functions. They check it at each start.
"""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.cdk.handler_function import allow
from hangup.config import TABLE_SCHEMA
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
