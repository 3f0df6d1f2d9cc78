"""What check finds, what it does not, and how it mends, on the in-memory fakes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hangup.check import PAUSE_MS, Check, CheckReport
from hangup.core.invariants import (
    AuditedConnection,
    Broken,
    ExpiredClaim,
    Ghost,
    Kind,
    LostListeners,
    OrphanedSession,
    UnreadableSession,
    WrongCount,
    broken_about_connection,
    is_orphaned,
)
from hangup.core.model import Connection, DurationMs, EpochMs, JoinRequest, Role, Session
from hangup.errors import BackendError
from hangup.lifecycle import Cleanup, join
from hangup.mending import Mending
from hangup.ports import JoinOutcome
from hangup.testing import START_MS, InMemoryWorld

CLAIM_MS = DurationMs(60_000)


class World(InMemoryWorld):
    """The fakes, the check on them, and what goes wrong in them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.said: list[str] = []
        self.check = Check(
            audit=self.audit,
            sessions=self.sessions,
            gateway=self.gateway,
            mending=Mending(
                audit=self.audit,
                sessions=self.sessions,
                gateway=self.gateway,
                cleanup=Cleanup(
                    connections=self.connections,
                    sessions=self.sessions,
                    gateway=self.gateway,
                    clock=self.clock,
                    log=self.log,
                    parallel_map=map,
                    claim_ms=CLAIM_MS,
                ),
                clock=self.clock,
                log=self.log,
                parallel_map=map,
            ),
            clock=self.clock,
            parallel_map=map,
            progress=self.said.append,
            claim_ms=CLAIM_MS,
        )

    def join(self, connection_id: str, role: Role, session_id: str = "s1") -> None:
        self.gateway.open(connection_id)
        request = JoinRequest(session_id=session_id, role=role)
        outcome = join(request, connection_id, sessions=self.sessions, now_ms=self.clock.now_ms())
        assert outcome is JoinOutcome.JOINED

    def leave(self, connection_id: str) -> None:
        """Let a client leave and be cleaned up after."""
        self.gateway.open_ids.discard(connection_id)
        self.check.mending.cleanup.disconnect(connection_id)

    def vanish(self, connection_id: str) -> None:
        """Let a client leave without a word to anybody."""
        self.gateway.open_ids.discard(connection_id)

    def lose_record(self, connection_id: str) -> None:
        """Remove a record and nothing else, as DynamoDB's TTL does."""
        del self.connections.records[connection_id]

    def change_session(self, **changes: object) -> None:
        self.sessions.sessions["s1"] = replace(self.session, **changes)  # type: ignore[arg-type]

    def claim(self, connection_id: str, *, expired_ms_ago: int) -> None:
        record = self.connections.records[connection_id]
        record.claim_expires_ms = EpochMs(self.clock.now_ms() - expired_ms_ago)

    def during_pause(self, happens: Callable[[], object]) -> None:
        """Let something happen between the first look and the second."""
        sleep = self.clock.sleep
        waiting = [happens]

        def sleep_and_more(duration_ms: DurationMs) -> None:
            sleep(duration_ms)
            if waiting:
                waiting.pop()()

        # The clock is the one thing that a check waits with.
        object.__setattr__(self.check, "clock", _Clock(self.clock.now_ms, sleep_and_more))

    def mend(self) -> CheckReport:
        report, self.tried = self.check.mend(self.check.find())
        return report

    @property
    def session(self) -> Session:
        return self.sessions.sessions["s1"]


class _Clock:
    def __init__(self, now_ms: Callable[[], EpochMs], sleep: Callable[[DurationMs], None]) -> None:
        self.now_ms = now_ms
        self.sleep = sleep


@pytest.fixture
def world() -> World:
    """Return a session with a speaker and two listeners."""
    world = World()
    world.join("speaker", Role.SPEAKER)
    world.join("l1", Role.LISTENER)
    world.join("l2", Role.LISTENER)
    return world


def ghost(world: World) -> Broken:
    world.vanish("l1")
    return Ghost(world.connections.records["l1"].connection)


def ghost_speaker(world: World) -> Broken:
    world.vanish("speaker")
    return Ghost(world.connections.records["speaker"].connection)


def expired_claim(world: World) -> Broken:
    world.claim("l1", expired_ms_ago=120_001)
    return ExpiredClaim("l1", EpochMs(START_MS - 120_001), DurationMs(120_001 + PAUSE_MS))


def no_speaker(world: World) -> Broken:
    world.lose_record("speaker")
    return OrphanedSession(world.session)


def ended_with_listeners(world: World) -> Broken:
    world.lose_record("speaker")
    world.change_session(is_active=False, ended_at_ms=world.clock.now_ms())
    return OrphanedSession(world.session)


def ended_and_forgotten(world: World) -> Broken:
    world.change_session(is_active=False, ended_at_ms=EpochMs(START_MS - 60_001))
    return OrphanedSession(world.session)


def lost_listeners(world: World) -> Broken:
    world.lose_record("speaker")
    world.vanish("speaker")
    del world.sessions.sessions["s1"]
    return LostListeners("s1")


def count_too_high(world: World) -> Broken:
    world.change_session(listener_count=5)
    return WrongCount("s1", 5, 2)


def count_too_low(world: World) -> Broken:
    world.change_session(listener_count=0)
    return WrongCount("s1", 0, 2)


def listener_lost_to_ttl(world: World) -> Broken:
    world.lose_record("l1")
    world.vanish("l1")
    return WrongCount("s1", 2, 1)


BREAKAGES = [
    ghost,
    ghost_speaker,
    expired_claim,
    no_speaker,
    ended_with_listeners,
    ended_and_forgotten,
    lost_listeners,
    count_too_high,
    count_too_low,
    listener_lost_to_ttl,
]


@pytest.mark.parametrize("break_", BREAKAGES)
class TestEveryBreakage:
    def test_is_found(self, world: World, break_: Callable[[World], Broken]) -> None:
        broken = break_(world)
        report = world.check.find()
        assert report.broken == (broken,)
        assert "s1" in str(broken) or "l1" in str(broken)

    def test_is_mended(self, world: World, break_: Callable[[World], Broken]) -> None:
        break_(world)
        assert world.mend().broken == ()
        assert [one.failure for one in world.tried] == [None]
        records = world.connections.records.values()
        listeners = sum(record.connection.role is Role.LISTENER for record in records)
        session = world.sessions.sessions.get("s1")
        assert (session.listener_count if session else 0) == listeners
        # No socket without a record, no record without a socket.
        assert world.gateway.open_ids == set(world.connections.records)

    def test_is_found_in_any_page(self, world: World, break_: Callable[[World], Broken]) -> None:
        world.audit._page_size = 1
        broken = break_(world)
        assert world.check.find().broken == (broken,)


class TestWhatIsNotBroken:
    def test_nothing_is_said_of_a_healthy_session(self, world: World) -> None:
        report = world.check.find()
        assert report == CheckReport(connections=3, sessions=1, broken=())
        assert world.clock.now_ms() == START_MS
        assert world.said == []

    def test_nothing_is_said_of_an_empty_stack(self) -> None:
        assert World().check.find() == CheckReport(connections=0, sessions=0, broken=())

    def test_records_of_other_shapes_are_left_alone(self, world: World) -> None:
        world.connections.put(Connection(connection_id="odd"))
        world.gateway.open("odd")
        assert world.check.find().broken == ()

    def test_an_ended_session_without_listeners_is_in_order(self, world: World) -> None:
        world.leave("speaker")
        assert not world.session.is_active
        assert world.check.find().broken == ()

    @pytest.mark.parametrize("break_", [ghost, no_speaker, lost_listeners, ended_with_listeners])
    def test_what_is_cleaned_up_in_between_is_no_breakage(
        self, world: World, break_: Callable[[World], Broken]
    ) -> None:
        break_(world)

        def clean_up() -> None:
            for connection_id in list(world.connections.records):
                world.leave(connection_id)
            world.sessions.sessions.clear()

        world.during_pause(clean_up)
        assert world.check.find().broken == ()

    def test_a_join_under_way_is_no_ghost(self, world: World) -> None:
        world.vanish("l1")
        world.during_pause(lambda: world.gateway.open("l1"))
        assert world.check.find().broken == ()

    def test_a_claim_that_is_taken_over_in_between_is_no_breakage(self, world: World) -> None:
        expired_claim(world)
        world.during_pause(lambda: world.claim("l1", expired_ms_ago=-60_000))
        assert world.check.find().broken == ()

    def test_a_session_that_is_counted_right_in_between_is_no_breakage(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=2))
        assert world.check.find().broken == ()

    def test_a_session_that_is_gone_in_between_has_no_count(self, world: World) -> None:
        world.leave("l1")
        world.leave("l2")
        world.leave("speaker")
        world.change_session(listener_count=1)
        world.during_pause(world.sessions.sessions.clear)
        assert world.check.find().broken == ()

    def test_an_unreadable_session_may_be_readable_by_then(self, world: World) -> None:
        world.audit.unreadable.add("s1")
        world.during_pause(world.audit.unreadable.clear)
        assert world.check.find().broken == ()

    def test_a_speaker_that_is_gone_while_its_listeners_are_closed_is_no_ghost(
        self, world: World
    ) -> None:
        world.vanish("speaker")
        world.change_session(is_active=False, ended_at_ms=world.clock.now_ms())
        assert world.check.find().broken == ()

    def test_a_speaker_of_before_is_a_ghost_even_so(self, world: World) -> None:
        old = Connection(connection_id="old", session_id="s1", role=Role.SPEAKER)
        world.connections.put(old)
        assert world.check.find().broken == (Ghost(old),)

    def test_a_speaker_without_a_session_is_a_ghost_like_any_other(self, world: World) -> None:
        odd = Connection(connection_id="odd", role=Role.SPEAKER)
        world.connections.put(odd)
        assert world.check.find().broken == (Ghost(odd),)

    def test_a_listener_that_only_the_index_still_lists_is_not_on_record(
        self, world: World
    ) -> None:
        world.leave("l2")
        ended_with_listeners(world)

        def lag(operation: str, _key: str) -> None:
            if operation == "Query":
                world.connections.records.pop("l1", None)

        world.during_pause(lambda: setattr(world.faults, "after", lag))
        assert world.check.find().broken == ()


class TestCounting:
    def test_two_looks_have_to_agree(self, world: World) -> None:
        count_too_high(world)
        world.during_pause(lambda: world.change_session(listener_count=6))
        assert world.check.find().broken == (WrongCount("s1", 6, 2),)
        assert world.clock.now_ms() == START_MS + 2 * PAUSE_MS

    def test_a_session_that_changes_in_every_look_is_not_judged(self, world: World) -> None:
        world.change_session(listener_count=50)

        def joins_uncounted(operation: str, key: str) -> None:
            if (operation, key) == ("Scan", "connections"):
                world.change_session(listener_count=world.session.listener_count + 1)

        world.faults.before = joins_uncounted
        report = world.check.find()
        assert report.broken == ()
        assert report.unsettled == ("s1",)

    def test_listeners_that_swap_between_looks_start_it_anew(self, world: World) -> None:
        count_too_high(world)

        def swap() -> None:
            world.leave("l1")
            world.join("l3", Role.LISTENER)

        # After the first of the two looks that would have to agree.
        world.during_pause(lambda: world.during_pause(swap))
        assert world.check.find().broken == (WrongCount("s1", 5, 2),)
        assert world.clock.now_ms() == START_MS + 3 * PAUSE_MS

    def test_a_count_that_changed_since_is_left_alone_and_looked_at_again(
        self, world: World
    ) -> None:
        count_too_high(world)
        report = world.check.find()
        world.join("l3", Role.LISTENER)
        final, tried = world.check.mend(report)
        assert [one.failure is None for one in tried] == [False, True]
        assert final.broken == ()
        assert world.session.listener_count == 3


class TestMending:
    def test_a_ghost_speaker_takes_its_listeners_along(self, world: World) -> None:
        ghost_speaker(world)
        world.mend()
        assert not world.session.is_active
        assert world.gateway.open_ids == set()
        assert [m["type"] for m in world.gateway.sent["l1"]] == ["sessionEnded"]

    def test_the_client_with_an_expired_claim_stays(self, world: World) -> None:
        expired_claim(world)
        world.mend()
        assert world.gateway.open_ids == {"speaker", "l1", "l2"}
        assert world.connections.records["l1"].claim_expires_ms is None

    def test_a_claim_taken_since_is_left_alone(self, world: World) -> None:
        expired_claim(world)
        report = world.check.find()
        world.claim("l1", expired_ms_ago=-60_000)
        _, tried = world.check.mend(report)
        assert world.connections.records["l1"].claim_expires_ms is not None
        assert tried[0].failure is not None

    def test_orphaned_listeners_are_told_and_closed(self, world: World) -> None:
        no_speaker(world)
        world.mend()
        assert [m["type"] for m in world.gateway.sent["l2"]] == ["sessionEnded"]
        assert world.gateway.open_ids == set()
        assert not world.session.is_active

    def test_a_session_with_another_speaker_since_is_left_alone(self, world: World) -> None:
        no_speaker(world)
        report = world.check.find()
        world.change_session(speaker_connection_id="speaker2")
        world.connections.put(
            Connection(connection_id="speaker2", session_id="s1", role=Role.SPEAKER)
        )
        world.gateway.open("speaker2")
        final, tried = world.check.mend(report)
        assert tried[0].failure is not None
        assert final.broken == ()
        assert {"l1", "l2", "speaker2"} <= world.gateway.open_ids

    def test_listeners_of_a_session_that_starts_again_meanwhile_stay(self, world: World) -> None:
        no_speaker(world)
        report = world.check.find()

        def start_again(operation: str, _key: str) -> None:
            if operation == "Query":
                world.faults.after = lambda _operation, _key: None
                world.change_session(is_active=True, speaker_connection_id="speaker2")
                world.connections.put(
                    Connection(connection_id="speaker2", session_id="s1", role=Role.SPEAKER)
                )
                world.gateway.open("speaker2")

        world.faults.after = start_again
        _, tried = world.check.mend(report)
        assert tried[0].failure is not None
        assert {"l1", "l2"} <= world.gateway.open_ids

    def test_listeners_that_have_a_session_again_stay(self, world: World) -> None:
        lost_listeners(world)
        report = world.check.find()
        world.join("speaker2", Role.SPEAKER)
        world.check.mend(report)
        assert {"l1", "l2"} <= world.gateway.open_ids
        assert world.session.listener_count == 2

    def test_somebody_who_is_at_it_is_left_to_it(self, world: World) -> None:
        ended_and_forgotten(world)
        report = world.check.find()
        now_ms = world.clock.now_ms()
        speaker = world.connections.records["speaker"].connection
        world.sessions.end(speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + 10 * CLAIM_MS))
        final, tried = world.check.mend(report)
        assert all(one.failure is not None for one in tried)
        assert report.broken[0] in final.broken

    def test_a_notice_that_fails_stops_nothing(self, world: World) -> None:
        no_speaker(world)
        world.faults.fail("PostToConnection")
        assert world.mend().broken == ()
        assert world.log.events("warning") == ["notice failed"]

    def test_a_close_that_fails_is_tried_again_with_the_next_look(self, world: World) -> None:
        lost_listeners(world)
        world.faults.fail("DeleteConnection")
        report = world.mend()
        assert [one.failure is None for one in world.tried] == [False, True]
        assert "planned" in str(world.tried[0].failure)
        assert report.broken == ()

    def test_what_cannot_be_mended_is_reported_with_the_reason(self, world: World) -> None:
        ghost(world)
        world.faults.fail("TransactWriteItems", times=10, retryable=False)
        report = world.mend()
        assert [broken.kind for broken in report.broken] == [Kind.GHOST]
        assert len(world.tried) == 3
        assert all("planned" in str(one.failure) for one in world.tried)

    def test_an_unreadable_session_is_reported_and_nothing_of_it_is_touched(
        self, world: World
    ) -> None:
        world.audit.unreadable.add("s1")
        world.vanish("speaker")
        report = world.mend()
        assert {broken.kind for broken in report.broken} == {
            Kind.UNREADABLE_SESSION,
            Kind.GHOST,
        }
        assert {one.broken for one in world.tried} == {UnreadableSession("s1")}
        assert "session s1" in str(world.tried[0].broken)
        assert "speaker" in world.connections.records

    def test_everything_at_once_is_mended(self, world: World) -> None:
        for number in range(2, 5):
            session_id = f"s{number}"
            world.join(f"speaker{number}", Role.SPEAKER, session_id)
            world.join(f"x{number}", Role.LISTENER, session_id)
            world.join(f"y{number}", Role.LISTENER, session_id)
        ghost(world)
        count_too_high(world)
        world.claim("l2", expired_ms_ago=200_000)
        world.lose_record("speaker2")
        world.lose_record("speaker3")
        del world.sessions.sessions["s3"]
        world.lose_record("x4")
        world.vanish("y4")
        assert world.mend().broken == ()
        counts = {i: session.listener_count for i, session in world.sessions.sessions.items()}
        assert counts == {"s1": 1, "s2": 0, "s4": 0}
        assert set(world.connections.records) == {"speaker", "l2", "speaker4"}


class TestFailures:
    @pytest.mark.parametrize("operation", ["Scan", "GetConnection"])
    def test_what_cannot_be_read_is_an_error(self, world: World, operation: str) -> None:
        world.faults.fail(operation)
        with pytest.raises(BackendError, match=operation):
            world.check.find()

    def test_says_how_far_it_is_while_it_takes_long(self, world: World) -> None:
        world.audit._page_size = 1

        def slow(operation: str, _key: str) -> None:
            if operation == "GetConnection":
                world.clock.advance(seconds=3)

        world.faults.before = slow
        assert world.check.find().broken == ()
        assert world.said == ["2 connections read"]


AUDITED = AuditedConnection(connection=Connection(connection_id="c"), claim_expires_ms=START_MS)
SESSION = Session(
    session_id="s",
    is_active=False,
    speaker_connection_id="c",
    listener_count=1,
    started_at_ms=START_MS,
    ended_at_ms=START_MS,
)


class TestRules:
    @pytest.mark.parametrize(("after_ms", "expired"), [(120_000, False), (120_001, True)])
    def test_a_claim_is_expired_once_its_length_and_a_minute_have_passed(
        self, after_ms: int, *, expired: bool
    ) -> None:
        broken = broken_about_connection(
            AUDITED, is_gone=False, now_ms=EpochMs(START_MS + after_ms), claim_ms=CLAIM_MS
        )
        assert bool(list(broken)) is expired

    def test_a_ghost_is_nothing_else(self) -> None:
        broken = broken_about_connection(
            AUDITED, is_gone=True, now_ms=EpochMs(START_MS + 10**9), claim_ms=CLAIM_MS
        )
        assert list(broken) == [Ghost(AUDITED.connection)]

    @pytest.mark.parametrize(("after_ms", "orphaned"), [(60_000, False), (60_001, True)])
    def test_an_ended_session_has_as_long_as_a_cleanup_to_send_its_listeners_home(
        self, after_ms: int, *, orphaned: bool
    ) -> None:
        now_ms = EpochMs(START_MS + after_ms)
        assert orphaned is is_orphaned(
            SESSION, speaker_on_record=True, has_listeners=True, now_ms=now_ms
        )
        assert not is_orphaned(SESSION, speaker_on_record=True, has_listeners=False, now_ms=now_ms)
        assert is_orphaned(SESSION, speaker_on_record=False, has_listeners=True, now_ms=now_ms)

    def test_a_session_that_ended_at_an_unknown_time_has_no_time_left(self) -> None:
        session = replace(SESSION, ended_at_ms=None)
        assert is_orphaned(session, speaker_on_record=True, has_listeners=True, now_ms=START_MS)
