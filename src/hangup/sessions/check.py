"""Compare the tables and API Gateway with ``invariants``, and repair what violates them.

1. First look: read both tables in full, and ask API Gateway about each connection. On a live system
   a violation may be a join or a cleanup that is still running, so it is only suspected.
2. Second look, some seconds later: report only what consistent reads confirm.
3. Repairs go through the one cleanup, or write only if the record is still as it was seen. They
   never overwrite what somebody else has changed. Then check again.

The first look keeps numbers per session and the suspected violations, not the connections. It asks
API Gateway about 100 times a second, of the account's 10,000 requests.

The check also finds what is left when DynamoDB's TTL removes records. ``expiresAt`` is an hour
after the longest life of a connection, so TTL removes a record only if no sweep has worked for an
hour. A stream on the table would also deliver every heartbeat's write. Reading the tables costs one
scan, when an operator asks for it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, TypeVar, assert_never

from hangup.core.connection import Connection, DurationMs, NoConnection
from hangup.ports import Clock, ConcurrentMap, Gateway
from hangup.sessions.invariants import (
    ExpiredClaim,
    Ghost,
    LostListeners,
    OrphanedSession,
    StoredConnection,
    UnreadableSession,
    UnreadableTime,
    Violation,
    is_lost,
    may_be_cleaning_up,
    violations_of,
)
from hangup.sessions.model import Role, Session, has_ended, role_of
from hangup.sessions.ports import ConsistencyStore
from hangup.sessions.repair import Repairer, RepairResult

PAUSE_MS: Final = DurationMs(5_000)
"""Between two looks: several times as long as a join or the cleanup of one connection."""

_ROUNDS: Final = 3
"""One repair may reveal another violation, such as the session of a ghost speaker."""

_PROGRESS_MS: Final = DurationMs(5_000)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was read and what violates the rules."""

    connections: int
    sessions: int
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _FirstLook:
    """The result of one pass over both tables."""

    connections: int = 0
    speakers: set[str] = field(default_factory=set)
    runs: defaultdict[str, set[str | None]] = field(default_factory=lambda: defaultdict(set))
    """The runs of each session that have listeners."""
    sessions: set[str] = field(default_factory=set)
    suspected: list[Violation] = field(default_factory=list)


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
        return CheckReport(
            connections=first.connections,
            sessions=len(first.sessions),
            violations=tuple(confirmed),
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
        missing = look.runs.keys() - look.sessions
        look.suspected += [LostListeners(session_id) for session_id in sorted(missing)]
        return look

    def _connections(self) -> Iterator[tuple[StoredConnection, bool]]:
        """Yield every record, and whether its connection is gone."""
        for page in self.store.connection_pages():
            ids = [stored.connection.connection_id for stored in page]
            yield from zip(page, self.concurrent_map(self._is_gone, ids), strict=True)

    def _is_gone(self, connection_id: str) -> bool:
        return self.gateway.get_connection(connection_id) is NoConnection.GONE

    def _see_connection(self, stored: StoredConnection, look: _FirstLook, *, is_gone: bool) -> None:
        look.connections += 1
        match role_of(stored.connection):
            case Role.SPEAKER:
                look.speakers.add(stored.connection.connection_id)
            case Role.LISTENER:
                connection = stored.connection
                look.runs[connection.session_id or ""].add(connection.session_run)
            case None:
                pass  # in no session
            case unexpected:
                assert_never(unexpected)
        look.suspected += violations_of(stored, is_gone=is_gone, now_ms=self.clock.now_ms())

    def _see_session(self, session: Session | UnreadableSession, look: _FirstLook) -> None:
        if isinstance(session, UnreadableSession):
            look.suspected.append(session)
            return
        if session.is_active and session.run not in look.speakers:
            look.suspected.append(OrphanedSession(session))
        runs = look.runs.get(session.session_id, set())
        if self._has_lost(session, runs, look.speakers):
            look.suspected.append(LostListeners(session.session_id))

    def _has_lost(self, session: Session | None, runs: set[str | None], speakers: set[str]) -> bool:
        now_ms = self.clock.now_ms()
        return any(
            is_lost(session, run, speaker_on_record=run in speakers, now_ms=now_ms) for run in runs
        )

    # The second look

    def _confirm(self, suspected: Violation) -> Violation | None:
        """Return the violation as it is now, ``None`` if it is over."""
        match suspected:
            case (
                Ghost(Connection(connection_id=connection_id))
                | ExpiredClaim(connection_id)
                | UnreadableTime(connection_id)
            ):
                violations = self._violations_now(connection_id)
                return next((v for v in violations if isinstance(v, type(suspected))), None)
            case OrphanedSession(Session(session_id=session_id)):
                now = self.store.session(session_id)
                if isinstance(now, Session) and now.is_active and not self._is_on_record(now.run):
                    return OrphanedSession(now)
                over = True
            case LostListeners(session_id):
                runs = {one.session_run for one in self.repairer.cleanup.listeners(session_id)}
                speakers = {run for run in runs if run and self._is_on_record(run)}
                # Read after the listing: each of them joined its run before.
                now = self.store.session(session_id)
                over = isinstance(now, UnreadableSession) or not self._has_lost(now, runs, speakers)
            case UnreadableSession(session_id):
                over = not isinstance(self.store.session(session_id), UnreadableSession)
            case unexpected:
                assert_never(unexpected)
        return None if over else suspected

    def _violations_now(self, connection_id: str) -> Iterator[Violation]:
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
            and has_ended(session, connection.connection_id)
            and may_be_cleaning_up(session, self.clock.now_ms())
        )

    def _is_on_record(self, connection_id: str) -> bool:
        return self.store.connection(connection_id) is not None


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
    return result


def findings_as_json(report: CheckReport, tried: Sequence[RepairResult]) -> dict[str, object]:
    """Return the same and every violation as a JSON object.

    A violation has its ``kind``, the ids that it concerns, and ``what`` is wrong in words.
    """
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
    }


def _as_json(violation: Violation) -> dict[str, object]:
    fields: dict[str, object]
    match violation:
        case Ghost(connection):
            fields = {
                "connectionId": connection.connection_id,
                "sessionId": connection.session_id,
                "role": connection.role,
            }
        case ExpiredClaim(connection_id, claim_expires_ms):
            fields = {"connectionId": connection_id, "claimExpiresMs": claim_expires_ms}
        case OrphanedSession(session):
            fields = {
                "sessionId": session.session_id,
                "speakerConnectionId": session.speaker_connection_id,
            }
        case LostListeners(session_id) | UnreadableSession(session_id):
            fields = {"sessionId": session_id}
        case UnreadableTime(connection_id, time, value):
            fields = {"connectionId": connection_id, "time": time.value, "value": value}
        case unexpected:
            assert_never(unexpected)
    return {"kind": str(violation.kind), **fields, "what": str(violation)}


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"
