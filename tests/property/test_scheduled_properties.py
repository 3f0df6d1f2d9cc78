"""What holds for the windows of sweeps that queue, and for every message about what falls due."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import parse_disconnect
from hangup.core.limits import MAX_HANDOVERS, MAX_QUEUE_DELAY_S
from hangup.core.policy import IdlePolicy, sort_candidates
from hangup.core.scheduled_close import (
    ScheduledClose,
    as_message,
    delay_s,
    parse_scheduled_close,
    wait_ms,
)
from hangup.core.timing import LOOK_AHEAD_MS
from hangup.errors import InvalidRequest
from hangup.testing import START_MS
from tests.support.idle_world import IDLE_TIMEOUT_MS
from tests.support.json_values import ANY_JSON
from tests.support.precise_world import PreciseWorld

TIMES = st.integers(1_000_000_000_000, 10**15 - 1).map(EpochMs)
LABELS = st.none() | st.text(max_size=1_024)
POLICIES = st.builds(
    IdlePolicy,
    idle_timeout_ms=st.integers(LOOK_AHEAD_MS, 7_200_000).map(DurationMs),
    activity_resolution_ms=st.integers(0, 60_000).map(DurationMs),
)
# A tick is late by some seconds, and a sweep takes some: together less than the margin.
BETWEEN_SWEEPS = st.lists(st.integers(1, LOOK_AHEAD_MS), min_size=1, max_size=150)


def is_queued(connection: Connection, policy: IdlePolicy, now_ms: EpochMs) -> bool:
    found = sort_candidates([connection], policy, now_ms=now_ms, looks_ahead_ms=LOOK_AHEAD_MS).found
    return found == [connection]


@given(POLICIES, st.integers(0, 60_000), BETWEEN_SWEEPS)
@example(
    IdlePolicy(idle_timeout_ms=LOOK_AHEAD_MS, activity_resolution_ms=DurationMs(0)),
    60_000,
    [LOOK_AHEAD_MS] * 3,
)
def test_whatever_falls_due_was_queued_by_a_sweep_before_its_deadline(
    policy: IdlePolicy, spoke_after_ms: int, between_ms: list[int]
) -> None:
    first_ms = START_MS
    connection = Connection(connection_id="c1", last_activity_ms=EpochMs(first_ms + spoke_after_ms))
    assert connection.last_activity_ms is not None
    deadline_ms = policy.deadline_ms(connection.last_activity_ms)
    now_ms, queued_at = first_ms, []
    for pause_ms in [*between_ms, *[LOOK_AHEAD_MS] * 120]:
        now_ms = EpochMs(now_ms + pause_ms)
        if now_ms >= connection.last_activity_ms and is_queued(connection, policy, now_ms):
            queued_at.append(now_ms)
        if now_ms > deadline_ms:
            break
    assert now_ms > deadline_ms
    # By the sweep before the one that would have found it idle, at the latest.
    assert queued_at[0] <= deadline_ms


@given(TIMES, st.integers(-7_200_000, 7_200_000))
def test_a_delay_is_never_late_never_a_second_early_and_never_too_long(
    deadline_ms: EpochMs, until_ms: int
) -> None:
    now_ms = EpochMs(deadline_ms - until_ms)
    seconds = delay_s(deadline_ms, now_ms=now_ms)
    assert 0 <= seconds <= MAX_QUEUE_DELAY_S
    delivered_ms = EpochMs(now_ms + seconds * 1000)
    if seconds < MAX_QUEUE_DELAY_S:
        assert wait_ms(deadline_ms, now_ms=delivered_ms) < 1_000
    if seconds:
        # Idle a millisecond after the deadline.
        assert delivered_ms <= deadline_ms + 1


def kept(label: str) -> str | None:
    """Return what a message keeps of a label: nothing of one that is longer in JSON than this."""
    return label if len(json.dumps(label)) <= 1_024 else None


@example("c", None, None, None, EpochMs(10**15 - 1), EpochMs(10**15 - 1), "", 0, False)
@given(
    st.text("aZ09_=+/-", min_size=1, max_size=128),
    LABELS,
    LABELS,
    st.none() | TIMES,
    TIMES,
    st.none() | TIMES,
    st.text(max_size=256),
    st.integers(0, MAX_HANDOVERS),
    st.booleans(),
)
def test_a_message_brings_what_was_put_into_it(
    connection_id: str,
    session_id: str | None,
    role: str | None,
    connected_at_ms: EpochMs | None,
    last_activity_ms: EpochMs,
    noticed_at_ms: EpochMs | None,
    correlation_id: str,
    handovers: int,
    recording_is_well: bool,
) -> None:
    # Later there is no plausible time for the deadline, which comes after it.
    last_activity_ms = min(last_activity_ms, EpochMs(10**15 - 2))
    due = ScheduledClose(
        connection=Connection(
            connection_id=connection_id,
            session_id=session_id,
            role=role,
            connected_at_ms=connected_at_ms,
            last_activity_ms=last_activity_ms,
            gateway_active_ms=noticed_at_ms and min(noticed_at_ms, last_activity_ms),
            noticed_at_ms=noticed_at_ms,
            handovers=handovers,
        ),
        silence_ms=DurationMs(120_000),
        judged_at_ms=last_activity_ms,
        recording_is_well=recording_is_well,
        asks=not recording_is_well,
        deadline_ms=EpochMs(min(last_activity_ms + 120_000, 10**15 - 1)),
        correlation_id=correlation_id,
    )
    message = as_message(due)
    session, role = (label and kept(label) for label in (session_id, role))
    read = replace(due, connection=replace(due.connection, session_id=session, role=role))
    assert parse_scheduled_close(message) == read
    assert message.isascii()


@given(ANY_JSON)
def test_a_message_of_any_content_is_refused_in_a_sentence(content: object) -> None:
    for body in (content, json.dumps(content)):
        with pytest.raises(InvalidRequest, match=r"(missing|malformed|not a JSON object)"):
            parse_scheduled_close(body)


_REST = [(1, "deliver")] * 40


class SkewedWorld(PreciseWorld):
    """A world whose close function has a clock of its own, and whose closes are watched."""

    def skew(self, skew_ms: int) -> None:
        world = self

        class Skewed:
            def now_ms(self) -> EpochMs:
                return EpochMs(world.clock.ms + skew_ms)

            def monotonic_ms(self) -> DurationMs:
                return world.clock.monotonic_ms()

            def sleep(self, duration_ms: DurationMs) -> None:
                world.clock.sleep(duration_ms)

        clock = Skewed()
        self.due = replace(self.due, closer=replace(self.closer, clock=clock))

        def nobody_early(operation: str, key: str) -> None:
            if operation == "DeleteConnection":
                # By the clock of whoever closes, as it is for the claim.
                last_ms = self.connections.records[key].connection.last_activity_ms
                assert last_ms is not None
                assert clock.now_ms() > last_ms + IDLE_TIMEOUT_MS

        self.faults.before = nobody_early

    def step(self, what: str) -> None:
        now_ms = self.clock.now_ms()
        if what == "sweep":
            self.run()
        elif what == "speak" and "c0" in self.gateway.open_ids:
            self.gateway.active_ms["c0"] = now_ms
            self.connections.record_activity("c0", now_ms=now_ms, resolution_ms=DurationMs(0))
        else:
            self.deliver()
        for event in self.functions.events:
            self.connections.records.pop(parse_disconnect(event), None)


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.integers(0, 40_000), st.sampled_from(["sweep", "deliver", "speak"])),
        max_size=25,
    ),
    st.integers(-2_000, 2_000),
)
def test_nobody_is_closed_at_or_before_the_deadline_and_nobody_twice(
    silences_s: list[int], steps: list[tuple[int, str]], skew_ms: int
) -> None:
    world = SkewedWorld()
    world.skew(skew_ms)
    for n, silence_s in enumerate(silences_s):
        world.connect(f"c{n}", silent_s=silence_s)
    for pause_ms, what in [*steps, (75_000, "sweep"), (130_000, "deliver"), *_REST]:
        world.clock.ms += pause_ms
        world.step(what)
    # A message that came too early comes again, whole seconds later: not over and over.
    early = Counter(
        fields["connectionId"] for _, event, fields in world.log.lines if event == "delivered early"
    )
    swept = 1 + sum(what == "sweep" for _, what in steps)
    assert all(times <= 2 * swept for times in early.values())
    closed = Counter(parse_disconnect(event) for event in world.functions.events)
    assert closed == Counter(f"c{n}" for n in range(len(silences_s)))
    assert {len(messages) for messages in world.gateway.sent.values()} == {1}
    assert world.gateway.open_ids == set()
