"""DynamoDB's conflicts and capacity on virtual time, around the real adapters.

No engine that runs on a laptop refuses a write because somebody else's transaction holds the item,
throttles a key, or lets an index lag: not DynamoDB Local, not MiniStack. This does, as DynamoDB's
developer guide has it, and nothing else of it is simulated:

1. A transaction holds its items for 10 to 20 ms. Every other write to them is refused meanwhile, as
   ``TransactionConflictException`` or as a cancellation with ``TransactionConflict``.
2. A key of the index takes 1,000 writes in any second, and an item 3,000 consistent reads. What is
   beyond is refused with ``ProvisionedThroughputExceededException``.
3. The index lists a record, and stops listing it, 20 to 200 ms after the write.
4. A call takes 4 to 9 ms, a call to API Gateway 4 to 10 ms, and a function 2 to 6 ms for itself.

What an expression means is for MiniStack to say, whose DynamoDB runs in this process. Each function
is a greenlet: while one waits, the others go on, and no time passes but what they wait for. The
durations are assumptions. What depends on them is only how many functions run at once.
"""

import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, TypeVar

from greenlet import getcurrent, greenlet
from ministack.services import dynamodb as ministack

from hangup.aws.errors import ServiceError
from hangup.core.connection import DurationMs, EpochMs
from hangup.testing import START_MS
from tests.support.stores import table_definition

__all__ = ["CONNECTIONS", "SESSIONS", "ContendedDynamoDb", "VirtualTime"]

CONNECTIONS: Final = "contended-connections"
SESSIONS: Final = "contended-sessions"
_KEYS: Final = {CONNECTIONS: "connectionId", SESSIONS: "sessionId"}

_HELD_MS: Final = (10, 20)
_CALL_MS: Final = (4, 9)
_LAG_MS: Final = (20, 200)
_WRITES_PER_SECOND: Final = 1_000
_READS_PER_SECOND: Final = 3_000

Request = dict[str, Any]
Answer = Mapping[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


class VirtualTime:
    """``Clock`` whose time passes while every greenlet waits; ``random`` is that of the run."""

    def __init__(self, *, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same run every time
        self._now_ms = 0.0
        self._next: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._hub = getcurrent()

    def now_ms(self) -> EpochMs:
        return EpochMs(START_MS + int(self._now_ms))

    def monotonic_ms(self) -> DurationMs:
        return DurationMs(int(self._now_ms))

    def sleep(self, duration_ms: float) -> None:
        """Let the calling greenlet go on after this time."""
        self.after(duration_ms, getcurrent().switch)
        self._hub.switch()

    def sleep_between(self, least_ms: float, most_ms: float) -> None:
        self.sleep(self.random.uniform(least_ms, most_ms))

    def after(self, duration_ms: float, act: Callable[[], object]) -> None:
        """Do something at a later time; it must not wait itself."""
        heappush(self._next, (self._now_ms + duration_ms, next(self._numbers), act))

    def start(self, act: Callable[[], object], *, after_ms: float = 0) -> None:
        """Start a greenlet, which may wait."""
        self.after(after_ms, greenlet(act, parent=self._hub).switch)

    def run(self) -> None:
        """Let time pass until nobody has anything to do any more."""
        while self._next:
            at_ms, _, act = heappop(self._next)
            self._now_ms = max(self._now_ms, at_ms)
            act()

    def side_by_side(self, in_flight: int) -> Callable[..., Iterable[Any]]:
        """Return a ``ConcurrentMap`` that has so many calls under way at once."""

        def concurrent_map(
            function: Callable[[Item], Result], items: Iterable[Item]
        ) -> list[Result]:
            todo = list(enumerate(items))
            results: dict[int, Result] = {}
            caller, workers = getcurrent(), min(in_flight, len(todo))
            left = iter(todo)
            running = workers

            def work() -> None:
                nonlocal running
                for number, item in left:
                    results[number] = function(item)
                running -= 1
                if not running:
                    self.after(0, caller.switch)

            for _ in range(workers):
                self.start(work)
            if workers:
                self._hub.switch()
            return [results[number] for number in range(len(todo))]

        return concurrent_map


class _Window:
    """How many units a key may use in any second."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._used: defaultdict[str, deque[int]] = defaultdict(deque)

    def has_room(self, key: str, now_ms: int) -> bool:
        used = self._used[key]
        while used and used[0] <= now_ms - 1_000:
            used.popleft()
        return len(used) < self._units

    def use(self, key: str, now_ms: int) -> None:
        self._used[key].append(now_ms)


class ContendedDynamoDb:
    """The client of the adapters, with two empty tables. ``refused`` counts errors by their code.

    ``session_id`` is in the key of the index: who is added or removed writes to it.
    """

    def __init__(self, time: VirtualTime) -> None:
        self.refused: Counter[str] = Counter()
        self._time = time
        self._held: set[tuple[str, str]] = set()
        self._index: defaultdict[str, dict[str, Answer]] = defaultdict(dict)
        self._index_writes = _Window(_WRITES_PER_SECOND)
        self._reads = _Window(_READS_PER_SECOND)
        for table, key in _KEYS.items():
            _run_if_there("DeleteTable", TableName=table)
            _run("CreateTable", TableName=table, **table_definition(key))

    # The adapters' client

    def put_item(self, **request: Any) -> Answer:
        return self._write("PutItem", request)

    def update_item(self, **request: Any) -> Answer:
        return self._write("UpdateItem", request)

    def delete_item(self, **request: Any) -> Answer:
        return self._write("DeleteItem", request)

    def get_item(self, **request: Any) -> Answer:
        self._time.sleep_between(*_CALL_MS)
        table, key = _item_of(request)
        self._use(self._reads, f"{table} {key}")
        return _run("GetItem", **request)

    def query(self, **request: Any) -> Answer:
        self._time.sleep_between(*_CALL_MS)
        session_id = request["ExpressionAttributeValues"][":session"]["S"]
        listed = list(self._index[session_id].values())
        return {"Items": listed, "Count": len(listed)}

    def transact_write_items(
        self,
        *,
        TransactItems: list[dict[str, Request]],  # noqa: N803 - boto3's
        ClientRequestToken: str,  # noqa: N803 - boto3's
    ) -> Answer:
        writes = [next(iter(item.items())) for item in TransactItems]
        items = [_item_of(request) for _, request in writes]
        self._time.sleep_between(*_CALL_MS)
        if self._held.intersection(items):
            codes = ["TransactionConflict" if item in self._held else "None" for item in items]
            reasons = [{"Code": code} for code in codes]
            raise self._error("TransactionCanceledException", CancellationReasons=reasons)
        self._held.update(items)
        self._time.sleep_between(*_HELD_MS)
        self._held.difference_update(items)
        for operation, request in writes:
            self._take_index_capacity(operation, request)
        before = [_record(request) for _, request in writes]
        answer = self._run(
            "TransactWriteItems", TransactItems=TransactItems, ClientRequestToken=ClientRequestToken
        )
        for (operation, request), record in zip(writes, before, strict=True):
            self._reindex(operation, request, record)
        return answer

    def records(self) -> list[Answer]:
        """Return every connection's item, as they are now."""
        items: list[Answer] = _run("Scan", TableName=CONNECTIONS)["Items"]
        return items

    # Conflicts and capacity

    def _write(self, operation: str, request: Request) -> Answer:
        self._time.sleep_between(*_CALL_MS)
        if _item_of(request) in self._held:
            raise self._error("TransactionConflictException")
        self._take_index_capacity(operation, request)
        before = _record(request)
        answer = self._run(operation, **request)
        self._reindex(operation, request, before)
        return answer

    def _take_index_capacity(self, operation: str, request: Request) -> None:
        # Refused or not by its condition, a write uses what it would write.
        if request["TableName"] == CONNECTIONS and not operation.startswith("Update"):
            record = request.get("Item") or _record(request)
            if record is not None:
                self._use(self._index_writes, record["sessionId"]["S"])

    def _use(self, window: _Window, key: str) -> None:
        now_ms = self._time.monotonic_ms()
        if not window.has_room(key, now_ms):
            raise self._error("ProvisionedThroughputExceededException")
        window.use(key, now_ms)

    def _reindex(self, operation: str, request: Request, before: Answer | None) -> None:
        if request["TableName"] != CONNECTIONS or operation.startswith("Update"):
            return
        _, connection_id = _item_of(request)
        lag_ms = self._time.random.uniform(*_LAG_MS)
        if "Item" not in request:
            if before is not None:
                listed = self._index[before["sessionId"]["S"]]
                self._time.after(lag_ms, lambda: listed.pop(connection_id, None))
        elif request["Item"]["role"]["S"] == "listener":
            item = request["Item"]
            listed = self._index[item["sessionId"]["S"]]
            self._time.after(lag_ms, lambda: listed.update({connection_id: item}))

    def _run(self, operation: str, **request: Any) -> Answer:
        try:
            return _run(operation, **request)
        except ServiceError as error:
            self.refused[error.code] += 1
            raise

    def _error(self, code: str, **members: object) -> ServiceError:
        self.refused[code] += 1
        return ServiceError(code, code, status=400, members=members)


def _item_of(request: Request) -> tuple[str, str]:
    table = request["TableName"]
    key: Mapping[str, Any] = request.get("Key") or request["Item"]
    return table, key[_KEYS[table]]["S"]


def _record(request: Request) -> Answer | None:
    table, key = _item_of(request)
    answer = _run("GetItem", TableName=table, Key={_KEYS[table]: {"S": key}})
    item: Answer | None = answer.get("Item")
    return item


def _run(operation: str, **request: Any) -> Answer:
    """Return MiniStack's answer. Raises ``ServiceError``."""
    headers = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
    body = json.dumps(request).encode()
    status, _, answer = _result_of(ministack.handle_request("POST", "/", headers, body, {}))
    members: Answer = json.loads(answer)
    if status >= 300:
        code = str(members.get("__type", status)).rpartition("#")[2]
        raise ServiceError(code, str(members.get("message", "")), status=status, members=members)
    return members


def _run_if_there(operation: str, **request: Any) -> None:
    try:
        _run(operation, **request)
    except ServiceError as error:
        if error.code != "ResourceNotFoundException":
            raise


def _result_of(request: Any) -> Any:
    """Return what a coroutine returns that waits for nothing."""
    steps: Iterator[Any] = request.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")
