"""The rules of ``core.policy``, each on both sides of its bound."""

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.policy import Close, IdlePolicy, Keep, StartClock, Unreadable, decide

SEEN_MS = EpochMs(1_700_000_000_000)
POLICY = IdlePolicy(idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(0))
COALESCED = IdlePolicy(
    idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(30_000)
)


def active(
    last_activity_ms: int | None = SEEN_MS, *, connected_at_ms: int | None = None
) -> Connection:
    return Connection(
        connection_id="c1",
        connected_at_ms=None if connected_at_ms is None else EpochMs(connected_at_ms),
        last_activity_ms=None if last_activity_ms is None else EpochMs(last_activity_ms),
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


def test_adopts_a_record_without_times() -> None:
    assert decide(active(None), POLICY, SEEN_MS) == StartClock()


def test_leaves_a_record_alone_whose_only_time_is_malformed() -> None:
    record = Connection(connection_id="c1", malformed=(RecordedTime.CONNECTED_AT,))
    assert decide(record, POLICY, after(10**9)) == Unreadable((RecordedTime.CONNECTED_AT,))


def test_does_not_replace_a_malformed_activity_by_the_connect() -> None:
    record = Connection(
        connection_id="c1", connected_at_ms=SEEN_MS, malformed=(RecordedTime.LAST_ACTIVITY,)
    )
    assert decide(record, POLICY, after(10**9)) == Unreadable((RecordedTime.LAST_ACTIVITY,))


def test_a_malformed_connect_does_not_matter_beside_an_activity() -> None:
    record = Connection(
        connection_id="c1", last_activity_ms=SEEN_MS, malformed=(RecordedTime.CONNECTED_AT,)
    )
    assert decide(record, POLICY, after(120_001)) == Close(DurationMs(120_001))


def test_keeps_a_connection_whose_activity_lies_in_the_future() -> None:
    assert decide(active(SEEN_MS + 5_000), POLICY, SEEN_MS) == Keep(after(125_000))


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
