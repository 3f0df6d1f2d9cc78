"""What DynamoDB says of a table: its size, which is some hours old, and the keys of its indexes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hangup.aws.retries import Calls
from hangup.errors import BackendError

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


def index_keys(client: "DynamoDBClient", calls: Calls, table: str, index: str) -> Sequence[str]:
    """Return the attributes of an index's key. Raises ``BackendError``, also if it is not there."""
    described = calls("DescribeTable", lambda: client.describe_table(TableName=table))["Table"]
    indexes = (
        *described.get("GlobalSecondaryIndexes", ()),
        *described.get("LocalSecondaryIndexes", ()),
    )
    for one in indexes:
        if one["IndexName"] == index:
            return [part["AttributeName"] for part in one["KeySchema"]]
    raise BackendError(
        "DescribeTable", "NoSuchIndex", f"table {table} has no index {index}", retryable=False
    )
