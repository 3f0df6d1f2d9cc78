"""The counts of a sweep, as metrics and as the function's answer."""

from dataclasses import replace

import pytest

from hangup.core.model import Role, TimeoutReason
from hangup.core.report import Count, SweepReport

QUIET = SweepReport(
    checked=0,
    idle=0,
    timeouts={},
    claims_lost=0,
    notices_failed=0,
    close_failures=0,
    handover_failures=0,
    adopted=0,
    unreadable=0,
    held=False,
    complete=True,
)
BUSY = replace(
    QUIET,
    checked=100,
    idle=14,
    timeouts={
        (Role.SPEAKER, TimeoutReason.IDLE_TIMEOUT): 1,
        (Role.LISTENER, TimeoutReason.IDLE_TIMEOUT): 4,
        (Role.LISTENER, TimeoutReason.GONE): 2,
        (Role.UNKNOWN, TimeoutReason.GONE): 1,
    },
    claims_lost=1,
    notices_failed=2,
    close_failures=2,
    handover_failures=3,
    adopted=6,
    unreadable=7,
    complete=False,
)


def test_a_quiet_sweep_reports_the_three_metrics_of_the_contract_as_zero() -> None:
    assert QUIET.counts() == [
        Count(name="ConnectionsChecked", value=0),
        Count(name="IdleConnectionsDetected", value=0),
        Count(name="ConnectionsClosed", value=0),
    ]


def test_closed_includes_the_gone_and_timeouts_tell_them_apart_by_role_and_reason() -> None:
    counts = {(c.name, *c.dimensions.values()): c.value for c in BUSY.counts()}
    assert counts == {
        ("ConnectionsChecked",): 100,
        ("IdleConnectionsDetected",): 14,
        ("ConnectionsClosed",): 8,
        ("ClaimsLost",): 1,
        ("NoticesFailed",): 2,
        ("CloseFailures",): 5,
        ("RecordsUnreadable",): 7,
        ("SweepsIncomplete",): 1,
        ("ConnectionTimeout", "listener", "GONE"): 2,
        ("ConnectionTimeout", "listener", "IDLE_TIMEOUT"): 4,
        ("ConnectionTimeout", "speaker", "IDLE_TIMEOUT"): 1,
        ("ConnectionTimeout", "unknown", "GONE"): 1,
    }


def test_only_timeouts_have_dimensions_and_they_are_role_and_reason() -> None:
    for count in BUSY.counts():
        expected = ["Role", "Reason"] if count.name == "ConnectionTimeout" else []
        assert list(count.dimensions) == expected


@pytest.mark.parametrize(
    ("report", "closed", "gone", "failures"), [(QUIET, 0, 0, 0), (BUSY, 5, 3, 5)]
)
def test_the_sums(report: SweepReport, closed: int, gone: int, failures: int) -> None:
    assert (report.closed, report.gone, report.failures) == (closed, gone, failures)


def test_the_answer_has_every_count() -> None:
    assert BUSY.as_json() == {
        "checked": 100,
        "idle": 14,
        "closed": 5,
        "gone": 3,
        "claimsLost": 1,
        "noticesFailed": 2,
        "closeFailures": 2,
        "handoverFailures": 3,
        "adopted": 6,
        "unreadable": 7,
        "held": False,
        "complete": False,
    }


def test_a_held_sweep_is_a_metric_of_its_own_and_not_one_that_ran_out_of_time() -> None:
    held = replace(QUIET, held=True, complete=False)
    assert [(c.name, c.value) for c in held.counts()][3:] == [("SweepsHeld", 1)]
