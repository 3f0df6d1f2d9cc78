"""A stack in memory, the check on it, and how its rules are violated."""

from collections.abc import Callable
from dataclasses import replace

from hangup.core.connection import DurationMs, EpochMs
from hangup.sessions.check import PAUSE_MS, Check, CheckReport
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    Violation,
)
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinOutcome, JoinRequest, Role, Session
from hangup.sessions.repair import Repairer
from hangup.testing import START_MS, FakeAws
from tests.support.cleanup import cleanup_of


class World(FakeAws):
    """The fakes, the check on them, and what violates its rules."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.happens_next: list[Callable[[], object]] = []
        self.check = Check(
            store=self.store,
            gateway=self.gateway,
            repairer=Repairer(
                store=self.store,
                gateway=self.gateway,
                cleanup=cleanup_of(self),
                clock=self.clock,
            ),
            clock=_Clock(self),
            concurrent_map=map,
            progress=self.said.append,
        )

    def join(self, connection_id: str, role: Role, session_id: str = "s1") -> None:
        self.gateway.open(connection_id)
        request = JoinRequest(session_id=session_id, role=role)
        outcome = join(request, connection_id, sessions=self.sessions, now_ms=self.clock.now_ms())
        assert outcome is JoinOutcome.JOINED

    def leave(self, connection_id: str) -> None:
        """Let a client leave, and clean up after it."""
        self.gateway.open_ids.discard(connection_id)
        self.check.repairer.cleanup.disconnect(connection_id)

    def vanish(self, connection_id: str) -> None:
        """Let a client leave without a ``$disconnect`` event."""
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
        """Let something happen in the check's next pause."""
        self.happens_next.append(happens)

    def sleep(self, duration_ms: DurationMs) -> None:
        self.clock.sleep(duration_ms)
        if self.happens_next:
            self.happens_next.pop()()

    def repair(self) -> CheckReport:
        report, self.tried = self.check.repair(self.check.find())
        return report

    @property
    def session(self) -> Session:
        return self.sessions.sessions["s1"]


class _Clock:
    """The world's clock, with a world where things happen while somebody sleeps."""

    def __init__(self, world: World) -> None:
        self.now_ms = world.clock.now_ms
        self.monotonic_ms = world.clock.monotonic_ms
        self.sleep = world.sleep


def in_order() -> World:
    """Return a session with a speaker and two listeners."""
    world = World()
    world.join("speaker", Role.SPEAKER)
    world.join("l1", Role.LISTENER)
    world.join("l2", Role.LISTENER)
    return world


def ghost(world: World) -> Violation:
    world.vanish("l1")
    return Ghost(world.connections.records["l1"].connection)


def ghost_speaker(world: World) -> Violation:
    world.vanish("speaker")
    return Ghost(world.connections.records["speaker"].connection)


def expired_claim(world: World) -> Violation:
    world.claim("l1", expired_ms_ago=120_001)
    return ExpiredClaim("l1", EpochMs(START_MS - 120_001), DurationMs(120_001 + PAUSE_MS))


def no_speaker(world: World) -> Violation:
    world.lose_record("speaker")
    return OrphanedSession(world.session)


def ended_with_listeners(world: World) -> Violation:
    world.lose_record("speaker")
    world.vanish("speaker")
    world.change_session(is_active=False, ended_at_ms=world.clock.now_ms())
    return LostListeners("s1")


def ended_and_forgotten(world: World) -> Violation:
    world.change_session(is_active=False, ended_at_ms=EpochMs(START_MS - 60_001))
    return LostListeners("s1")


def of_an_earlier_run(world: World) -> Violation:
    world.lose_record("speaker")
    world.vanish("speaker")
    world.change_session(is_active=False)
    world.join("speaker2", Role.SPEAKER)
    world.join("l3", Role.LISTENER)
    return LostListeners("s1")


def lost_listeners(world: World) -> Violation:
    world.lose_record("speaker")
    world.vanish("speaker")
    del world.sessions.sessions["s1"]
    return LostListeners("s1")


VIOLATIONS = [
    ghost,
    ghost_speaker,
    expired_claim,
    no_speaker,
    ended_with_listeners,
    ended_and_forgotten,
    of_an_earlier_run,
    lost_listeners,
]
