"""The deployed timeout function on tables that were not made for Hangup, with real clients."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pytest

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.core.connection import Connection, EpochMs
from hangup.core.guard import Activity
from tests.support.local_stack import Stack, be_idle, started_stack
from tests.support.schemas import SHAPES, Item, item_of, key_of, table_of

pytestmark = pytest.mark.integration

_LONG_AGO_MS: Final = 600_000
_OTHERS: Final[dict[str, list[Item]]] = {
    "C, constant partition": [
        {"pk": {"S": "STATS"}, "sk": {"S": "all"}, "connections": {"N": "2"}}
    ],
    "D, prefixes": [
        {"pk": {"S": "ROOM#1"}, "sk": {"S": "META"}, "joined": {"N": "1600000000"}},
        {"pk": {"S": "CONN#x="}, "sk": {"S": "ROOM#1"}, "joined": {"N": "1600000000"}},
    ],
    "F, attribute": [{"userId": {"S": "offline"}, "lastSeen": {"S": "2020-01-01T00:00:00Z"}}],
    "H, shared": [
        {
            "connectionId": {"S": "x="},
            "stage": {"S": "dev"},
            "version": {"N": "3"},
            "connectedAt": {"N": "1600000000000"},
        }
    ],
}
"""What else is in each table, and must stay."""


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A stack whose timeout function these tests point at other tables."""
    with started_stack(precise=False) as started:
        yield started


def take_over(
    stack: Stack,
    table: str,
    schema: TableSchema,
    *,
    actions: Mapping[str, Sequence[str]] | None = None,
    **variables: str,
) -> None:
    """Point the timeout function at a new table, and let its role use that.

    ``actions`` is what it may do with which table, by default all that it does with one. Further
    ``variables`` are for its environment.
    """
    stack.engine.client("dynamodb").create_table(TableName=table, **table_of(schema))
    functions = stack.engine.client("lambda")
    name = stack.deployed.outputs["TimeoutFunction"]
    settings = functions.get_function_configuration(FunctionName=name)
    every = {table: ["Scan", "UpdateItem", "DeleteItem"]}
    statements = [
        {
            "Effect": "Allow",
            "Action": [f"dynamodb:{action}" for action in allowed],
            "Resource": arn_of(stack, on),
        }
        for on, allowed in (actions or every).items()
    ]
    stack.engine.client("iam").put_role_policy(
        RoleName=settings["Role"].rpartition("/")[2],
        PolicyName=table,
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )
    settled = {
        "CONNECTIONS_TABLE": table,
        "TABLE_SCHEMA": schema.as_json(),
        "HAND_OVER": "delete" if schema.table_key.has_id else "never",
        "LAST_ACTIVE_COUNTS": "unsettled",
        "ACTIVITY": "recorded",
        "STATE_TABLE": "",
    }
    environment = settings["Environment"]["Variables"] | settled | variables
    functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": environment}
    )


def arn_of(stack: Stack, table: str) -> str:
    described = stack.engine.client("dynamodb").describe_table(TableName=table)
    return str(described["Table"]["TableArn"])


def items_in(stack: Stack, table: str) -> list[Any]:
    page = stack.engine.client("dynamodb").scan(TableName=table, ConsistentRead=True)
    assert "LastEvaluatedKey" not in page
    return list(page["Items"])


@pytest.mark.parametrize(
    ("shape", "activity"),
    [
        ("C, constant partition", Activity.RECORDED),
        ("D, prefixes", Activity.GATEWAY),
        ("E, room and connection", Activity.GATEWAY),
        ("F, attribute", Activity.RECORDED),
        ("H, shared", Activity.GATEWAY),
    ],
)
def test_a_silent_client_is_closed_its_records_go_unless_they_are_more_and_all_else_stays(
    own_stack: Stack, shape: str, activity: Activity
) -> None:
    schema, others = SHAPES[shape], _OTHERS.get(shape, [])
    table = f"other-{list(SHAPES).index(shape)}"
    take_over(own_stack, table, schema, ACTIVITY=activity)
    dynamodb = own_stack.engine.client("dynamodb")
    long_ago_ms = EpochMs(time.time_ns() // 1_000_000 - _LONG_AGO_MS)
    # A room for each number, where the key has one.
    numbers = (1, 2) if shape.startswith("E") else (1,)

    async def play() -> None:
        async with own_stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            for connection_id in own_stack.sessions.listener_ids(speaker.session_id):
                record = Connection(
                    connection_id=connection_id,
                    connected_at_ms=long_ago_ms if schema.connected_at else None,
                    last_activity_ms=long_ago_ms if schema.last_activity else None,
                )
                for number in numbers:
                    key = key_of(connection_id, schema, number=number)
                    dynamodb.put_item(TableName=table, Item=item_of(record, schema) | key)
            for item in others:
                dynamodb.put_item(TableName=table, Item=item)
            await be_idle()
            counts = await asyncio.to_thread(own_stack.sweep)
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) == 1
            assert (counts["closed"], counts["gone"], counts["unreadable"]) == (1, 0, 0)
            # Nobody recorded it: that is an alarm, or the normal case.
            left_open = "kept" if activity is Activity.GATEWAY else "activityUnrecorded"
            left_open_counts = {one: counts[one] for one in ("kept", "activityUnrecorded")}
            assert left_open_counts == {
                **dict.fromkeys(left_open_counts, 0),
                left_open: len(numbers),
            }
            assert bool(counts["ignored"]) is bool(others)
            assert await talking.is_answered()
            assert talking.messages("connectionTimeout") == []
            left = items_in(own_stack, table)
            ours = [item for item in left if schema.matches(item)]
            # A user stays when a connection of theirs is closed.
            people = 1 if schema.table_key.has_id else 2
            assert len(ours) == people * len(numbers)
            # It talks by API Gateway's account alone, and that is noted.
            assert sum(schema.gateway_active in item for item in ours) == len(numbers)
            strangers = [item for item in left if item not in ours]
            assert sorted(map(repr, strangers)) == sorted(map(repr, others))

    asyncio.run(play())


def test_a_table_with_a_stream_is_only_read_where_state_has_a_table_of_its_own(
    own_stack: Stack,
) -> None:
    schema, table, states = SHAPES["G, TTL"], "other-stream", "other-stream-states"
    stack = own_stack

    async def play() -> None:
        dynamodb = stack.engine.client("dynamodb")
        dynamodb.create_table(TableName=states, **table_of(DEFAULT_SCHEMA))
        take_over(
            stack,
            table,
            schema,
            actions={table: ["Scan", "GetItem"], states: ["BatchGetItem", "UpdateItem"]},
            STATE_TABLE=states,
            HAND_OVER="always",
        )
        view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        dynamodb.update_table(TableName=table, StreamSpecification=view)
        long_ago_ms = EpochMs(time.time_ns() // 1_000_000 - _LONG_AGO_MS)
        async with stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            for connection_id in stack.sessions.listener_ids(speaker.session_id):
                record = Connection(connection_id=connection_id, last_activity_ms=long_ago_ms)
                dynamodb.put_item(TableName=table, Item=item_of(record, schema))
            before = sorted(map(repr, items_in(stack, table)))
            await be_idle()
            counts = await asyncio.to_thread(stack.sweep)
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) == 1
            assert (counts["closed"], counts["activityUnrecorded"]) == (1, 1)
            assert await talking.is_answered()
            # Claimed, and seen to be active: neither is a candidate, though the table is as it was.
            again = await asyncio.to_thread(stack.sweep)
            assert (again["checked"], again["idle"], again["activityUnrecorded"]) == (2, 0, 0)
            assert sorted(map(repr, items_in(stack, table))) == before
            assert changes_in(stack, table) == ["INSERT", "INSERT"]
            noted = items_in(stack, states)
            assert sum("claimExpiresAt" in item for item in noted) == 1
            assert sum("gatewayActiveAt" in item for item in noted) == 1
            now_s = time.time()
            assert all(now_s < int(item["expiresAt"]["N"]) < now_s + 4 * 3_600 for item in noted)

    asyncio.run(play())


def changes_in(stack: Stack, table: str) -> list[str]:
    """Return what the stream of a table has of it."""
    streams = stack.engine.client("dynamodbstreams")
    arn = stack.engine.client("dynamodb").describe_table(TableName=table)["Table"]
    stream = streams.describe_stream(StreamArn=arn["LatestStreamArn"])["StreamDescription"]
    events = []
    for shard in stream["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn["LatestStreamArn"],
            ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records = streams.get_records(ShardIterator=iterator)["Records"]
        events += [record["eventName"] for record in records]
    return events
