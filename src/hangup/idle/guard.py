"""Ask API Gateway before a close, and watch whether activity is being recorded.

The rules are in ``core.guard``. ``Confirmer`` asks about one connection, ``Watch`` about the table.
``Watch`` remembers what it saw for as long as its process lives; ``Guard`` is for one sweep.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.core.guard import (
    ANSWER_GOOD_MS,
    MAX_REFUSALS,
    SAMPLE_SIZE,
    Activity,
    Hold,
    Seen,
    control_group,
    has_outlived_its_connection,
    is_clock_off,
    is_other_table,
    seen_of,
)
from hangup.core.policy import IdlePolicy
from hangup.core.recording import RecordingByTimeout
from hangup.errors import BackendError
from hangup.ports import Clock, ConcurrentMap, ConnectionsRepository, Gateway, Log

_REFUSALS = ("AccessDeniedException", "ForbiddenException", "403")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What API Gateway said of one connection, and what that means.

    ``asked_ms`` is by the clock that never goes back. ``info`` is None where it knows no such
    connection; ``error`` is why there is no answer.
    """

    seen: Seen
    asked_ms: DurationMs
    info: ConnectionInfo | None = None
    error: BackendError | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Confirmer:
    """Asks API Gateway about connections, one by one.

    ``counts_both`` is whether it is settled that its account counts messages to clients.
    ``activity`` is whether its account is the source of activity; then ``counts_both`` is False.
    ``records_end`` is whether a record belongs to one connection for as long as it is there.
    """

    gateway: Gateway
    clock: Clock
    counts_both: bool
    records_end: bool = True
    activity: Activity = Activity.RECORDED
    _refusals: int = 0

    def start(self) -> None:
        """Begin a sweep: refusals count anew."""
        self._refusals = 0

    @property
    def is_source(self) -> bool:
        """Whether API Gateway's account is the source of activity."""
        return self.activity is Activity.GATEWAY

    @property
    def is_refused(self) -> bool:
        """Whether enough questions in a row were refused that the grant must be missing."""
        return self._refusals >= MAX_REFUSALS

    def ask(self, connection: Connection, *, silence_ms: DurationMs) -> Answer:
        """Return what API Gateway says of a connection that may be silent for so long."""
        asked_ms = self.clock.monotonic_ms()
        now_ms = self.clock.now_ms()
        try:
            answer = self.gateway.get_connection(connection.connection_id)
        except BackendError as error:
            if error.code not in _REFUSALS:
                return Answer(seen=Seen.NO_ANSWER, asked_ms=asked_ms, error=error)
            if self.records_end and has_outlived_its_connection(connection, now_ms):
                return Answer(seen=Seen.GONE, asked_ms=asked_ms)
            self._refusals += 1
            return Answer(seen=Seen.NO_ANSWER, asked_ms=asked_ms, error=error)
        self._refusals = 0
        seen = seen_of(answer, connection, silence_ms=silence_ms, now_ms=now_ms)
        if isinstance(answer, NoConnection):
            return Answer(seen=seen, asked_ms=asked_ms)
        return Answer(seen=seen, asked_ms=asked_ms, info=answer)

    def is_good(self, answer: Answer) -> bool:
        """Return whether an answer is young enough to act on."""
        return self.clock.monotonic_ms() - answer.asked_ms <= ANSWER_GOOD_MS


@dataclass(slots=True, kw_only=True, eq=False)
class Watch:
    """Reads a sample of the table once a sweep, to see whether what it says can be relied on."""

    connections: ConnectionsRepository
    confirmer: Confirmer
    policy: IdlePolicy
    health: RecordingByTimeout = field(default_factory=RecordingByTimeout)
    others: int = 0
    """Items of the last sample that are not connections of this deployment."""
    _records: Sequence[Connection] | None = None
    """Those of the sample, None if it could not be read."""

    def look(self, now_ms: EpochMs) -> Hold | None:
        """Read a sample; return why nothing may be closed. Raises ``BackendError``."""
        self._records, self.others = None, 0
        sample = self.connections.sample_records(SAMPLE_SIZE)
        self._records, self.others = sample.records, sample.others
        if is_clock_off(sample, now_ms):
            return Hold.CLOCK
        if not self.confirmer.is_source:
            self.health.watch(sample.records, self.policy, now_ms, others=sample.others)
        return None

    def is_well(self, now_ms: EpochMs, timeout_ms: DurationMs) -> bool:
        """Return whether the activity of those with this timeout is being recorded.

        As far as this process knows; False where nobody has to record it.
        """
        return self.health.is_well(self.policy, now_ms, timeout_ms)

    def check_control_group(
        self, now_ms: EpochMs, *, has_time: Callable[[], bool], concurrent_map: ConcurrentMap
    ) -> Hold | None:
        """Ask about connections of the sample that are not idle; return why to close nothing.

        A sample that could not be read is read again. Raises ``BackendError`` if it still cannot.
        """
        if self._records is None and has_time():
            # The clock is judged, and the ages of the records, by the time at which they are read.
            hold = self.look(self.confirmer.clock.now_ms())
            if hold is not None:
                return hold

        def seen(connection: Connection) -> Seen:
            if not has_time():
                return Seen.NO_ANSWER
            silence_ms = DurationMs(self.policy.deadline_ms(EpochMs(0), connection.role))
            return self.confirmer.ask(connection, silence_ms=silence_ms).seen

        control = control_group(self._records or (), self.policy, now_ms)
        return Hold.OTHER_TABLE if is_other_table(list(concurrent_map(seen, control))) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a connection is closed.

    ``silence_ms`` is how long it may be silent by API Gateway's account: the idle timeout.
    ``recording_is_well`` is whether the record may decide about a connection that is active there,
    where it is settled that the account counts messages to clients; ``is_old`` is whether that was
    found too long ago. With ``asks`` False, nobody is asked and the record decides. With
    ``only_gone``, nothing is done unless API Gateway answers that the connection is gone: another
    record of the same connection was acted on.
    """

    silence_ms: DurationMs
    recording_is_well: bool
    is_old: bool = False
    asks: bool = True
    only_gone: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Guard:
    """Says for one sweep, begun at ``now_ms``, whether it is held, and on what terms it closes.

    ``has_time`` is whether new work may start. With ``asks`` False, nobody is asked and the records
    decide.
    """

    watch: Watch
    log: Log
    concurrent_map: ConcurrentMap
    has_time: Callable[[], bool]
    now_ms: EpochMs
    asks: bool
    hold: Hold | None = None
    """Why nothing may be closed."""
    error: BackendError | None = None
    """Why the sample could not be read, the first time."""
    _terms: Mapping[DurationMs, Terms] = field(default_factory=dict)
    """On what terms a connection is closed, by its timeout."""
    _has_asked: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether the sweep must not go on: it is held, or may not ask."""
        return self.hold is not None or self.watch.confirmer.is_refused

    def may_go_on(self) -> bool:
        """Return whether nothing has stopped the sweep, and there is time."""
        return not self.is_stopped and self.has_time()

    def look_at_a_sample(self) -> None:
        """Judge the clock, and whether activity is being recorded. To be called first."""
        watch = self.watch
        watch.confirmer.start()
        try:
            # Whoever overrides the guard trusts the records, and not a wrong clock.
            self.hold = watch.look(self.now_ms) if self.has_time() else None
        except BackendError as error:
            self._add(error)
        self._terms = {
            timeout_ms: Terms(
                silence_ms=timeout_ms,
                recording_is_well=self.error is None and watch.is_well(self.now_ms, timeout_ms),
                asks=self.asks,
            )
            for timeout_ms in watch.policy.timeouts_ms
        }

    def terms_of(self, connection: Connection) -> Terms:
        """Return the terms on which a connection is closed if it is idle."""
        return self._terms[self.watch.policy.timeout_ms(connection.role)]

    def is_held(self) -> bool:
        """Return whether the sweep is held. To be asked once something looks idle.

        The first time, the control group is asked.
        """
        if self.asks and not self._has_asked and not self.is_stopped:
            self._has_asked = True
            try:
                self.hold = self.watch.check_control_group(
                    self.now_ms, has_time=self.has_time, concurrent_map=self.concurrent_map
                )
            except BackendError as error:
                self._add(error)
                self.hold = Hold.NO_SAMPLE
        return self.hold is not None

    def _add(self, error: BackendError) -> None:
        self.log.error("sample of the table not read", error=str(error))
        self.error = self.error or error
