"""What every ``ConnectionsRepository`` does, on the fake and on each engine."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from hangup.core.connection import Connection, DurationMs, EpochMs, InvalidTime, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_HANDOVERS
from hangup.core.outcomes import NotRecorded
from hangup.core.policy import IdlePolicy
from hangup.sessions.model import JoinOutcome, Role
from tests.support.any_items import ANY_POLICY, assert_finds_what_is_not_to_be_kept, many_items
from tests.support.engines import DYNAMODB_LOCAL, FAKES, REAL, WITH_STATE_TABLE, store_of
from tests.support.schemas import Item, item_of, named
from tests.support.stores import DynamoDbStore, Store, at_once

NOW_MS = EpochMs(1_700_000_000_000)
CLAIM_MS = 60_000
IDLE = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    connected_at_ms=EpochMs(NOW_MS - 900_000),
    last_activity_ms=EpochMs(NOW_MS - 300_000),
)
SILENT = replace(IDLE, last_activity_ms=None)
TIMELESS = Connection(connection_id="c1=")
SEEN_BY_GATEWAY = replace(TIMELESS, gateway_active_ms=EpochMs(NOW_MS - 300_000))
ODD_ACTIVITY = InvalidTime(RecordedTime.LAST_ACTIVITY, "soon")
ODD_CONNECT = InvalidTime(RecordedTime.CONNECTED_AT, "soon")


@pytest.fixture(params=[*FAKES, *REAL, *WITH_STATE_TABLE])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Return a store of each kind, those with a state table too."""
    yield from store_of(request)


def claim(store: Store, connection: Connection, now_ms: int = NOW_MS) -> bool:
    return store.connections.claim(
        connection, now_ms=EpochMs(now_ms), claim_expires_ms=EpochMs(now_ms + CLAIM_MS)
    )


def be_active(store: Store, ms: int, resolution_ms: int = 0) -> Connection | NotRecorded:
    return store.connections.record_activity(
        IDLE.connection_id, now_ms=EpochMs(ms), resolution_ms=DurationMs(resolution_ms)
    )


def note_gateway_activity(store: Store, connection: Connection, active_ms: int) -> bool:
    return store.connections.record_gateway_activity(
        connection, active_ms=EpochMs(active_ms), now_ms=NOW_MS
    )


def handovers_of(store: Store) -> int:
    record = store.connections.get("c1=")
    assert record is not None
    return record.handovers


def put_claimed(store: Store, expiry: dict[str, object], connection: Connection) -> None:
    """Write a record with this as the expiry of a claim."""
    names = store.schema.connections
    store.put_items(item_of(connection, names) | {names.claim_expires_at: expiry})


def candidates(store: Store, now_ms: int = NOW_MS) -> set[str]:
    """Return who is found at ``now_ms`` by a scan for whoever was last seen before ``NOW_MS``."""
    pages = store.connections.scan_candidates(
        cutoff_ms=NOW_MS, now_ms=EpochMs(now_ms), segment=0, total_segments=1
    )
    return {connection.connection_id for page in pages for connection in page.candidates}


class TestGet:
    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS])
    def test_returns_the_record(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert store.connections.get("c1=") == connection

    def test_returns_none_for_an_orphan(self, store: Store) -> None:
        store.put(IDLE)
        assert store.connections.get("c2=") is None

    def test_says_which_times_are_malformed(self, store: Store) -> None:
        store.put(replace(SILENT, malformed=(ODD_ACTIVITY,)))
        record = store.connections.get("c1=")
        assert record is not None
        assert record.malformed == (ODD_ACTIVITY,)

    def test_returns_what_joined(self, store: Store) -> None:
        speaker = replace(IDLE, role=Role.SPEAKER)
        listener = replace(
            IDLE, connection_id="c2=", target_language="pt-BR", session_run=speaker.connection_id
        )
        assert store.sessions.start(speaker) is JoinOutcome.JOINED
        store.sessions.add(listener)
        for connection in (speaker, listener):
            assert store.connections.get(connection.connection_id) == connection


class TestScanAllConnections:
    def test_an_empty_table_has_none(self, store: Store) -> None:
        assert list(store.connections.scan_all_connections()) == []

    def test_yields_every_record_whatever_its_shape(self, store: Store) -> None:
        odd = replace(TIMELESS, connection_id="c2=", malformed=(ODD_CONNECT,))
        store.put(IDLE, odd, replace(TIMELESS, connection_id="c3="))
        found = {c.connection_id for c in store.connections.scan_all_connections()}
        assert found == {"c1=", "c2=", "c3="}

    def test_pages_through_a_table_of_more_than_one_megabyte(self, store: Store) -> None:
        padding = "x" * 5_000
        put = [
            Connection(connection_id=f"c{i}=", target_language=padding, last_activity_ms=NOW_MS)
            for i in range(260)
        ]
        store.put(*put)
        found = sorted(c.connection_id for c in store.connections.scan_all_connections())
        assert found == sorted(c.connection_id for c in put)
        pages = list(
            store.connections.scan_candidates(
                cutoff_ms=EpochMs(NOW_MS + 1), now_ms=NOW_MS, segment=0, total_segments=1
            )
        )
        assert len([page for page in pages if page.candidates]) > 1
        assert sum(len(page.candidates) for page in pages) == len(put)


class TestScanCandidates:
    @pytest.mark.parametrize(
        "connection",
        [
            replace(IDLE, last_activity_ms=EpochMs(NOW_MS - 1)),
            replace(SILENT, connected_at_ms=EpochMs(NOW_MS - 1)),
            TIMELESS,
            # Written in another unit, say: never idle by its account.
            replace(SILENT, connected_at_ms=EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS + 1)),
            replace(SILENT, malformed=(ODD_ACTIVITY,)),
            replace(SILENT, connected_at_ms=NOW_MS, malformed=(ODD_ACTIVITY,)),
            replace(TIMELESS, malformed=(ODD_CONNECT,)),
            replace(TIMELESS, last_activity_ms=EpochMs(NOW_MS - 1), malformed=(ODD_CONNECT,)),
            replace(IDLE, gateway_active_ms=EpochMs(NOW_MS - 1)),
            replace(SILENT, gateway_active_ms=EpochMs(NOW_MS - 1)),
            replace(TIMELESS, gateway_active_ms=EpochMs(NOW_MS - 1)),
            # None of ours: no sweep writes such a time.
            replace(IDLE, gateway_active_ms=EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS + 1)),
            # The activity that decides cannot be read, whatever API Gateway was asked.
            replace(SILENT, gateway_active_ms=NOW_MS, malformed=(ODD_ACTIVITY,)),
            replace(TIMELESS, gateway_active_ms=NOW_MS, malformed=(ODD_CONNECT,)),
        ],
    )
    def test_keeps_what_may_be_idle(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert candidates(store) == {"c1="}

    def test_keeps_who_is_active_on_record_but_seen_by_api_gateway_after_that(
        self, store: Store
    ) -> None:
        if store.has_state_table:
            pytest.skip("its filter sees the record alone, and nobody else writes to its state")
        seen_ms = EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS + 1)
        store.put(replace(IDLE, last_activity_ms=NOW_MS, gateway_active_ms=seen_ms))
        assert candidates(store) == {"c1="}

    @pytest.mark.parametrize(
        "connection",
        [
            replace(IDLE, last_activity_ms=NOW_MS),
            replace(IDLE, last_activity_ms=EpochMs(NOW_MS + 1)),
            replace(SILENT, connected_at_ms=NOW_MS),
            replace(SILENT, connected_at_ms=EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS)),
            replace(IDLE, last_activity_ms=NOW_MS, connected_at_ms=None, malformed=(ODD_CONNECT,)),
            replace(IDLE, gateway_active_ms=NOW_MS),
            replace(SILENT, gateway_active_ms=NOW_MS),
            replace(TIMELESS, gateway_active_ms=NOW_MS),
            replace(IDLE, gateway_active_ms=EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS)),
            replace(IDLE, last_activity_ms=NOW_MS, gateway_active_ms=EpochMs(NOW_MS - 1)),
        ],
    )
    def test_leaves_out_what_is_not_idle_at_exactly_the_cutoff(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert candidates(store) == set()

    @pytest.mark.parametrize("gateway_active_ms", [None, NOW_MS])
    @pytest.mark.parametrize("time", ["connected_at", "last_activity"])
    @pytest.mark.parametrize(
        "value",
        [
            {"N": "1700000000"},  # seconds
            {"N": "1700000000000000"},  # microseconds
            {"N": "1700000000000000000"},  # nanoseconds
            {"N": str(NOW_MS + 3 * MAX_CLOCK_LEAD_MS)},
            {"S": "2023-11-14T22:13:20Z"},
        ],
    )
    def test_keeps_what_is_in_another_unit_whatever_api_gateway_was_asked(
        self, store: Store, time: str, value: dict[str, object], gateway_active_ms: EpochMs | None
    ) -> None:
        names = store.schema.connections
        record = item_of(replace(TIMELESS, gateway_active_ms=gateway_active_ms), names)
        store.put_items(record | {getattr(names, time): value})
        assert candidates(store) == {"c1="}

    def test_brings_along_all_that_a_sweep_needs(self, store: Store) -> None:
        noticed = replace(
            IDLE,
            gateway_active_ms=EpochMs(NOW_MS - 120_000),
            noticed_at_ms=EpochMs(NOW_MS - 60_000),
            handovers=3,
        )
        store.put(noticed)
        (page,) = [
            page
            for page in store.connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=0, total_segments=1
            )
            if page.candidates
        ]
        assert list(page.candidates) == [noticed]

    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_a_claimed_record_is_none_until_exactly_the_claims_end(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert claim(store, connection)
        assert candidates(store) == set()
        assert candidates(store, NOW_MS + CLAIM_MS - 1) == set()
        assert candidates(store, NOW_MS + CLAIM_MS) == {"c1="}

    @pytest.mark.parametrize("connection", [TIMELESS, replace(SILENT, malformed=(ODD_ACTIVITY,))])
    def test_nor_is_one_that_became_odd_while_it_was_claimed(
        self, store: Store, connection: Connection
    ) -> None:
        put_claimed(store, {"N": str(NOW_MS + 1)}, connection)
        assert candidates(store) == set()
        assert candidates(store, NOW_MS + 1) == {"c1="}

    @pytest.mark.parametrize(
        "expiry",
        [
            {"N": str(NOW_MS + MAX_CLOCK_LEAD_MS + 1)},
            {"N": "1E+125"},
            {"N": "-1"},
            {"S": str(NOW_MS + CLAIM_MS)},
            {"BOOL": True},
            {"NULL": True},
            {"L": [{"N": str(NOW_MS + CLAIM_MS)}]},
            {"NS": [str(NOW_MS + CLAIM_MS)]},
        ],
    )
    def test_a_claim_that_is_none_of_ours_keeps_nobody_from_being_found_and_claimed(
        self, store: Store, expiry: dict[str, object]
    ) -> None:
        put_claimed(store, expiry, IDLE)
        assert candidates(store) == {"c1="}
        assert claim(store, IDLE)
        assert candidates(store) == set()

    def test_a_claim_holds_up_to_a_day_ahead(self, store: Store) -> None:
        put_claimed(store, {"N": str(NOW_MS + MAX_CLOCK_LEAD_MS)}, IDLE)
        assert candidates(store) == set()
        assert not claim(store, IDLE)

    @pytest.mark.parametrize("total_segments", [1, 2, 7])
    def test_segments_part_the_table_and_their_counts_add_up_to_it(
        self, store: Store, total_segments: int
    ) -> None:
        fresh = [replace(IDLE, connection_id=f"f{i}=", last_activity_ms=NOW_MS) for i in range(20)]
        idle = [replace(IDLE, connection_id=f"i{i}=") for i in range(20)]
        store.put(*fresh, *idle)
        scanned, found = 0, []
        for segment in range(total_segments):
            last: list[bool] = []
            for page in store.connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=segment, total_segments=total_segments
            ):
                scanned += page.scanned_count
                last.append(page.is_last)
                found += [connection.connection_id for connection in page.candidates]
            assert last == [False] * (len(last) - 1) + [True]
        assert scanned == 40
        assert sorted(found) == sorted(connection.connection_id for connection in idle)

    def test_a_record_stays_in_its_segment_whatever_else_comes(self, store: Store) -> None:
        idle = [replace(IDLE, connection_id=f"i{i}=") for i in range(40)]
        store.put(*idle)
        found = []
        for segment in range(4):
            for page in store.connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=segment, total_segments=4
            ):
                found += [connection.connection_id for connection in page.candidates]
            store.put(replace(IDLE, connection_id=f"a{segment}=", last_activity_ms=NOW_MS))
        assert sorted(found) == sorted(connection.connection_id for connection in idle)

    def test_more_segments_than_records_are_no_error(self, store: Store) -> None:
        store.put(IDLE)
        pages = [
            page
            for segment in range(5)
            for page in store.connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=segment, total_segments=5
            )
        ]
        assert sum(page.scanned_count for page in pages) == 1


class TestSampleRecords:
    def test_an_empty_table_has_none(self, store: Store) -> None:
        assert list(store.connections.sample_records(1).records) == []
        assert list(store.connections.sample_records(500).records) == []

    @pytest.mark.parametrize("size", [1, 2, 500])
    def test_a_table_of_one_has_that_one_once(self, store: Store, size: int) -> None:
        connection = replace(IDLE, gateway_active_ms=NOW_MS, noticed_at_ms=NOW_MS, handovers=2)
        store.put(connection)
        for _ in range(8):  # before its place, or behind it
            assert list(store.connections.sample_records(size).records) == [connection]

    @pytest.mark.parametrize(("size", "found"), [(1, 1), (11, 11), (12, 12), (13, 12), (500, 12)])
    def test_wraps_around_and_has_each_record_once(
        self, store: Store, size: int, found: int
    ) -> None:
        put = {f"{number:x}c=" for number in range(12)}
        store.put(*(replace(IDLE, connection_id=connection_id) for connection_id in put))
        for _ in range(8):
            sample = store.connections.sample_records(size)
            ids = [connection.connection_id for connection in sample.records]
            assert len(ids) == len(set(ids)) == found
            assert set(ids) <= put

    def test_has_records_of_whatever_shape_idle_or_not_claimed_or_not(self, store: Store) -> None:
        others = [
            replace(IDLE, connection_id="c2=", last_activity_ms=NOW_MS),
            replace(TIMELESS, connection_id="c3="),
            replace(SILENT, connection_id="c4=", malformed=(ODD_ACTIVITY,)),
        ]
        store.put(IDLE, *others)
        assert claim(store, IDLE)
        records = store.connections.sample_records(4).records
        assert {record.connection_id for record in records} == {"c1=", "c2=", "c3=", "c4="}

    def test_begins_anywhere(self, tables: DynamoDbStore) -> None:
        ids = {f"{number:02x}c=" for number in range(0, 256, 16)}
        tables.put(*(replace(IDLE, connection_id=connection_id) for connection_id in ids))
        found = {tables.connections.sample_records(1).records[0].connection_id for _ in range(100)}
        # Each place is missed by all of a hundred with a chance of 0.2 %.
        assert len(found) > len(ids) / 2


class TestClaim:
    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_takes_an_unchanged_record_and_counts_a_handover(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert claim(store, connection)
        assert store.connections.get("c1=") == replace(connection, handovers=1)

    def test_counts_from_what_it_has_seen(self, store: Store) -> None:
        seen = replace(IDLE, handovers=4)
        store.put(seen)
        assert claim(store, seen)
        assert handovers_of(store) == 5

    @pytest.mark.parametrize("is_handed_over", [True, False])
    def test_no_claim_or_release_counts_beyond_the_most(
        self, store: Store, is_handed_over: bool
    ) -> None:
        seen = replace(IDLE, handovers=MAX_HANDOVERS)
        store.put(seen)
        assert claim(store, seen)
        assert handovers_of(store) == MAX_HANDOVERS
        store.connections.release(seen, noticed_at_ms=None, is_handed_over=is_handed_over)
        assert handovers_of(store) == MAX_HANDOVERS

    def test_one_that_is_lost_counts_nothing(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert not claim(store, replace(IDLE, handovers=7))
        assert handovers_of(store) == 1

    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_can_be_taken_after_the_notice_of_the_same_silence(
        self, store: Store, connection: Connection
    ) -> None:
        noticed = replace(connection, noticed_at_ms=NOW_MS)
        store.put(noticed)
        assert claim(store, noticed)

    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_is_lost_to_a_client_that_spoke_first(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        be_active(store, NOW_MS)
        assert not claim(store, connection)

    def test_is_not_lost_to_an_activity_before_api_gateways_account(self, store: Store) -> None:
        # What was idle by the later account is idle by the record as well.
        seen = replace(IDLE, gateway_active_ms=EpochMs(NOW_MS - 200_000))
        store.put(seen)
        be_active(store, NOW_MS - 250_000)
        assert claim(store, seen)

    def test_is_lost_to_an_activity_one_millisecond_newer(self, store: Store) -> None:
        store.put(IDLE)
        be_active(store, NOW_MS - 300_000 + 1)
        assert not claim(store, IDLE)

    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS])
    def test_is_lost_where_the_record_is_gone_and_makes_none(
        self, store: Store, connection: Connection
    ) -> None:
        assert not claim(store, connection)
        assert store.connections.get("c1=") is None

    def test_a_record_without_times_cannot_be_claimed(self, store: Store) -> None:
        store.put(TIMELESS)
        assert not claim(store, TIMELESS)

    def test_is_lost_where_an_activity_was_recorded_that_cannot_be_read(self, store: Store) -> None:
        store.put(replace(SILENT, malformed=(ODD_ACTIVITY,)))
        assert not claim(store, SILENT)

    def test_is_lost_while_another_holds_it_and_free_again_at_exactly_its_end(
        self, store: Store
    ) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert not claim(store, IDLE)
        as_claimed = replace(IDLE, handovers=1)
        assert not claim(store, as_claimed, NOW_MS + CLAIM_MS - 1)
        assert claim(store, as_claimed, NOW_MS + CLAIM_MS)

    def test_is_lost_where_it_was_handed_over_since_it_was_read(self, store: Store) -> None:
        """By a message of the queue, say, that was written before."""
        store.put(IDLE)
        assert claim(store, IDLE)
        assert not claim(store, IDLE, NOW_MS + CLAIM_MS)
        assert be_active(store, NOW_MS) == replace(IDLE, handovers=1)
        # Who spoke has not left: the count begins anew.
        record = store.connections.get("c1=")
        assert record is not None
        assert record.handovers == 0

    def test_is_lost_where_the_notice_was_sent_since_it_was_read(self, store: Store) -> None:
        store.put(IDLE)
        store.connections.release(IDLE, noticed_at_ms=NOW_MS, is_handed_over=False)
        assert not claim(store, IDLE)
        assert claim(store, replace(IDLE, noticed_at_ms=NOW_MS))

    def test_a_notice_about_an_earlier_silence_does_not_count(self, store: Store) -> None:
        seen_ms = IDLE.last_seen_ms
        assert seen_ms is not None
        store.put(replace(IDLE, noticed_at_ms=EpochMs(seen_ms - 1)))
        assert claim(store, IDLE)

    def test_who_is_known_to_api_gateway_was_not_handed_over(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert note_gateway_activity(store, IDLE, NOW_MS)
        assert handovers_of(store) == 0

    def test_only_one_of_many_at_once_gets_it(self, store: Store) -> None:
        store.put(IDLE)
        assert sum(at_once([lambda: claim(store, IDLE)] * 8)) == 1

    def test_a_claimed_client_can_still_speak(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert be_active(store, NOW_MS) == replace(IDLE, handovers=1)


class TestDeleteClaimed:
    def delete(self, store: Store, connection: Connection, claimed_at_ms: int = NOW_MS) -> bool:
        return store.connections.delete_claimed(
            connection, claim_expires_ms=EpochMs(claimed_at_ms + CLAIM_MS)
        )

    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_deletes_what_was_claimed_as_it_was_seen(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection, replace(connection, connection_id="c2="))
        assert claim(store, connection)
        assert self.delete(store, connection)
        assert store.connections.get("c1=") is None
        assert store.connections.get("c2=") is not None
        assert not self.delete(store, connection)

    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS])
    def test_keeps_what_was_not_claimed(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert not self.delete(store, connection)
        assert store.connections.get("c1=") == connection

    def test_keeps_what_another_has_claimed(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE, NOW_MS + 1)
        assert not self.delete(store, IDLE)
        assert store.connections.get("c1=") is not None

    @pytest.mark.parametrize("connection", [IDLE, SILENT, SEEN_BY_GATEWAY])
    def test_keeps_a_client_that_spoke_under_the_claim(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert claim(store, connection)
        be_active(store, NOW_MS + 1)
        assert not self.delete(store, connection)
        assert store.connections.get("c1=") is not None


class TestRelease:
    def test_frees_the_claim_at_once(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        store.connections.release(IDLE, noticed_at_ms=None, is_handed_over=False)
        assert store.connections.get("c1=") == IDLE
        assert candidates(store) == {"c1="}
        assert claim(store, IDLE)

    def test_remembers_the_notice_and_keeps_it(self, store: Store) -> None:
        store.put(IDLE)
        store.connections.release(IDLE, noticed_at_ms=NOW_MS, is_handed_over=False)
        store.connections.release(IDLE, noticed_at_ms=None, is_handed_over=False)
        assert store.connections.get("c1=") == replace(IDLE, noticed_at_ms=NOW_MS)

    @pytest.mark.parametrize(("is_handed_over", "handovers"), [(True, 3), (False, 2)])
    @pytest.mark.parametrize("noticed_at_ms", [None, NOW_MS])
    def test_takes_the_count_of_the_claim_back_unless_it_was_handed_over(
        self,
        store: Store,
        noticed_at_ms: EpochMs | None,
        is_handed_over: bool,
        handovers: int,
    ) -> None:
        seen = replace(IDLE, handovers=2)
        store.put(seen)
        assert claim(store, seen)
        store.connections.release(seen, noticed_at_ms=noticed_at_ms, is_handed_over=is_handed_over)
        assert handovers_of(store) == handovers

    @pytest.mark.parametrize("is_handed_over", [True, False])
    @pytest.mark.parametrize("noticed_at_ms", [None, NOW_MS])
    def test_makes_no_record(
        self, store: Store, noticed_at_ms: EpochMs | None, is_handed_over: bool
    ) -> None:
        store.connections.release(IDLE, noticed_at_ms=noticed_at_ms, is_handed_over=is_handed_over)
        assert store.connections.get("c1=") is None


class TestRecordGatewayActivity:
    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS, SEEN_BY_GATEWAY])
    def test_notes_the_time_and_nothing_else(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert note_gateway_activity(store, connection, NOW_MS)
        noted = store.connections.get("c1=")
        assert noted == replace(connection, gateway_active_ms=NOW_MS)
        # Its own writes must not look like recording.
        assert noted.has_recorded_activity is connection.has_recorded_activity

    def test_keeps_the_record_from_being_found(self, store: Store) -> None:
        store.put(IDLE)
        assert note_gateway_activity(store, IDLE, NOW_MS)
        assert candidates(store) == set()

    @pytest.mark.parametrize("back_ms", [0, 1, 100_000])
    def test_never_moves_it_back(self, store: Store, back_ms: int) -> None:
        noted = replace(IDLE, gateway_active_ms=NOW_MS)
        store.put(noted)
        for seen in (noted, IDLE):
            assert not note_gateway_activity(store, seen, NOW_MS - back_ms)
        assert store.connections.get("c1=") == noted

    def test_moves_it_on_by_a_millisecond(self, store: Store) -> None:
        store.put(replace(IDLE, gateway_active_ms=NOW_MS))
        assert note_gateway_activity(store, IDLE, NOW_MS + 1)
        assert store.connections.get("c1=") == replace(IDLE, gateway_active_ms=EpochMs(NOW_MS + 1))

    @pytest.mark.parametrize(
        "noted",
        [
            {"N": str(NOW_MS + MAX_CLOCK_LEAD_MS + 1)},
            {"N": "1E+125"},
            {"N": "1700000000"},  # seconds
            {"S": str(NOW_MS)},
            {"NULL": True},
            {"NS": [str(NOW_MS)]},
        ],
    )
    def test_replaces_what_is_no_time_of_ours(self, store: Store, noted: dict[str, object]) -> None:
        names = store.schema.connections
        store.put_items(item_of(IDLE, names) | {names.gateway_active: noted})
        assert note_gateway_activity(store, IDLE, NOW_MS)
        assert store.connections.get("c1=") == replace(IDLE, gateway_active_ms=NOW_MS)

    @pytest.mark.parametrize("gateway_active_ms", [None, EpochMs(NOW_MS - 100_000)])
    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS])
    @pytest.mark.parametrize("recorded_ms", [NOW_MS - 200_000, NOW_MS])
    def test_is_refused_if_activity_was_recorded_since_it_was_read(
        self,
        store: Store,
        connection: Connection,
        gateway_active_ms: EpochMs | None,
        recorded_ms: int,
    ) -> None:
        seen = replace(connection, gateway_active_ms=gateway_active_ms)
        store.put(seen)
        assert isinstance(be_active(store, recorded_ms), Connection)
        assert not note_gateway_activity(store, seen, NOW_MS)
        record = store.connections.get("c1=")
        assert record is not None
        assert record.gateway_active_ms == gateway_active_ms

    def test_is_refused_if_what_was_recorded_since_cannot_be_read(self, store: Store) -> None:
        store.put(replace(SILENT, malformed=(ODD_ACTIVITY,)))
        assert not note_gateway_activity(store, SILENT, NOW_MS)

    @pytest.mark.parametrize("connection", [IDLE, SILENT, TIMELESS, SEEN_BY_GATEWAY])
    def test_makes_no_record(self, store: Store, connection: Connection) -> None:
        assert not note_gateway_activity(store, connection, NOW_MS)
        assert store.connections.get("c1=") is None

    def test_does_not_keep_the_client_from_being_recorded(self, store: Store) -> None:
        store.put(IDLE)
        assert note_gateway_activity(store, IDLE, NOW_MS + 1)
        assert isinstance(be_active(store, NOW_MS), Connection)
        assert store.connections.get("c1=") == replace(
            IDLE, last_activity_ms=NOW_MS, gateway_active_ms=EpochMs(NOW_MS + 1)
        )


class TestRecordActivity:
    @pytest.mark.parametrize(
        "connection",
        [
            IDLE,
            SILENT,
            TIMELESS,
            replace(SILENT, malformed=(ODD_ACTIVITY,)),
        ],
    )
    def test_moves_the_last_activity_forward_and_nothing_else(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert be_active(store, NOW_MS) == connection
        expected = replace(connection, last_activity_ms=NOW_MS, malformed=())
        assert store.connections.get("c1=") == expected

    def test_returns_the_session_and_the_run_of_a_listener(self, store: Store) -> None:
        listener = replace(IDLE, session_run="speaker=")
        store.put(listener)
        assert be_active(store, NOW_MS) == listener

    @pytest.mark.parametrize("late_ms", [0, 1, 100_000])
    def test_never_moves_it_back(self, store: Store, late_ms: int) -> None:
        store.put(replace(IDLE, last_activity_ms=NOW_MS))
        assert be_active(store, NOW_MS - late_ms) is NotRecorded.ALREADY_RECORDED
        assert store.connections.get("c1=") == replace(IDLE, last_activity_ms=NOW_MS)

    def test_makes_no_record_for_an_orphan(self, store: Store) -> None:
        for resolution_ms in (0, 10_000):
            assert be_active(store, NOW_MS, resolution_ms) is NotRecorded.NO_RECORD
        assert store.connections.get("c1=") is None

    @pytest.mark.parametrize(
        ("age_ms", "recorded"), [(9_999, False), (10_000, True), (10_001, True), (-1, False)]
    )
    def test_with_a_resolution_it_writes_once_the_last_one_is_that_old(
        self, store: Store, age_ms: int, *, recorded: bool
    ) -> None:
        stored_ms = EpochMs(NOW_MS - age_ms)
        stored = replace(IDLE, last_activity_ms=stored_ms)
        store.put(stored)
        outcome = be_active(store, NOW_MS, 10_000)
        assert outcome == (stored if recorded else NotRecorded.ALREADY_RECORDED)
        record = store.connections.get("c1=")
        assert record is not None
        assert record.last_activity_ms == (NOW_MS if recorded else stored_ms)

    def test_with_a_resolution_a_record_without_activity_is_written(self, store: Store) -> None:
        store.put(SILENT)
        assert be_active(store, NOW_MS, 10_000) == SILENT

    def test_of_many_at_once_the_newest_stays(self, store: Store) -> None:
        store.put(IDLE)
        at_once([lambda ms=ms: be_active(store, NOW_MS + ms) for ms in range(8)])  # type: ignore[misc]
        record = store.connections.get("c1=")
        assert record is not None
        assert record.last_activity_ms == NOW_MS + 7


class TestAttributesOfOtherTypes:
    """What only a table can hold."""

    @pytest.mark.parametrize(
        "value",
        [
            {"S": "1700000000000"},
            {"S": ""},
            {"BOOL": True},
            {"NULL": True},
            {"M": {}},
            {"L": [{"N": "1700000000000"}]},
            {"NS": ["1700000000000"]},
            {"B": b"1700000000000"},
            {"N": "1600000000"},  # seconds
            {"N": "-1"},
            {"N": "0"},
        ],
    )
    def test_a_malformed_activity_is_a_candidate_and_heals_when_the_client_speaks(
        self, tables: DynamoDbStore, value: dict[str, object]
    ) -> None:
        names = tables.schema.connections
        activity = named(names.last_activity)
        tables.put_items(item_of(TIMELESS, names) | {activity: value})
        assert candidates(tables) == {"c1="}
        record = tables.connections.get("c1=")
        assert record is not None
        assert [invalid.time for invalid in record.malformed] == [RecordedTime.LAST_ACTIVITY]
        assert isinstance(be_active(tables, NOW_MS), Connection)
        assert tables.item("c1=")[activity] == {"N": str(NOW_MS)}

    @pytest.mark.parametrize("time", ["last_activity", "connected_at"])
    def test_a_fraction_of_a_millisecond_is_rounded_up_and_can_be_claimed(
        self, tables: DynamoDbStore, time: str
    ) -> None:
        names = tables.schema.connections
        half_ms = {"N": f"{NOW_MS - 300_001}.5"}
        tables.put_items(item_of(TIMELESS, names) | {getattr(names, time): half_ms})
        record = tables.connections.get("c1=")
        assert record is not None
        assert record.last_seen_ms == NOW_MS - 300_000
        assert claim(tables, record)
        assert not claim(tables, record)

    def test_an_activity_after_a_fraction_wins_over_the_claim(self, tables: DynamoDbStore) -> None:
        names = tables.schema.connections
        seen = {"N": f"{NOW_MS - 300_001}.5"}
        tables.put_items(item_of(TIMELESS, names) | {named(names.last_activity): seen})
        record = tables.connections.get("c1=")
        assert record is not None
        be_active(tables, NOW_MS - 300_000 + 1)
        assert not claim(tables, record)

    @pytest.mark.parametrize("noticed_at", [{"S": "soon"}, {"N": "1e18"}, {"NULL": True}])
    def test_a_notice_that_is_none_of_ours_keeps_nobody_from_a_claim(
        self, tables: DynamoDbStore, noticed_at: dict[str, object]
    ) -> None:
        tables.put(IDLE)
        noticed = {tables.schema.connections.noticed_at: noticed_at}
        tables.put_items(tables.item("c1=") | noticed)
        assert claim(tables, IDLE)

    @pytest.mark.parametrize("tables", DYNAMODB_LOCAL, indirect=True)
    @pytest.mark.parametrize("connection_id", ["c1=", "c1\ud83d"])
    def test_half_a_character_is_text_like_any_other(
        self, tables: DynamoDbStore, connection_id: str
    ) -> None:
        half = {"S": "\ud83d"}
        names = tables.schema.connections
        there = item_of(Connection(connection_id=connection_id), names)
        seen = {named(names.last_activity): {"N": f"{NOW_MS - 300_000}"}}
        tables.put_items(there | seen | {named(names.session_id): half, "nickname": half})
        assert candidates(tables) == {connection_id}
        record = tables.connections.get(connection_id)
        assert record is not None
        assert record.session_id == half["S"]
        assert claim(tables, record)
        assert not claim(tables, record)

    @pytest.mark.parametrize("is_handed_over", [True, False])
    def test_a_claim_is_an_attribute_that_a_release_removes(
        self, tables: DynamoDbStore, is_handed_over: bool
    ) -> None:
        names = tables.schema.connections
        tables.put(IDLE)
        before = tables.item("c1=")
        claim(tables, IDLE)
        claimed = tables.item("c1=")
        assert claimed.pop(names.claim_token)["S"]
        assert claimed == before | {
            names.claim_expires_at: {"N": str(NOW_MS + CLAIM_MS)},
            names.handovers: {"N": "1"},
        }
        tables.connections.release(IDLE, noticed_at_ms=NOW_MS, is_handed_over=is_handed_over)
        assert tables.item("c1=") == before | {
            names.noticed_at: {"N": str(NOW_MS)},
            names.handovers: {"N": "1" if is_handed_over else "0"},
        }

    def test_a_count_that_is_not_whole_keeps_nobody_from_a_claim(
        self, tables: DynamoDbStore
    ) -> None:
        names = tables.schema.connections
        tables.put_items(item_of(IDLE, names) | {names.handovers: {"N": "1.5"}})
        record = tables.connections.get("c1=")
        assert record == replace(IDLE, handovers=2)
        assert claim(tables, record)
        assert handovers_of(tables) == 3

    @pytest.mark.parametrize("handovers", [{"S": "3"}, {"N": "-1"}, {"NULL": True}])
    def test_a_count_that_is_none_begins_again(
        self, tables: DynamoDbStore, handovers: dict[str, object]
    ) -> None:
        names = tables.schema.connections
        tables.put_items(item_of(IDLE, names) | {names.handovers: handovers})
        record = tables.connections.get("c1=")
        assert record == IDLE
        assert claim(tables, IDLE)
        assert handovers_of(tables) == 1

    def test_attributes_of_others_stay(self, tables: DynamoDbStore) -> None:
        names = tables.schema.connections
        others = {"claimedBy": {"S": "somebody"}, names.expires_at: {"N": "1700010800"}}
        tables.put_items(item_of(TIMELESS, names) | others)
        be_active(tables, NOW_MS)
        assert others.items() <= tables.item("c1=").items()

    def test_a_scan_finds_whatever_is_not_to_be_kept(self, tables: DynamoDbStore) -> None:
        """The same on the fake: ``tests/property/test_policy_properties.py``."""
        names = tables.schema.connections

        # What one example leaves in the table, the next one overwrites or does not look at.
        @settings(max_examples=40, deadline=None, derandomize=True, database=None)
        @given(many_items(names, is_indexed=True), ANY_POLICY)
        def check(items: list[Item], policy: IdlePolicy) -> None:
            tables.put_items(*items)
            assert_finds_what_is_not_to_be_kept(tables.connections, items, policy, names)

        check()
