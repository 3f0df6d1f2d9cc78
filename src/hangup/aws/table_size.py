"""How large a table is, by DynamoDB's own account, which is some hours old."""

from typing import TYPE_CHECKING, NamedTuple

from hangup.aws.retries import Calls

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class TableSize(NamedTuple):
    """How many items a table has, and how many bytes they take."""

    items: int
    bytes: int


def size_of(client: "DynamoDBClient", calls: Calls, table: str) -> TableSize:
    """Return the size of a table, as of the last hours. Raises ``BackendError``."""
    described = calls("DescribeTable", lambda: client.describe_table(TableName=table))["Table"]
    return TableSize(described.get("ItemCount", 0), described.get("TableSizeBytes", 0))
