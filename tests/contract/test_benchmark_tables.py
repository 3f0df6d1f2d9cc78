"""DynamoDB Local has in its tables what the benchmarks write into its file."""

from collections.abc import Iterator

import pytest

from benchmarks.records import Idle, connection_id, record_of_table
from benchmarks.tables import PAGE_RECORDS, Engine, Tables, folder_for_tables, table_name
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.core.connection import EpochMs
from hangup.local.ministack.aws_client import aws_client
from tests.support.dynamodb_local import Unavailable

pytestmark = pytest.mark.integration

RECORDS = PAGE_RECORDS + 1


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with folder_for_tables() as folder:
        try:
            tables = Tables.make(folder / "tables", [10, RECORDS])
        except Unavailable as error:
            pytest.skip(str(error))
        with tables.served() as engine:
            yield engine


def test_every_record_is_found_by_its_key(engine: Engine) -> None:
    dynamodb = aws_client("dynamodb", engine.endpoint)
    for number in (0, 1, 9, 10, RECORDS - 1):
        expected = record_of_table(number, records=RECORDS, made_at_ms=engine.made_at_ms)
        found = dynamodb.get_item(
            TableName=table_name(RECORDS), Key={"connectionId": {"S": connection_id(number)}}
        )
        assert found["Item"] == expected


def test_every_record_is_found_by_its_session(engine: Engine) -> None:
    found = aws_client("dynamodb", engine.endpoint).query(
        TableName=table_name(RECORDS),
        IndexName="sessionId-role-index",
        KeyConditionExpression="sessionId = :session",
        ExpressionAttributeValues={":session": {"S": "session-000001"}},
    )
    assert found["Count"] == 30


def test_the_whole_table_is_read(engine: Engine) -> None:
    assert engine.read_s(10) > 0
    assert engine.read_s(RECORDS) > 0


@pytest.mark.parametrize("idle", Idle)
@pytest.mark.parametrize("segments", [1, 3])
def test_the_sweeps_own_scan_finds_who_is_idle(engine: Engine, idle: Idle, segments: int) -> None:
    clock = SystemClock()
    connections = DynamoDbConnections(
        aws_client("dynamodb", engine.endpoint), Calls(clock, Deadline(clock)), table_name(RECORDS)
    )
    now_ms = clock.now_ms()
    cutoff_ms = EpochMs(now_ms - engine.timeout_s(idle) * 1_000)
    pages = [
        page
        for segment in range(segments)
        for page in connections.scan_candidates(
            cutoff_ms=cutoff_ms, now_ms=now_ms, segment=segment, total_segments=segments
        )
    ]
    assert sum(page.scanned_count for page in pages) == RECORDS
    found = {connection.connection_id for page in pages for connection in page.candidates}
    assert found == {connection_id(number) for number in range(idle.count(RECORDS))}
