"""Compare the tables and API Gateway with ``invariants``, and repair what violates them.

1. First look: read both tables in full, and ask API Gateway about each connection. On a live system
   a violation may be a join or a cleanup that is still running, so it is only suspected.
2. Second look, some seconds later: report only what consistent reads confirm.
3. A wrong count is confirmed by two looks with the same count and the same listeners. A session
   whose listeners change in every look is skipped, and named in the report.
4. Repairs go through the one cleanup, or write only if the record is still as it was seen. They
   never overwrite what somebody else has changed. Then check again.

The first look keeps numbers per session and the suspected violations, not the connections. It asks
API Gateway about 100 times a second, of the account's 10,000 requests.

The check also finds what is left when DynamoDB's TTL removes records. ``expiresAt`` is an hour
after the longest life of a connection, so TTL removes a record only if no sweep has worked for an
hour. A stream on the table would also deliver every heartbeat's write, and may deliver a removal
twice. With the record gone, no condition could keep the cleanup from subtracting the listener
twice. Reading the tables costs one scan, when an operator asks for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, TypeVar, assert_never

from hangup.core.connection import Connection, DurationMs
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
    is_cleaning_up,
    is_orphaned,
    violations_of,
)
from hangup.sessions.model import Role, Session, role_of
from hangup.sessions.ports import ConsistencyStore
from hangup.sessions.repair import Repairer, RepairResult

PAUSE_MS: Final = DurationMs(5_000)
"""Between two looks: several times as long as a join or the cleanup of one connection."""

_COUNT_LOOKS: Final = 4
_ROUNDS: Final = 3
"""One repair may reveal another violation, such as the count of a session without its ghosts."""

_PROGRESS_MS: Final = DurationMs(5_000)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was read and what violates the rules. ``skipped`` sessions were too busy to count."""

    connections: int
    sessions: int
    violations: tuple[Violation, ...]
    skipped: tuple[str, ...] = ()


@dataclass(slots=True)
class _FirstLook:
    """The result of one pass over both tables."""

    connections: int = 0
    speakers: set[str] = field(default_factory=set)
    listeners: Counter[str] = field(default_factory=Counter)
    sessions: set[str] = field(default_factory=set)
    miscounted: list[str] = field(default_factory=list)
    suspected: list[SuspectedViolation] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of one deployed stack.

    ``progress`` receives a line every few seconds. ``pause_ms`` is the time between two looks.
    """

    store: ConsistencyStore
    gateway: Gateway
    repairer: Repairer
    clock: Clock
    concurrent_map: ConcurrentMap
    progress: Callable[[str], None]
    pause_ms: DurationMs = PAUSE_MS

    def find(self) -> CheckReport:
        """Return what violates the rules. Raises ``BackendError`` if something cannot be read."""
        first = self._first_look()
        confirmed: list[Violation] = []
        if first.suspected:
            self.progress(f"checking {_count(len(first.suspected), 'suspected violation')} again")
            self.clock.sleep(self.pause_ms)
            second = self.concurrent_map(self._confirm, first.suspected)
            confirmed += [v for v in self._with_progress(second, "checked again") if v is not None]
        wrong_counts, skipped = self._wrong_counts(first.miscounted)
        return CheckReport(
            connections=first.connections,
            sessions=len(first.sessions),
            violations=(*confirmed, *wrong_counts),
            skipped=tuple(sorted(skipped)),
        )

    def repair(self, report: CheckReport) -> tuple[CheckReport, Sequence[RepairResult]]:
        """Repair what the report names and check again, up to three times.

        Return the last check's report, and the result of every repair that was tried.
        """
        tried: list[RepairResult] = []
        for _ in range(_ROUNDS):
            if report.violations:
                self.progress(f"repairing {_count(len(report.violations), 'violation')}")
                results = self.repairer.repair(report.violations)
                tried += self._with_progress(results, "repairs tried")
                report = self.find()
        return report, tried

    def _with_progress(self, items: Iterable[_Item], done: str) -> Iterator[_Item]:
        """Yield the items; every few seconds, report how many were ``done``."""
        said_ms = self.clock.now_ms()
        for number, item in enumerate(items, start=1):
            if self.clock.now_ms() - said_ms >= _PROGRESS_MS:
                said_ms = self.clock.now_ms()
                self.progress(f"{done}: {number}")
            yield item

    # The first look

    def _first_look(self) -> _FirstLook:
        look = _FirstLook()
        for stored, is_gone in self._with_progress(self._connections(), "connections checked"):
            self._see_connection(stored, look, is_gone=is_gone)
        for session in chain.from_iterable(self.store.session_pages()):
            look.sessions.add(session.session_id)
            self._see_session(session, look)
        missing = look.listeners.keys() - look.sessions
        look.suspected += [LostListeners(session_id) for session_id in sorted(missing)]
        return look

    def _connections(self) -> Iterator[tuple[StoredConnection, bool]]:
        """Yield every record, and whether its connection is gone."""
        for page in self.store.connection_pages():
            ids = [stored.connection.connection_id for stored in page]
            yield from zip(page, self.concurrent_map(self._is_gone, ids), strict=True)

    def _is_gone(self, connection_id: str) -> bool:
        return self.gateway.last_active_ms(connection_id) is None

    def _see_connection(self, stored: StoredConnection, look: _FirstLook, *, is_gone: bool) -> None:
        look.connections += 1
        match role_of(stored.connection):
            case Role.SPEAKER:
                look.speakers.add(stored.connection.connection_id)
            case Role.LISTENER:
                look.listeners[stored.connection.session_id or ""] += 1
            case None:
                pass  # in no session
            case unexpected:
                assert_never(unexpected)
        look.suspected += violations_of(stored, is_gone=is_gone, now_ms=self.clock.now_ms())

    def _see_session(self, session: Session | UnreadableSession, look: _FirstLook) -> None:
        if isinstance(session, UnreadableSession):
            look.suspected.append(session)
            return
        listeners = look.listeners[session.session_id]
        if is_orphaned(
            session,
            speaker_on_record=session.speaker_connection_id in look.speakers,
            has_listeners=listeners > 0,
            now_ms=self.clock.now_ms(),
        ):
            look.suspected.append(OrphanedSession(session))
        if session.listener_count != listeners:
            look.miscounted.append(session.session_id)

    # The second look

    def _confirm(self, suspected: SuspectedViolation) -> SuspectedViolation | None:
        """Return the violation as it is now, ``None`` if it is over."""
        match suspected:
            case Ghost(Connection(connection_id=connection_id)) | ExpiredClaim(connection_id):
                violations = self._violations_now(connection_id)
                return next((v for v in violations if isinstance(v, type(suspected))), None)
            case OrphanedSession(Session(session_id=session_id)):
                now = self.store.session(session_id)
                if isinstance(now, Session) and self._is_orphaned(now):
                    return OrphanedSession(now)
                over = True
            case LostListeners(session_id):
                exists = self.store.session(session_id) is not None
                over = exists or not self._has_listeners(session_id)
            case UnreadableSession(session_id):
                over = not isinstance(self.store.session(session_id), UnreadableSession)
            case unexpected:
                assert_never(unexpected)
        return None if over else suspected

    def _violations_now(self, connection_id: str) -> Iterator[SuspectedViolation]:
        stored = self.store.connection(connection_id)
        if stored is not None and not self._is_leaving(stored.connection):
            yield from violations_of(
                stored, is_gone=self._is_gone(connection_id), now_ms=self.clock.now_ms()
            )

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

    def _is_orphaned(self, session: Session) -> bool:
        return is_orphaned(
            session,
            speaker_on_record=self.store.connection(session.speaker_connection_id) is not None,
            has_listeners=self._has_listeners(session.session_id),
            now_ms=self.clock.now_ms(),
        )

    def _has_listeners(self, session_id: str) -> bool:
        return any(self.repairer.listeners_on_record(session_id))

    # Counts

    def _wrong_counts(self, suspected: Iterable[str]) -> tuple[list[Violation], set[str]]:
        """Return the wrong counts, and the sessions that were too busy to count."""
        waiting, wrong = set(suspected), list[Violation]()
        looks: dict[str, tuple[object, ...]] = {}
        for _ in range(_COUNT_LOOKS):
            if not waiting:
                break
            self.progress(f"counting the listeners of {_count(len(waiting), 'session')} again")
            self.clock.sleep(self.pause_ms)
            ids = sorted(waiting)
            # Read the table, not the index, which lags. Read the count before and after it.
            before, listeners, after = self._counts(ids), self._listener_ids(ids), self._counts(ids)
            for look in zip(ids, before, listeners, after, strict=True):
                session_id, counted, on_record, counted_after = look
                if counted is None or len(on_record) in (counted, counted_after):
                    waiting.remove(session_id)
                elif counted == counted_after and looks.get(session_id) == look:
                    waiting.remove(session_id)
                    wrong.append(WrongCount(session_id, counted, len(on_record)))
                looks[session_id] = look
        return wrong, waiting

    def _counts(self, session_ids: Sequence[str]) -> list[int | None]:
        sessions = self.concurrent_map(self.store.session, session_ids)
        return [s.listener_count if isinstance(s, Session) else None for s in sessions]

    def _listener_ids(self, session_ids: Sequence[str]) -> list[set[str]]:
        found: dict[str | None, set[str]] = {session_id: set() for session_id in session_ids}
        for stored in chain.from_iterable(self.store.connection_pages()):
            connection = stored.connection
            if role_of(connection) is Role.LISTENER and connection.session_id in found:
                found[connection.session_id].add(connection.connection_id)
        return list(found.values())


def in_words(
    report: CheckReport, tried: Sequence[RepairResult], *, fixed: bool, repair_with: str
) -> str:
    """Return the result of a check in words; ``repair_with`` is the command that repairs."""
    read = f"{_count(report.connections, 'connection')} and {_count(report.sessions, 'session')}"
    result = f"Checked {read}: {_count(len(report.violations), 'violation')}"
    if fixed:
        result += f" left, {sum(one.failure is None for one in tried)} repaired."
    else:
        result += f". To repair, run: {repair_with}" if report.violations else "."
    if report.skipped:
        result += f"\nSkipped, too busy to count: {', '.join(report.skipped)}."
    return result


def findings_as_json(report: CheckReport, tried: Sequence[RepairResult]) -> dict[str, object]:
    """Return the same and every violation as a JSON object."""
    return {
        "connections": report.connections,
        "sessions": report.sessions,
        "violations": [_as_json(violation) for violation in report.violations],
        "repaired": [_as_json(one.violation) for one in tried if one.failure is None],
        "notRepaired": [
            _as_json(one.violation) | {"why": one.failure}
            for one in tried
            if one.failure is not None
        ],
        "skipped": list(report.skipped),
    }


def _as_json(violation: Violation) -> dict[str, str]:
    return {"kind": str(violation.kind), "what": str(violation)}


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"
