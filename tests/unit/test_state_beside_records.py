"""State in a table of Hangup's own: what is asked of the two tables, and what bounds it.

What the tables then hold is for ``tests/contract`` to say.
"""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.state_table import STATES_AT_ONCE, StateTableConnections
from hangup.aws.states import DynamoDbStates
from hangup.core.connection import Connection, EpochMs
from hangup.core.guard import Activity
from hangup.core.hand_over import HandOver
from hangup.core.report import SweepReport
from hangup.errors import BackendError
from hangup.handlers import timeout_handler
from hangup.testing import START_MS, FakeAws, FakeClock
from tests.support.aws_stub import AwsStub, Call
from tests.support.idle_world import PLENTY_MS, TICK, Context
from tests.support.schemas import SHAPES, item_of

IDLE_MS = EpochMs(START_MS - 300_000)
IDLE = Connection(connection_id="c1=", connected_at_ms=IDLE_MS, last_activity_ms=IDLE_MS)
BARE = SHAPES["A, bare"]


def sweep(world: FakeAws, repository: StateTableConnections | None = None) -> SweepReport:
    closer = world.make_closer(connections=repository or world.repository)
    return world.make_sweep(closer=closer, total_segments=4).check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
    )


def crowd(size: int) -> FakeAws:
    """Return a world with records that have no time, whose clients talk."""
    world = FakeAws(schema=BARE, state_table=True)
    for number in range(size):
        connection_id = f"c{number}="
        world.connections.put_item(item_of(Connection(connection_id=connection_id), BARE))
        world.gateway.open(connection_id)
        world.gateway.active_ms[connection_id] = world.clock.now_ms()
    return world


class TestBound:
    def test_records_beyond_it_are_left_to_the_next_sweep_counted_and_said(self) -> None:
        world = crowd(20)
        bounded = StateTableConnections(
            world.connections, world.states, BARE.table_key, max_states=15
        )
        report = sweep(world, bounded)
        assert report.clocks_started == 15
        assert not report.complete
        assert world.metrics.total("SweepsIncomplete") == 1
        ((level, event, fields),) = [one for one in world.log.lines if "too many" in one[1]]
        assert (level, fields["count"]) == ("warning", 5)
        assert event == "left records that look idle to the next sweep: too many for one"

    def test_each_sweep_begins_at_another_segment_so_that_every_record_has_its_turn(self) -> None:
        world = crowd(20)
        bounded = StateTableConnections(
            world.connections, world.states, BARE.table_key, max_states=15
        )
        for _ in range(4):
            sweep(world, bounded)
            world.clock.advance(seconds=60)
        assert len(world.states.states) == 20

    def test_a_page_is_read_in_parts_of_a_hundred(self) -> None:
        world = crowd(2 * STATES_AT_ONCE + 1)
        world.connections = type(world.connections)(schema=BARE, has_state=False, page_size=1_000)
        for number in range(2 * STATES_AT_ONCE + 1):
            world.connections.put_item(item_of(Connection(connection_id=f"c{number}="), BARE))
        repository = StateTableConnections(world.connections, world.states, BARE.table_key)
        pages = list(
            repository.scan_candidates(
                cutoff_ms=IDLE_MS, now_ms=world.clock.now_ms(), segment=0, total_segments=1
            )
        )
        assert [len(page.candidates) for page in pages] == [100, 100, 1]
        assert [page.is_last for page in pages] == [False, False, True]
        assert sum(page.scanned_count for page in pages) == 201


class TestClaim:
    def claim(self, world: FakeAws) -> bool:
        now_ms = world.clock.now_ms()
        return world.repository.claim(
            IDLE, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 60_000)
        )

    def test_is_given_back_where_the_record_cannot_be_read_again(self) -> None:
        world = FakeAws(state_table=True)
        world.connections.put(IDLE)
        world.faults.fail("GetItem")
        with pytest.raises(BackendError):
            self.claim(world)
        assert self.claim(world)

    def test_is_given_back_where_the_client_spoke_just_before_the_second_read(self) -> None:
        world = FakeAws(state_table=True)
        world.connections.put(IDLE)

        def speak(operation: str, _key: str) -> None:
            if operation == "GetItem":
                world.connections.put(replace(IDLE, last_activity_ms=world.clock.now_ms()))

        world.faults.before = speak
        assert not self.claim(world)
        assert world.states.states["c1="].claim_expires_ms is None
        assert world.states.states["c1="].handovers == 0

    def test_one_that_was_taken_over_meanwhile_is_not_given_back(self) -> None:
        """Our read took so long that the claim expired, and another sweep took it."""
        world = FakeAws(state_table=True)
        world.connections.put(IDLE)
        later_ms = EpochMs(world.clock.now_ms() + 60_000)

        def claim_meanwhile(operation: str, _key: str) -> None:
            if operation == "GetItem":
                world.faults.before = lambda _operation, _key: None
                seen = replace(IDLE, handovers=1)
                assert world.repository.claim(
                    seen, now_ms=later_ms, claim_expires_ms=EpochMs(later_ms + 60_000)
                )
                world.connections.records.clear()

        world.faults.before = claim_meanwhile
        assert not self.claim(world)
        assert world.states.states["c1="].claim_expires_ms == later_ms + 60_000


def test_a_sweep_closes_and_deletes_by_the_rule() -> None:
    world = FakeAws(state_table=True)
    for connection_id in ("c1=", "c2="):
        world.connections.put(replace(IDLE, connection_id=connection_id))
        world.gateway.open(connection_id)
    world.gateway.active_ms["c2="] = world.clock.now_ms()
    closer = world.make_closer(hand_over=HandOver.DELETE)
    report = world.make_sweep(closer=closer).check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
    )
    assert report.closes.closed == 1
    assert world.gateway.open_ids == set(world.connections.records) == {"c2="}
    assert world.states.states["c2="].gateway_active_ms == world.clock.now_ms()


def test_with_activity_by_api_gateways_account_nothing_is_written_to_the_records() -> None:
    """Each talks but one, and each is asked about once a timeout."""
    world = crowd(3)
    world.activity = Activity.GATEWAY
    records = {place: replace(one) for place, one in world.connections.records.items()}
    asked: Counter[str] = Counter()
    world.faults.before = lambda operation, key: asked.update([f"{operation} {key}"])
    for _ in range(6):
        sweep(world)
        world.clock.advance(seconds=60)
        for connection_id in ("c0=", "c1="):
            world.gateway.active_ms[connection_id] = world.clock.now_ms()
    assert world.gateway.open_ids == {"c0=", "c1="}
    assert len(world.gateway.sent["c2="]) == 1
    assert world.connections.records == records
    assert 2 <= asked["GetConnection c0="] <= 4


class TestStates:
    @pytest.fixture(params=["boto3", "direct"])
    def states(
        self, aws: AwsStub, calls: Calls, clock: FakeClock, request: pytest.FixtureRequest
    ) -> DynamoDbStates:
        client = DirectDynamoDb() if request.param == "direct" else botocore_client("dynamodb")
        return DynamoDbStates(client, calls, "states", clock)

    def test_asks_again_for_what_dynamodb_left_out(
        self, aws: AwsStub, states: DynamoDbStates
    ) -> None:
        items = [{"connectionId": {"S": f"c{n}="}, "handovers": {"N": str(n)}} for n in range(3)]
        left = {"states": {"Keys": [{"connectionId": {"S": "c1="}}]}}
        aws.answer(
            "BatchGetItem",
            {"Responses": {"states": [items[0], items[2]]}, "UnprocessedKeys": left},
            {"Responses": {"states": [items[1]]}, "UnprocessedKeys": {}},
        )
        found = states.get_many([f"c{n}=" for n in range(4)], consistent=False)
        assert {place: state.handovers for place, state in found.items()} == {
            f"c{n}=": n for n in range(3)
        }
        first, second = (one["RequestItems"]["states"] for one in aws.calls("BatchGetItem"))
        assert (len(first["Keys"]), second["Keys"]) == (4, left["states"]["Keys"])

    def test_what_it_leaves_out_for_too_long_is_an_error(
        self, aws: AwsStub, states: DynamoDbStates
    ) -> None:
        def nothing(call: Call) -> dict[str, Any]:
            return {"Responses": {"states": []}, "UnprocessedKeys": call.content["RequestItems"]}

        aws.answer("BatchGetItem", nothing)
        with pytest.raises(BackendError, match="left out 1 of 1 items") as raised:
            states.get_many(["c1="], consistent=True)
        assert raised.value.retryable
        assert len(aws.calls("BatchGetItem")) > 1

    def test_each_write_says_when_it_is_over(
        self, aws: AwsStub, states: DynamoDbStates, clock: FakeClock
    ) -> None:
        now_ms = clock.now_ms()
        expires_ms = EpochMs(now_ms + 60_000)
        states.claim("c1=", IDLE, now_ms=now_ms, claim_expires_ms=expires_ms, token="t")
        states.release("c1=", IDLE, noticed_at_ms=now_ms, handovers=1)
        states.give_back("c1=", IDLE, token="t")
        states.note("c1=", active_ms=now_ms, now_ms=now_ms)
        writes = aws.calls("UpdateItem")
        assert len(writes) == 4
        for write in writes:
            assert "#expires_at = :expires" in write["UpdateExpression"]
            assert write["ExpressionAttributeNames"]["#expires_at"] == DEFAULT_SCHEMA.expires_at
            assert write["ExpressionAttributeValues"][":expires"] == {
                "N": str(now_ms // 1000 + 3 * 3_600)
            }


def test_the_deployed_function_only_reads_the_connections_table(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_TABLE", "states")
    record = item_of(IDLE, DEFAULT_SCHEMA)
    aws.answer("Scan", {"Items": [record], "Count": 1, "ScannedCount": 1})
    aws.answer("GetItem", {"Item": record})
    aws.answer("BatchGetItem", {"Responses": {"states": []}, "UnprocessedKeys": {}})
    counts = timeout_handler.lambda_handler(TICK, Context())
    assert counts["closed"] == 1
    tables = [json.dumps(one) for one in aws.calls("UpdateItem")]
    assert [one for one in tables if '"TableName": "states"' not in one] == []
    assert tables
    assert [one["TableName"] for one in aws.calls("GetItem")] == ["connections"]
    assert set(aws.writes) == {"UpdateItem", "PostToConnection", "DeleteConnection", "Invoke"}
