"""Every operation on other people's tables: each shape, on the fake and on each engine.

What is no connection by the schema stays byte for byte what it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hangup.aws.conditions import Rule, attribute_exists, begins_with, equals
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.state_table import StateTableConnections
from hangup.aws.states import DynamoDbStates
from hangup.aws.times import TimeUnit
from hangup.core.connection import Connection, DurationMs, EpochMs, KeyPart, RecordedTime
from hangup.core.guard import Sample
from hangup.core.hand_over import HandOver
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.outcomes import NotRecorded
from hangup.core.policy import IdlePolicy
from hangup.core.scheduled_close import ScheduledClose, as_message, parse_scheduled_close
from hangup.errors import ConfigurationError
from hangup.idle.guard import Watch
from hangup.ports import ConnectionsRepository
from hangup.testing import FakeAws, InMemoryConnections, InMemoryStates
from hangup.testing.services import FakeClock
from tests.support.any_items import (
    ANY_POLICY,
    assert_finds_what_is_not_to_be_kept,
    key_in,
    many_items,
)
from tests.support.engines import ENGINES, direct_to
from tests.support.schemas import SHAPES, Item, item_of, key_of, table_of
from tests.support.stores import parted, put_state, put_state_items

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from hangup.aws.http.services import DirectDynamoDb

NOW_MS: Final = EpochMs(1_700_000_000_000)
_CLAIM_MS: Final = 60_000
_MAX_BATCH: Final = 25
_numbers = count(1)

Make = Callable[[TableSchema], "Table"]


class Table(Protocol):
    """A table of a schema: its repository, and a way around it."""

    connections: ConnectionsRepository
    has_state_table: bool
    compares_any_type: bool
    """Whether ``begins_with`` is false for what is no text. MiniStack refuses the whole scan."""

    def put(self, *items: Item) -> None:
        """Write items as they are, and what they have of Hangup's own where that is."""
        ...

    def put_records(self, *items: Item) -> None:
        """Write items as they are."""
        ...

    def items(self) -> Sequence[Item]:
        """Return every item that the repository cannot have written, or may have."""
        ...

    def everything(self) -> object:
        """Return all that is in the table, to be compared."""
        ...


class FakeTable:
    """The fake, with pages of three."""

    def __init__(self, schema: TableSchema, *, state_table: bool) -> None:
        self.compares_any_type = True
        self.has_state_table = state_table
        self._schema = schema
        self._states = InMemoryStates()
        self._fake = InMemoryConnections(schema=schema, page_size=3, has_state=not state_table)
        self.connections: ConnectionsRepository = self._fake
        if state_table:
            self.connections = StateTableConnections(self._fake, self._states, schema.table_key)

    def put(self, *items: Item) -> None:
        for item in items:
            if self.has_state_table:
                item, place, state = parted(item, self._schema)  # noqa: PLW2901
                put_state(self._states, place, state)
            self._fake.put_item(item)

    def put_records(self, *items: Item) -> None:
        for item in items:
            self._fake.put_item(item)

    def items(self) -> Sequence[Item]:
        return [dict(item) for item in self._fake.others.values()]

    def everything(self) -> object:
        records = {place: replace(record) for place, record in self._fake.records.items()}
        return records, dict(self._fake.others)


class EngineTable:
    """A table on an engine, read and written in the sweep's own way."""

    def __init__(
        self,
        client: "DynamoDBClient",
        schema: TableSchema,
        *,
        is_direct: bool,
        compares_any_type: bool = True,
        state_table: bool = False,
    ) -> None:
        self._client = client
        self._schema = schema
        self.has_state_table = state_table
        self.compares_any_type = compares_any_type
        self.name = f"shape-{next(_numbers)}"
        client.create_table(TableName=self.name, **table_of(schema))
        clock = SystemClock()
        dynamodb: DynamoDBClient | DirectDynamoDb = direct_to(client) if is_direct else client
        calls = Calls(clock, Deadline(clock))
        records = DynamoDbConnections(dynamodb, calls, self.name, schema, has_state=not state_table)
        self.connections: ConnectionsRepository = records
        self._states_name = f"{self.name}-states"
        if state_table:
            client.create_table(TableName=self._states_name, **table_of(DEFAULT_SCHEMA))
            states = DynamoDbStates(dynamodb, calls, self._states_name, clock)
            self.connections = StateTableConnections(records, states, schema.table_key)

    def put(self, *items: Item) -> None:
        if self.has_state_table:
            parts = [parted(item, self._schema) for item in items]
            items = tuple(item for item, _, _ in parts)
            put_state_items(self._client, self._states_name, parts)
        self.put_records(*items)

    def put_records(self, *items: Item) -> None:
        for start in range(0, len(items), _MAX_BATCH):
            puts: Any = [{"PutRequest": {"Item": one}} for one in items[start : start + _MAX_BATCH]]
            answer = self._client.batch_write_item(RequestItems={self.name: puts})
            assert not answer.get("UnprocessedItems")

    def items(self) -> Sequence[Item]:
        page = self._client.scan(TableName=self.name, ConsistentRead=True)
        assert "LastEvaluatedKey" not in page
        return [dict(item) for item in page["Items"]]

    def everything(self) -> object:
        return sorted(repr(sorted(item.items())) for item in self.items())

    def drop(self) -> None:
        self._client.delete_table(TableName=self.name)
        if self.has_state_table:
            self._client.delete_table(TableName=self._states_name)


@pytest.fixture(
    params=[
        pytest.param(("fake", False, False), id="fake"),
        pytest.param(("fake", False, True), id="fake, state table"),
        *(
            pytest.param(
                (*engine.values, direct, state_table),
                marks=engine.marks,
                id=f"{engine.values[0]}{', botocore' * (not direct)}"
                f"{', state table' * state_table}",
            )
            for engine, direct, state_table in (
                *((one, True, state_table) for one in ENGINES for state_table in (False, True)),
                (ENGINES[-1], False, False),
            )
        ),
    ]
)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return what makes a table of a schema on each engine."""
    engine, is_direct, state_table = request.param
    made: list[EngineTable] = []

    def table_of_schema(schema: TableSchema) -> Table:
        if engine == "fake":
            return FakeTable(schema, state_table=state_table)
        client: DynamoDBClient = request.getfixturevalue(engine)
        table = EngineTable(
            client,
            schema,
            is_direct=is_direct,
            compares_any_type=engine != "ministack",
            state_table=state_table,
        )
        made.append(table)
        return table

    yield table_of_schema
    for table in made:
        table.drop()


@pytest.fixture(params=SHAPES)
def schema(request: pytest.FixtureRequest) -> TableSchema:
    """Return the schema of each shape."""
    return SHAPES[request.param]


def seen(connection_id: str, silent_ms: int, schema: TableSchema) -> Connection:
    """Return a connection that was last seen so long ago, by every time that the table has."""
    last_ms = EpochMs(NOW_MS - silent_ms)
    has_times = schema.connected_at or schema.last_activity
    return Connection(
        connection_id=connection_id,
        connected_at_ms=last_ms if schema.connected_at else None,
        last_activity_ms=last_ms if schema.last_activity else None,
        gateway_active_ms=None if has_times else last_ms,
    )


def candidates(table: Table, cutoff_ms: int = NOW_MS) -> list[Connection]:
    pages = table.connections.scan_candidates(
        cutoff_ms=EpochMs(cutoff_ms), now_ms=NOW_MS, segment=0, total_segments=1
    )
    return [connection for page in pages for connection in page.candidates]


def ids(connections: Sequence[Connection]) -> list[str]:
    return sorted(connection.connection_id for connection in connections)


def claim(table: Table, connection: Connection, now_ms: int = NOW_MS) -> bool:
    return table.connections.claim(
        connection, now_ms=EpochMs(now_ms), claim_expires_ms=EpochMs(now_ms + _CLAIM_MS)
    )


def write_everything(table: Table, connection: Connection, *, deletes: bool = True) -> list[bool]:
    """Try every write about a connection; return which of them said that they were made."""
    note_ms = EpochMs(NOW_MS - 1_000)
    repository = table.connections
    done = [
        repository.record_gateway_activity(connection, active_ms=note_ms, now_ms=NOW_MS),
        claim(table, connection),
    ]
    repository.release(connection, noticed_at_ms=NOW_MS, is_handed_over=False)
    if not deletes:
        return done
    expires_ms = EpochMs(NOW_MS + _CLAIM_MS)
    return [*done, repository.delete_claimed(connection, claim_expires_ms=expires_ms)]


class TestEveryShape:
    def test_finds_who_is_idle_to_the_second_and_no_other(
        self, make: Make, schema: TableSchema
    ) -> None:
        table = make(schema)
        for connection_id, silent_ms in (("new=", 0), ("at=", 120_000), ("idle=", 121_000)):
            table.put(item_of(seen(connection_id, silent_ms, schema), schema))
        assert ids(candidates(table, NOW_MS - 120_000)) == ["idle="]
        assert ids(list(table.connections.scan_all_connections())) == ["at=", "idle=", "new="]

    def test_a_connection_goes_through_all_that_a_sweep_writes(
        self, make: Make, schema: TableSchema
    ) -> None:
        table = make(schema)
        idle = seen("c1=", 300_000, schema)
        table.put(item_of(idle, schema), item_of(seen("c2=", 0, schema), schema))
        (found,) = candidates(table, NOW_MS - 1_000)
        idle = replace(idle, session_id=found.session_id)
        assert found == idle
        # What a queue carries is as good as what was read.
        found = over_the_queue(found)
        assert table.connections.reread(found) == idle
        assert claim(table, found)
        assert not claim(table, found)
        assert candidates(table, NOW_MS - 1_000) == []
        table.connections.release(found, noticed_at_ms=NOW_MS, is_handed_over=False)
        (again,) = candidates(table, NOW_MS - 1_000)
        assert again == replace(idle, noticed_at_ms=NOW_MS)
        noted_ms = EpochMs(NOW_MS - 60_000)
        assert table.connections.record_gateway_activity(again, active_ms=noted_ms, now_ms=NOW_MS)
        assert candidates(table, NOW_MS - 100_000) == []
        (noted,) = candidates(table, NOW_MS - 1_000)
        assert noted.gateway_active_ms == noted_ms
        assert claim(table, noted)
        expires_ms = EpochMs(NOW_MS + _CLAIM_MS)
        assert table.connections.delete_claimed(noted, claim_expires_ms=expires_ms)
        assert table.connections.reread(noted) is None
        assert ids(list(table.connections.scan_all_connections())) == ["c2="]

    def test_a_claim_is_lost_to_a_client_that_was_recorded_since(
        self, make: Make, schema: TableSchema
    ) -> None:
        if schema.last_activity is None and schema.connected_at is None:
            pytest.skip("such a table has no times")
        table = make(schema)
        table.put(item_of(seen("c1=", 300_000, schema), schema))
        (found,) = candidates(table)
        # Its function writes the whole item anew.
        table.put(item_of(seen("c1=", 0, schema), schema))
        assert write_everything(table, found) == [False, False, False]

    def test_records_activity_where_the_id_says_the_key(
        self, make: Make, schema: TableSchema
    ) -> None:
        table = make(schema)
        idle = seen("c1=", 300_000, schema)
        table.put(item_of(idle, schema))

        def record(connection_id: str) -> Connection | NotRecorded:
            return table.connections.record_activity(
                connection_id, now_ms=NOW_MS, resolution_ms=DurationMs(0)
            )

        if schema.last_activity is None or not schema.table_key.follows_from_id:
            with pytest.raises(ConfigurationError):
                record("c1=")
            return
        before = record("c1=")
        assert isinstance(before, Connection)
        assert before.recorded_ms == idle.recorded_ms
        assert record("c1=") is NotRecorded.ALREADY_RECORDED
        assert record("c2=") is NotRecorded.NO_RECORD
        (recorded,) = candidates(table, NOW_MS + 2_000)
        assert recorded.last_activity_ms == NOW_MS
        assert candidates(table, NOW_MS - 1_000) == []

    def test_a_sample_has_connections_alone(self, make: Make, schema: TableSchema) -> None:
        table = make(schema)
        put = [seen(f"c{number}=", 0, schema) for number in range(8)]
        table.put(*(item_of(connection, schema) for connection in put))
        others = [item for one in put if (item := no_connection(one, schema)) is not None]
        table.put(*others)
        for _ in range(8):  # wherever it begins
            sample = table.connections.sample_records(500)
            assert set(ids(sample.records)) <= set(ids(put))
            assert len(sample.records) == len(set(ids(sample.records))) > 0
            assert bool(sample.others) == bool(others and schema.partition is None)

    @pytest.mark.slow
    def test_whatever_is_in_the_table_connections_are_found_and_nothing_else_is_written(
        self, make: Make, schema: TableSchema
    ) -> None:
        table = make(schema)

        # Not shrunk: on an engine that would take many minutes.
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
        )
        @given(many_items(schema, is_indexed=False), ANY_POLICY, st.data())
        def check(items: list[Item], policy: IdlePolicy, data: st.DataObject) -> None:
            if not table.compares_any_type:
                items = [item for item in items if has_texts_to_compare(item, schema)]
            if table.has_state_table:
                items = as_sweeps_leave_them(items, schema)
            table.put(*items)
            assert_finds_what_is_not_to_be_kept(table.connections, items, policy, schema)
            strangers = {repr(key_in(item, schema)) for item in items if not schema.matches(item)}
            before = [one for one in table.items() if repr(key_in(one, schema)) in strangers]
            everything = table.everything()
            found = candidates(table, NOW_MS + 3_600_000)
            for connection in data.draw(st.permutations(found))[:5]:
                # No sweep acts on what was last seen in the future.
                if (connection.last_seen_ms or 0) <= NOW_MS:
                    write_everything(table, connection, deletes=not table.has_state_table)
            after = [one for one in table.items() if repr(key_in(one, schema)) in strangers]
            assert after == before
            if table.has_state_table:
                assert table.everything() == everything

        check()


def has_texts_to_compare(item: Item, schema: TableSchema) -> bool:
    """Return whether what must begin with something is a text, or is not there."""
    names = {one.attribute for one in schema.only if one.rule is Rule.BEGINS_WITH}
    if schema.id_prefix:
        names.add(schema.connection_id)
    return all("S" in item[name] for name in names & item.keys())


def as_sweeps_leave_them(items: Sequence[Item], schema: TableSchema) -> list[Item]:
    """Return items with no state that no sweep writes into a table of its own.

    It writes no time of API Gateway's far in the future, which the filter of the connections table
    would not see, and nothing about what is no connection by its id.
    """
    left = []
    for item in items:
        without_state, place, _ = parted(item, schema)
        gateway_ms = schema.decode(item).gateway_active_ms if place else None
        is_of_sweeps = place and (gateway_ms or 0) <= NOW_MS + MAX_CLOCK_LEAD_MS
        left.append(item if is_of_sweeps else without_state)
    return left


def over_the_queue(connection: Connection) -> Connection:
    """Return a connection as the queue of scheduled closes delivers it."""
    assert connection.last_seen_ms is not None
    close = ScheduledClose(
        connection=connection,
        deadline_ms=EpochMs(connection.last_seen_ms + 120_000),
        correlation_id="sweep",
        silence_ms=DurationMs(120_000),
        judged_at_ms=NOW_MS,
    )
    delivered = parse_scheduled_close(as_message(close)).connection
    assert (delivered, delivered.key) == (connection, connection.key)
    return delivered


def no_connection(connection: Connection, schema: TableSchema) -> Item | None:
    """Return an item like that of a connection which is none; None where each item is one."""
    item = item_of(connection, schema)
    key = key_in(item, schema)
    for condition in schema.only:
        if condition.attribute not in key:
            del item[condition.attribute]
            return item | _other_key(connection, schema)
        return item | {condition.attribute: {"S": f"x{condition.value}"}}
    if schema.partition is not None:
        return item | {schema.partition.attribute: {"S": "STATS"}}
    if schema.connection_id in key:
        return None
    del item[schema.connection_id]
    return item | _other_key(connection, schema)


def _other_key(connection: Connection, schema: TableSchema) -> Item:
    """Return a key that no connection has."""
    key = key_of(connection.connection_id, schema, number=2)
    if schema.connection_id in key:
        key[schema.connection_id] = {"S": f"{schema.id_prefix}x{connection.connection_id}"}
    return key


class TestWhoseRecordItIs:
    def test_activity_is_recorded_over_a_text_of_any_zone(self, make: Make) -> None:
        schema = TableSchema(last_activity_unit=TimeUnit.ISO8601)
        table = make(schema)
        # Ten minutes ago, by clocks that show more than now.
        zone = timezone(timedelta(hours=5, minutes=30))
        there = datetime.fromtimestamp(NOW_MS / 1000 - 600, zone).isoformat()
        item = item_of(seen("c1=", 300_000, schema), schema)
        table.put(item | {"lastActivityTime": {"S": there}})
        assert isinstance(
            table.connections.record_activity("c1=", now_ms=NOW_MS, resolution_ms=DurationMs(0)),
            Connection,
        )
        assert candidates(table, NOW_MS - 1_000) == []

    def test_an_item_that_another_connection_took_over_is_not_written(self, make: Make) -> None:
        """A user came back: the same key, another socket, and by chance the same time."""
        schema = SHAPES["F, attribute"]
        table = make(schema)
        old, new = seen("old=", 300_000, schema), seen("new=", 300_000, schema)
        key = {"userId": {"S": "u1"}}
        table.put(item_of(old, schema) | key)
        (found,) = candidates(table)
        assert claim(table, found)
        table.put(item_of(new, schema) | key)
        assert write_everything(table, found) == [False, False, False]
        assert table.connections.reread(found) is None
        (now,) = candidates(table)
        assert now == new

    def test_a_connection_of_the_other_stage_is_neither_found_nor_written(self, make: Make) -> None:
        schema = SHAPES["H, shared"]
        table = make(schema)
        ours = item_of(seen("c1=", 300_000, schema), schema)
        table.put(ours, item_of(seen("c2=", 300_000, schema), schema) | {"stage": {"S": "dev"}})
        (found,) = candidates(table)
        assert found.connection_id == "c1="
        # The record became that of another stage's connection since.
        table.put(ours | {"stage": {"S": "dev"}})
        assert write_everything(table, found) == [False, False, False]
        assert table.connections.reread(found) is None
        assert candidates(table) == []

    def test_each_of_several_records_is_written_by_its_own_key(self, make: Make) -> None:
        schema = SHAPES["E, room and connection"]
        table = make(schema)
        idle = seen("c1=", 300_000, schema)
        rooms = [{"room": {"S": room}} for room in ("r1", "r2", "r3")]
        table.put(*(item_of(idle, schema) | room for room in rooms))
        found = {one.session_id: one for one in candidates(table)}
        assert set(found) == {"r1", "r2", "r3"}
        assert claim(table, found["r2"])
        left = {one.session_id for one in candidates(table)}
        assert left == {"r1", "r3"}
        expires_ms = EpochMs(NOW_MS + _CLAIM_MS)
        assert not table.connections.delete_claimed(found["r1"], claim_expires_ms=expires_ms)
        assert table.connections.delete_claimed(found["r2"], claim_expires_ms=expires_ms)
        assert table.connections.reread(found["r2"]) is None
        assert table.connections.reread(found["r1"]) == found["r1"]

    def test_carries_a_key_as_dynamodb_has_it(self, make: Make) -> None:
        schema = SHAPES["numbers and bytes"]
        table = make(schema)
        key = {"tenant": {"N": "12345678901234567890.5"}, "device": {"B": b"\x00\xff\x10"}}
        table.put(item_of(seen("c1=", 300_000, schema), schema) | key)
        (found,) = candidates(table)
        assert found.key == (
            KeyPart("tenant", "N", "12345678901234567890.5"),
            KeyPart("device", "B", "AP8Q"),
        )
        assert claim(table, found)

    @pytest.mark.parametrize("total_segments", [1, 4])
    def test_a_partition_is_read_once_whatever_the_segments(
        self, make: Make, total_segments: int
    ) -> None:
        schema = SHAPES["C, by partition"]
        table = make(schema)
        put = [seen(f"c{number}=", 300_000, schema) for number in range(9)]
        table.put(*(item_of(connection, schema) for connection in put))
        table.put({"pk": {"S": "STATS"}, "sk": {"S": "c1="}, "connections": {"N": "9"}})
        found: list[Connection] = []
        scanned = 0
        for segment in range(total_segments):
            for page in table.connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=segment, total_segments=total_segments
            ):
                found += page.candidates
                scanned += page.scanned_count
        assert ids(found) == ids(put)
        assert scanned == len(put)


class TestSweep:
    @pytest.mark.parametrize("hand_over", [HandOver.ALWAYS, HandOver.DELETE])
    def test_closes_the_silent_client_once_keeps_the_other_and_changes_nothing_else(
        self, make: Make, schema: TableSchema, hand_over: HandOver
    ) -> None:
        table, world = make(schema), FakeAws(clock=FakeClock(NOW_MS))
        for connection_id, silent_ms in (("silent=", 300_000), ("talking=", 5_000)):
            # No function of this table records: API Gateway alone knows who talks.
            table.put(item_of(recorded(connection_id, 300_000, schema), schema))
            world.gateway.open(connection_id)
            world.gateway.active_ms[connection_id] = EpochMs(NOW_MS - silent_ms)
        put = [recorded(f"o{number}=", 300_000, schema) for number in range(3)]
        others = [item for one in put if (item := no_connection(one, schema)) is not None]
        table.put(*others)
        before = [one for one in table.items() if not schema.matches(one)]
        everything = table.everything()
        closer = world.make_closer(connections=table.connections, hand_over=hand_over)
        sweep = world.make_sweep(
            closer=closer,
            watch=Watch(
                connections=cast("ConnectionsRepository", _Undated(table.connections)),
                confirmer=closer.confirmer,
                policy=_POLICY,
            ),
            times={time: schema.time_attribute(time) for time in RecordedTime},
        )
        reports = []
        for _ in range(2):  # without any time, the first asks and the second closes
            reports.append(
                sweep.check_and_close_idle_connections(
                    time_left_ms=lambda: DurationMs(60_000), correlation_id="sweep"
                )
            )
            world.gateway.active_ms["talking="] = world.clock.advance(seconds=50)
        assert sum(report.closes.closed for report in reports) == 1
        assert world.gateway.open_ids == {"talking="}
        assert {one: len(sent) for one, sent in world.gateway.sent.items()} == {"silent=": 1}
        called = [event["requestContext"]["connectionId"] for event in world.functions.events]  # type: ignore[index]
        assert called == (["silent="] if hand_over is HandOver.ALWAYS else [])
        left = ids(list(table.connections.scan_all_connections()))
        assert left == (["silent=", "talking="] if called else ["talking="])
        assert [one for one in table.items() if not schema.matches(one)] == before
        assert len(before) == len(others)
        if table.has_state_table and hand_over is HandOver.ALWAYS:
            assert table.everything() == everything


_POLICY: Final = IdlePolicy(
    idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(0)
)


def recorded(connection_id: str, silent_ms: int, schema: TableSchema) -> Connection:
    """Return a connection as its own functions have written it, last active so long ago."""
    return replace(seen(connection_id, silent_ms, schema), gateway_active_ms=None)


class _Undated:
    """A table whose answers have no date: this world has another time."""

    def __init__(self, connections: ConnectionsRepository) -> None:
        self._connections = connections

    def sample_records(self, size: int) -> Sample:
        return replace(self._connections.sample_records(size), answered_at_ms=None)


class TestStateTable:
    def test_state_of_an_items_connection_before_does_not_count(self, make: Make) -> None:
        schema = SHAPES["F, attribute"]
        table = make(schema)
        if not table.has_state_table:
            pytest.skip("without a state table, the item itself has it")
        old, new = seen("old=", 300_000, schema), seen("new=", 300_000, schema)
        key = {"userId": {"S": "u1"}}
        table.put(item_of(old, schema) | key)
        (found,) = candidates(table)
        assert claim(table, found)
        assert candidates(table) == []
        table.put(item_of(new, schema) | key)
        (now,) = candidates(table)
        assert now == new
        assert claim(table, now)

    def test_attributes_that_are_called_like_ours_are_not_ours(self, make: Make) -> None:
        table = make(TableSchema())
        if not table.has_state_table:
            pytest.skip("without a state table, they are")
        idle = seen("c1=", 300_000, TableSchema())
        theirs = {
            "claimExpiresAt": {"N": str(NOW_MS + 1_000)},
            "gatewayActiveAt": {"N": str(NOW_MS)},
            "noticedAt": {"N": str(NOW_MS)},
            "handovers": {"N": "7"},
        }
        table.put_records(item_of(idle, TableSchema()) | theirs)
        everything = table.everything()
        (found,) = candidates(table)
        assert (found.gateway_active_ms, found.noticed_at_ms, found.handovers) == (None, None, 0)
        assert claim(table, found)
        assert candidates(table) == []
        assert table.everything() == everything


class TestIndexes:
    """Of engines alone: the fake has no indexes."""

    @pytest.mark.parametrize("partition", [None, equals("kind", "CONNECTION")])
    @pytest.mark.parametrize("engine", ENGINES)
    def test_reads_an_index_and_writes_the_table(
        self, request: pytest.FixtureRequest, engine: str, partition: Any
    ) -> None:
        client: DynamoDBClient = request.getfixturevalue(engine)
        schema = TableSchema(
            connection_id="socket",
            id_prefix="ws:",
            key_attributes=(("pk", "S"), ("sk", "S")),
            only=(attribute_exists("plan"), begins_with("plan", "pro")),
            index="by-kind",
            partition=partition,
        )
        table = EngineTable(
            client, TableSchema(key_attributes=schema.key_attributes), is_direct=True
        )
        table.drop()
        definition = table_of(schema)
        names = ("kind", "socket")
        definition["AttributeDefinitions"] += [
            {"AttributeName": name, "AttributeType": "S"} for name in names
        ]
        index: Any = {
            "IndexName": "by-kind",
            "KeySchema": [
                {"AttributeName": name, "KeyType": type_}
                for name, type_ in zip(names, ("HASH", "RANGE"), strict=True)
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
        client.create_table(TableName=table.name, **definition, GlobalSecondaryIndexes=[index])
        clock = SystemClock()
        table.connections = DynamoDbConnections(
            direct_to(client), Calls(clock, Deadline(clock)), table.name, schema
        )
        item = item_of(seen("c1=", 300_000, schema), schema) | {"plan": {"S": "pro"}}
        ours = item | {"kind": {"S": "CONNECTION"}}
        table.put(ours, ours | {"sk": {"S": "2"}, "plan": {"S": "free"}})
        table.put(ours | {"sk": {"S": "3"}, "socket": {"S": "tcp:c1="}})
        others = [one for one in table.items() if one["sk"] != ours["sk"]]
        (found,) = candidates(table)
        assert found.connection_id == "c1="
        assert claim(table, found)
        assert candidates(table) == []
        sample = table.connections.sample_records(500)
        assert ids(sample.records) == ["c1="]
        assert sample.others == 2
        assert [one for one in table.items() if one["sk"] != ours["sk"]] == others
        table.drop()
