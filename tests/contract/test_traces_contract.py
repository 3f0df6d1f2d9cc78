"""What Hangup leaves in a table is removed, and nothing else, in every shape, on each engine."""

from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest

from hangup.aws.conditions import Condition, equals
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.schema import TableSchema
from hangup.aws.table_size import index_keys
from hangup.aws.traces import Traces
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.ops.clean import Cleaned, clean
from hangup.testing.services import FakeClock
from tests.support.engines import ENGINES
from tests.support.schemas import SHAPES, Item, item_of, table_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

pytestmark = pytest.mark.integration

NOW_MS: Final = EpochMs(1_700_000_000_000)
_numbers = count(1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("schema", SHAPES.values(), ids=SHAPES.keys())
def test_every_item_is_byte_for_byte_what_it_was(
    engine: str, schema: TableSchema, request: pytest.FixtureRequest
) -> None:
    client: DynamoDBClient = request.getfixturevalue(engine)
    name = f"traces-{next(_numbers)}"
    client.create_table(TableName=name, **table_of(schema))
    connected = EpochMs(NOW_MS - 600_000) if schema.connected_at else None
    active = EpochMs(NOW_MS - 500_000) if schema.last_activity else None
    ids = [f"Abc{n}defghijkl=" for n in range(3)]
    ours = [
        Connection(connection_id=one, connected_at_ms=connected, last_activity_ms=active)
        for one in ids
    ]
    before = [item_of(one, schema) for one in ours]
    # Another item, of which the schema says nothing, with attributes of the same names.
    stranger: Item = {
        "note": {"S": "hello"},
        schema.handovers: {"N": "7"},
        schema.noticed_at: {"S": "yesterday"},
        schema.claim_token: {"S": "of a gift"},
    }
    if schema.selection.filter or schema.partition:
        other: Item = {"S": {"S": "else"}, "N": {"N": "9"}, "B": {"B": b"else"}}
        key = schema.key_attributes or ((schema.connection_id, "S"),)
        before.append({**stranger, **{name: other[kind] for name, kind in key}})
    for item in before:
        client.put_item(TableName=name, Item=item)
    clock = SystemClock()
    traces = Traces(client, Calls(clock, Deadline(clock)), name, schema)
    read = [one for page in traces._scan(traces._requests.all_records()) for one in page.candidates]
    noted, noticed, held = sorted(read, key=lambda one: one.connection_id)
    assert traces.record_gateway_activity(noted, active_ms=NOW_MS, now_ms=NOW_MS)
    if schema.connected_at or schema.last_activity:
        _claim(traces, noticed, claim_ms=0)
        traces.release(noticed, noticed_at_ms=NOW_MS, is_handed_over=True)
        _claim(traces, held, claim_ms=60_000)
    assert _items(client, name) != _sorted(before)
    if schema.selection.needs_id:
        before.append(_left(traces, client, before[0]))

    now = FakeClock(NOW_MS + 30_000)
    result = clean(traces, clock=now, concurrent_map=map, progress=lambda _: None)
    has_times = bool(schema.connected_at or schema.last_activity)
    assert (result.left, result.held_ms) == ((1, 30_000) if has_times else (0, 0))
    now = FakeClock(NOW_MS + 60_000)
    result = clean(traces, clock=now, concurrent_map=map, progress=lambda _: None)
    assert result.left == 0
    assert _items(client, name) == _sorted(before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("partition", [None, equals("kind", "CONNECTION")])
def test_what_dropped_out_of_the_index_is_cleaned_too(
    engine: str, partition: Condition | None, request: pytest.FixtureRequest
) -> None:
    client: DynamoDBClient = request.getfixturevalue(engine)
    name = f"traces-{next(_numbers)}"
    schema = TableSchema(
        key_attributes=(("pk", "S"), ("connectionId", "S")),
        index="by-kind",
        partition=partition,
        only=(equals("stage", "prod"),),
    )
    definition = table_of(schema)
    kind = {"AttributeName": "kind", "AttributeType": "S"}
    definition["AttributeDefinitions"].append(kind)
    index: Any = {
        "IndexName": "by-kind",
        "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    client.create_table(TableName=name, **definition, GlobalSecondaryIndexes=[index])
    count = {schema.handovers: {"N": "7"}}

    def item(number: int, **more: Any) -> Item:
        connection = Connection(connection_id=f"Abc{number}defghijkl=", connected_at_ms=NOW_MS)
        return {**item_of(connection, schema), "stage": {"S": "prod"}, **more}

    there, dropped, held = (item(number, kind={"S": "CONNECTION"}) for number in range(3))
    dropped.pop("kind")
    # None is in the index, but for one of another stage: these attributes may be theirs.
    others = [
        item(3) | count,
        item(4) | {schema.noticed_at: {"N": str(NOW_MS)}},
        item(5) | {schema.claim_token: {"S": "of a gift"}, schema.claim_expires_at: {"N": "7"}},
        item(6) | {schema.gateway_active: {"S": "yesterday"}},
    ]
    for one in others:
        one.pop("kind", None)
    others.append(item(7, stage={"S": "dev"}, kind={"S": "CONNECTION"}) | count)
    marks: Item = {
        schema.claim_token: {"S": "token"},
        schema.claim_expires_at: {"N": str(NOW_MS)},
        schema.noticed_at: {"N": str(NOW_MS)},
    }
    for one in (
        *others,
        there | count,
        dropped | count | marks,
        held | marks | {schema.claim_expires_at: {"N": str(NOW_MS + 3_600_000)}},
    ):
        client.put_item(TableName=name, Item=one)
    clock = SystemClock()
    calls = Calls(clock, Deadline(clock))
    traces = Traces(client, calls, name, schema)
    keys = index_keys(client, calls, name, "by-kind")
    assert keys == ["kind"]
    request_ = traces._requests.records_with_traces_beside(keys)
    assert request_["ConsistentRead"] is True
    assert "IndexName" not in request_

    def cleaned(after_ms: int) -> Cleaned:
        return clean(
            traces,
            clock=FakeClock(EpochMs(NOW_MS + after_ms)),
            concurrent_map=map,
            progress=lambda _: None,
            index_keys=keys,
        )

    assert cleaned(60_000) == Cleaned(cleaned=2, left=1, held_ms=DurationMs(3_540_000))
    assert cleaned(3_600_000) == Cleaned(cleaned=1, left=0, held_ms=DurationMs(0))
    assert _items(client, name) == _sorted([*others, there, dropped, held])


def _left(traces: Traces, client: "DynamoDBClient", record: Item) -> Item:
    """Close a further connection, whose application takes the id out of its item and keeps that."""
    schema, name = traces._schema, traces._table.spec.name
    another = {"S": {"S": "one that left"}, "N": {"N": "77"}, "B": {"B": b"one that left"}}
    selected = schema.selection.known
    key = {one: selected.get(one) or another[kind] for one, kind in schema.table_key.attributes}
    marks = {schema.noticed_at: {"N": str(NOW_MS)}, schema.handovers: {"N": "1"}}
    item = {**record, **key}
    item.pop(schema.connection_id)
    client.put_item(TableName=name, Item={**item, **marks})
    return item


def _claim(traces: Traces, connection: Connection, *, claim_ms: int) -> None:
    assert traces.claim(connection, now_ms=NOW_MS, claim_expires_ms=EpochMs(NOW_MS + claim_ms)), (
        connection
    )


def _items(client: "DynamoDBClient", name: str) -> list[Any]:
    return _sorted(client.scan(TableName=name)["Items"])


def _sorted(items: Any) -> list[Any]:
    return sorted(items, key=lambda item: repr(sorted(item.items())))
