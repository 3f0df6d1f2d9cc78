"""Never close somebody who is there: what API Gateway's own account of a connection means.

1. API Gateway is asked about each connection before its close (``GetConnection``).
2. *Gone*, and *quiet* by its account too: go on. Without an answer the connection is left.
3. *Active* there, and not on record: it is left, unless it is settled that messages to a client
   count as activity in the account. Then the account cannot tell a silent client that is sent
   messages from one that talks, and the record decides.
4. Where the record decides, the recording of activity must be well. A sample of the table shows it.
   An outage that is over is remembered until every client had time to be recorded again. A process
   that has not watched for that long knows nothing.
5. A sample of connections that are not idle shows whether this is our table at all. If API Gateway
   knows most of them not, it is another stage's, and nothing is closed.
6. Where nobody records (``Activity.GATEWAY``), the account is the source. Then *active* there is
   the normal case: the time is written forward, and the connection is asked about again when it is
   due by that time. There is no recording to judge, and rule 5 waits for the first that is gone.

``docs/explanation/guard.md`` has the simulation that chose the numbers here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.policy import IdlePolicy, Keep, decide

SAMPLE_SIZE: Final = 500
"""Records read to judge the recording. A share of them is right to about 4 %."""

CONTROL_SIZE: Final = 20
"""Connections that are not idle, asked about to see whether this is our table."""

ANSWER_GOOD_MS: Final = DurationMs(2_000)
"""How old an answer may be when the claim follows. A client that speaks in between is recorded, and
the claim is lost; only one whose activity is not recorded could be closed."""

LAG_MS: Final = DurationMs(5_000)
"""How much later than the record the account may have the same activity: whole seconds, two clocks,
a connect that is recorded before API Gateway calls it one. Clients speak less often."""

VERDICT_GOOD_MS: Final = DurationMs(15_000)
"""How old a sweep's verdict on the recording may be when a scheduled close relies on it. An outage
that began since would be found by the next sweep."""

MAX_REFUSALS: Final = 20
"""Refused answers (403) in a row that show that the grant is missing."""

MAX_CLOCK_ERROR_MS: Final = DurationMs(30_000)
"""How far the clock may be off. Lambda's is right to some milliseconds."""

_MIN_CONTROL: Final = 3
"""Fewer say nothing: each may have just left."""

_FEW: Final = 5
"""Fewer records say nothing about recording."""

SOME: Final = 15
"""With fewer clients a pause is chance: of 19 that speak once in 0.9 of the timeout, none is
recorded within a tenth of it once in nine times, and none within a quarter once in 500."""

PAUSE, SHORT_PAUSE = 4, 10
"""A quarter and a tenth of the timeout. A client that speaks once in 0.9 of it is idle on record a
tenth of it after an outage began; one that speaks twice, half of it."""

TOGETHER: Final = 20
"""Where three quarters were recorded within a twentieth of the timeout, all speak together."""

_OVERDUE_PERCENT: Final = 2
"""If this share of those on record is overdue, a short pause is a sign: one of up to 50. About one
percent is overdue where one in a hundred falls silent each minute."""

MISSING_PERCENT, _MIN_MISSING = 15, 3
"""If this many are missing at once, they did not all fall silent by chance. After an outage this
many are still missing for 0.85 of the time between two messages."""

_LONGEST_LIFE_MS: Final = DurationMs(MAX_CONNECTION_S * 1000 + 600_000)
"""No connection lives longer: two hours, and ten minutes for clocks and for a late record."""


class LastActiveCounts(StrEnum):
    """Whose messages move ``lastActiveAt``: the variable ``LAST_ACTIVE_COUNTS``.

    Only the configuration settles it. What a notice does to the account says nothing: the client
    may have answered it. And to be settled is to rely on the recording of every route.
    """

    UNSETTLED = "unsettled"
    CLIENT = "client"
    BOTH = "both"


class Activity(StrEnum):
    """The source of activity: the variable ``ACTIVITY``."""

    RECORDED = "recorded"
    """The application writes it down."""
    GATEWAY = "gateway"
    """API Gateway's account. What the application wrote down counts as well, if it is later."""


class Seen(Enum):
    """What API Gateway's answer about a connection means."""

    GONE = "gone"
    QUIET = "quiet"
    NOT_YET = "quiet since what is on record, and in a moment for long enough"
    ACTIVE = "active"
    INVALID = "not a connection"
    NO_ANSWER = "no answer"


class Hold(StrEnum):
    """Why a sweep closes nothing, or not what the record alone would decide.

    ``advice`` is what to do about it. It names the override only where the records can be right.
    """

    OTHER_TABLE = "API Gateway does not know most of the connections that are not idle"
    CLOCK = "this function's clock differs from AWS's by more than 30 seconds"
    NO_SAMPLE = "the sample that shows whose connections the table has could not be read"
    RECORDING = "the recording of activity may be broken"

    @property
    def advice(self) -> str:
        """What whoever reads the log should do."""
        return _ADVICE[self]


_ADVICE: Final = {
    Hold.OTHER_TABLE: "check that CONNECTIONS_TABLE and API_GATEWAY_ENDPOINT belong together",
    Hold.CLOCK: "nothing, if the next sweep is not held; else report it to AWS",
    Hold.NO_SAMPLE: "nothing, if the next sweep is not held; else see the error of the sample",
    Hold.RECORDING: (
        "check that every route records activity; to close what is idle on record anyway, invoke"
        ' this function once with {"overrideGuard": true}'
    ),
}


WHAT_DECIDES: Final = (
    "records decide only where there is one for each connection, found by its id, with connected_at"
    " and last_activity"
)
"""Why a table does not fit to what goes by the record alone."""


NOT_WITH_GATEWAY: Final = (
    "with ACTIVITY gateway nobody has to record activity, so the records cannot decide"
)
"""Why what goes by the record alone does not fit to API Gateway's account as the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some records of the table, idle or not, and AWS's time when they were read, None if unknown.

    ``others`` counts the items that were read with them and are not connections of this deployment.
    """

    records: Sequence[Connection]
    others: int = 0
    answered_at_ms: EpochMs | None = None


def seen_of(
    answer: ConnectionInfo | NoConnection,
    connection: Connection,
    *,
    silence_ms: DurationMs,
    now_ms: EpochMs,
) -> Seen:
    """Return what an answer means for a connection that may be silent for ``silence_ms``."""
    if isinstance(answer, NoConnection):
        return Seen.GONE if answer is NoConnection.GONE else Seen.INVALID
    if now_ms > answer.last_active_ms + silence_ms:
        return Seen.QUIET
    last_seen_ms = connection.last_seen_ms
    is_on_record = last_seen_ms is not None and answer.last_active_ms <= last_seen_ms + LAG_MS
    return Seen.NOT_YET if is_on_record else Seen.ACTIVE


def has_outlived_its_connection(connection: Connection, now_ms: EpochMs) -> bool:
    """Return whether no connection can still belong to this record: it is over two hours old."""
    since_ms = connection.connected_at_ms or connection.last_seen_ms
    return since_ms is not None and now_ms - since_ms > _LONGEST_LIFE_MS


@dataclass(slots=True)
class RecordingHealth:
    """Whether activity is being recorded, as one process has seen it.

    An outage is remembered for one and a half timeouts, and at least the timeout and a minute:
    until each client that is there was recorded again, and a sweep has seen it.
    """

    _watched_since_ms: EpochMs | None = None
    _watched_ms: EpochMs | None = None
    _ill_ms: EpochMs | None = None
    _is_over: bool = False
    """Whether most clients have been recorded again since."""
    _is_doubtful: bool = False
    """Whether the last sample alone gave reason to wait for another."""

    def watch(
        self,
        records: Sequence[Connection],
        policy: IdlePolicy,
        now_ms: EpochMs,
        *,
        others: int = 0,
        ill_ms: EpochMs | None = None,
    ) -> None:
        """Judge a sample of the table, read now, among ``others`` that are not connections.

        ``ill_ms`` is when the recording was ill by what the caller knows.
        """
        recorded_ms = recorded_times(records)
        signs = _Signs(recorded_ms, policy, now_ms)
        # Among other items too few connections were met to judge by.
        is_thin = others > 0 and len(records) < SOME
        self.note(
            recorded_ms,
            policy,
            now_ms,
            ill_ms=(signs.ill_ms if len(records) >= _FEW else None) or ill_ms,
            is_doubtful=signs.is_short_pause or is_thin,
        )

    def note(
        self,
        recorded_ms: Sequence[EpochMs],
        policy: IdlePolicy,
        now_ms: EpochMs,
        *,
        ill_ms: EpochMs | None,
        is_doubtful: bool,
    ) -> None:
        """Remember what a sample showed: when the recording was ill last, None if it is well."""
        if self._watched_ms is None or now_ms - self._watched_ms > memory_ms(policy):
            self._watched_since_ms = now_ms
        self._watched_ms = now_ms
        if ill_ms is None and self._goes_on(recorded_ms, policy, now_ms):
            ill_ms = now_ms
        self._is_doubtful = is_doubtful
        if ill_ms is not None:
            self._ill_ms = EpochMs(max(ill_ms, self._ill_ms or ill_ms))
            self._is_over = False

    def is_well(self, policy: IdlePolicy, now_ms: EpochMs) -> bool:
        """Return whether recording was well for as long as an outage is remembered."""
        since = [ms for ms in (self._watched_since_ms, self._ill_ms) if ms is not None]
        return bool(since) and not self._is_doubtful and now_ms - max(since) >= memory_ms(policy)

    def _goes_on(self, recorded_ms: Sequence[EpochMs], policy: IdlePolicy, now_ms: EpochMs) -> bool:
        """Return whether an outage goes on after a break, in which few were recorded again."""
        ill_ms = self._ill_ms
        if ill_ms is None or self._is_over or not recorded_ms:
            return False
        self._is_over = 2 * sum(ms > ill_ms for ms in recorded_ms) >= len(recorded_ms)
        pause_ms = now_ms - max(recorded_ms)
        return not self._is_over and pause_ms * PAUSE > policy.deadline_ms(EpochMs(0))


def memory_ms(policy: IdlePolicy) -> DurationMs:
    """Return how long an outage is remembered."""
    timeout_ms = policy.deadline_ms(EpochMs(0))
    return DurationMs(max(timeout_ms * 3 // 2, timeout_ms + 60_000))


def recorded_times(records: Sequence[Connection]) -> Sequence[EpochMs]:
    """Return the times of recorded activity. A connect does not count.

    It may be written while the recording of activity is broken.
    """
    return [
        record.last_activity_ms
        for record in records
        if record.last_activity_ms is not None and record.has_recorded_activity
    ]


class _Signs:
    """What the newest activity of each client, on record, says about the recording."""

    def __init__(self, recorded_ms: Sequence[EpochMs], policy: IdlePolicy, now_ms: EpochMs) -> None:
        self._now_ms, self._timeout_ms = now_ms, policy.deadline_ms(EpochMs(0))
        # Whoever is silent for longer may have left: that says nothing about recording.
        ages = (now_ms - ms for ms in recorded_ms)
        self._ages = sorted(age_ms for age_ms in ages if -LAG_MS <= age_ms <= memory_ms(policy))
        self._on_time = [age_ms for age_ms in self._ages if age_ms * 10 <= self._timeout_ms * 9]

    @property
    def ill_ms(self) -> EpochMs | None:
        """When activity was last not recorded; None if it was, as far as this shows."""
        if not self._on_time or self._has_paused(PAUSE):
            return self._now_ms
        return self._missing_since_ms

    @property
    def is_short_pause(self) -> bool:
        """Whether nobody was recorded just now, and somebody is overdue."""
        return self._some_are_overdue and self._has_paused(SHORT_PAUSE)

    @property
    def _some_are_overdue(self) -> bool:
        overdue = len(self._ages) - len(self._on_time)
        return overdue > 0 and overdue * 100 >= len(self._ages) * _OVERDUE_PERCENT

    def _has_paused(self, parts: int) -> bool:
        """Return whether nobody was recorded for that part of the timeout."""
        if len(self._ages) < SOME or not self._on_time:
            return False
        newest_ms, old_ms = self._on_time[0], self._on_time[len(self._on_time) * 3 // 4]
        # Where all speak at the same moment, a pause is no sign.
        is_together = (old_ms - newest_ms) * TOGETHER <= self._timeout_ms
        return newest_ms * parts > self._timeout_ms and not is_together

    @property
    def _missing_since_ms(self) -> EpochMs | None:
        """Until when too many were not recorded that should have been, None if they are few."""
        ages, on_time = self._ages, len(self._on_time)
        # The first that a long gap parts from those that were recorded since.
        first = next(
            (i for i in range(1, on_time + 1) if self._gap_ms(i) * 5 > self._timeout_ms * 2), None
        )
        missing = len(ages) - (on_time if first is None else first)
        is_many = missing >= _MIN_MISSING and missing * 100 >= len(ages) * MISSING_PERCENT
        if not (is_many and self._some_are_overdue):
            return None
        return self._now_ms if first is None else EpochMs(self._now_ms - ages[first - 1])

    def _gap_ms(self, i: int) -> int:
        """Return how much older an age is than the one before."""
        return self._ages[i] - self._ages[i - 1] if i < len(self._ages) else 0


def control_group(
    records: Sequence[Connection], policy: IdlePolicy, now_ms: EpochMs
) -> Sequence[Connection]:
    """Return up to 20 connections of a sample that are not idle, the latest active first."""
    # One record of each: a connection with many would outvote the others.
    one_each = {record.connection_id: record for record in records}
    times = [
        (record.last_seen_ms, record)
        for record in one_each.values()
        if record.last_seen_ms is not None and isinstance(decide(record, policy, now_ms), Keep)
    ]
    times.sort(key=lambda time_and_record: -time_and_record[0])
    return [record for _, record in times[:CONTROL_SIZE]]


def is_other_table(control: Sequence[Seen]) -> bool:
    """Return whether API Gateway does not know most of a control group.

    An id that it calls invalid says nothing: it may be another kind of item in our table.
    """
    known = sum(seen in (Seen.QUIET, Seen.NOT_YET, Seen.ACTIVE) for seen in control)
    gone = control.count(Seen.GONE)
    return known + gone >= _MIN_CONTROL and gone > known


def is_clock_off(sample: Sample, now_ms: EpochMs) -> bool:
    """Return whether AWS's time in the answer is far from the function's own."""
    answered_at_ms = sample.answered_at_ms
    return answered_at_ms is not None and abs(answered_at_ms - now_ms) > MAX_CLOCK_ERROR_MS
