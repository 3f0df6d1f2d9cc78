"""What the guard promises, over simulated fleets: the quick part of ``make guard``."""

from dataclasses import replace

import pytest

from hangup.core.guard import CONTROL_SIZE
from tests.model.guard_cases import (
    A_SUBSET,
    BEGIN_S,
    FAULTS,
    NO_RECORDER,
    NOTHING,
    RECORDED,
    Case,
    Fault,
    Setting,
    Sum,
    breaker_cases,
    cases,
    fleets_with_roles,
    gateway_cases,
    quick_cases,
)
from tests.model.guard_fleet import Habits, Loss
from tests.model.guard_table import around, tables

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", tables())
def test_make_guard_finds_the_place_of_each_table(name: str) -> None:
    before, after = around(name)
    assert before
    assert after


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_guard_keeps_its_promises(fault: Fault) -> None:
    total = Sum()
    for case in quick_cases(fault):
        total.add(case, case.run())
    assert total.broken == []
    # Something was there to be judged.
    assert total.closed > 100


@pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda fault: fault.name)
def test_the_same_fleet_is_cut_where_nobody_is_asked(fault: Fault) -> None:
    habits = Habits(clients=1_000, period_s=108)
    case = Case(fault=fault, setting=Setting.A, habits=habits)
    assert not case.run().tally.cut
    assert replace(case, asks=False).run().tally.cut


@pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda fault: fault.name)
def test_where_records_decide_no_more_are_cut_than_where_nobody_is_asked(fault: Fault) -> None:
    """Where a part is recorded, or the clients are few, that is all that can be promised."""
    cut = 0
    for case in quick_cases(fault):
        if case.setting is Setting.B_BOTH and not case.must_cut_nobody:
            cut_at_worst = replace(case, asks=False).run().tally.cut
            assert case.run().tally.cut <= cut_at_worst
            cut += cut_at_worst
    assert cut


@pytest.mark.parametrize("fault", [NOTHING, A_SUBSET], ids=lambda fault: fault.name)
def test_who_is_sent_messages_is_left_and_counted_until_it_is_settled_what_counts(
    fault: Fault,
) -> None:
    habits = Habits(clients=1_000, period_s=60, push_s=10)
    outcome = Case(fault=fault, setting=Setting.B, habits=habits).run()
    assert outcome.unclosed > 100
    # Each was left once in a timeout, or more often.
    assert outcome.left_active > outcome.unclosed
    assert not Case(fault=fault, setting=Setting.B_BOTH, habits=habits).run().unclosed


@pytest.mark.parametrize("clients", [19, 1_000])
def test_where_api_gateway_says_who_is_active_nobody_has_to_record(clients: int) -> None:
    total = Sum()
    for case in gateway_cases(clients):
        total.add(case, case.run())
    assert total.broken == []
    assert total.closed > 0
    # Twice a timeout at most, where a client sends just before it ends.
    assert total.most_questions <= clients + CONTROL_SIZE


def test_a_fleet_that_one_function_can_ask_about_is_asked_about_in_time() -> None:
    habits = Habits(clients=100_000, period_s=60)
    case = Case(fault=NO_RECORDER, setting=Setting.A_GATEWAY, habits=habits, minutes=8)
    outcome = case.run()
    assert not outcome.tally.cut
    assert outcome.tally.closed > 1_000
    assert outcome.tally.delay_sweeps == 1


def test_a_large_fleet_is_closed_at_its_pace() -> None:
    case = next(case for case in cases(NOTHING) if case.habits.clients == 100_000)
    outcome = replace(case, minutes=6).run()
    assert outcome.tally.closed > 1_000
    assert outcome.tally.delay_sweeps == 1


@pytest.mark.parametrize(
    ("clients", "period_s", "outages_s", "seeds"),
    [
        (100, 30, [(0, 100)], [11, 18, 26, 32]),  # a pause of a quarter of the timeout
        (40, 108, [(0, 100), (130, 280)], [3, 21]),  # a pause of a tenth
        (19, 90, [(0, 600), (630, 780)], [31]),  # an outage that goes on after a break
    ],
)
def test_outages_that_one_sign_alone_shows(
    clients: int, period_s: int, outages_s: list[tuple[int, int]], seeds: list[int]
) -> None:
    losses = tuple(Loss(begin_s=BEGIN_S + begin, end_s=BEGIN_S + end) for begin, end in outages_s)
    fault = Fault(name="hard to see", losses=losses, is_full=True)
    habits = Habits(clients=clients, period_s=period_s, push_s=10)
    for seed in seeds:
        case = Case(fault=fault, setting=Setting.B_BOTH, habits=habits, seed=seed, minutes=26)
        assert not case.run().tally.cut


@pytest.mark.parametrize("push_s", [0, 10])
@pytest.mark.parametrize("setting", RECORDED)
def test_an_outage_whose_sweeps_come_when_half_of_the_clients_look_idle_cuts_nobody(
    setting: Setting, push_s: float
) -> None:
    """It once cut 697 of 1,000 that send every 30 s."""
    losses = (Loss(begin_s=BEGIN_S, end_s=BEGIN_S + 261.5),)
    case = Case(
        fault=Fault(name="none recorded for 261.5 s", losses=losses, is_full=True),
        setting=setting,
        habits=Habits(clients=1_000, period_s=30, push_s=push_s, silent_per_minute=0),
        sweeps_at_s=(BEGIN_S + 104.4) % 60,
        minutes=20,
    )
    outcome = case.run()
    assert not outcome.tally.cut
    if case.is_settled:
        assert outcome.held_at_s[0] == BEGIN_S + 104.4
    assert replace(case, asks=False).run().tally.cut > 400


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("setting", [Setting.A, Setting.B])
def test_messages_that_are_lost_at_random_for_half_an_hour_cut_nobody(
    setting: Setting, share: float
) -> None:
    losses = (Loss(begin_s=BEGIN_S, end_s=BEGIN_S + 1_800, of_messages=share),)
    case = Case(
        fault=Fault(name=f"{share:.0%} lost for 30 min", losses=losses),
        setting=setting,
        habits=Habits(clients=1_000, period_s=30, push_s=10, silent_per_minute=0),
        minutes=45,
    )
    assert not case.run().tally.cut
    assert replace(case, asks=False).run().tally.cut > 40


@pytest.mark.parametrize("setting", [Setting.A, Setting.B])
def test_nobody_is_cut_because_clients_answer_the_notice(setting: Setting) -> None:
    habits = Habits(clients=1_000, period_s=60, answers=1)
    outcome = Case(fault=A_SUBSET, setting=setting, habits=habits).run()
    assert outcome.tally.closed > 100
    assert not outcome.tally.cut


def test_listeners_are_closed_while_one_client_of_a_hundred_talks() -> None:
    habits = Habits(
        clients=100, period_s=108, push_s=10, talkers=0.01, silent_per_minute=0, together=True
    )
    outcome = Case(fault=NOTHING, setting=Setting.B_BOTH, habits=habits).run()
    assert outcome.tally.delay_sweeps_in_peace == 1


@pytest.mark.parametrize("period_s", [30, 60, 90, 108])
def test_clients_that_all_send_at_the_same_second_are_no_outage(period_s: int) -> None:
    habits = Habits(clients=100, period_s=period_s, push_s=10, together=True)
    outcome = Case(fault=NOTHING, setting=Setting.B_BOTH, habits=habits).run()
    assert outcome.tally.delay_sweeps_in_peace == 1


@pytest.mark.parametrize("timeout_s", [10, 600])
def test_other_timeouts_are_kept_through_an_outage(timeout_s: int) -> None:
    losses = (Loss(begin_s=2_400, end_s=3_000),)
    fault = Fault(name="none recorded for 10 min", losses=losses, is_full=True)
    habits = Habits(clients=100, timeout_s=timeout_s, period_s=0.9 * timeout_s, push_s=10)
    outcome = Case(fault=fault, setting=Setting.B_BOTH, habits=habits, minutes=90).run()
    assert not outcome.tally.cut
    assert outcome.tally.closed > 20


def test_no_full_outage_cuts_anybody_where_roles_have_timeouts_of_their_own() -> None:
    total = Sum()
    for _, case in fleets_with_roles():
        if case.fault.ends_s == 2_460:
            total.add(case, case.run())
    assert total.broken == []
    assert (total.cut, total.runs) == (0, 28)
    assert total.closed > 1_000


def test_idle_clients_of_each_role_are_closed_soon() -> None:
    case = next(
        case
        for _, case in fleets_with_roles()
        if case.fault is NOTHING and case.habits.smallest_role == 500
    )
    outcome = case.run()
    assert outcome.tally.closed > 500
    assert outcome.tally.delay_sweeps_in_peace == 1
    assert not outcome.unclosed


def test_a_breaker_would_keep_idle_clients_open() -> None:
    name = "10,000 clients, 30% never recorded"
    without, with_it = (case.run() for of, case in breaker_cases() if of == name)
    assert without.tally.delay_sweeps == 1
    assert not without.unclosed
    assert with_it.unclosed > 1_000
