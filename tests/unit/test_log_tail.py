"""What ``hangup up`` and ``hangup tail`` make of the functions' log lines."""

import json

import pytest

from hangup.core.connection import EpochMs
from hangup.ops.log_tail import LogEvent, LogTail, in_order, in_words
from hangup.testing import START_MS, FakeClock


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            {"message": "sweep done", "checked": 3, "idle": 1, "closed": 1, "queued": 0},
            "sweep done: 3 checked, 1 idle, 1 closed, 0 gone, 0 closeFailures, 0 handoverFailures",
        ),
        (
            {"message": "sweep done", "checked": 3, "idle": 0, "queued": 2},
            "sweep done: 3 checked, 2 queued, 0 queueFailures",
        ),
        (
            {"message": "sweep done", "checked": 3, "queued": 0, "queueFailures": 2},
            "sweep done: 3 checked, 0 queued, 2 queueFailures",
        ),
        (
            {"message": "scheduled closes done", "received": 2, "claimsLost": 1, "closed": 1},
            (
                "scheduled closes done: 2 received, 1 claimsLost, 1 closed, 0 gone,"
                " 0 closeFailures, 0 handoverFailures"
            ),
        ),
        (
            {"message": "connection joined", "connectionId": "c1", "role": "speaker"},
            "connection joined: connectionId=c1, role=speaker",
        ),
        ({"message": "message refused"}, "message refused"),
        ({"message": "activity recorded", "connectionId": "c1"}, None),
        ({"_aws": {}}, None),
    ],
)
def test_says_what_a_line_says_in_short(line: dict[str, object], words: str | None) -> None:
    assert in_words(json.dumps(line)) == words


def test_leaves_lambda_s_own_lines_out_and_others_as_they_are() -> None:
    assert in_words("START RequestId: 1 Version: $LATEST") is None
    assert in_words("Traceback (most recent call last):\n") == "Traceback (most recent call last):"


def line(message: str, timestamp: str) -> str:
    return json.dumps({"message": message, "timestamp": timestamp})


CLOSING = line("closed idle connections", "2026-11-27 02:47:05,642+0000")
CLEANED_UP = line("connection cleaned up", "2026-11-27 03:47:05,650+0100")
SWEPT = line("sweep done", "2026-11-27 02:47:05,711+0000")
AT_MS = 1_795_747_625_000


def test_the_cause_comes_before_the_result_though_all_were_stored_at_once() -> None:
    stored = [(AT_MS + 720, "sweep", SWEPT), (AT_MS + 720, "cleanup", CLEANED_UP)]
    assert in_order([(AT_MS + 720, "sweep", CLOSING), *stored]) == [
        (AT_MS + 642, CLOSING),
        (AT_MS + 650, CLEANED_UP),
        (AT_MS + 711, SWEPT),
    ]


def test_lines_without_a_time_stay_behind_the_one_before_them() -> None:
    lines = [CLOSING, "Traceback (most recent call last):", '  File "b.py"', '  File "a.py"', "[]"]
    events = [(AT_MS + 720, "sweep", text) for text in lines]
    later = (AT_MS + 720, "cleanup", CLEANED_UP)
    assert [text for _, text in in_order([*events, later])] == [*lines, CLEANED_UP]


def test_what_is_printed_before_the_first_line_with_a_time_stays_before_it() -> None:
    events = [(AT_MS + 720, "sweep", text) for text in ("a warning", CLOSING, SWEPT)]
    cleaned_up = (AT_MS + 720, "cleanup", CLEANED_UP)
    lines = ["a warning", CLOSING, CLEANED_UP, SWEPT]
    assert [text for _, text in in_order([*events, cleaned_up])] == lines


def test_lines_without_any_time_are_as_old_as_they_were_stored() -> None:
    events = [(2, "b", "second"), (2, "b", "a third"), (1, "a", "first"), (3, "c", "{}")]
    assert [text for _, text in in_order(events)] == ["first", "second", "a third", "{}"]


class Stored:
    """Logs that a test writes to; lines that are older than what is asked for are not returned."""

    def __init__(self) -> None:
        self.stored: list[LogEvent] = []

    def events(self, *, since_ms: EpochMs) -> list[LogEvent]:
        return [one for one in self.stored if one[0] >= since_ms]


def test_each_line_is_told_once_and_a_late_one_too() -> None:
    logs, clock = Stored(), FakeClock()
    log_tail = LogTail(logs, clock, since_ms=START_MS)
    logs.stored += [(START_MS - 1, "s", "too old"), (START_MS + 5_000, "s", "first")]
    clock.advance(seconds=6)
    assert [text for _, text in log_tail.new_lines()] == ["first"]
    # Stored by another function before, and seen only now.
    logs.stored.append((START_MS + 4_000, "t", "late"))
    clock.advance(seconds=20)
    assert [text for _, text in log_tail.new_lines()] == ["late"]
    clock.advance(seconds=600)
    assert list(log_tail.new_lines()) == []
    logs.stored.append((START_MS + 620_000, "s", "first"))
    assert [text for _, text in log_tail.new_lines()] == ["first"]
    assert list(log_tail.new_lines()) == []
