"""Compare the tables and API Gateway with what must hold, and mend what is broken.

1. First look: both tables are read in full, and API Gateway is asked about each connection. What
   contradicts the rules in ``core.invariants`` is a suspicion, for the system is live: any of it
   may be a join or a cleanup that was under way.
2. Second look, some seconds later: only what consistent reads confirm is broken.
3. A wrong count is confirmed by two looks that agree in the count and in each listener. A session
   whose listeners come and go in every look is not judged, and named.
4. Mending goes through the one cleanup, or writes on condition that what was seen is still so: it
   never overwrites what somebody else has changed in between. Then everything is looked at again.

The first look keeps numbers by session, not the connections; suspicions it keeps. It asks API
Gateway some hundred times a second, out of the account's 10,000 requests.

Records that DynamoDB's TTL removed are reconciled here. ``expiresAt`` lies an hour after the
longest life of a connection, so TTL meets a record only if no sweep has worked for an hour. A
stream on the table would hear of it, but also of every heartbeat's write; it may say so twice; and
with the record gone there is nothing left to make the cleanup conditional on, so that it could be
subtracted twice. Reading the tables costs one scan, when somebody asks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.ports import Clock, ConcurrentMap, Gateway
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    StoredConnection,
    SuspectedViolation,
    UnreadableSession,
    Violation,
    WrongCount,
    broken_about_connection,
    is_cleaning_up,
    is_orphaned,
)
from hangup.sessions.model import Role, Session, role_of
from hangup.sessions.ports import ConsistencyStore, SessionsRepository
from hangup.sessions.repair import Repair, RepairResult, listeners_on_record

__all__ = ["PAUSE_MS", "Check", "CheckReport", "findings_as_json", "in_words"]

PAUSE_MS: Final = DurationMs(5_000)
"""Between two looks: several times what a join or the cleanup of one connection takes."""

_COUNT_LOOKS: Final = 4
_ROUNDS: Final = 3
"""One mend may uncover another: the count of a session whose ghosts are gone, say."""

_PROGRESS_MS: Final = DurationMs(5_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was read and what of it is broken; ``unsettled`` are sessions too busy to be counted."""

    connections: int
    sessions: int
    broken: tuple[Violation, ...]
    unsettled: tuple[str, ...] = ()


@dataclass(slots=True)
class _FirstLook:
    """What one pass over both tables leaves behind."""

    connections: int = 0
    listeners: Counter[str] = field(default_factory=Counter)
    speakers: set[str] = field(default_factory=set)
    suspicions: list[SuspectedViolation] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    miscounted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of one deployed stack, ready to be run.

    ``claim_ms`` is how long a claim holds, ``progress`` is told every few seconds how far it is.
    ``pause_ms`` lies between two looks.
    """

    store: ConsistencyStore
    sessions: SessionsRepository
    gateway: Gateway
    mending: Repair
    clock: Clock
    concurrent_map: ConcurrentMap
    progress: Callable[[str], None]
    claim_ms: DurationMs
    pause_ms: DurationMs = PAUSE_MS

    def find(self) -> CheckReport:
        """Return what is broken. Raises ``BackendError`` if something cannot be read."""
        first = self._first_look()
        broken: list[Violation] = []
        if first.suspicions:
            self.progress(f"looking again at {_some(len(first.suspicions), 'suspicion')}")
            self.clock.sleep(self.pause_ms)
            now_and_then = self._now_and_then()
            looked = self.concurrent_map(self._confirmed, first.suspicions)
            for number, one in enumerate(looked, start=1):
                now_and_then(f"{number} looked at again")
                if one is not None:
                    broken.append(one)
        wrong_counts, unsettled = self._wrong_counts(first.miscounted)
        return CheckReport(
            connections=first.connections,
            sessions=len(first.sessions),
            broken=tuple(broken + wrong_counts),
            unsettled=tuple(sorted(unsettled)),
        )

    def repair(self, report: CheckReport) -> tuple[CheckReport, Sequence[RepairResult]]:
        """Repair what a report names, and check again, until nothing is broken or repairs fail.

        Return the last look's report, and everything that was tried.
        """
        tried: list[RepairResult] = []
        for _ in range(_ROUNDS):
            if not report.broken:
                break
            self.progress(f"mending {len(report.broken)}")
            now_and_then = self._now_and_then()
            for number, mended in enumerate(self.mending.mend(report.broken), start=1):
                now_and_then(f"{number} tried")
                tried.append(mended)
            report = self.find()
        return report, tried

    def _now_and_then(self) -> Callable[[str], None]:
        """Return ``progress`` that says nothing until some seconds after the last time."""
        said_ms = self.clock.now_ms()

        def say(line: str) -> None:
            nonlocal said_ms
            if self.clock.now_ms() - said_ms >= _PROGRESS_MS:
                said_ms = self.clock.now_ms()
                self.progress(line)

        return say

    # The first look

    def _first_look(self) -> _FirstLook:
        look, now_and_then = _FirstLook(), self._now_and_then()
        for page in self.store.connection_pages():
            gone = self.concurrent_map(self._is_gone, [a.connection.connection_id for a in page])
            for stored, is_gone in zip(page, gone, strict=True):
                now_ms = self.clock.now_ms()
                self._see_connection(stored, look, is_gone=is_gone, now_ms=now_ms)
                look.connections += 1
                now_and_then(f"{_some(look.connections, 'connection')} checked")
        for sessions in self.store.session_pages():
            now_ms = self.clock.now_ms()
            for session in sessions:
                look.sessions.add(session.session_id)
                self._see_session(session, look, now_ms=now_ms)
        missing = look.listeners.keys() - look.sessions
        look.suspicions += [LostListeners(session_id) for session_id in sorted(missing)]
        return look

    def _is_gone(self, connection_id: str) -> bool:
        return self.gateway.last_active_ms(connection_id) is None

    def _see_connection(
        self, stored: StoredConnection, look: _FirstLook, *, is_gone: bool, now_ms: EpochMs
    ) -> None:
        connection = stored.connection
        match role_of(connection):
            case Role.SPEAKER:
                look.speakers.add(connection.connection_id)
            case Role.LISTENER:
                look.listeners[connection.session_id or ""] += 1
            case None:
                pass  # in no session
            case unexpected:
                assert_never(unexpected)
        look.suspicions += broken_about_connection(
            stored, is_gone=is_gone, now_ms=now_ms, claim_ms=self.claim_ms
        )

    @staticmethod
    def _see_session(
        session: Session | UnreadableSession, look: _FirstLook, *, now_ms: EpochMs
    ) -> None:
        if isinstance(session, UnreadableSession):
            look.suspicions.append(session)
            return
        listeners = look.listeners[session.session_id]
        if is_orphaned(
            session,
            speaker_on_record=session.speaker_connection_id in look.speakers,
            has_listeners=listeners > 0,
            now_ms=now_ms,
        ):
            look.suspicions.append(OrphanedSession(session))
        if session.listener_count != listeners:
            look.miscounted.append(session.session_id)

    # The second look

    def _confirmed(self, suspicion: SuspectedViolation) -> SuspectedViolation | None:
        """Return what is broken by now, if it still is."""
        match suspicion:
            case Ghost(connection):
                return self._broken_now(connection.connection_id, Ghost)
            case ExpiredClaim(connection_id):
                return self._broken_now(connection_id, ExpiredClaim)
            case OrphanedSession(session):
                now = self.store.session(session.session_id)
                orphaned = isinstance(now, Session) and self._is_orphaned_now(now)
                return OrphanedSession(now) if orphaned and isinstance(now, Session) else None
            case LostListeners(session_id):
                lost = self.store.session(session_id) is None and any(self._listeners(session_id))
                return suspicion if lost else None
            case UnreadableSession(session_id):
                now = self.store.session(session_id)
                return now if isinstance(now, UnreadableSession) else None
            case unexpected:
                assert_never(unexpected)

    def _broken_now(
        self, connection_id: str, kind: type[SuspectedViolation]
    ) -> SuspectedViolation | None:
        stored = self.store.connection(connection_id)
        if stored is None or self._is_leaving(stored.connection):
            return None
        broken = broken_about_connection(
            stored,
            is_gone=self._is_gone(connection_id),
            now_ms=self.clock.now_ms(),
            claim_ms=self.claim_ms,
        )
        return next((one for one in broken if isinstance(one, kind)), None)

    def _is_leaving(self, connection: Connection) -> bool:
        """Say whether this is a speaker whose listeners are being closed, which takes a while."""
        if role_of(connection) is not Role.SPEAKER:
            return False
        session = self.store.session(connection.session_id or "")
        return (
            isinstance(session, Session)
            and session.speaker_connection_id == connection.connection_id
            and is_cleaning_up(session, self.clock.now_ms())
        )

    def _is_orphaned_now(self, session: Session) -> bool:
        return is_orphaned(
            session,
            speaker_on_record=self.store.connection(session.speaker_connection_id) is not None,
            has_listeners=any(self._listeners(session.session_id)),
            now_ms=self.clock.now_ms(),
        )

    def _listeners(self, session_id: str) -> Iterator[Connection]:
        return listeners_on_record(session_id, sessions=self.sessions, store=self.store)

    def _wrong_counts(self, suspects: Iterable[str]) -> tuple[list[Violation], set[str]]:
        """Return the counts that are wrong, and the sessions that could not be judged."""
        waiting, wrong = set(suspects), list[Violation]()
        seen: dict[str, tuple[int, frozenset[str]]] = {}
        for _ in range(_COUNT_LOOKS):
            if not waiting:
                break
            self.progress(f"counting the listeners of {_some(len(waiting), 'session')} again")
            self.clock.sleep(self.pause_ms)
            # The index lags behind, so the table itself is read: between two reads of the count.
            before = self._counts(waiting)
            on_record = self._listener_ids(waiting)
            after = self._counts(waiting)
            for session_id in sorted(waiting):
                count, ids = before[session_id], frozenset(on_record[session_id])
                if count is None or len(ids) in (count, after[session_id]):
                    waiting.remove(session_id)
                elif count != after[session_id]:
                    seen.pop(session_id, None)
                elif seen.get(session_id) == (count, ids):
                    waiting.remove(session_id)
                    wrong.append(WrongCount(session_id, count, len(ids)))
                else:
                    seen[session_id] = (count, ids)
        return wrong, waiting

    def _counts(self, session_ids: set[str]) -> dict[str, int | None]:
        ids = sorted(session_ids)
        sessions = self.concurrent_map(self.store.session, ids)
        return {
            session_id: session.listener_count if isinstance(session, Session) else None
            for session_id, session in zip(ids, sessions, strict=True)
        }

    def _listener_ids(self, session_ids: set[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {session_id: set() for session_id in session_ids}
        for page in self.store.connection_pages():
            for stored in page:
                connection = stored.connection
                if role_of(connection) is Role.LISTENER and connection.session_id in found:
                    found[connection.session_id].add(connection.connection_id)
        return found


def in_words(
    report: CheckReport, tried: Sequence[RepairResult], *, fixed: bool, repair_with: str
) -> str:
    """Return what a check came to; ``repair_with`` is the command that repairs the rest."""
    read = f"{_some(report.connections, 'connection')} and {_some(report.sessions, 'session')}"
    broken, repaired = len(report.broken), sum(one.failure is None for one in tried)
    if broken and fixed:
        result = f"{broken} still broken among {read}."
    elif broken:
        result = f"{broken} broken among {read}; repair it with: {repair_with}"
    elif repaired:
        result = f"Checked {read}: {repaired} repaired, nothing is broken now."
    else:
        result = f"Checked {read}: nothing is broken."
    if report.unsettled:
        busy = ", ".join(report.unsettled)
        result += f"\nNot judged, because their listeners came and went all the time: {busy}."
    return result


def findings_as_json(report: CheckReport, tried: Sequence[RepairResult]) -> dict[str, object]:
    """Return the same, and each thing that was broken or mended, for a program."""
    return {
        "connections": report.connections,
        "sessions": report.sessions,
        "broken": [{"kind": str(one.kind), "what": str(one)} for one in report.broken],
        "repaired": [
            {"kind": str(one.broken.kind), "what": str(one.broken)}
            for one in tried
            if one.failure is None
        ],
        "notRepaired": [
            {"kind": str(one.broken.kind), "what": str(one.broken), "why": one.failure}
            for one in tried
            if one.failure is not None
        ],
        "notJudged": list(report.unsettled),
    }


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
