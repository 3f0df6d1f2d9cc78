"""What ``hangup explain`` says that the next sweep would do is what the sweep then does."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from hangup.core.connection import Connection, EpochMs, InvalidTime, RecordedTime
from hangup.core.guard import Activity
from hangup.core.hand_over import HandOver
from hangup.core.policy import IdlePolicy
from hangup.core.report import CloseStatus
from hangup.errors import BackendError
from hangup.ops.next_sweep import Fate, NextSweep, Rules, at_utc, in_words, next_sweep
from hangup.testing import START_MS, FakeAws
from tests.support.idle_world import IDLE_TIMEOUT_MS, PLENTY_MS

ID = "c1"
POLICY = IdlePolicy(idle_timeout_ms=IDLE_TIMEOUT_MS, activity_resolution_ms=0)  # type: ignore[arg-type]
OF_STATUS = {
    CloseStatus.CLOSED: Fate.CLOSE,
    CloseStatus.ALREADY_GONE: Fate.HAND_OVER,
    CloseStatus.WOULD_CLOSE: Fate.REPORT,
    CloseStatus.ACTIVE: Fate.LEAVE,
    CloseStatus.UNCONFIRMED: Fate.LEAVE,
    CloseStatus.KEPT: Fate.KEEP,
    CloseStatus.NOT_YET: Fate.KEEP,
    CloseStatus.IGNORED: Fate.IGNORE,
}


def ago(seconds: float) -> EpochMs:
    return EpochMs(START_MS - round(seconds * 1000))


def record(silent_s: float | None, **about: object) -> Connection:
    last_activity_ms = None if silent_s is None else ago(silent_s)
    connected_at_ms = None if silent_s is None else ago(600)
    one = Connection(
        connection_id=ID, connected_at_ms=connected_at_ms, last_activity_ms=last_activity_ms
    )
    return replace(one, **about)  # type: ignore[arg-type]


RECORDS = {
    "active on record": record(10),
    "at its deadline": record(120),
    "idle on record": record(121),
    "long idle on record": record(400),
    "without a time": record(None),
    "unreadable": record(None, malformed=(InvalidTime(RecordedTime.LAST_ACTIVITY, "soon"),)),
    "in the future": record(-100_000),
    "no connection": record(400, connection_id="no id"),
}
ACCOUNTS: dict[str, Callable[[FakeAws], None]] = {
    "quiet": lambda world: world.gateway.open(ID),
    "active": lambda world: _active(world, 1),
    "active a moment later": lambda world: _active(world, 118),
    "gone": lambda _world: None,
    "no answer": lambda world: world.faults.fail("GetConnection", times=9),
}


def _active(world: FakeAws, seconds_ago: float) -> None:
    world.gateway.open(ID)
    world.gateway.active_ms[ID] = ago(seconds_ago)


def rules(world: FakeAws, **about: object) -> Rules:
    ours = Rules(
        policy=POLICY,
        times={time: world.schema.time_attribute(time) for time in RecordedTime},
        acts=True,
        activity=Activity(world.activity),
        counts_both=False,
        is_precise=False,
        hand_over=HandOver.ALWAYS,
    )
    return replace(ours, **about)  # type: ignore[arg-type]


def foretold(
    world: FakeAws, one: Connection, claim_expires_ms: EpochMs | None = None, **about: object
) -> NextSweep:
    answer = world.make_confirmer().ask(one, silence_ms=IDLE_TIMEOUT_MS)
    return next_sweep(one, claim_expires_ms, answer, rules(world, **about), now_ms=START_MS)


def done(world: FakeAws, *, acts: bool = True) -> Fate:
    """Sweep, and return what was done with the only record."""
    sweep = world.make_sweep(closer=world.make_closer(acts=acts))
    report = sweep.check_and_close_idle_connections(
        time_left_ms=lambda: PLENTY_MS, correlation_id="sweep"
    )
    if report.unreadable:
        return Fate.SKIP
    if report.ignored:
        return Fate.IGNORE
    if report.clocks_started:
        return Fate.START_CLOCK
    statuses = list(report.closes.statuses)
    return OF_STATUS[statuses[0]] if statuses else Fate.KEEP


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("activity", Activity)
@pytest.mark.parametrize(("name", "account"), [*product(RECORDS, ACCOUNTS)])
def test_the_sweep_does_what_was_foretold(
    name: str, account: str, activity: Activity, acts: bool
) -> None:
    world = FakeAws()
    world.activity = activity
    world.connections.put(RECORDS[name])
    ACCOUNTS[account](world)
    said = foretold(world, RECORDS[name], acts=acts)
    if name == "without a time" and account == "no answer":
        # The sweep fails: nothing is done with the record.
        assert said.fate is Fate.IGNORE
        return
    assert done(world, acts=acts) is said.fate
    assert said.why


def test_a_claim_keeps_other_sweeps_away_until_it_expires() -> None:
    world = FakeAws()
    world.connections.put(RECORDS["idle on record"])
    world.gateway.open(ID)
    expires_ms = EpochMs(START_MS + 1)
    world.connections.records[ID].claim_expires_ms = expires_ms
    said = foretold(world, RECORDS["idle on record"], expires_ms)
    assert (said.fate, done(world)) == (Fate.LEAVE, Fate.KEEP)
    assert at_utc(expires_ms) in said.why
    assert foretold(world, RECORDS["idle on record"], START_MS).fate is Fate.CLOSE


def test_a_queue_has_the_closes_that_come_before_the_sweep_after_it() -> None:
    world = FakeAws()
    world.gateway.open(ID)
    due = foretold(world, record(100), is_precise=True)
    assert due.fate is Fate.QUEUE
    assert "idle in 20 s" in due.why
    assert foretold(world, record(400), is_precise=True).fate is Fate.QUEUE
    assert foretold(world, record(1), is_precise=True).fate is Fate.KEEP


def test_where_messages_to_a_client_count_the_record_decides_if_it_can() -> None:
    world = FakeAws()
    _active(world, 1)
    said = foretold(world, record(400), counts_both=True)
    assert said.fate is Fate.CLOSE
    assert "else the sweep is held" in said.why


@pytest.mark.parametrize(
    ("hand_over", "handovers", "words"),
    [
        (HandOver.ALWAYS, 0, "the disconnect handler is called"),
        (HandOver.IF_LEFT, 0, "nobody is called for its record yet"),
        (HandOver.IF_LEFT, 1, "the disconnect handler is called"),
        (HandOver.DELETE, 0, "its record is deleted"),
        (HandOver.NEVER, 0, "its record is left to its owner"),
    ],
)
def test_what_becomes_of_a_ghosts_record_is_said(
    hand_over: HandOver, handovers: int, words: str
) -> None:
    said = foretold(FakeAws(), record(400, handovers=handovers), hand_over=hand_over)
    assert said.fate is Fate.HAND_OVER
    assert words in said.why


def test_the_deadline_and_an_unreadable_time_are_named() -> None:
    world = FakeAws()
    assert foretold(world, record(10)).deadline_ms == START_MS + 110_000
    assert "has left" in foretold(world, record(10)).why
    said = foretold(world, RECORDS["unreadable"])
    assert said.why == ("lastActivityTime is soon, which looks like no time; expected: epoch ms")


def test_why_api_gateway_did_not_answer_is_said() -> None:
    world = FakeAws()
    world.faults.fail("GetConnection", times=2)
    error = BackendError("GetConnection", "InternalServerError", "planned", retryable=True)
    assert str(error) in foretold(world, record(400)).why


@pytest.mark.parametrize(
    ("ms", "words"),
    [(-5, "0 s"), (59_999, "59 s"), (60_000, "1 min 0 s"), (3_840_000, "1 h 4 min")],
)
def test_durations_in_words(ms: int, words: str) -> None:
    assert in_words(ms) == words
