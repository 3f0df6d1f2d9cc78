"""The two tables that a world stands on: in memory, or in a real engine."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.items import session_from_item
from hangup.aws.process import calls
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.model import Session
from hangup.ports import ConnectionsRepository, SessionsRepository
from hangup.testing import Faults, InMemoryConnections, InMemorySessions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_OPERATIONS = {
    "get": "GetItem",
    "claim": "UpdateItem",
    "release": "UpdateItem",
    "adopt": "UpdateItem",
    "record_activity": "UpdateItem",
    "end": "UpdateItem",
    "join": "TransactWriteItems",
    "leave": "TransactWriteItems",
}


class Stores(Protocol):
    """Two repositories, and a look at everything in them."""

    @property
    def connections(self) -> ConnectionsRepository: ...

    @property
    def sessions(self) -> SessionsRepository: ...

    def all_sessions(self) -> Sequence[Session]: ...


class InMemoryStores:
    """The public fakes."""

    def __init__(self, faults: Faults) -> None:
        self.connections = InMemoryConnections(faults, page_size=3)
        self.sessions = InMemorySessions(self.connections, faults)

    def all_sessions(self) -> Sequence[Session]:
        return list(self.sessions.sessions.values())


class DynamoDbStores:
    """The adapters on two tables of a real engine, with faults around every call of them."""

    def __init__(self, client: "DynamoDBClient", faults: Faults, tables: tuple[str, str]) -> None:
        self._client = client
        self._connections_table, self._sessions_table = tables
        self.connections: Any = _Faulty(
            DynamoDbConnections(client, calls, self._connections_table), faults
        )
        self.sessions: Any = _Faulty(
            DynamoDbSessions(
                client,
                calls,
                connections_table=self._connections_table,
                sessions_table=self._sessions_table,
            ),
            faults,
        )

    def all_sessions(self) -> Sequence[Session]:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._sessions_table, ConsistentRead=True
        )
        return [session_from_item(item) for page in pages for item in page["Items"]]

    def clear(self) -> None:
        """Remove every item of both tables."""
        for table, key in (
            (self._connections_table, "connectionId"),
            (self._sessions_table, "sessionId"),
        ):
            for page in self._client.get_paginator("scan").paginate(
                TableName=table, ConsistentRead=True
            ):
                for item in page["Items"]:
                    self._client.delete_item(TableName=table, Key={key: item[key]})


class _Faulty:
    """A repository with ``Faults.call`` around each of its methods."""

    def __init__(self, repository: object, faults: Faults) -> None:
        self._repository = repository
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._repository, name)
        operation = _OPERATIONS.get(name)

        def surrounded(*args: Any, **kwargs: Any) -> Any:
            if operation is None:
                # The listings yield page by page: a call of theirs is what fetches a page.
                return self._pages(name, method(*args, **kwargs))
            subject = args[0] if args else ""
            key = subject if isinstance(subject, str) else getattr(subject, "connection_id", "")
            with self._faults.call(operation, key):
                return method(*args, **kwargs)

        return surrounded

    def _pages(self, name: str, pages: Any) -> Any:
        operation = "Query" if name == "listeners" else "Scan"
        while True:
            with self._faults.call(operation):
                page = next(pages, None)
            if page is None:
                return
            yield page
