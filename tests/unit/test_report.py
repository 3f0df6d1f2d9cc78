"""The counts of a sweep, as metrics and as the function's answer."""

from dataclasses import replace

import pytest

from hangup.core.connection import DurationMs, TimeoutReason
from hangup.core.guard import Hold
from hangup.core.report import (
    ClosesReport,
    CloseStatus,
    Count,
    Durations,
    SweepReport,
    metric_role,
)
from hangup.sessions.model import Role

NO_CLOSES = ClosesReport(
    statuses={},
    timeouts={},
    lateness_ms=(),
    notices_failed=0,
    handovers_repeated=0,
    sockets_lost=0,
)
CLOSES = replace(
    NO_CLOSES,
    timeouts={
        (Role.SPEAKER, TimeoutReason.IDLE_TIMEOUT): 1,
        (Role.LISTENER, TimeoutReason.IDLE_TIMEOUT): 4,
        (Role.LISTENER, TimeoutReason.GONE): 2,
        ("unknown", TimeoutReason.GONE): 1,
    },
    lateness_ms=tuple(map(DurationMs, (700, 12, 3_000, 12, 1))),
    statuses={
        CloseStatus.CLOSED: 4,
        CloseStatus.ALREADY_GONE: 3,
        CloseStatus.CLAIM_LOST: 1,
        CloseStatus.CLAIM_FAILED: 1,
        CloseStatus.CLOSE_FAILED: 1,
        CloseStatus.HANDOVER_FAILED: 3,  # one was closed before that, two were counted before
        CloseStatus.ACTIVE: 11,
        CloseStatus.HELD: 12,
        CloseStatus.UNCONFIRMED: 13,
        CloseStatus.IGNORED: 14,
        CloseStatus.KEPT: 17,
    },
    notices_failed=2,
    handovers_repeated=15,
    sockets_lost=18,
)
QUIET = SweepReport(
    checked=0,
    found=0,
    closes=NO_CLOSES,
    queued=0,
    queue_failures=0,
    clocks_started=0,
    unreadable=0,
    ignored=0,
    failed_segments=0,
    hold=None,
    has_read_all=True,
)
BUSY = replace(
    QUIET,
    checked=100,
    found=22,
    closes=CLOSES,
    queued=8,
    queue_failures=9,
    clocks_started=6,
    unreadable=7,
    ignored=16,
    has_read_all=False,
)


def test_a_quiet_sweep_reports_the_three_metrics_of_the_contract_as_zero() -> None:
    assert list(QUIET.metrics()) == [
        Count(name="ConnectionsChecked", value=0),
        Count(name="IdleConnectionsDetected", value=0),
        Count(name="ConnectionsClosed", value=0),
    ]


def test_closed_includes_the_gone_and_timeouts_tell_them_apart_by_role_and_reason() -> None:
    counts = {
        (metric.name, *metric.dimensions.values()): metric.value
        for metric in BUSY.metrics()
        if isinstance(metric, Count)
    }
    assert counts == {
        ("ConnectionsChecked",): 100,
        ("IdleConnectionsDetected",): 10,
        ("ConnectionsClosed",): 8,
        ("ClaimsLost",): 1,
        ("NoticesFailed",): 2,
        ("CloseFailures",): 5,
        ("HandoversRepeated",): 15,
        ("ActivityUnrecorded",): 11,
        ("ConnectionsUnconfirmed",): 13,
        ("RecordsIgnored",): 16,
        ("ClosesScheduled",): 8,
        ("QueueFailures",): 9,
        ("RecordsUnreadable",): 7,
        ("SweepsIncomplete",): 1,
        ("ConnectionTimeout", "listener", "GONE"): 2,
        ("ConnectionTimeout", "listener", "IDLE_TIMEOUT"): 4,
        ("ConnectionTimeout", "speaker", "IDLE_TIMEOUT"): 1,
        ("ConnectionTimeout", "unknown", "GONE"): 1,
    }


@pytest.mark.parametrize(
    ("closed", "gone", "rings"),
    [
        (0, 20, True),
        (0, 19, False),
        (2, 18, True),
        (3, 18, False),
        (100, 900, True),
        (20, 0, False),
    ],
)
def test_says_when_nearly_all_of_many_had_left(closed: int, gone: int, *, rings: bool) -> None:
    timeouts = {
        ("listener", TimeoutReason.GONE): gone,
        ("listener", TimeoutReason.IDLE_TIMEOUT): closed,
    }
    closes = replace(NO_CLOSES, timeouts=timeouts)
    said = Count(name="SweepsMostlyGone", value=1)
    assert (said in replace(QUIET, closes=closes).metrics()) == rings
    assert (said in closes.metrics()) == rings


def test_only_timeouts_have_dimensions_and_they_are_role_and_reason() -> None:
    for count in BUSY.metrics():
        expected = ["Role", "Reason"] if count.name == "ConnectionTimeout" else []
        assert list(count.dimensions) == expected


@pytest.mark.parametrize(
    ("closes", "closed", "gone", "failures"), [(NO_CLOSES, 0, 0, 0), (CLOSES, 5, 3, 5)]
)
def test_the_sums(closes: ClosesReport, closed: int, gone: int, failures: int) -> None:
    assert (closes.closed, closes.gone, closes.failures) == (closed, gone, failures)


def test_the_answer_has_every_count() -> None:
    assert BUSY.as_json() == {
        "checked": 100,
        "idle": 10,
        "closed": 5,
        "gone": 3,
        "wouldClose": 0,
        "activityUnrecorded": 11,
        "kept": 17,
        "unconfirmed": 13,
        "recordingDoubted": 12,
        "claimsLost": 1,
        "noticesFailed": 2,
        "closeFailures": 2,
        "handoverFailures": 3,
        "handoversRepeated": 15,
        "socketsLost": 18,
        "queued": 8,
        "queueFailures": 9,
        "clocksStarted": 6,
        "unreadable": 7,
        "ignored": 16,
        "held": None,
        "complete": False,
    }


def test_a_held_sweep_is_a_metric_of_its_own_and_not_one_that_ran_out_of_time() -> None:
    held = replace(QUIET, hold=Hold.CLOCK)
    assert held.metrics()[3:] == [Count(name="SweepsHeld", value=1)]


@pytest.mark.parametrize(
    ("role", "dimension"),
    [("speaker", "speaker"), ("moderator", "other"), ("", "other"), (None, "unknown")],
)
def test_only_roles_that_the_configuration_names_have_a_metric_of_their_own(
    role: str | None, dimension: str
) -> None:
    assert metric_role(role, named=frozenset({"speaker", "listener"})) == dimension


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failed_segments": 1}, "could not read 1 of 16 segments"),
        ({"found": 9, "queued": 2}, "left 7 of 9 idle connections to the next one"),
        (
            {"failed_segments": 2, "found": 1},
            "could not read 2 of 16 segments and left 1 of 1 idle connections to the next one",
        ),
        ({}, "could not ask API Gateway or the table all that it had to"),
    ],
)
def test_says_what_failed_and_nothing_that_did_not(changes: dict[str, int], words: str) -> None:
    report = replace(QUIET, **changes)  # type: ignore[arg-type]
    assert report.what_failed(16) == words


def test_lateness_is_one_metric_with_every_value_and_none_without_a_close() -> None:
    durations = [metric for metric in BUSY.metrics() if isinstance(metric, Durations)]
    assert durations == [Durations(name="CloseLateness", values=CLOSES.lateness_ms)]
    assert not any(isinstance(metric, Durations) for metric in QUIET.metrics())


def test_closes_without_a_sweep_are_counted_but_no_connection_is_checked() -> None:
    names = [metric.name for metric in CLOSES.metrics()]
    assert "ConnectionsChecked" not in names
    assert CLOSES.metrics()[:2] == [
        # Five closed, three gone, and two that failed before that.
        Count(name="IdleConnectionsDetected", value=10),
        Count(name="ConnectionsClosed", value=8),
    ]
    # A sweep counts them among the records that it ignored.
    assert Count(name="RecordsIgnored", value=14) in CLOSES.metrics()
    assert list(NO_CLOSES.metrics()) == [
        Count(name="IdleConnectionsDetected", value=0),
        Count(name="ConnectionsClosed", value=0),
    ]
