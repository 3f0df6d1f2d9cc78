"""Which fleets, faults and settings are simulated, and what must hold in each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import product
from typing import Final

from hangup.core.guard import Activity, LastActiveCounts
from tests.model.guard_fleet import Habits, Loss, Others
from tests.model.guard_runs import Outcome, Run, simulate

BEGIN_S: Final = 600
"""When outages begin: each process has watched for long enough by then."""

PERIODS_S: Final = (30, 60, 108)
FLEETS: Final = (1, 5, 19, 100, 1_000, 10_000, 100_000)
SETTLED_FROM: Final = 19
"""Clients from which on a full outage must cut nobody where B is settled."""

SURE_FROM: Final = 100
"""Clients from which on chance holds no sweep of a fleet that is recorded."""

_LARGEST_IN_ONE_SWEEP: Final = 10_000
"""Clients of whom a sweep can ask about all, should none be recorded."""

RIGHT_ON: Final = 2
"""Sweeps within which an idle client is closed outside an outage."""

_LATEST_SWEEPS, _LATEST_TIMEOUTS = 10, 4
"""The longer of the two is the time within which an idle client is closed where chance may hold."""


class Setting(Enum):
    """What moves API Gateway's account, and what Hangup was told of it."""

    A = "A, unsettled"
    B = "B, unsettled"
    A_BOTH = "A, set to `both`"
    B_BOTH = "B, `both`"
    A_GATEWAY = "A, activity by API Gateway"
    B_GATEWAY = "B, activity by API Gateway"

    @property
    def counts_pushes(self) -> bool:
        """Whether messages to a client move the account."""
        return self in (Setting.B, Setting.B_BOTH, Setting.B_GATEWAY)

    @property
    def counts(self) -> LastActiveCounts:
        """``LAST_ACTIVE_COUNTS``."""
        is_told = self in (Setting.A_BOTH, Setting.B_BOTH)
        return LastActiveCounts.BOTH if is_told else LastActiveCounts.UNSETTLED

    @property
    def activity(self) -> Activity:
        """``ACTIVITY``."""
        is_source = self in (Setting.A_GATEWAY, Setting.B_GATEWAY)
        return Activity.GATEWAY if is_source else Activity.RECORDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with the recording. ``is_full`` is whether nothing at all is recorded."""

    name: str
    losses: tuple[Loss, ...] = ()
    is_full: bool = False
    cold: bool = False
    sweeps_from_s: int = 0

    @property
    def ends_s(self) -> float:
        """When all is well again; 0 if it always was."""
        return max((loss.end_s for loss in self.losses), default=0)


def _full(*windows: tuple[float, float]) -> tuple[Loss, ...]:
    return tuple(Loss(begin_s=BEGIN_S + begin, end_s=BEGIN_S + end) for begin, end in windows)


NOTHING: Final = Fault(name="none")
A_SUBSET: Final = Fault(name="three clients in ten never recorded", losses=(Loss(of_clients=0.3),))
FAULTS: Final = (
    NOTHING,
    Fault(name="none recorded for 60 s", losses=_full((0, 60)), is_full=True),
    Fault(name="none recorded for 2 min", losses=_full((0, 120)), is_full=True),
    Fault(name="none recorded for 261.5 s", losses=_full((0, 261.5)), is_full=True),
    Fault(name="none recorded for 10 min", losses=_full((0, 600)), is_full=True),
    Fault(name="twice in a row, 5 min each", losses=_full((0, 300), (345, 645)), is_full=True),
    Fault(name="20 % lost for ever", losses=(Loss(of_messages=0.2),)),
    Fault(name="40 % lost for ever", losses=(Loss(of_messages=0.4),)),
    Fault(name="one route in ten never recorded", losses=(Loss(of_messages=0.1),)),
    A_SUBSET,
    Fault(
        name="the route that three in ten use for 80 % of their messages",
        losses=(Loss(of_clients=0.3, of_messages=0.8),),
    ),
    Fault(
        name="first deployment: none recorded until 10 min after the first sweep",
        losses=(Loss(end_s=2 * BEGIN_S),),
        is_full=True,
        sweeps_from_s=BEGIN_S,
    ),
    Fault(
        name="none recorded for 5 min, each sweep a cold start",
        losses=_full((0, 300)),
        is_full=True,
        cold=True,
    ),
)


_OUTAGES: Final = (FAULTS[4], FAULTS[7], A_SUBSET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault of a fleet under a setting, and the seed of everything that is left to chance."""

    fault: Fault
    setting: Setting
    habits: Habits
    seed: int = 0
    minutes: int = 35
    sweeps_at_s: float | None = None
    has_breaker: bool = False
    asks: bool = True

    def run(self) -> Outcome:
        """Simulate it."""
        return simulate(
            Run(
                habits=replace(
                    self.habits,
                    counts_pushes=self.setting.counts_pushes,
                    losses=self.fault.losses,
                ),
                counts=self.setting.counts,
                activity=self.setting.activity,
                cold=self.fault.cold,
                sweeps_from_s=self.fault.sweeps_from_s,
                minutes=self.minutes,
                sweeps_at_s=self.sweeps_at_s,
                has_breaker=self.has_breaker,
                asks=self.asks,
            ),
            seed=self.seed,
        )

    @property
    def is_settled(self) -> bool:
        """Whether the records may decide."""
        return self.setting.counts is LastActiveCounts.BOTH

    @property
    def must_cut_nobody(self) -> bool:
        """Whether it is promised that nobody is cut."""
        is_large = self.habits.clients >= SETTLED_FROM
        return not self.is_settled or (is_large and self.fault.is_full) or not self.fault.losses

    @property
    def must_close(self) -> bool:
        """Whether idle clients must be gone soon, once all is well."""
        if self.has_breaker:
            return False  # it is there to show why the guard has none
        if self.setting in (Setting.B, Setting.B_GATEWAY) and self.habits.push_s:
            return False
        if self.setting.activity is Activity.GATEWAY:
            return True
        if self.is_settled:
            # Each process that starts holds until it has watched for long enough.
            return not self.fault.cold and self.habits.smallest_role >= SURE_FROM
        return self.habits.clients <= _LARGEST_IN_ONE_SWEEP or not self.fault.losses

    @property
    def must_close_in_the_end(self) -> bool:
        """Whether idle clients must be gone some time after all is well, though chance holds."""
        is_large = self.habits.smallest_role >= SETTLED_FROM
        return self.is_settled and is_large and not self.fault.cold

    @property
    def latest_sweeps(self) -> float:
        """Within how many sweeps that is."""
        return max(_LATEST_SWEEPS, _LATEST_TIMEOUTS * self.habits.longest_timeout_s / 60)


def broken_promises(case: Case, outcome: Outcome) -> Iterator[str]:
    """Yield what did not hold that must."""
    tally = outcome.tally
    if case.must_cut_nobody and tally.cut:
        yield f"{tally.cut} live clients cut"
    if not case.is_settled and tally.early:
        yield f"{tally.early} clients closed before their timeout"
    is_source = case.setting.activity is Activity.GATEWAY
    is_over = case.fault.ends_s < outcome.sweeps * 60
    # Where nobody needs the records, their loss delays nothing. Nor does one without an end, where
    # API Gateway's account decides.
    is_peace = is_source or not (case.is_settled or is_over)
    sweeps = tally.delay_sweeps if is_peace else tally.delay_sweeps_in_peace
    if case.must_close and sweeps > RIGHT_ON:
        yield f"an idle client was closed by sweep {sweeps}"
    if is_source and outcome.held_at_s:
        yield f"{len(outcome.held_at_s)} sweeps held"
    if case.must_close and (is_peace or is_over) and outcome.unclosed:
        yield f"{outcome.unclosed} idle clients left"
    if case.must_close_in_the_end and is_over:
        latest_sweeps = max(tally.delay_sweeps_in_peace, outcome.most_sweeps_left)
        if latest_sweeps > case.latest_sweeps:
            yield f"an idle client was not closed within {latest_sweeps} sweeps"
    # Who sends together is not recorded until all send again.
    # Of two roles, one sees the outage of the other.
    may_be_late = case.habits.together or case.habits.others or not case.is_settled
    if case.must_close and not may_be_late and (late_s := held_after_s(case, outcome)):
        yield f"held {late_s:.0f} s after the outage"


def held_after_s(case: Case, outcome: Outcome) -> float:
    """Return how long after the outage the last sweep was held, if longer than it should be."""
    timeout_s, ends_s = case.habits.longest_timeout_s, case.fault.ends_s
    last_s = outcome.held_at_s[-1] if outcome.held_at_s else 0
    # A process that has just started knows nothing either.
    # What shows the end of an outage is the first message that is recorded again.
    most_s = max(1.5 * timeout_s, timeout_s + 60) + timeout_s / 10
    starts_s = case.fault.sweeps_from_s + 60
    return last_s - ends_s if last_s > max(ends_s, starts_s) + most_s else 0


def cases(fault: Fault) -> Iterator[Case]:
    """Yield all cases of one fault."""
    for clients in FLEETS:
        seeds = 8 if clients <= 100 else 1
        periods_s = PERIODS_S if clients <= 10_000 else (60,)
        for period_s in periods_s:
            yield from _in_all_settings(fault, clients, period_s, seeds)


def quick_cases(fault: Fault) -> Iterator[Case]:
    """Yield some cases of one fault, with the promises' hardest: few clients that send seldom."""
    for clients, period_s in ((1, 30), (5, 108), (19, 30), (19, 108), (100, 60), (1_000, 108)):
        yield from _in_all_settings(fault, clients, period_s, 1)


NO_RECORDER: Final = Fault(name="no recorder at all", losses=(Loss(),), is_full=True)
RECORDED: Final = tuple(one for one in Setting if one.activity is Activity.RECORDED)


def gateway_cases(*fleets: int) -> Iterator[Case]:
    """Yield fleets of which nobody records anything, and some that record with an outage."""
    settings = ((Setting.A_GATEWAY, 0), (Setting.B_GATEWAY, 0), (Setting.B_GATEWAY, 10))
    for fault, clients, period_s, (setting, push_s) in product(
        (NO_RECORDER, *_OUTAGES), fleets or FLEETS, PERIODS_S, settings
    ):
        yield Case(
            fault=fault,
            setting=setting,
            habits=Habits(clients=clients, period_s=period_s, push_s=push_s),
            minutes=35 if clients < FLEETS[-1] else 12,
        )


def _in_all_settings(fault: Fault, clients: int, period_s: float, seeds: int) -> Iterator[Case]:
    # Where the account does not count pushes, whether there are any makes no difference.
    for setting, push_s in product(RECORDED, (0, 10)):
        if push_s and not setting.counts_pushes:
            continue
        habits = Habits(clients=clients, period_s=period_s, push_s=push_s)
        for seed in range(seeds):
            yield Case(fault=fault, setting=setting, habits=habits, seed=seed)


@dataclass(slots=True)
class Sum:
    """What many cases came to, together."""

    runs: int = 0
    cut: int = 0
    cut_of_few: int = 0
    """Of fleets of fewer than 19."""
    clients: int = 0
    closed: int = 0
    unclosed: int = 0
    delay_ms: int = 0
    delay_sweeps: int = 0
    delay_sweeps_in_peace: int = 0
    most_questions: int = 0
    sweeps: int = 0
    held: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, case: Case, outcome: Outcome) -> None:
        """Count one."""
        tally = outcome.tally
        self.runs += 1
        if case.habits.clients < SETTLED_FROM:
            self.cut_of_few += tally.cut
        else:
            self.cut += tally.cut
        self.clients += case.habits.clients
        self.closed += tally.closed
        self.unclosed += outcome.unclosed
        self.delay_ms = max(self.delay_ms, tally.delay_ms)
        self.delay_sweeps = max(self.delay_sweeps, tally.delay_sweeps)
        self.delay_sweeps_in_peace = max(self.delay_sweeps_in_peace, tally.delay_sweeps_in_peace)
        self.most_questions = max(self.most_questions, outcome.most_questions)
        self.sweeps += outcome.sweeps
        self.held += len(outcome.held_at_s)
        self.broken += [f"{text}: {case}" for text in broken_promises(case, outcome)]


def _one_outage(length_s: float, *, begin_s: float = BEGIN_S) -> Fault:
    return Fault(
        name=f"none recorded for {length_s:.0f} s",
        losses=(Loss(begin_s=begin_s, end_s=begin_s + length_s),),
        is_full=True,
    )


def other_fleets() -> Iterator[tuple[str, Case]]:
    """Yield what the cases above do not vary, each settled and pushed to: the guard's worst."""
    for timeout_s, length_s in ((10, 60), (10, 300), (30, 60), (300, 150), (600, 300), (600, 1200)):
        for share, clients, seed in product((0.25, 0.5, 0.9), (19, 100, 1_000), range(3)):
            habits = Habits(
                clients=clients, timeout_s=timeout_s, period_s=share * timeout_s, push_s=10
            )
            name = f"timeout {timeout_s} s, none recorded for {length_s} s"
            fault = _one_outage(length_s, begin_s=2_400)
            yield (
                name,
                Case(fault=fault, setting=Setting.B_BOTH, habits=habits, seed=seed, minutes=100),
            )
    for fault, period_s, clients, seed in product(
        (NOTHING, _one_outage(60), _one_outage(300)), PERIODS_S, (19, 100, 1_000), range(3)
    ):
        habits = Habits(clients=clients, period_s=period_s, push_s=10, together=True)
        name = f"all send at the same second, {fault.name}"
        yield name, Case(fault=fault, setting=Setting.B_BOTH, habits=habits, seed=seed)
    for fault, talkers, seed in product((NOTHING, _one_outage(300)), (1, 20), range(5)):
        habits = Habits(
            clients=100, period_s=60, push_s=10, talkers=talkers / 100, silent_per_minute=0
        )
        name = f"{talkers} of 100 ever send, {fault.name}"
        yield name, Case(fault=fault, setting=Setting.B_BOTH, habits=habits, seed=seed)
    for fault, setting in product((A_SUBSET, _one_outage(300)), (Setting.A, Setting.B)):
        habits = Habits(clients=1_000, period_s=60, answers=1)
        name = f"each client answers the notice at once, {fault.name}"
        yield name, Case(fault=fault, setting=setting, habits=habits)


def fleets_with_roles() -> Iterator[tuple[str, Case]]:
    """Yield fleets of two roles, each with a timeout of its own, settled and pushed to.

    The second role has few of the clients, many, or nearly all. All send as seldom as they may.
    """
    sizes = ((20, 1), (100, 1), (100, 20), (100, 99), (1_000, 10), (1_000, 500), (3_000, 2_990))
    for (timeout_s, other_s), length_s, (clients, others) in product(
        ((60, 300), (300, 60), (120, 300), (300, 120)), (0, 60, 150), sizes
    ):
        habits = Habits(
            clients=clients,
            timeout_s=timeout_s,
            period_s=0.9 * timeout_s,
            push_s=10,
            others=Others(clients=others, timeout_s=other_s, period_s=0.9 * other_s),
        )
        fault = _one_outage(length_s, begin_s=2_400) if length_s else NOTHING
        name = f"timeouts {timeout_s} s and {other_s} s, {fault.name}"
        yield name, Case(fault=fault, setting=Setting.B_BOTH, habits=habits, minutes=80)


def breaker_cases() -> Iterator[tuple[str, Case]]:
    """Yield fleets of which a subset is never recorded, without and with a breaker."""
    for clients, share, has_breaker in product((1_000, 10_000), (0.1, 0.3, 0.6), (False, True)):
        fault = Fault(name=f"{share:.0%} never recorded", losses=(Loss(of_clients=share),))
        case = Case(
            fault=fault,
            setting=Setting.A,
            habits=Habits(clients=clients, period_s=60),
            has_breaker=has_breaker,
        )
        yield f"{clients:,} clients, {fault.name}", case
