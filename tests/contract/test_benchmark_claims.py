"""A claim in a batch, as the benchmarks measure it, is taken where a sweep's own claim is."""

from dataclasses import replace

import pytest

from benchmarks.claims import BATCH, BatchedClaims
from hangup.core.connection import Connection, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.sessions.model import Role
from tests.support.engines import DYNAMODB_LOCAL, transport_to
from tests.support.stores import DynamoDbStore

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("tables", DYNAMODB_LOCAL[:1], indirect=True),
]

NOW_MS = EpochMs(1_700_000_000_000)
CLAIM_MS = 60_000
SEEN_MS = EpochMs(NOW_MS - 300_000)


def seen(connection_id: str) -> Connection:
    return Connection(connection_id=connection_id, role=Role.LISTENER, last_activity_ms=SEEN_MS)


RECORDS: dict[str, dict[str, int]] = {
    "idle": {},
    "spoke-since": {"lastActivityTime": SEEN_MS + 1},
    "claimed": {"claimExpiresAt": NOW_MS + 1},
    "was-claimed": {"claimExpiresAt": NOW_MS},
    "noticed-by-another": {"noticedAt": SEEN_MS},
    "noticed-before": {"noticedAt": SEEN_MS - 1},
    "notice-to-come": {"noticedAt": NOW_MS + MAX_CLOCK_LEAD_MS + 1},
}


def fill(tables: DynamoDbStore) -> list[Connection]:
    tables.put_items(
        *(
            {
                "connectionId": {"S": connection_id},
                "lastActivityTime": {"N": str(SEEN_MS)},
                **{name: {"N": str(value)} for name, value in attributes.items()},
            }
            for connection_id, attributes in RECORDS.items()
        )
    )
    return [*map(seen, RECORDS), seen("left")]


def in_a_batch(tables: DynamoDbStore, connections: list[Connection]) -> set[str]:
    transport = transport_to(tables.client.meta.endpoint_url, service="dynamodb")
    claimed = BatchedClaims(lambda: transport).claim(
        tables.connections_table,
        connections,
        now_ms=NOW_MS,
        until_ms=EpochMs(NOW_MS + CLAIM_MS),
    )
    return {connection.connection_id for connection in claimed}


def test_a_batch_claims_what_single_claims_do(tables: DynamoDbStore) -> None:
    connections = fill(tables)
    in_batch = in_a_batch(tables, connections)
    fill(tables)
    one_by_one = {
        connection.connection_id
        for connection in connections
        if tables.connections.claim(
            connection, now_ms=NOW_MS, claim_expires_ms=EpochMs(NOW_MS + CLAIM_MS)
        )
    }
    assert in_batch == one_by_one == {"idle", "was-claimed", "noticed-before", "notice-to-come"}


def test_a_full_batch_is_one_request_and_holds_once(tables: DynamoDbStore) -> None:
    connections = [replace(seen("idle"), connection_id=f"c{number}=") for number in range(BATCH)]
    tables.put(*connections)
    assert len(in_a_batch(tables, connections)) == BATCH
    assert in_a_batch(tables, connections) == set()
