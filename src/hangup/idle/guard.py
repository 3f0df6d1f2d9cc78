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
from hangup.core.timing import STOP_MARGIN_MS
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
    """Says for one sweep, begun at ``now_ms``, whether it may go on, and on what terms it closes.

    ``time_left_ms`` says how long the invocation may go on. With ``asks`` False, nobody is asked
    and the records decide.
    """

    watch: Watch
    confirmer: Confirmer
    policy: IdlePolicy
    log: Log
    concurrent_map: ConcurrentMap
    time_left_ms: Callable[[], DurationMs]
    now_ms: EpochMs
    asks: bool
    hold: Hold | None = None
    """Why nothing may be closed."""
    out_of_time: bool = False
    error: BackendError | None = None
    """The first error of the sweep: probably the cause of the later ones."""
    _terms: Mapping[DurationMs, Terms] = field(init=False)
    """On what terms a connection is closed, by its timeout."""
    _has_asked: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether the sweep is held, or may not ask."""
        return self.hold is not None or self.confirmer.is_refused

    def has_time(self) -> bool:
        """Return whether new work may start. Once False, always False."""
        self.out_of_time = self.out_of_time or self.time_left_ms() < STOP_MARGIN_MS
        return not self.out_of_time

    def may_go_on(self) -> bool:
        """Return whether nothing has stopped the sweep, and there is time."""
        return not self.is_stopped and self.has_time()

    def failed(self, error: BackendError | None) -> None:
        """Remember an error, if it is one, and the first."""
        self.error = self.error or error

    def start(self) -> None:
        """Judge the clock and the recording of activity by a sample, and so set the terms.

        Refusals count anew. To be called first. Without a sample, the recording is not well.
        """
        self.confirmer.start()
        is_read = True
        try:
            # Whoever overrides the guard trusts the records, and not a wrong clock.
            self.hold = self.watch.look(self.now_ms) if self.has_time() else None
        except BackendError as error:
            is_read = False
            self._no_sample(error)
        self._terms = {
            timeout_ms: Terms(
                silence_ms=timeout_ms,
                recording_is_well=is_read and self.watch.is_well(self.now_ms, timeout_ms),
                asks=self.asks,
            )
            for timeout_ms in self.policy.timeouts_ms
        }

    def terms_of(self, connection: Connection) -> Terms:
        """Return the terms on which a connection is closed if it is idle."""
        return self._terms[self.policy.timeout_ms(connection.role)]

    def check_control_group(self) -> None:
        """Ask the control group whether this is the API's table, and hold the sweep if it is not.

        To be called when something looks idle. Does so once, and only if the sweep asks.
        """
        if self._has_asked or not self.asks or self.is_stopped:
            return
        self._has_asked = True
        try:
            self.hold = self.watch.check_control_group(
                self.now_ms, has_time=self.has_time, concurrent_map=self.concurrent_map
            )
        except BackendError as error:
            self._no_sample(error)
            self.hold = Hold.NO_SAMPLE

    def _no_sample(self, error: BackendError) -> None:
        self.log.error("sample of the table not read", error=str(error))
        self.failed(error)
