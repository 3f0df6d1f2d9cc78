"""The rules of ``core.policy``, each on both sides of its bound."""

from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs, InvalidTime, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MAX_CONNECTION_ID_LENGTH
from hangup.core.policy import (
    Close,
    IdlePolicy,
    Ignore,
    Keep,
    Sorted,
    Unreadable,
    WithoutTime,
    decide,
    looks_like,
    sort_candidates,
)

SEEN_MS = EpochMs(1_700_000_000_000)
POLICY = IdlePolicy(idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(0))
COALESCED = IdlePolicy(
    idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(30_000)
)
ODD_ACTIVITY = InvalidTime(RecordedTime.LAST_ACTIVITY, "1700000000")
ODD_CONNECT = InvalidTime(RecordedTime.CONNECTED_AT, "yesterday")


def active(
    last_activity_ms: int | None = SEEN_MS,
    *,
    connected_at_ms: int | None = None,
    gateway_active_ms: int | None = None,
    connection_id: str = "c1",
) -> Connection:
    return Connection(
        connection_id=connection_id,
        connected_at_ms=None if connected_at_ms is None else EpochMs(connected_at_ms),
        last_activity_ms=None if last_activity_ms is None else EpochMs(last_activity_ms),
        gateway_active_ms=None if gateway_active_ms is None else EpochMs(gateway_active_ms),
    )


def after(ms: int) -> EpochMs:
    return EpochMs(SEEN_MS + ms)


def test_keeps_a_connection_at_exactly_its_deadline() -> None:
    assert decide(active(), POLICY, after(120_000)) == Keep(after(120_000))


def test_closes_a_connection_one_millisecond_past_its_deadline() -> None:
    assert decide(active(), POLICY, after(120_001)) == Close(DurationMs(120_001))


def test_keeps_a_connection_one_millisecond_before_its_deadline() -> None:
    assert decide(active(), POLICY, after(119_999)) == Keep(after(120_000))


def test_allows_for_one_resolution_where_writes_are_coalesced() -> None:
    assert decide(active(), COALESCED, after(150_000)) == Keep(after(150_000))
    assert decide(active(), COALESCED, after(150_001)) == Close(DurationMs(150_001))


def test_goes_by_the_activity_and_not_by_the_connect() -> None:
    connected_long_ago = active(connected_at_ms=SEEN_MS - 3_600_000)
    assert decide(connected_long_ago, POLICY, after(1)) == Keep(after(120_000))


def test_goes_by_the_activity_even_where_it_is_before_the_connect() -> None:
    reconnected = active(connected_at_ms=SEEN_MS + 60_000)
    assert decide(reconnected, POLICY, after(120_001)) == Close(DurationMs(120_001))


@pytest.mark.parametrize(
    ("now_ms", "decision"),
    [
        (after(120_000), Keep(after(120_000))),
        (after(120_001), Close(DurationMs(120_001))),
    ],
)
def test_the_connect_stands_in_for_an_activity_that_never_was(
    now_ms: EpochMs, decision: Keep | Close
) -> None:
    assert decide(active(None, connected_at_ms=SEEN_MS), POLICY, now_ms) == decision


def test_asks_about_a_record_without_times() -> None:
    assert decide(active(None), POLICY, SEEN_MS) == WithoutTime()


@pytest.mark.parametrize(
    "record",
    [
        active(SEEN_MS - 500_000, gateway_active_ms=SEEN_MS),
        active(None, connected_at_ms=SEEN_MS - 500_000, gateway_active_ms=SEEN_MS),
        active(None, gateway_active_ms=SEEN_MS),
        active(SEEN_MS, gateway_active_ms=SEEN_MS - 1),
    ],
)
def test_goes_by_the_later_of_the_record_and_api_gateways_account(record: Connection) -> None:
    assert decide(record, POLICY, after(120_000)) == Keep(after(120_000))
    assert decide(record, POLICY, after(120_001)) == Close(DurationMs(120_001))


def test_leaves_a_record_alone_whose_only_time_is_malformed() -> None:
    record = Connection(connection_id="c1", malformed=(ODD_CONNECT,))
    assert decide(record, POLICY, after(10**9)) == Unreadable(ODD_CONNECT)


def test_does_not_replace_a_malformed_activity_by_the_connect() -> None:
    record = Connection(connection_id="c1", connected_at_ms=SEEN_MS, malformed=(ODD_ACTIVITY,))
    assert decide(record, POLICY, after(10**9)) == Unreadable(ODD_ACTIVITY)


@pytest.mark.parametrize("malformed", [(ODD_ACTIVITY,), (ODD_CONNECT,)])
def test_does_not_replace_a_malformed_time_by_api_gateways_account(
    malformed: tuple[InvalidTime, ...],
) -> None:
    record = Connection(connection_id="c1", gateway_active_ms=SEEN_MS, malformed=malformed)
    assert decide(record, POLICY, SEEN_MS) == Unreadable(malformed[0])


def test_of_two_malformed_times_the_activity_decides() -> None:
    record = Connection(connection_id="c1", malformed=(ODD_CONNECT, ODD_ACTIVITY))
    assert decide(record, POLICY, SEEN_MS) == Unreadable(ODD_ACTIVITY)


def test_a_malformed_connect_does_not_matter_beside_an_activity() -> None:
    record = Connection(connection_id="c1", last_activity_ms=SEEN_MS, malformed=(ODD_CONNECT,))
    assert decide(record, POLICY, after(120_001)) == Close(DurationMs(120_001))


def test_keeps_a_connection_whose_activity_lies_in_the_future() -> None:
    assert decide(active(SEEN_MS + 5_000), POLICY, SEEN_MS) == Keep(after(125_000))


FAR_MS = after(MAX_CLOCK_LEAD_MS)


@pytest.mark.parametrize(
    ("record", "too_far"),
    [
        (active(FAR_MS), RecordedTime.LAST_ACTIVITY),
        (active(None, connected_at_ms=FAR_MS), RecordedTime.CONNECTED_AT),
        (active(SEEN_MS, gateway_active_ms=FAR_MS), RecordedTime.GATEWAY_ACTIVE),
        (active(None, gateway_active_ms=FAR_MS), RecordedTime.GATEWAY_ACTIVE),
        # Of two that are the same, the record's own is named.
        (active(FAR_MS, gateway_active_ms=FAR_MS), RecordedTime.LAST_ACTIVITY),
    ],
)
def test_a_time_more_than_a_day_ahead_cannot_be_read(
    record: Connection, too_far: RecordedTime
) -> None:
    assert decide(record, POLICY, SEEN_MS) == Keep(POLICY.deadline_ms(FAR_MS))
    earlier_ms = after(-1)
    assert decide(record, POLICY, earlier_ms) == Unreadable(InvalidTime(too_far, str(FAR_MS)))


@pytest.mark.parametrize(
    "connection_id",
    ["room#lobby", "", "a b", "é", "c1\n", "c1\ud83d", "x" * (MAX_CONNECTION_ID_LENGTH + 1)],
)
def test_ignores_what_is_no_connection_by_its_id(connection_id: str) -> None:
    records = [
        active(connection_id=connection_id),
        active(None, connection_id=connection_id),
        Connection(connection_id=connection_id, malformed=(ODD_ACTIVITY,)),
    ]
    for record in records:
        assert decide(record, POLICY, after(10**9)) == Ignore()


@pytest.mark.parametrize(
    "connection_id", ["L0SM9cOFvHcCIhw=", "a-b_c", "a+b/c==", "x" * MAX_CONNECTION_ID_LENGTH]
)
def test_knows_the_ids_of_api_gateway_and_of_emulators(connection_id: str) -> None:
    assert decide(active(connection_id=connection_id), POLICY, SEEN_MS) == Keep(after(120_000))


@pytest.mark.parametrize(
    ("value", "guess"),
    [
        ("1700000000", "seconds"),
        ("1700000000.5", "seconds"),
        ("1.7E+9", "seconds"),
        ("999999999", "no time"),
        ("1700259200001", "milliseconds in the future"),
        ("1700000000000000", "microseconds"),
        ("1700000000000000000", "nanoseconds"),
        ("1E+125", "no time"),
        ("-1700000000", "no time"),
        ('"1700000000000"', "milliseconds as text"),
        ('"1700000000"', "seconds as text"),
        ("null", "no time"),
        ("2023-11-14T22:13:20Z", "ISO 8601 text"),
        ("2023-11-14", "ISO 8601 text"),
        ("14 Nov 2023", "no time"),
        ("0", "no time"),
        ("nan", "no time"),
        ("", "no time"),
        ("True", "no time"),
    ],
)
def test_guesses_what_a_malformed_time_is(value: str, guess: str) -> None:
    assert looks_like(value) == guess


class TestSortCandidates:
    def test_puts_each_where_the_decision_says(self) -> None:
        idle, kept, timeless = active(), active(SEEN_MS + 1), active(None)
        odd = Connection(connection_id="c1", malformed=(ODD_ACTIVITY,))
        other = active(connection_id="room#lobby")
        result = sort_candidates(
            [idle, kept, timeless, odd, other],
            POLICY,
            now_ms=after(120_001),
            looks_ahead_ms=DurationMs(0),
        )
        assert result == Sorted(
            found=[idle],
            without_time=[timeless],
            unreadable=[(odd, ODD_ACTIVITY)],
            ignored=[other],
        )

    @pytest.mark.parametrize(("now_ms", "is_found"), [(60_000, False), (60_001, True)])
    def test_looking_ahead_finds_what_is_due_before_then(self, now_ms: int, is_found: bool) -> None:
        result = sort_candidates(
            [active()], POLICY, now_ms=after(now_ms), looks_ahead_ms=DurationMs(60_000)
        )
        assert bool(result.found) is is_found


@pytest.mark.parametrize("policy", [POLICY, COALESCED])
def test_the_cutoff_is_the_deadline_seen_from_now(policy: IdlePolicy) -> None:
    now_ms = after(0)
    cutoff_ms = policy.cutoff_ms(now_ms)
    assert policy.deadline_ms(cutoff_ms) == now_ms
    assert isinstance(decide(active(cutoff_ms), policy, now_ms), Keep)
    assert isinstance(decide(active(cutoff_ms - 1), policy, now_ms), Close)


def test_was_last_seen_when_it_connected_if_it_never_spoke() -> None:
    assert active(None, connected_at_ms=SEEN_MS).last_seen_ms == SEEN_MS
    assert active(SEEN_MS + 1, connected_at_ms=SEEN_MS).last_seen_ms == SEEN_MS + 1
    assert active(None).last_seen_ms is None


BY_ROLE = IdlePolicy(
    idle_timeout_ms=DurationMs(120_000),
    activity_resolution_ms=DurationMs(0),
    by_role={"speaker": DurationMs(300_000), "listener": DurationMs(60_000)},
)


@pytest.mark.parametrize(
    ("role", "timeout_ms"),
    [("speaker", 300_000), ("listener", 60_000), ("admin", 120_000), (None, 120_000)],
)
def test_a_role_has_its_own_timeout_or_the_default(role: str | None, timeout_ms: int) -> None:
    connection = replace(active(), role=role)
    assert decide(connection, BY_ROLE, after(timeout_ms)) == Keep(after(timeout_ms))
    assert decide(connection, BY_ROLE, after(timeout_ms + 1)) == Close(DurationMs(timeout_ms + 1))


def test_the_filter_goes_by_the_shortest_timeout() -> None:
    assert BY_ROLE.cutoff_ms(after(60_001)) == after(1)
    longer = replace(BY_ROLE, by_role={"speaker": DurationMs(300_000)})
    assert longer.cutoff_ms(after(120_001)) == after(1)
