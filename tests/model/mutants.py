"""Broken rules, one each: the model test has teeth only if it catches every one of them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal
from unittest.mock import patch

from hangup.aws.state_table import StateTableConnections
from hangup.core import events
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import parse_disconnect
from hangup.core.guard import Activity, Seen
from hangup.core.outcomes import CloseResult, NotRecorded, PostOutcome
from hangup.errors import InvalidRequest
from hangup.idle.closer import Closer
from hangup.idle.guard import Answer, Confirmer
from hangup.sessions.lifecycle import Cleanup, join
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Session
from hangup.testing import Faults, InMemoryConnections, InMemorySessions
from hangup.testing.faults import aws_call
from tests.model.machine import ConnectionsMachine
from tests.model.stores import InMemoryStores, StateTableStores, Stores
from tests.model.world import CALM, Script, World


class NoClaim(InMemoryConnections):
    """Close what the scan saw, without asking again."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        return True


class ClaimWithoutCondition(InMemoryConnections):
    """Claim whatever has not been claimed, although the client may have spoken."""

    @aws_call("UpdateItem")
    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        record = self.records.get(connection.connection_id)
        if record is None or record.is_claimed(now_ms):
            return False
        record.claim_expires_ms = claim_expires_ms
        return True


class ResurrectingActivity(InMemoryConnections):
    """Write activity as an upsert."""

    @aws_call("UpdateItem")
    def record_activity(
        self, connection_id: str, *, now_ms: EpochMs, resolution_ms: DurationMs
    ) -> Connection | NotRecorded:
        record = self.records.get(connection_id)
        seen = Connection(connection_id=connection_id) if record is None else record.connection
        self.put(replace(seen, last_activity_ms=now_ms))
        return seen


class NoFence(InMemorySessions):
    """Let an old speaker's cleanup end whatever session is there now."""

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> EndRefusal | None:
        session = self.sessions.get(speaker.session_id or "")
        if session is None:
            return EndRefusal.NOT_ITS_SPEAKER
        now = replace(speaker, connection_id=session.run)
        return super().end(now, now_ms=now_ms, claim_expires_ms=claim_expires_ms)


class _Sessions:
    """The sessions of somebody who joins, with a rule broken."""

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions
        self._read: list[Session | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)


class ReadOnce(_Sessions):
    """Read the session before the record is written, and not after it."""

    def get(self, session_id: str) -> Session | None:
        if not self._read:
            self._read.append(self._sessions.get(session_id))
        return self._read[0]


class NoTakeBack(_Sessions):
    """Leave the record of a join that is refused."""

    def remove(self, connection_id: str) -> bool:
        return True


class EventualRead(InMemorySessions):
    """Read what was there before the last end."""

    def __init__(self, connections: InMemoryConnections, faults: Faults | None = None) -> None:
        super().__init__(connections, faults)
        self._before: dict[str, Session] = {}

    def get(self, session_id: str) -> Session | None:
        now = super().get(session_id)
        return self._before.pop(session_id, now)

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> EndRefusal | None:
        before = self.sessions.get(speaker.session_id or "")
        refusal = super().end(speaker, now_ms=now_ms, claim_expires_ms=claim_expires_ms)
        if refusal is None and before is not None:
            self._before[before.session_id] = before
        return refusal


def joining(sessions_of: type[_Sessions]) -> Any:
    """Return a join that sees the sessions so."""

    def joined(*request: Any, sessions: Any, now_ms: EpochMs) -> JoinOutcome:
        return join(*request, sessions=sessions_of(sessions), now_ms=now_ms)

    return staticmethod(joined)


class OnePass(Cleanup):
    """Look at the index once when a session ends."""

    def _drain(self, session_id: str, *, runs: Sequence[str | None]) -> None:
        listeners = [one for one in self.listeners(session_id) if one.session_run in runs]
        for error in self.close_listeners(listeners):
            raise error


class NoReadInTheHandler(Cleanup):
    """Leave it to the end of a session to find its listeners."""

    def close_if_ended(self, before: Connection, *, now_ms: EpochMs) -> bool:
        return False


class NoNotice(Closer):
    """Close without a word."""

    def send_timeout_message(
        self, connection: Connection, *, now_ms: EpochMs
    ) -> PostOutcome | Literal[False]:
        return PostOutcome.POSTED


class ForgottenListeners(Cleanup):
    """Remove the speaker's record first, and its listeners after that."""

    def _end_session(self, speaker: Connection, now_ms: EpochMs) -> LeaveOutcome:
        self.end(speaker, now_ms=now_ms)
        self.sessions.remove(speaker.connection_id)
        self._drain(speaker.session_id or "", runs=(speaker.connection_id,))
        return LeaveOutcome.SESSION_ENDED


class NoConfirmation(Confirmer):
    """Take everybody for quiet, and ask nobody."""

    def ask(self, _connection: Connection, *, silence_ms: DurationMs) -> Answer:
        return Answer(seen=Seen.QUIET, asked_ms=self.clock.monotonic_ms())


class ActiveClosedWhileUnsettled(Closer):
    """Let the record decide, although nobody knows what the account counts."""

    def _leave_active(self, _connection: Connection, _answer: Answer) -> CloseResult | None:  # type: ignore[override]
        return None


class OwnWritesLookRecorded(InMemoryConnections):
    """Note what API Gateway says as if the application had recorded it."""

    @aws_call("UpdateItem")
    def record_gateway_activity(
        self, connection: Connection, *, active_ms: EpochMs, now_ms: EpochMs
    ) -> bool:
        record = self.records.get(connection.connection_id)
        if record is None or (record.connection.recorded_ms or 0) > now_ms:
            return False
        record.connection = replace(record.connection, last_activity_ms=active_ms)
        return True


class OldAnswers(Confirmer):
    """Ask once, and believe that answer for ever."""

    def ask(self, connection: Connection, *, silence_ms: DurationMs) -> Answer:
        answer = super().ask(connection, silence_ms=silence_ms)
        key = connection.connection_id
        world: Any = self.gateway
        return _KNOWN.setdefault((id(world._world), key), answer)

    def is_good(self, _answer: Answer) -> bool:
        return True


_KNOWN: dict[tuple[int, str], Answer] = {}


def disconnect_by_route(event: Any) -> str:
    """Take every event of the route for a disconnect, whoever caused it."""
    if event["requestContext"]["routeKey"] != "$disconnect":
        raise InvalidRequest(400, "another route")
    return str(event["requestContext"]["connectionId"])


class AnyIdIsOne(World):
    """Take every item of the table for a connection."""

    def sweep(self, script: Script = CALM) -> None:
        with patch.object(events, "_CONNECTION_ID", re.compile(".+")):
            super().sweep(script)


class ClaimsByTheStateAlone(StateTableConnections):
    """Do not read the record again under the claim."""

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        return self._states.claim(
            connection.connection_id,
            connection,
            now_ms=now_ms,
            claim_expires_ms=claim_expires_ms,
            token="",
        )


class _Mutant(ConnectionsMachine):
    connections = InMemoryConnections
    sessions = InMemorySessions
    closer = Closer
    cleanup = Cleanup
    confirmer = Confirmer
    activity = Activity.RECORDED
    join_session: Any = staticmethod(join)
    parse_disconnect: Any = staticmethod(parse_disconnect)
    world_class = World

    def make_stores(self, faults: Faults) -> Stores:
        stores = InMemoryStores(faults)
        stores.connections = stores.items = self.connections(faults, page_size=3)
        stores.sessions = self.sessions(stores.items, faults)
        return stores

    def make_world(self) -> World:
        faults = Faults()
        world = self.world_class(self.make_stores(faults), faults)
        world.closer, world.cleanup, world.confirmer = self.closer, self.cleanup, self.confirmer
        world.activity = self.activity
        world.join_session = self.join_session
        world.parse_disconnect = self.parse_disconnect
        return world


_BROKEN: dict[str, dict[str, Any]] = {
    "no claim": {"connections": NoClaim},
    "claim without condition": {"connections": ClaimWithoutCondition},
    "activity as an upsert": {"connections": ResurrectingActivity},
    "no fence on the speaker": {"sessions": NoFence},
    "no second read at a join": {"join_session": joining(ReadOnce)},
    "an eventual read at a join": {"sessions": EventualRead},
    "no take-back": {"join_session": joining(NoTakeBack)},
    "one pass": {"cleanup": OnePass},
    "no read in the handler": {"cleanup": NoReadInTheHandler},
    "no notice": {"closer": NoNotice},
    "listeners after the record": {"cleanup": ForgottenListeners},
    "no confirmation": {"confirmer": NoConfirmation},
    "active closed while unsettled": {"closer": ActiveClosedWhileUnsettled},
    "the kept are closed": {"closer": ActiveClosedWhileUnsettled, "activity": Activity.GATEWAY},
    "written into the last activity": {
        "connections": OwnWritesLookRecorded,
        "activity": Activity.GATEWAY,
    },
    "own writes taken for recording": {"connections": OwnWritesLookRecorded},
    "old answers": {"confirmer": OldAnswers},
    "no event type": {"parse_disconnect": staticmethod(disconnect_by_route)},
    "ids of any form": {"world_class": AnyIdIsOne},
}


class _NoSecondRead(ConnectionsMachine):
    def make_stores(self, faults: Faults) -> Stores:
        class Broken(StateTableStores):
            repository = ClaimsByTheStateAlone

        return Broken(faults)


MUTANTS: dict[str, type[ConnectionsMachine]] = {
    name: type(name.title().replace(" ", ""), (_Mutant,), broken)
    for name, broken in _BROKEN.items()
} | {"no second read under a claim in a state table": _NoSecondRead}
