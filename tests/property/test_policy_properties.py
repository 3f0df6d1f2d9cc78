"""What holds for every connection, policy and time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.policy import Close, IdlePolicy, Keep, StartClock, Unreadable, decide
from tests.support.json_values import ANY_TEXT

TIMES = st.integers(1_000_000_000_000, 10**15).map(EpochMs)
MOMENTS = st.integers(-1_000_000, 1_000_000)
POLICIES = st.builds(
    IdlePolicy,
    idle_timeout_ms=st.integers(1, 7_200_000).map(DurationMs),
    activity_resolution_ms=st.integers(0, 7_200_000).map(DurationMs),
)
CONNECTIONS = st.builds(
    Connection,
    connection_id=st.just("c1"),
    role=st.none() | ANY_TEXT,
    connected_at_ms=st.none() | TIMES,
    last_activity_ms=st.none() | TIMES,
    malformed=st.sampled_from([(), (RecordedTime.CONNECTED_AT,), (RecordedTime.LAST_ACTIVITY,)]),
)


def _around_the_deadline(connection: Connection, policy: IdlePolicy, moment: int) -> EpochMs:
    seen_ms = connection.last_seen_ms or EpochMs(1_700_000_000_000)
    return EpochMs(policy.deadline_ms(seen_ms) + moment)


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_never_closes_within_the_timeout(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    decision = decide(connection, policy, now_ms)
    if isinstance(decision, Close):
        assert connection.last_seen_ms is not None
        assert decision.idle_ms == now_ms - connection.last_seen_ms
        assert decision.idle_ms > policy.idle_timeout_ms + policy.activity_resolution_ms


@given(CONNECTIONS, POLICIES, MOMENTS, st.integers(0, 10**9))
def test_what_is_idle_stays_idle_until_the_client_speaks(
    connection: Connection, policy: IdlePolicy, moment: int, later_ms: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    later = decide(connection, policy, EpochMs(now_ms + later_ms))
    match decide(connection, policy, now_ms):
        case Close(idle_ms):
            assert later == Close(DurationMs(idle_ms + later_ms))
        case Keep(deadline_ms):
            assert isinstance(later, Keep) is (now_ms + later_ms <= deadline_ms)
        case StartClock() | Unreadable() as unchanging:
            assert later == unchanging


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_a_client_that_speaks_now_is_kept_whatever_was_on_record(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    decision = decide(replace(connection, last_activity_ms=now_ms), policy, now_ms)
    assert decision == Keep(policy.deadline_ms(now_ms))


@given(CONNECTIONS, POLICIES, MOMENTS, st.integers(1, 10**6))
def test_a_longer_timeout_never_closes_more(
    connection: Connection, policy: IdlePolicy, moment: int, longer_ms: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    for patient in (
        replace(policy, idle_timeout_ms=DurationMs(policy.idle_timeout_ms + longer_ms)),
        replace(
            policy, activity_resolution_ms=DurationMs(policy.activity_resolution_ms + longer_ms)
        ),
    ):
        if isinstance(decide(connection, patient, now_ms), Close):
            assert isinstance(decide(connection, policy, now_ms), Close)


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_the_scan_s_cutoff_misses_nothing_that_is_idle(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    if isinstance(decide(connection, policy, now_ms), Close):
        assert connection.last_seen_ms is not None
        assert connection.last_seen_ms < policy.cutoff_ms(now_ms)
