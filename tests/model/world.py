"""A small world for the model test: clients, sockets, late events, faults, and what must hold.

Everything runs in one thread. What overlaps in reality happens here *between two external calls*:
a ``Script`` says before or after which call of an actor something fails, the actor crashes, or
another actor acts. The invariants of the design are checked after every external call that took
effect.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Final

from hangup.aws.gateway import gateway_address
from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    JsonObject,
    NoConnection,
    RecordedTime,
    TimeAttribute,
)
from hangup.core.events import parse_disconnect
from hangup.core.guard import Activity, Seen, seen_of
from hangup.core.hand_over import HandOver
from hangup.core.outcomes import CloseOutcome
from hangup.core.pacing import Pace
from hangup.core.policy import Close, IdlePolicy, decide
from hangup.core.recording import RecordingByTimeout
from hangup.core.timing import ATTEMPT_MS, REPORT_MS
from hangup.errors import BackendError, HangupError
from hangup.idle.activity import ActivityRecorder
from hangup.idle.closer import Closer
from hangup.idle.guard import Confirmer, Watch
from hangup.idle.pacer import Pacer
from hangup.idle.sweep import Sweep
from hangup.ports import Clock
from hangup.sessions.lifecycle import Cleanup, join
from hangup.sessions.model import JoinOutcome, JoinRequest, Role, has_ended
from hangup.testing import (
    FakeClock,
    Faults,
    InMemoryCloseQueue,
    InMemoryFunctions,
    InMemoryGateway,
    RecordingLog,
    RecordingMetrics,
    Sequential,
)
from tests.model.stores import Stores

IDLE_TIMEOUT_MS: Final = DurationMs(120_000)
CALLS_MS: Final = 60_000 - REPORT_MS
"""How long an invocation makes calls: the rest of its minute is for its report."""
MINUTES_TO_SETTLE: Final = 70
"""The longest claim holds for an hour."""
CLAIM_MS: Final = DurationMs(60_000)
MAX_SKEW_MS: Final = 2_000
MAX_LATE_MS: Final = MAX_SKEW_MS + 2 * ATTEMPT_MS
"""How much later than it was said an activity may be recorded, by a clock that is off."""
POLICY: Final = IdlePolicy(idle_timeout_ms=IDLE_TIMEOUT_MS, activity_resolution_ms=DurationMs(0))
ADDRESS: Final = gateway_address("https://abc123.execute-api.eu-west-1.amazonaws.com/prod")


class Crash(BaseException):
    """The process of an actor ends between two calls. No ``except`` of the code under test."""


class Violation(AssertionError):
    """An invariant does not hold."""


class Fault(Enum):
    """What goes wrong at one call."""

    FAIL_BEFORE = "the call fails, with nothing done"
    FAIL_AFTER = "the call takes effect, and its answer is lost"
    REFUSE = "the call is refused for good"
    CRASH_BEFORE = "the actor's process ends before the call"
    CRASH_AFTER = "the actor's process ends right after the call"


@dataclass(frozen=True)
class Script:
    """What happens at which of an actor's external calls (0 is the first).

    Meanwhile may also be just before the first call of an operation.
    """

    faults: dict[int, Fault] = field(default_factory=dict)
    meanwhile: Mapping[int | str, Callable[[], None]] = field(default_factory=dict)
    latency_ms: int = 5
    skew_ms: int = 0


CALM: Final = Script()


class SkewedClock:
    """One writer's clock: the world's time, a little off."""

    def __init__(self, base: FakeClock, skew_ms: int) -> None:
        self._base = base
        self._skew_ms = skew_ms

    def now_ms(self) -> EpochMs:
        return EpochMs(self._base.ms + self._skew_ms)

    def monotonic_ms(self) -> DurationMs:
        return self._base.monotonic_ms()

    def sleep(self, duration_ms: DurationMs) -> None:
        self._base.sleep(duration_ms)


@dataclass
class Client:
    """A real client: it knows when it last spoke."""

    connection_id: str
    session_id: str
    role: Role
    last_spoke_ms: int


class World:
    """Clients, the stores under test, and everything that has been sent but not yet arrived."""

    closer = Closer
    cleanup = Cleanup
    confirmer = Confirmer
    join_session = staticmethod(join)
    parse_disconnect = staticmethod(parse_disconnect)
    hand_over = HandOver.ALWAYS
    activity = Activity.RECORDED
    policy = POLICY
    close_queue: InMemoryCloseQueue | None = None
    """Where sweeps send what falls due; None where they close by themselves."""

    def __init__(self, stores: Stores, faults: Faults) -> None:
        self.faults = faults
        self.clock = FakeClock()
        self.stores = stores
        self.gateway = InMemoryGateway(faults, self.clock)
        self.counts_both = False
        self.health = RecordingByTimeout()
        self.functions = InMemoryFunctions(faults)
        self.log = RecordingLog()
        self.clients: dict[str, Client] = {}
        self.disconnects: list[str] = []
        """Connection ids of ``$disconnect`` events and hand-overs that have not arrived yet."""
        self.on_record: set[str] = set()
        self.removed: set[str] = set()
        self.claimed: dict[str, EpochMs] = {}
        """The last activity on record when a connection was claimed."""
        self.spoken: dict[str, int] = {}
        """When a client last joined or said something that was to be recorded."""
        self.answers: dict[str, Seen] = {}
        """What API Gateway said last when it was asked about a connection."""
        self.joined_in_time: dict[str, bool] = {}
        """Whether the run of a listener's session was active when its record was written."""
        self.index_lags: dict[str, int] = {}
        """How many calls pass until the index lists a listener."""
        self.recording = True
        self.strangers: dict[str, object] = {}
        """Items of the table that are no connections, as they were written."""
        self._next_id = 0
        faults.after = self._after_call

    # What clients do.

    def join(
        self, session_id: str, role: Role, script: Script = CALM, *, index_lag: int = 0
    ) -> str | None:
        """Let a client connect; return its connection id if it was let in.

        The index lists it ``index_lag`` calls later.
        """
        connection_id = f"{role[0]}{self._next_id}"
        self._next_id += 1
        if index_lag:
            self.index_lags[connection_id] = index_lag
            self.stores.list_in_index(connection_id, listed=False)
        outcome: JoinOutcome | None = None
        with self.acting(script):
            outcome = self.join_session(
                JoinRequest(session_id=session_id, role=role),
                connection_id,
                sessions=self.stores.sessions,
                now_ms=EpochMs(self.clock.ms + script.skew_ms),
            )
        if outcome is not JoinOutcome.JOINED:
            # Refused, or the handler failed: API Gateway opens no socket.
            self.check()
            if outcome is not None and connection_id in self.on_record:
                raise Violation(f"I3: {connection_id} was refused, and is on record")
            return None
        if not self.joined_in_time.get(connection_id, True):
            raise Violation(f"I3: {connection_id} joined a session that had ended")
        self.gateway.open(connection_id)
        self.gateway.active_ms[connection_id] = EpochMs(self.clock.ms)
        self.clients[connection_id] = Client(
            connection_id, session_id, role, last_spoke_ms=self.clock.ms
        )
        self.spoken[connection_id] = self.clock.ms
        return connection_id

    def talk(self, connection_id: str, script: Script = CALM) -> None:
        """Let a client say something, if its socket is open."""
        if connection_id not in self.gateway.open_ids:
            return
        self.gateway.active_ms[connection_id] = EpochMs(self.clock.ms)
        self.clients[connection_id].last_spoke_ms = self.clock.ms
        if not self.recording:
            return
        self.spoken[connection_id] = self.clock.ms
        clock = SkewedClock(self.clock, script.skew_ms)
        activity = ActivityRecorder(
            connections=self.stores.connections,
            gateway=self.gateway,
            log=self.log,
            resolution_ms=DurationMs(0),
        )
        now_ms = clock.now_ms()
        stays_too_long = not script.faults and self.should_leave(connection_id, now_ms)
        with self.acting(script):
            before = activity.record(connection_id, now_ms=now_ms)
            if isinstance(before, Connection):
                self.cleanup_with(clock).close_if_ended(before, now_ms=now_ms)
        if stays_too_long and connection_id in self.gateway.open_ids:
            raise Violation(f"I3: {connection_id} talks on in a session that has ended")

    def vanish(self, connection_id: str, *, announced: bool) -> None:
        """Close a client's socket; ``$disconnect`` is best effort, so it may never be sent."""
        if connection_id in self.gateway.open_ids:
            self.gateway.open_ids.remove(connection_id)
            if announced:
                self.disconnects.append(connection_id)

    def ask_to_disconnect(self, connection_id: str) -> None:
        """Let a client select the route ``$disconnect`` by a message."""
        if connection_id not in self.gateway.open_ids or connection_id not in self.on_record:
            return
        context = {
            "connectionId": connection_id,
            "routeKey": "$disconnect",
            "eventType": "MESSAGE",
        }
        with self.acting(CALM):
            leaving_id = self.parse_disconnect({"requestContext": context})
            self.cleanup_with(self.clock).disconnect(leaving_id)
        self.check()
        if connection_id not in self.on_record:
            raise Violation(f"I2: {connection_id} was cleaned up, and its socket is open")

    def put_stranger(self, item_id: str, connected_ms: int | None) -> None:
        """Write an item that is no connection into the table."""
        with self.unobserved():
            self.stores.put_stranger(item_id, connected_ms)
            self.strangers[item_id] = self.stores.item(item_id)

    def records(self) -> list[Connection]:
        """Return the records of connections, and leave out what is none."""
        everything = self.stores.connections.scan_all_connections()
        return [record for record in everything if record.connection_id not in self.strangers]

    # What the functions do.

    def sweep(self, script: Script = CALM) -> None:
        """Run the timeout function once."""
        clock = SkewedClock(self.clock, script.skew_ms)
        ends_ms = self.clock.ms + CALLS_MS
        closer = self.closer_with(clock)
        sweep = Sweep(
            closer=closer,
            watch=Watch(
                connections=closer.connections,
                confirmer=closer.confirmer,
                policy=self.policy,
                health=self.health,
            ),
            metrics=RecordingMetrics(),
            policy=self.policy,
            questions=Pacer(clock=clock, pace=Pace(500)),
            times=dict.fromkeys(RecordedTime, TimeAttribute("a time", "epoch ms")),
            total_segments=2,
            concurrency=Sequential(),
            close_queue=self.close_queue,
        )
        with self.acting(script, ends_ms=ends_ms):
            sweep.check_and_close_idle_connections(
                time_left_ms=lambda: DurationMs(ends_ms - self.clock.ms), correlation_id="tick"
            )
        if not script.meanwhile and self.clock.ms > ends_ms:
            raise Violation("I6: the sweep left no time for its report")
        self.collect_hand_overs()

    def closer_with(self, clock: Clock) -> Closer:
        """Return the closer of a function that has this clock; what it does is checked."""
        gateway = _WatchedGateway(self, clock)
        return self.closer(
            connections=_WatchedConnections(self, clock),
            gateway=gateway,
            confirmer=self.confirmer(
                gateway=gateway,
                clock=clock,
                counts_both=self.counts_both,
                activity=self.activity,
            ),
            functions=self.functions,
            clock=clock,
            log=self.log,
            address=ADDRESS,
            claim_ms=CLAIM_MS,
            pacer=Pacer(clock=clock, pace=Pace(200)),
            metric_roles=frozenset(Role),
            hand_over=self.hand_over,
        )

    def disconnect(self, position: int, *, again: bool = False, script: Script = CALM) -> None:
        """Deliver one of the waiting disconnect events; ``again`` keeps it for another time."""
        if not self.disconnects:
            return
        position %= len(self.disconnects)
        connection_id = self.disconnects[position]
        if not again:
            del self.disconnects[position]
        cleanup = self.cleanup_with(SkewedClock(self.clock, script.skew_ms))
        listed: set[str] = set()

        def look_at_the_index(operation: str) -> None:
            nonlocal listed
            # From here on the cleanup looks again before it removes the speaker's record.
            if operation in ("UpdateItem", "DeleteConnection"):
                with self.unobserved():
                    if self.stores.connections.get(connection_id) is not None:
                        listed = self.listed_listeners_of(connection_id)

        with self.acting(script, watch=look_at_the_index):
            cleanup.disconnect(connection_id)
        self.check()
        if connection_id not in self.on_record and listed & self.on_record:
            raise Violation(f"I3: {listed & self.on_record} were listed, and outlive their session")

    def cleanup_with(self, clock: Clock) -> Cleanup:
        """Return the cleanup of a function that has this clock."""
        return self.cleanup(
            connections=self.stores.connections,
            sessions=self.stores.sessions,
            gateway=self.gateway,
            clock=clock,
            log=self.log,
            concurrent_map=map,
            claim_ms=CLAIM_MS,
        )

    def lose(self, position: int) -> None:
        """Lose one of the waiting disconnect events."""
        if self.disconnects:
            del self.disconnects[position % len(self.disconnects)]

    def collect_hand_overs(self) -> None:
        """Take over what was handed over, to arrive some time."""
        for event in self.functions.events:
            context = event["requestContext"]
            assert isinstance(context, dict)
            self.disconnects.append(context["connectionId"])
        self.functions.events.clear()

    # Faults.

    @contextmanager
    def acting(
        self,
        script: Script,
        *,
        ends_ms: float = inf,
        watch: Callable[[str], None] = lambda _operation: None,
    ) -> Iterator[None]:
        """Run an actor until ``ends_ms``; what its calls meet is in the script.

        Its errors are its own. ``watch`` sees each operation of it that took effect.
        """
        outer = self.faults.before, self.faults.after
        calls = iter(range(1_000_000))
        number = 0
        met: set[str] = set()

        def before(operation: str, key: str) -> None:
            nonlocal number
            number = next(calls)
            self._begin_call(operation, script, ends_ms)
            first = None if operation in met else script.meanwhile.get(operation)
            met.add(operation)
            other = script.meanwhile.get(number, first)
            if other is not None:
                self.faults.before, self.faults.after = outer
                other()
                self.faults.before, self.faults.after = before, after
            match script.faults.get(number):
                case Fault.FAIL_BEFORE:
                    raise BackendError(operation, "Planned", "failed", retryable=True)
                case Fault.REFUSE:
                    raise BackendError(operation, "Planned", "refused", retryable=False)
                case Fault.CRASH_BEFORE:
                    raise Crash
                case _:
                    pass

        def after(operation: str, key: str) -> None:
            self._after_call(operation, key)
            watch(operation)
            match script.faults.get(number):
                case Fault.FAIL_AFTER:
                    raise BackendError(operation, "Planned", "no answer", retryable=True)
                case Fault.CRASH_AFTER:
                    raise Crash
                case _:
                    pass

        self.faults.before, self.faults.after = before, after
        try:
            yield
        except (Crash, HangupError):
            pass  # Lambda would report it; what it left behind is what is being tested
        finally:
            self.faults.before, self.faults.after = outer

    def _begin_call(self, operation: str, script: Script, ends_ms: float) -> None:
        """Let a call take its time; refuse one that could outlast the actor, as ``Calls`` does."""
        if ends_ms - self.clock.ms < ATTEMPT_MS:
            raise BackendError(operation, "NoTimeLeft", "refused", retryable=True)
        self.clock.sleep(DurationMs(script.latency_ms))

    # What must hold.

    def _after_call(self, operation: str, key: str) -> None:
        if operation == "DeleteConnection" and key in self.clients:
            # API Gateway runs $disconnect after every close; it may arrive late, twice or never.
            self.disconnects.append(key)
        for connection_id, calls in list(self.index_lags.items()):
            self.index_lags[connection_id] = calls - 1
            if not calls:
                del self.index_lags[connection_id]
                self.stores.list_in_index(connection_id, listed=True)
        if operation in ("TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem"):
            self.check()

    def check(self) -> None:
        """Raise ``Violation`` if something does not hold at this very moment."""
        with self.unobserved():
            records = self.records()
            sessions = self.stores.all_sessions()
            strangers = {item_id: self.stores.item(item_id) for item_id in self.strangers}
        if strangers != self.strangers:
            raise Violation(f"I7: {self.strangers} were changed to {strangers}")
        on_record = {record.connection_id for record in records}
        self.removed |= self.on_record - on_record
        for record in records:
            if record.role == Role.LISTENER and record.connection_id not in self.on_record:
                now = next((s for s in sessions if s.session_id == record.session_id), None)
                in_time = not has_ended(now, record.session_run)
                self.joined_in_time[record.connection_id] = in_time
        self.on_record = on_record
        for record in records:
            spoken_ms = self.spoken.get(record.connection_id)
            recorded_ms = record.last_activity_ms or 0
            if spoken_ms is not None and recorded_ms > spoken_ms + MAX_LATE_MS:
                raise Violation(f"{record.connection_id} looks recorded, and nobody recorded it")
        if on_record & self.removed:
            raise Violation(f"I2: {on_record & self.removed} are on record again after cleanup")
        for session in sessions:
            if not session.is_active and session.speaker_connection_id in self.gateway.open_ids:
                raise Violation(f"{session.session_id} has ended, and its speaker is there")

    def should_leave(self, connection_id: str, now_ms: EpochMs) -> bool:
        """Say whether the session of a listener has ended, and it last spoke a minute ago."""
        with self.unobserved():
            record = self.stores.connections.get(connection_id)
            if record is None or record.role != Role.LISTENER or record.last_activity_ms is None:
                return False
            session = self.stores.sessions.get(record.session_id or "")
        return has_ended(session, record.session_run) and now_ms - record.last_activity_ms >= 60_000

    def listed_listeners_of(self, run: str) -> set[str]:
        """Return the listeners of this run that are on record and that the index lists."""
        listeners = {
            record.connection_id: record.session_id or ""
            for record in self.records()
            if record.session_run == run
        }
        sessions = set(listeners.values())
        listed = {i for s in sessions for i in self.stores.sessions.listener_ids(s)}
        return listed & listeners.keys()

    def closed(self, connection_id: str, now_ms: EpochMs) -> None:
        """Check what must hold when a sweep has closed a socket."""
        with self.unobserved():
            record = self.stores.connections.get(connection_id)
        if record is not None:
            spoke_after_claim = record.last_seen_ms != self.claimed.get(connection_id)
            idle = isinstance(decide(record, self.policy, now_ms), Close)
            if not idle and not (connection_id in self.claimed and spoke_after_claim):
                raise Violation(f"I1: {connection_id} was closed within its timeout")
        told = any(
            message.get("type") == "connectionTimeout"
            for message in self.gateway.sent.get(connection_id, [])
        )
        logged = any(
            event == "notice failed" and fields.get("connectionId") == connection_id
            for _, event, fields in self.log.lines
        )
        if not told and not logged:
            raise Violation(f"I5: {connection_id} was closed without a notice")

    def was_claimed(self, connection: Connection, now_ms: EpochMs) -> None:
        """Check what must hold when a sweep has claimed a connection."""
        with self.unobserved():
            record = self.stores.connections.get(connection.connection_id)
        if record is None:
            raise Violation("I1: a connection without a record was claimed")
        if not isinstance(decide(record, self.policy, now_ms), Close):
            raise Violation(f"I1: {connection.connection_id} was claimed within its timeout")
        answer = self.answers.get(connection.connection_id)
        if answer not in (Seen.GONE, Seen.QUIET) and not self.counts_both:
            raise Violation(f"I1: {connection.connection_id} was claimed, and its answer: {answer}")
        if record.last_seen_ms is not None:
            self.claimed[connection.connection_id] = record.last_seen_ms

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        """Look at the stores without that being a call of anybody's."""
        outer = self.faults.before, self.faults.after
        self.faults.before = self.faults.after = lambda _operation, _key: None
        try:
            yield
        finally:
            self.faults.before, self.faults.after = outer

    def settle(self) -> None:
        """Let no more go wrong, and see that everything comes right (I4)."""
        self.recording = True
        # First with everybody talking who is there: who has left, and whose session is over?
        for minute in range(MINUTES_TO_SETTLE):
            self.fault_free_minute(talking=True)
            with self.unobserved():
                everybody = self.records()
                sessions = self.stores.all_sessions()
            records = {record.connection_id for record in everybody}
            # After crashes in a row a hand-over waits for longer.
            # A session that ended just now has until its listeners' next message, a minute later.
            now_ms = self.clock.now_ms()
            has_just_ended = any(now_ms - (one.ended_at_ms or 0) < 60_000 for one in sessions)
            if minute >= 5 and records == self.gateway.open_ids and not has_just_ended:
                break
        if records != self.gateway.open_ids:
            raise Violation(
                f"I4: of records {sorted(records)} and sockets {sorted(self.gateway.open_ids)}"
                " some have no counterpart"
            )
        for session in sessions:
            there = session.speaker_connection_id in self.gateway.open_ids
            if session.is_active != there:
                raise Violation(f"I4: {session} although its speaker is there: {there}")
            listeners = {
                record.connection_id
                for record in everybody
                if record.session_id == session.session_id
                and record.role == Role.LISTENER
                and has_ended(session, record.session_run)
            }
            if listeners:
                raise Violation(f"I3: {sorted(listeners)} outlive their session")
        # Then with everybody silent.
        for _ in range(MINUTES_TO_SETTLE):
            self.fault_free_minute(talking=False)
            if not self.gateway.open_ids:
                break
        if self.gateway.open_ids:
            raise Violation(f"I4: {sorted(self.gateway.open_ids)} outlive their silence")
        self.check()

    def fault_free_minute(self, *, talking: bool) -> None:
        """Let a minute pass in which nothing goes wrong."""
        self.clock.advance(seconds=61)
        for connection_id in sorted(self.gateway.open_ids) if talking else ():
            self.talk(connection_id)
        self.sweep()
        while self.disconnects:
            self.disconnect(0)


class _WatchedConnections:
    """The connections table as the closer sees it: each claim that it gets is checked."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.stores.connections, name)

    def claim(self, connection: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs) -> bool:
        claimed = self._world.stores.connections.claim(
            connection, now_ms=now_ms, claim_expires_ms=claim_expires_ms
        )
        if claimed:
            self._world.was_claimed(connection, now_ms)
        return claimed


class _WatchedGateway:
    """The gateway as the closer sees it: each close that it makes is checked."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    def post_to_connection(self, connection_id: str, message: JsonObject) -> Any:
        return self._world.gateway.post_to_connection(connection_id, message)

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        now_ms = self._clock.now_ms()
        answer = self._world.gateway.get_connection(connection_id)
        # As a record that is long out of date: what is on record must not make it quiet.
        old = Connection(connection_id=connection_id, connected_at_ms=EpochMs(0))
        # Who was never let in is gone, whatever the timeout.
        client = self._world.clients.get(connection_id)
        silence_ms = self._world.policy.timeout_ms(client.role if client else None)
        seen = seen_of(answer, old, silence_ms=silence_ms, now_ms=now_ms)
        self._world.answers[connection_id] = seen
        return answer

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        outcome = self._world.gateway.delete_connection(connection_id)
        if outcome is CloseOutcome.CLOSED:
            self._world.closed(connection_id, self._clock.now_ms())
        return outcome
