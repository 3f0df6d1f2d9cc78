"""What ``hangup status`` counts, and which of it is shown."""

from collections.abc import Mapping, Sequence

import pytest

from hangup.aws.cloudwatch import Alarm
from hangup.core.connection import Connection, EpochMs, InvalidTime, RecordedTime
from hangup.core.policy import IdlePolicy
from hangup.ops.status import Crowd, crowd_of, last_sweeps
from hangup.ports import ScanPage
from hangup.testing import START_MS

POLICY = IdlePolicy(
    idle_timeout_ms=120_000,  # type: ignore[arg-type]
    activity_resolution_ms=0,  # type: ignore[arg-type]
    by_role={"speaker": 300_000},  # type: ignore[dict-item]
)


def one(connection_id: str, silent_s: float | None, role: str | None = None) -> Connection:
    last_ms = None if silent_s is None else EpochMs(START_MS - round(silent_s * 1000))
    return Connection(connection_id=connection_id, role=role, connected_at_ms=last_ms)


def crowd(*connections: Connection, most: int | None = None, others: int = 0) -> Crowd:
    page = ScanPage(
        candidates=list(connections),
        scanned_count=len(connections) + others,
        is_last=True,
        others=others,
    )
    return crowd_of(iter([page]), POLICY, now_ms=START_MS, most=most, progress=lambda _words: None)


class TestCrowd:
    def test_counts_by_role_and_by_silence(self) -> None:
        seen = crowd(one("a", 1, "speaker"), one("b", 9.999), one("c", 10), one("d", 4_000))
        assert seen.connections == 4
        assert seen.by_role == {"speaker": 1, "unknown": 3}
        assert seen.histogram == [
            *((10, 2), (30, 1), (60, 0), (120, 0), (300, 0), (600, 0), (1_800, 0), (3_600, 0)),
            (None, 1),
        ]

    def test_empty_classes_at_the_ends_are_left_out(self) -> None:
        assert crowd(one("a", 40), one("b", 100)).histogram == [(60, 1), (120, 1)]
        assert crowd().histogram == []

    def test_the_deadline_is_that_of_the_role(self) -> None:
        seen = crowd(one("a", 121), one("b", 121, "speaker"), one("c", 120), one("d", 60))
        assert (seen.overdue, seen.due_soon) == (1, 1)
        assert [due.connection_id for due in seen.due] == ["a", "c"]
        assert seen.due[0].deadline_ms == START_MS - 1_000

    def test_only_the_first_that_are_due_are_kept(self) -> None:
        many = [one(f"c{number}", 121 + number) for number in range(50)]
        seen = crowd(*many[::2], *many[1::2], most=3)
        assert seen.overdue == 50
        assert [due.connection_id for due in seen.due] == ["c49", "c48", "c47"]
        assert len(crowd(*many).due) == 50
        assert crowd(*many, most=0).due == []

    def test_what_no_sweep_judges_is_counted_apart(self) -> None:
        malformed = (InvalidTime(RecordedTime.LAST_ACTIVITY, "soon"),)
        unreadable = Connection(connection_id="b", malformed=malformed)
        seen = crowd(one("a", None), unreadable, one("no id", 1), others=2)
        assert (seen.without_time, seen.unreadable, seen.others) == (1, 1, 3)
        assert (seen.connections, seen.items, seen.due) == (2, 5, [])

    def test_tells_how_far_it_is(self) -> None:
        said: list[str] = []
        pages = [ScanPage(candidates=[one("a", 1)], scanned_count=1_000, is_last=False)] * 2
        crowd_of(iter(pages), POLICY, now_ms=START_MS, most=None, progress=said.append)
        assert said == [
            "Reading the table: 1,000 items, 1 connections",
            "Reading the table: 2,000 items, 2 connections",
        ]


class _Metrics:
    def __init__(self, minutes: Mapping[EpochMs, Mapping[str, int]]) -> None:
        self.minutes = minutes
        self.asked: list[tuple[EpochMs, EpochMs]] = []

    def by_minute(
        self, names: Sequence[str], *, since_ms: EpochMs, until_ms: EpochMs
    ) -> Mapping[EpochMs, Mapping[str, int]]:
        self.asked.append((since_ms, until_ms))
        return self.minutes

    def alarms(self, *, prefix: str) -> Sequence[Alarm]:
        return []


def test_sweeps_are_told_by_the_minute_the_latest_first() -> None:
    first, second = (
        EpochMs(START_MS // 60_000 * 60_000),
        EpochMs(START_MS // 60_000 * 60_000 + 60_000),
    )
    metrics = _Metrics(
        {
            first: {"ConnectionsChecked": 7, "ConnectionsClosed": 1, "SweepsHeld": 1},
            second: {"ConnectionsChecked": 6, "IdleConnectionsDetected": 2},
            # What the close function reports is no sweep.
            EpochMs(second + 60_000): {"ConnectionsClosed": 2},
        }
    )
    later, earlier = last_sweeps(metrics, now_ms=START_MS)
    assert (later.at_ms, later.checked, later.idle, later.closed) == (second, 6, 2, 0)
    assert (earlier.at_ms, earlier.checked, earlier.closed, earlier.held) == (first, 7, 1, 1)
    ((since_ms, until_ms),) = metrics.asked
    assert since_ms % 60_000 == 0
    assert START_MS - since_ms >= 15 * 60_000
    assert until_ms > START_MS


@pytest.mark.parametrize("silent_s", [-5, 0])
def test_a_time_that_is_ahead_is_no_silence(silent_s: float) -> None:
    assert crowd(one("a", silent_s)).histogram == [(10, 1)]
