"""When the recording of activity is well enough for the record to decide."""

from collections.abc import Sequence

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.guard import RecordingHealth
from hangup.core.policy import IdlePolicy
from hangup.testing import START_MS

POLICY = IdlePolicy(idle_timeout_ms=DurationMs(120_000), activity_resolution_ms=DurationMs(0))
SPREAD = [*range(0, 100, 5)]
"""Ages in seconds: twenty clients that send every 100 s."""


def records(ages_s: Sequence[float], *, at_s: float = 0) -> list[Connection]:
    return [
        Connection(
            connection_id=f"c{n}",
            connected_at_ms=EpochMs(START_MS - 3_600_000),
            last_activity_ms=EpochMs(round(START_MS + (at_s - age_s) * 1000)),
        )
        for n, age_s in enumerate(ages_s)
    ]


def seen(health: RecordingHealth, ages_s: Sequence[float], *, at_s: float) -> bool:
    """Return whether all is well after a sample of these ages."""
    now_ms = EpochMs(round(START_MS + at_s * 1000))
    health.watch(records(ages_s, at_s=at_s), POLICY, now_ms)
    return health.is_well(POLICY, now_ms)


def watched() -> RecordingHealth:
    """Return what has watched a healthy fleet until the start."""
    health = RecordingHealth()
    for at_s in range(-180, 1, 60):
        seen(health, SPREAD, at_s=at_s)
    return health


def test_a_process_that_has_just_started_knows_nothing() -> None:
    health = RecordingHealth()
    assert not health.is_well(POLICY, START_MS)
    assert [seen(health, SPREAD, at_s=at_s) for at_s in (0, 60, 120, 180)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_process_that_did_not_watch_for_long_knows_nothing_again() -> None:
    assert not seen(watched(), SPREAD, at_s=181)
    assert seen(watched(), SPREAD, at_s=180)


@pytest.mark.parametrize(
    "ages_s",
    [
        pytest.param([50], id="one client"),
        pytest.param([119] * 4, id="four that are late"),
        pytest.param([5, 45, 90, 110, 115], id="two of five are late"),
        pytest.param([107.9] * 20, id="all send at the same second"),
        pytest.param([*[90] * 18, 170], id="all send at the same second, and one is silent"),
        pytest.param([30, *range(35, 105, 5)], id="no pause of more than a quarter"),
        pytest.param([12, *range(20, 105, 6), 115], id="no pause of more than a tenth"),
        pytest.param([31, *range(33, 103, 5)][:14], id="a pause of fourteen"),
        pytest.param([*range(0, 100, 5), *[500] * 80], id="those that left"),
        pytest.param([*range(0, 100, 2), *[170] * 7], id="few are missing"),
    ],
)
def test_is_well(ages_s: list[float]) -> None:
    assert seen(watched(), ages_s, at_s=60)


@pytest.mark.parametrize(
    "ages_s",
    [
        pytest.param([108.1] * 5, id="nobody is on time"),
        pytest.param([500] * 5, id="nobody for long"),
        pytest.param([30.1, *range(35, 105, 5)], id="a pause of more than a quarter"),
        pytest.param([12.1, *range(20, 105, 6), 115], id="a pause of more than a tenth"),
        pytest.param([*range(0, 100, 6), 109, 110, 111], id="many are overdue"),
        pytest.param([0, 5, 10, 59, 70, 80, 109], id="many lie behind a gap"),
    ],
)
def test_is_ill(ages_s: list[float]) -> None:
    assert not seen(watched(), ages_s, at_s=60)


def test_a_fleet_that_never_sent_is_ill() -> None:
    health, now_ms = watched(), EpochMs(START_MS + 60_000)
    health.watch([Connection(connection_id=f"c{n}") for n in range(5)], POLICY, now_ms)
    assert not health.is_well(POLICY, now_ms)


def test_an_outage_is_remembered_for_one_and_a_half_timeouts() -> None:
    health = watched()
    assert not seen(health, [150] * 20, at_s=60)
    assert [seen(health, SPREAD, at_s=60 + s) for s in (60, 120, 179, 180)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_short_pause_is_not_remembered() -> None:
    health = watched()
    assert not seen(health, [13, *range(20, 105, 6), 115], at_s=60)
    assert seen(health, SPREAD, at_s=120)


def test_what_is_missing_says_when_the_outage_ended() -> None:
    health = watched()
    assert not seen(health, [0, 10, 20, 90, 100, 109, 120], at_s=60)
    # It ended 20 s before that look.
    assert not seen(health, SPREAD, at_s=219)
    assert seen(health, SPREAD, at_s=220)


def test_an_outage_goes_on_after_a_break_in_which_few_were_recorded() -> None:
    health = watched()
    assert not seen(health, [150] * 20, at_s=60)
    assert not seen(health, [10, *[210] * 19], at_s=120)
    assert not seen(health, [70, *[270] * 19], at_s=180)
    assert not seen(health, SPREAD, at_s=240)
    assert not seen(health, SPREAD, at_s=300)
    assert seen(health, SPREAD, at_s=360)


def test_a_pause_after_most_were_recorded_again_is_no_outage() -> None:
    health = watched()
    assert not seen(health, [150] * 4 + [70], at_s=60)
    assert not seen(health, [150] * 5, at_s=120)
    assert not seen(health, [10, 20, 30, 300, 300], at_s=180)
    assert not seen(health, [40, 50, 60, 360, 360], at_s=240)
    assert seen(health, [10, 20, 30, 420, 420], at_s=300)


def test_one_record_ahead_of_time_says_nothing() -> None:
    """It made an outage of hours out of three clients that fell silent."""
    ages_s = [*(n * 0.3 for n in range(100)), 112, 115, 118, -3_600]
    assert seen(watched(), ages_s, at_s=60)
