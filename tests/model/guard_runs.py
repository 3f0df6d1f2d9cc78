"""Sweeps of a simulated fleet: the real ``idle`` code, at its pace, on virtual time."""

from dataclasses import dataclass, field
from typing import Final

from hangup.core.connection import (
    ConnectionInfo,
    DurationMs,
    NoConnection,
    RecordedTime,
    TimeAttribute,
)
from hangup.core.events import GatewayAddress
from hangup.core.guard import Activity, LastActiveCounts
from hangup.core.pacing import Pace, pace_of_questions
from hangup.core.policy import IdlePolicy
from hangup.core.report import CloseStatus
from hangup.core.timing import FUNCTION_TIMEOUT_S, SWEEP_INTERVAL_S
from hangup.errors import BackendError
from hangup.idle.closer import Closer
from hangup.idle.guard import Confirmer, Watch
from hangup.idle.pacer import Pacer
from hangup.idle.sweep import Sweep
from hangup.testing import START_MS, FakeClock, Sequential
from tests.model.guard_fleet import (
    OTHER_ROLE,
    ApiGateway,
    CleanUp,
    Fleet,
    Habits,
    Table,
    Tally,
)

_PACE: Final = Pace(200)
"""``CLOSES_PER_SECOND`` by default."""

_ADDRESS: Final = GatewayAddress(domain_name="a.example", stage="test", api_id="a")
_RIGHT_ON: Final = 2
"""Sweeps within which an idle client is to be closed."""


class _Quiet:
    """``Log`` and ``Metrics`` of which nobody reads anything."""

    def info(self, event: str, **fields: object) -> None:
        pass

    warning = error = info

    def emit(self, metrics: object) -> None:
        pass


class Breaker(ApiGateway):
    """Answers no more questions in a sweep once most of the first hundred were active.

    The guard has no such rule. This shows what it would do.
    """

    _FIRST: Final = 100

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._silence_ms, self._clock = round(fleet.habits.timeout_s * 1000), fleet.clock
        self._asked = self._active = 0

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Ask, or refuse."""
        if self._asked == self._FIRST and self._active * 2 > self._FIRST:
            raise BackendError("GetConnection", "Breaker", "asked enough", retryable=False)
        answer = super().get_connection(connection_id)
        if self._asked < self._FIRST:
            self._asked += 1
            self._active += (
                isinstance(answer, ConnectionInfo)
                and answer.last_active_ms + self._silence_ms >= self._clock.ms
            )
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A fleet, its faults, and how its sweeps are set up.

    ``cold`` lets each sweep run in a new process. With ``asks`` False nobody is asked. The first
    sweep comes ``sweeps_from_s`` after the start, at a moment within a minute: ``sweeps_at_s``, or
    without it what depends on the seed.
    """

    habits: Habits
    counts: LastActiveCounts = LastActiveCounts.UNSETTLED
    activity: Activity = Activity.RECORDED
    cold: bool = False
    has_breaker: bool = False
    asks: bool = True
    sweeps_from_s: int = 0
    sweeps_at_s: float | None = None
    minutes: int = 35


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run came to; the first half is in ``Tally``."""

    tally: Tally
    unclosed: int
    most_sweeps_left: int = 0
    """For how many sweeps a client is idle, and there, at the end."""
    sweeps: int = 0
    most_questions: int = 0
    """In one sweep."""
    held_at_s: list[float] = field(default_factory=list)
    """When a sweep was held, seconds after the start."""
    left_active: int = 0
    """How often a client was left because API Gateway saw it active."""


def simulate(run: Run, *, seed: int) -> Outcome:
    """Run the sweeps of a fleet, one a minute."""
    clock = FakeClock()
    fleet = Fleet(run.habits, clock, seed=seed)
    sweep = _sweep_of(run, fleet)
    at_ms = int(fleet._random.integers(60_000))
    if run.sweeps_at_s is not None:
        at_ms = round(run.sweeps_at_s * 1000)
    first_ms = START_MS + run.sweeps_from_s * 1000 + at_ms
    outcome = Outcome(tally=fleet.tally, unclosed=0)
    for minute in range(run.minutes - run.sweeps_from_s // 60):
        clock.ms = first_ms + minute * SWEEP_INTERVAL_S * 1000
        clock.uptime_ms = clock.ms - START_MS
        if run.cold or run.has_breaker:
            sweep = _sweep_of(run, fleet)
        fleet.sweeps_ms.append(clock.ms)
        ends_ms = clock.ms + FUNCTION_TIMEOUT_S * 1000

        def time_left_ms(ends_ms: int = ends_ms) -> DurationMs:
            return DurationMs(ends_ms - clock.ms)

        asked = fleet.tally.questions
        report = sweep.check_and_close_idle_connections(
            time_left_ms=time_left_ms,
            correlation_id="sweep",
            override_guard=not run.asks,
        )
        outcome.sweeps += 1
        outcome.most_questions = max(outcome.most_questions, fleet.tally.questions - asked)
        if report.hold is not None:
            outcome.held_at_s.append((fleet.sweeps_ms[-1] - START_MS) / 1000)
        outcome.left_active += report.closes.count(CloseStatus.ACTIVE)
    outcome.unclosed = fleet.unclosed(sweeps=_RIGHT_ON)
    outcome.most_sweeps_left = fleet.most_sweeps_left()
    return outcome


def _sweep_of(run: Run, fleet: Fleet) -> Sweep:
    """Return a sweep as the timeout handler makes it, in a process that has just started."""
    clock, quiet, table = fleet.clock, _Quiet(), Table(fleet)
    gateway: ApiGateway = Breaker(fleet) if run.has_breaker else ApiGateway(fleet)
    habits = run.habits
    policy = IdlePolicy(
        idle_timeout_ms=DurationMs(round(habits.timeout_s * 1000)),
        activity_resolution_ms=DurationMs(0),
        by_role={OTHER_ROLE: DurationMs(round(habits.others.timeout_s * 1000))}
        if habits.others
        else {},
    )
    confirmer = Confirmer(
        gateway=gateway,
        clock=clock,
        counts_both=run.counts is LastActiveCounts.BOTH,
        activity=run.activity,
    )
    closer = Closer(
        connections=table,
        gateway=gateway,
        functions=CleanUp(fleet),
        clock=clock,
        log=quiet,
        address=_ADDRESS,
        pacer=Pacer(clock=clock, pace=_PACE),
        confirmer=confirmer,
        metric_roles=frozenset(),
    )
    return Sweep(
        closer=closer,
        watch=Watch(connections=table, confirmer=confirmer, policy=policy),
        metrics=quiet,
        policy=policy,
        questions=Pacer(clock=clock, pace=pace_of_questions(_PACE, run.activity)),
        times={time: TimeAttribute(time.value, "epoch ms") for time in RecordedTime},
        total_segments=4,
        concurrency=Sequential(),
    )
