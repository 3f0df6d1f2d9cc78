"""The calls of one table in DynamoDB, as all its adapters make them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from hangup.aws.errors import ServiceError, Table
from hangup.aws.retries import CallFailed, Calls, pages
from hangup.aws.table_requests import Request
from hangup.aws.values import Item, Values
from hangup.core.connection import DurationMs
from hangup.core.timing import ATTEMPT_MS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from hangup.aws.http.services import DirectDynamoDb


DynamoDb: TypeAlias = "DynamoDBClient | DirectDynamoDb"
"""What makes the calls: botocore's client, or ours through libcurl."""


_THROTTLED: Final = "ProvisionedThroughputExceededException"
_BAD_REQUEST: Final = 400
"""What DynamoDB answers where it leaves out everything (API reference, BatchGetItem)."""


class Write(NamedTuple):
    """How a write went.

    ``item`` is the one that refused it (empty: there is none), or after it was written whatever the
    request asked for with ``ReturnValues``.
    """

    is_written: bool
    item: Item


class DynamoDbTable:
    """A table with the partition key ``key``; ``client`` is used from several threads.

    ``whole_key`` says in words what the key must be, where that is more.
    """

    def __init__(
        self, client: DynamoDb, calls: Calls, name: str, *, key: str, whole_key: str | None = None
    ) -> None:
        self._client = client
        self._calls = calls
        self.spec = Table(name, key, whole_key)

    def get(self, key: Values) -> Item | None:
        """Return an item as last written, ``None`` if there is none."""
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(TableName=self.spec.name, Key=key, ConsistentRead=True),
            table=self.spec,
        )
        item: Item | None = answer.get("Item")
        return item

    def get_many(self, keys: Sequence[Values], *, consistent: bool) -> Sequence[Item]:
        """Return those items of up to 100 keys, each another, that are there, in any order."""
        found: list[Item] = []
        left: Any = keys

        def read() -> None:
            nonlocal left
            request: Any = {self.spec.name: {"Keys": left, "ConsistentRead": consistent}}
            answer: Any = self._client.batch_get_item(RequestItems=request)
            # Each has one table, under its name or its ARN.
            for items in answer["Responses"].values():
                found.extend(items)
            unread = list(answer.get("UnprocessedKeys", {}).values())
            if unread:
                left = unread[0]["Keys"]
                raise ServiceError(
                    _THROTTLED,
                    f"DynamoDB left out {len(left)} of {len(keys)} items",
                    status=_BAD_REQUEST,
                )

        self._calls("BatchGetItem", read, table=self.spec)
        return found

    def pages(
        self,
        operation: Literal["Scan", "Query"],
        request: Request,
        *,
        repeat_until_ms: DurationMs = ATTEMPT_MS,
    ) -> Iterator[Any]:
        """Yield every page of a scan or a query, as DynamoDB answers it."""
        return pages(
            partial(self._calls, table=self.spec, repeat_until_ms=repeat_until_ms),
            operation,
            self._client.scan if operation == "Scan" else self._client.query,
            self.part(request),
            more="LastEvaluatedKey",
            start="ExclusiveStartKey",
        )

    def put(self, request: Request) -> Write:
        """Put an item, if its condition holds."""
        return self._write("PutItem", self._client.put_item, request)

    def update(self, request: Request, *, max_attempts: int | None = None) -> Write:
        """Update an item, if its condition holds; ``max_attempts`` is that of ``Calls``."""
        return self._write("UpdateItem", self._client.update_item, request, max_attempts)

    def delete(self, request: Request) -> Write:
        """Delete an item, if its condition holds."""
        return self._write("DeleteItem", self._client.delete_item, request)

    def _write(
        self,
        operation: str,
        call: Callable[..., Any],
        request: Request,
        max_attempts: int | None = None,
    ) -> Write:
        conditional = {**request, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        try:
            answer = self._calls(
                operation,
                partial(call, TableName=self.spec.name, **conditional),
                table=self.spec,
                max_attempts=max_attempts,
            )
        except CallFailed as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            return Write(False, error.reason.members.get("Item", {}))
        return Write(True, answer.get("Attributes", {}))

    def part(self, request: Request) -> Request:
        """Return a request to this table as it is in a transaction."""
        return {"TableName": self.spec.name, **request}
