"""What holds for every connection, policy and time."""

from dataclasses import replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from hangup.core.connection import Connection, DurationMs, EpochMs, InvalidTime, RecordedTime
from hangup.core.limits import MAX_CLOCK_LEAD_MS
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
from hangup.testing import InMemoryConnections
from tests.support.any_items import (
    ANY_POLICY,
    assert_finds_what_is_not_to_be_kept,
    many_items,
)
from tests.support.json_values import ANY_TEXT

TIMES = st.integers(1_000_000_000_000, 10**15).map(EpochMs)
MOMENTS = st.integers(-1_000_000, 1_000_000) | st.integers(-3 * MAX_CLOCK_LEAD_MS, 0)
ROLES = st.sampled_from(["speaker", "listener", "admin"])
POLICIES = st.builds(
    IdlePolicy,
    idle_timeout_ms=st.integers(1, 7_200_000).map(DurationMs),
    activity_resolution_ms=st.integers(0, 7_200_000).map(DurationMs),
    by_role=st.dictionaries(ROLES, st.integers(1, 7_200_000).map(DurationMs)),
)
POLICY = IdlePolicy(idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(0))
CONNECTIONS = st.builds(
    Connection,
    connection_id=st.just("c1") | ANY_TEXT,
    role=st.none() | ROLES | ANY_TEXT,
    connected_at_ms=st.none() | TIMES,
    last_activity_ms=st.none() | TIMES,
    gateway_active_ms=st.none() | TIMES,
    malformed=st.just(())
    | st.builds(InvalidTime, st.sampled_from(RecordedTime), ANY_TEXT).map(
        lambda invalid: (invalid,)
    ),
)


def _around_the_deadline(connection: Connection, policy: IdlePolicy, moment: int) -> EpochMs:
    seen_ms = connection.last_seen_ms or EpochMs(1_700_000_000_000)
    return EpochMs(policy.deadline_ms(seen_ms, connection.role) + moment)


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_never_closes_within_the_timeout(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    decision = decide(connection, policy, now_ms)
    if isinstance(decision, Close):
        assert connection.last_seen_ms is not None
        assert decision.idle_ms == now_ms - connection.last_seen_ms
        timeout_ms = policy.by_role.get(str(connection.role), policy.idle_timeout_ms)
        assert decision.idle_ms > timeout_ms + policy.activity_resolution_ms


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
        case Unreadable(invalid) if invalid not in connection.malformed:
            assert connection.last_seen_ms is not None
            is_far = connection.last_seen_ms > now_ms + later_ms + MAX_CLOCK_LEAD_MS
            assert isinstance(later, Unreadable) is is_far
        case WithoutTime() | Unreadable() | Ignore() as unchanging:
            assert later == unchanging


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_a_client_that_speaks_now_is_kept_whatever_was_on_record(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    gateway_ms = connection.gateway_active_ms
    spoke = replace(
        connection,
        connection_id="c1",
        last_activity_ms=now_ms,
        gateway_active_ms=None if gateway_ms is None else min(gateway_ms, now_ms),
    )
    assert decide(spoke, policy, now_ms) == Keep(policy.deadline_ms(now_ms, spoke.role))


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


@given(CONNECTIONS, POLICIES, MOMENTS, TIMES)
def test_what_api_gateway_was_asked_only_ever_delays_a_close(
    connection: Connection, policy: IdlePolicy, moment: int, gateway_active_ms: EpochMs
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    record = replace(connection, gateway_active_ms=None)
    asked = replace(connection, gateway_active_ms=min(gateway_active_ms, now_ms))
    if record.last_seen_ms is not None and isinstance(decide(asked, policy, now_ms), Close):
        assert isinstance(decide(record, policy, now_ms), Close)


@given(CONNECTIONS, POLICIES, MOMENTS)
def test_what_has_not_the_form_of_an_id_is_never_found(
    connection: Connection, policy: IdlePolicy, moment: int
) -> None:
    now_ms = _around_the_deadline(connection, policy, moment)
    odd = replace(connection, connection_id=connection.connection_id + "#")
    found = sort_candidates(
        [odd], policy, now_ms=now_ms, looks_ahead_ms=DurationMs(MAX_CLOCK_LEAD_MS)
    )
    assert found == Sorted(ignored=[odd])


@given(st.lists(CONNECTIONS, max_size=5), POLICIES, MOMENTS, st.integers(0, 120_000))
def test_each_candidate_is_sorted_once_unless_it_is_kept(
    connections: list[Connection], policy: IdlePolicy, moment: int, looks_ahead_ms: int
) -> None:
    now_ms = _around_the_deadline(connections[0], policy, moment) if connections else EpochMs(0)
    result = sort_candidates(
        connections, policy, now_ms=now_ms, looks_ahead_ms=DurationMs(looks_ahead_ms)
    )
    unreadable = [connection for connection, _ in result.unreadable]
    placed = [*result.found, *result.without_time, *unreadable, *result.ignored]
    for connection in connections:
        is_kept = isinstance(decide(connection, policy, now_ms), Keep)
        assert is_kept or placed.count(connection) == connections.count(connection)
        if is_kept and not looks_ahead_ms:
            assert connection not in placed


@given(st.integers(1_000_000_000, 4_000_000_000))
def test_a_time_of_our_days_in_another_unit_is_recognised(seconds: int) -> None:
    assert looks_like(f'"{seconds}"') == "seconds as text"
    assert looks_like(f"-{seconds}") == "no time"
    assert looks_like(f"{seconds}") == "seconds"
    assert looks_like(f"{seconds}.25") == "seconds"
    assert looks_like(f"{seconds}000000") == "microseconds"
    assert looks_like(f"{seconds}000000000") == "nanoseconds"


@given(ANY_TEXT)
def test_any_text_has_a_guess(text: str) -> None:
    assert looks_like(text)


def time_of_each_type(name: str) -> list[dict[str, dict[str, object]]]:
    """Return items whose only time is in another unit or of another type."""
    values: list[dict[str, object]] = [
        {"N": "1700000000000000000"},  # nanoseconds
        {"N": "1700000000000000"},  # microseconds
        {"N": "1700000000"},  # seconds
        {"N": "1700259200001"},  # three days ahead
        {"S": "2023-11-14T22:13:20Z"},
        {"S": "1700000000000"},
        {"BOOL": True},
    ]
    return [
        {"connectionId": {"S": f"c{number}="}, name: value} for number, value in enumerate(values)
    ]


# The kinds that the filter has missed.
@example(items=time_of_each_type("connectedAt"), policy=POLICY)
@example(items=time_of_each_type("lastActivityTime"), policy=POLICY)
@example(items=time_of_each_type("gatewayActiveAt"), policy=POLICY)
@given(many_items(is_indexed=False), ANY_POLICY)
def test_a_scan_finds_whatever_is_not_to_be_kept(
    items: list[dict[str, Any]], policy: IdlePolicy
) -> None:
    connections = InMemoryConnections()
    for item in items:
        connections.put_item(item)
    assert_finds_what_is_not_to_be_kept(connections, items, policy)
