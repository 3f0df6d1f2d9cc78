"""What every ``ConnectionsRepository`` does, on the fake and on each engine."""

from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS
from hangup.core.outcomes import ActivityOutcome
from hangup.sessions.model import JoinOutcome, Role
from tests.support.engines import DYNAMODB_LOCAL
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


def claim(store: Store, connection: Connection, now_ms: int = NOW_MS) -> bool:
    return store.connections.claim(
        connection, now_ms=EpochMs(now_ms), claim_expires_ms=EpochMs(now_ms + CLAIM_MS)
    )


def be_active(store: Store, ms: int, resolution_ms: int = 0) -> ActivityOutcome:
    return store.connections.record_activity(
        IDLE.connection_id, now_ms=EpochMs(ms), resolution_ms=DurationMs(resolution_ms)
    )


def candidates(store: Store, cutoff_ms: int = NOW_MS) -> set[str]:
    pages = store.connections.scan_candidates(
        cutoff_ms=EpochMs(cutoff_ms), segment=0, total_segments=1
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
        store.put(replace(SILENT, malformed=(RecordedTime.LAST_ACTIVITY,)))
        record = store.connections.get("c1=")
        assert record is not None
        assert record.malformed == (RecordedTime.LAST_ACTIVITY,)

    def test_returns_what_joined(self, store: Store) -> None:
        speaker = replace(IDLE, role=Role.SPEAKER)
        listener = replace(IDLE, connection_id="c2=", target_language="pt-BR")
        for connection in (speaker, listener):
            assert store.sessions.join(connection) is JoinOutcome.JOINED
            assert store.connections.get(connection.connection_id) == connection


class TestScanAllConnections:
    def test_an_empty_table_has_none(self, store: Store) -> None:
        assert list(store.connections.scan_all_connections()) == []

    def test_yields_every_record_whatever_its_shape(self, store: Store) -> None:
        odd = replace(TIMELESS, connection_id="c2=", malformed=(RecordedTime.CONNECTED_AT,))
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
                cutoff_ms=EpochMs(NOW_MS + 1), segment=0, total_segments=1
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
            replace(SILENT, malformed=(RecordedTime.LAST_ACTIVITY,)),
            replace(SILENT, connected_at_ms=NOW_MS, malformed=(RecordedTime.LAST_ACTIVITY,)),
            replace(TIMELESS, malformed=(RecordedTime.CONNECTED_AT,)),
            replace(
                TIMELESS,
                last_activity_ms=EpochMs(NOW_MS - 1),
                malformed=(RecordedTime.CONNECTED_AT,),
            ),
        ],
    )
    def test_keeps_what_may_be_idle(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert candidates(store) == {"c1="}

    @pytest.mark.parametrize(
        "connection",
        [
            replace(IDLE, last_activity_ms=NOW_MS),
            replace(IDLE, last_activity_ms=EpochMs(NOW_MS + 1)),
            replace(SILENT, connected_at_ms=NOW_MS),
            replace(SILENT, connected_at_ms=EpochMs(NOW_MS + MAX_CLOCK_LEAD_MS)),
            replace(
                IDLE,
                last_activity_ms=NOW_MS,
                connected_at_ms=None,
                malformed=(RecordedTime.CONNECTED_AT,),
            ),
        ],
    )
    def test_leaves_out_what_is_not_idle_at_exactly_the_cutoff(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert candidates(store) == set()

    def test_brings_along_all_that_a_sweep_needs(self, store: Store) -> None:
        noticed = replace(IDLE, noticed_at_ms=EpochMs(NOW_MS - 60_000))
        store.put(noticed)
        (page,) = [
            page
            for page in store.connections.scan_candidates(
                cutoff_ms=NOW_MS, segment=0, total_segments=1
            )
            if page.candidates
        ]
        assert list(page.candidates) == [noticed]

    def test_a_claimed_record_is_still_a_candidate(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert candidates(store) == {"c1="}

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
                cutoff_ms=NOW_MS, segment=segment, total_segments=total_segments
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
                cutoff_ms=NOW_MS, segment=segment, total_segments=4
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
                cutoff_ms=NOW_MS, segment=segment, total_segments=5
            )
        ]
        assert sum(page.scanned_count for page in pages) == 1


class TestClaim:
    @pytest.mark.parametrize("connection", [IDLE, SILENT])
    def test_takes_an_unchanged_record(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert claim(store, connection)
        assert store.connections.get("c1=") == connection

    @pytest.mark.parametrize("connection", [IDLE, SILENT])
    def test_is_lost_to_a_client_that_spoke_first(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        be_active(store, NOW_MS)
        assert not claim(store, connection)

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
        store.put(replace(SILENT, malformed=(RecordedTime.LAST_ACTIVITY,)))
        assert not claim(store, SILENT)

    def test_is_lost_while_another_holds_it_and_free_again_at_exactly_its_end(
        self, store: Store
    ) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert not claim(store, IDLE)
        assert not claim(store, IDLE, NOW_MS + CLAIM_MS - 1)
        assert claim(store, IDLE, NOW_MS + CLAIM_MS)

    def test_is_lost_where_the_notice_was_sent_since_it_was_read(self, store: Store) -> None:
        store.put(IDLE)
        store.connections.release(IDLE, noticed_at_ms=NOW_MS)
        assert not claim(store, IDLE)
        assert claim(store, replace(IDLE, noticed_at_ms=NOW_MS))

    def test_a_notice_about_an_earlier_silence_does_not_count(self, store: Store) -> None:
        seen_ms = IDLE.last_seen_ms
        assert seen_ms is not None
        store.put(replace(IDLE, noticed_at_ms=EpochMs(seen_ms - 1)))
        assert claim(store, IDLE)

    def test_only_one_of_many_at_once_gets_it(self, store: Store) -> None:
        store.put(IDLE)
        assert sum(at_once([lambda: claim(store, IDLE)] * 8)) == 1

    def test_a_claimed_client_can_still_speak(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        assert be_active(store, NOW_MS) is ActivityOutcome.RECORDED


class TestRelease:
    def test_frees_the_claim_at_once(self, store: Store) -> None:
        store.put(IDLE)
        assert claim(store, IDLE)
        store.connections.release(IDLE, noticed_at_ms=None)
        assert store.connections.get("c1=") == IDLE
        assert claim(store, IDLE)

    def test_remembers_the_notice_and_keeps_it(self, store: Store) -> None:
        store.put(IDLE)
        store.connections.release(IDLE, noticed_at_ms=NOW_MS)
        store.connections.release(IDLE, noticed_at_ms=None)
        assert store.connections.get("c1=") == replace(IDLE, noticed_at_ms=NOW_MS)

    @pytest.mark.parametrize("noticed_at_ms", [None, NOW_MS])
    def test_makes_no_record(self, store: Store, noticed_at_ms: EpochMs | None) -> None:
        store.connections.release(IDLE, noticed_at_ms=noticed_at_ms)
        assert store.connections.get("c1=") is None


class TestAdopt:
    def test_starts_the_clock_of_a_record_without_times_once(self, store: Store) -> None:
        store.put(TIMELESS)
        assert store.connections.start_clock("c1=", now_ms=NOW_MS)
        assert not store.connections.start_clock("c1=", now_ms=EpochMs(NOW_MS + 1))
        assert store.connections.get("c1=") == replace(TIMELESS, last_activity_ms=NOW_MS)

    @pytest.mark.parametrize(
        "connection",
        [
            IDLE,
            SILENT,
            replace(TIMELESS, malformed=(RecordedTime.CONNECTED_AT,)),
            replace(TIMELESS, malformed=(RecordedTime.LAST_ACTIVITY,)),
        ],
    )
    def test_leaves_a_record_with_times_alone(self, store: Store, connection: Connection) -> None:
        store.put(connection)
        assert not store.connections.start_clock("c1=", now_ms=NOW_MS)
        assert store.connections.get("c1=") == connection

    def test_makes_no_record(self, store: Store) -> None:
        assert not store.connections.start_clock("c1=", now_ms=NOW_MS)
        assert store.connections.get("c1=") is None


class TestRecordActivity:
    @pytest.mark.parametrize(
        "connection",
        [
            IDLE,
            SILENT,
            TIMELESS,
            replace(SILENT, malformed=(RecordedTime.LAST_ACTIVITY,)),
        ],
    )
    def test_moves_the_last_activity_forward_and_nothing_else(
        self, store: Store, connection: Connection
    ) -> None:
        store.put(connection)
        assert be_active(store, NOW_MS) is ActivityOutcome.RECORDED
        expected = replace(connection, last_activity_ms=NOW_MS, malformed=())
        assert store.connections.get("c1=") == expected

    @pytest.mark.parametrize("late_ms", [0, 1, 100_000])
    def test_never_moves_it_back(self, store: Store, late_ms: int) -> None:
        store.put(replace(IDLE, last_activity_ms=NOW_MS))
        assert be_active(store, NOW_MS - late_ms) is ActivityOutcome.ALREADY_RECORDED
        assert store.connections.get("c1=") == replace(IDLE, last_activity_ms=NOW_MS)

    def test_makes_no_record_for_an_orphan(self, store: Store) -> None:
        for resolution_ms in (0, 10_000):
            assert be_active(store, NOW_MS, resolution_ms) is ActivityOutcome.NO_RECORD
        assert store.connections.get("c1=") is None

    @pytest.mark.parametrize(
        ("age_ms", "outcome"),
        [
            (9_999, ActivityOutcome.ALREADY_RECORDED),
            (10_000, ActivityOutcome.RECORDED),
            (10_001, ActivityOutcome.RECORDED),
            (-1, ActivityOutcome.ALREADY_RECORDED),
        ],
    )
    def test_with_a_resolution_it_writes_once_the_last_one_is_that_old(
        self, store: Store, age_ms: int, outcome: ActivityOutcome
    ) -> None:
        stored_ms = EpochMs(NOW_MS - age_ms)
        store.put(replace(IDLE, last_activity_ms=stored_ms))
        assert be_active(store, NOW_MS, 10_000) is outcome
        record = store.connections.get("c1=")
        assert record is not None
        recorded = outcome is ActivityOutcome.RECORDED
        assert record.last_activity_ms == (NOW_MS if recorded else stored_ms)

    def test_with_a_resolution_a_record_without_activity_is_written(self, store: Store) -> None:
        store.put(SILENT)
        assert be_active(store, NOW_MS, 10_000) is ActivityOutcome.RECORDED

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
        tables.put_items({names.connection_id: {"S": "c1="}, names.last_activity: value})
        assert candidates(tables) == {"c1="}
        record = tables.connections.get("c1=")
        assert record is not None
        assert record.malformed == (RecordedTime.LAST_ACTIVITY,)
        assert not tables.connections.start_clock("c1=", now_ms=NOW_MS)
        assert be_active(tables, NOW_MS) is ActivityOutcome.RECORDED
        assert tables.item("c1=")[names.last_activity] == {"N": str(NOW_MS)}

    @pytest.mark.parametrize("time", ["last_activity", "connected_at"])
    def test_a_fraction_of_a_millisecond_is_rounded_up_and_can_be_claimed(
        self, tables: DynamoDbStore, time: str
    ) -> None:
        names = tables.schema.connections
        tables.put_items(
            {
                names.connection_id: {"S": "c1="},
                getattr(names, time): {"N": f"{NOW_MS - 300_001}.5"},
            }
        )
        record = tables.connections.get("c1=")
        assert record is not None
        assert record.last_seen_ms == NOW_MS - 300_000
        assert claim(tables, record)
        assert not claim(tables, record)

    def test_an_activity_after_a_fraction_wins_over_the_claim(self, tables: DynamoDbStore) -> None:
        names = tables.schema.connections
        seen = {"N": f"{NOW_MS - 300_001}.5"}
        tables.put_items({names.connection_id: {"S": "c1="}, names.last_activity: seen})
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
        seen = {names.last_activity: {"N": f"{NOW_MS - 300_000}"}, names.session_id: half}
        tables.put_items({names.connection_id: {"S": connection_id}, "nickname": half, **seen})
        assert candidates(tables) == {connection_id}
        record = tables.connections.get(connection_id)
        assert record is not None
        assert record.session_id == half["S"]
        assert claim(tables, record)
        assert not claim(tables, record)

    def test_a_claim_is_an_attribute_that_a_release_removes(self, tables: DynamoDbStore) -> None:
        names = tables.schema.connections
        tables.put(IDLE)
        before = tables.item("c1=")
        claim(tables, IDLE)
        claimed = tables.item("c1=")
        assert claimed.pop(names.claim_token)["S"]
        assert claimed == before | {names.claim_expires_at: {"N": str(NOW_MS + CLAIM_MS)}}
        tables.connections.release(IDLE, noticed_at_ms=NOW_MS)
        assert tables.item("c1=") == before | {names.noticed_at: {"N": str(NOW_MS)}}

    def test_attributes_of_others_stay(self, tables: DynamoDbStore) -> None:
        names = tables.schema.connections
        others = {"claimedBy": {"S": "somebody"}, names.expires_at: {"N": "1700010800"}}
        tables.put_items({names.connection_id: {"S": "c1="}, **others})
        be_active(tables, NOW_MS)
        assert others.items() <= tables.item("c1=").items()
