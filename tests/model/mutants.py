"""Broken rules, one each: the model test has teeth only if it catches every one of them."""

from dataclasses import replace
from typing import Any, Literal

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import DEFAULT_GUARD, GuardPolicy
from hangup.core.outcomes import ActivityOutcome, PostOutcome
from hangup.idle.closer import Closer
from hangup.sessions.lifecycle import Cleanup
from hangup.sessions.model import EndRefusal, LeaveOutcome, Role, Session
from hangup.testing import Faults, InMemoryConnections, InMemorySessions
from hangup.testing.connections import Record
from hangup.testing.faults import aws_call
from tests.model.machine import ConnectionsMachine
from tests.model.stores import InMemoryStores, Stores
from tests.model.world import World


class NoClaim(InMemoryConnections):
    """Close what the scan saw, without asking again."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        return True


class ClaimWithoutCondition(InMemoryConnections):
    """Claim whatever has not been claimed, although the client may have spoken."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        record = self.records.get(connection.connection_id)
        return record is not None and super().claim(
            record.connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms
        )


class ResurrectingActivity(InMemoryConnections):
    """Write activity as an upsert."""

    @aws_call("UpdateItem")
    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> ActivityOutcome:
        record = self.records.get(connection_id)
        seen = Connection(connection_id=connection_id) if record is None else record.connection
        self.put(replace(seen, last_activity_ms=now_ms))
        return ActivityOutcome.RECORDED


class LeaveWithoutCondition(InMemorySessions):
    """Subtract from the count although the record is gone already."""

    @aws_call("TransactWriteItems")
    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        self._connections.records.setdefault(connection.connection_id, Record(connection))
        return self._leave(connection, now_ms)


class NoFence(InMemorySessions):
    """Let an old speaker's cleanup end whatever session is there now."""

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        session = self.sessions.get(speaker.session_id or "")
        return EndRefusal.NOT_ITS_SPEAKER if session is None else self._end(session, now_ms)


class CountNotInTheTransaction(InMemorySessions):
    """Remove the record, and settle the session in a second call."""

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        if connection.role == Role.LISTENER:
            with self._faults.call("DeleteItem", connection.connection_id):
                removed = self._connections.records.pop(connection.connection_id, None)
            with self._faults.call("UpdateItem", connection.connection_id):
                session = self.sessions.get(connection.session_id or "")
                if removed is not None and session is not None:
                    count = session.listener_count - 1
                    self.sessions[session.session_id] = replace(session, listener_count=count)
            return LeaveOutcome.LISTENER_LEFT
        return super().leave(connection, now_ms=now_ms)


class NoNotice(Closer):
    """Close without a word."""

    def send_timeout_message(
        self, connection: Connection, *, now_ms: EpochMs
    ) -> PostOutcome | Literal[False]:
        return PostOutcome.POSTED


class ForgottenListeners(Cleanup):
    """Remove the speaker's record first, and its listeners after that."""

    def _end_session(self, speaker: Connection, now_ms: EpochMs) -> LeaveOutcome:
        session = self.sessions.end(
            speaker, now_ms=now_ms, claim_expires_ms=EpochMs(now_ms + self.claim_ms)
        )
        outcome = self.sessions.leave(speaker, now_ms=now_ms)
        if isinstance(session, Session):
            self._drain(session, now_ms)
        return outcome


class _Mutant(ConnectionsMachine):
    connections = InMemoryConnections
    sessions = InMemorySessions
    closer = Closer
    cleanup = Cleanup
    guard = DEFAULT_GUARD

    def make_stores(self, faults: Faults) -> Stores:
        stores = InMemoryStores(faults)
        stores.connections = self.connections(faults, page_size=3)
        stores.sessions = self.sessions(stores.connections, faults)
        return stores

    def make_world(self) -> World:
        world = super().make_world()
        world.closer, world.cleanup, world.guard = self.closer, self.cleanup, self.guard
        return world


NO_GUARD = GuardPolicy(share_percent=100, at_least=10**9, sample_size=1)

_BROKEN: dict[str, dict[str, Any]] = {
    "no claim": {"connections": NoClaim},
    "claim without condition": {"connections": ClaimWithoutCondition},
    "activity as an upsert": {"connections": ResurrectingActivity},
    "leave without condition": {"sessions": LeaveWithoutCondition},
    "no fence on the speaker": {"sessions": NoFence},
    "count outside the transaction": {"sessions": CountNotInTheTransaction},
    "no notice": {"closer": NoNotice},
    "listeners after the record": {"cleanup": ForgottenListeners},
    "no guard": {"guard": NO_GUARD},
}

MUTANTS: dict[str, type[ConnectionsMachine]] = {
    name: type(name.title().replace(" ", ""), (_Mutant,), broken)
    for name, broken in _BROKEN.items()
}
