"""The message about a connection that falls due: what it carries, and what is refused."""

import json
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs, KeyPart
from hangup.core.limits import MAX_QUEUE_DELAY_S
from hangup.core.scheduled_close import (
    ScheduledClose,
    as_message,
    delay_s,
    parse_scheduled_close,
    wait_ms,
)
from hangup.errors import InvalidRequest
from hangup.sessions.model import Role

NOW_MS = EpochMs(1_700_000_000_000)
DUE = ScheduledClose(
    silence_ms=DurationMs(120_000),
    judged_at_ms=EpochMs(1_700_000_000_000),
    connection=Connection(
        connection_id="L0SM9cOFvHcCIhw=",
        session_id="s1",
        role=Role.LISTENER,
        connected_at_ms=EpochMs(NOW_MS - 600_000),
        last_activity_ms=EpochMs(NOW_MS - 100_000),
        noticed_at_ms=EpochMs(NOW_MS - 300_000),
    ),
    deadline_ms=EpochMs(NOW_MS + 20_000),
    correlation_id="tick-1",
)


@pytest.mark.parametrize(
    ("until_ms", "seconds"),
    [
        (-60_000, 0),
        (-1, 0),
        (0, 0),
        (998, 0),
        (999, 1),  # the millisecond after the deadline it is idle
        (1_998, 1),
        (1_999, 2),
        (899_999, 900),
        (3_600_000, MAX_QUEUE_DELAY_S),
    ],
)
def test_a_delay_is_the_whole_seconds_until_it_is_idle(until_ms: int, seconds: int) -> None:
    assert delay_s(EpochMs(NOW_MS + until_ms), now_ms=NOW_MS) == seconds


@pytest.mark.parametrize(("until_ms", "wait"), [(-2, 0), (-1, 0), (0, 1), (700, 701)])
def test_waits_until_the_millisecond_after_the_deadline(until_ms: int, wait: int) -> None:
    assert wait_ms(EpochMs(NOW_MS + until_ms), now_ms=NOW_MS) == wait


def test_carries_all_that_a_close_needs() -> None:
    assert parse_scheduled_close(as_message(DUE)) == DUE


def message(**changes: object) -> str:
    return json.dumps({**json.loads(as_message(DUE)), **changes})


def test_what_a_record_may_lack_may_be_missing() -> None:
    parsed = parse_scheduled_close(message(sessionId=None, lastActivityTime=None, noticedAt=None))
    assert parsed.connection.last_seen_ms == DUE.connection.connected_at_ms
    assert parsed.connection.session_id is None


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (None, "the message is not a JSON object"),
        (b"{}", "the message is not a JSON object"),
        ("", "the message is not a JSON object"),
        ("[]", "the message is not a JSON object"),
        ("{" * 100_000, "the message is not a JSON object"),
        (message(connectionId=None), "connectionId is missing or malformed"),
        (message(connectionId=""), "connectionId is missing or malformed"),
        (message(connectionId=7), "connectionId is missing or malformed"),
        (message(role=7), "role is malformed"),
        (message(role=["speaker"]), "role is malformed"),
        (message(sessionId=7), "sessionId is malformed"),
        (message(connectionId="room#lobby"), "connectionId is missing or malformed"),
        (message(handovers=-1), "handovers is malformed"),
        (message(handovers=True), "handovers is malformed"),
        (message(handovers=1_001), "handovers is malformed"),
        (message(recordingIsWell="yes"), "recordingIsWell or asks is missing or malformed"),
        (message(asks=None), "recordingIsWell or asks is missing or malformed"),
        (message(silence=0), "silence is missing or malformed"),
        (message(judgedAt=None), "judgedAt is missing"),
        (message(judgedAt="now"), "judgedAt is not a plausible"),
        (message(correlationId=None), "correlationId is missing or malformed"),
        (message(connectedAt="soon"), "connectedAt is not a plausible"),
        (message(lastActivityTime=1_700_000_000), "lastActivityTime is not a plausible"),
        (message(lastActivityTime=True), "lastActivityTime is not a plausible"),
        (message(noticedAt=1.5e12), "noticedAt is not a plausible"),
        (message(deadline=10**15), "deadline is not a plausible"),
        (message(deadline=None), "the deadline, or the activity"),
        (message(connectedAt=None, lastActivityTime=None), "the deadline, or the activity"),
        (message(deadline=NOW_MS - 100_000), "deadline is not after the last activity"),
    ],
)
def test_refuses_a_message_that_is_none_and_says_why(body: object, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        parse_scheduled_close(body)


@pytest.mark.parametrize(
    ("label", "is_kept"),
    [("s" * 1_022, True), ("s" * 1_023, False), ("\U0001f600" * 86, False)],
    ids=["long", "too long", "too long when escaped"],
)
def test_leaves_out_an_id_that_no_session_has(label: str, is_kept: bool) -> None:
    connection = Connection(
        connection_id="c" * 128,
        session_id=label,
        role=label,
        connected_at_ms=EpochMs(NOW_MS - 1),
    )
    message = as_message(
        ScheduledClose(
            silence_ms=DurationMs(120_000),
            judged_at_ms=EpochMs(1_700_000_000_000),
            connection=connection,
            deadline_ms=NOW_MS,
            correlation_id="",
        )
    )
    assert len(message) < 20_000
    parsed = parse_scheduled_close(message).connection
    assert (parsed.session_id is not None, parsed.role is not None) == (is_kept, is_kept)


KEYED = replace(
    DUE,
    connection=replace(
        DUE.connection,
        key=(KeyPart("room", "S", "é\x00"), KeyPart("device", "B", "AP8Q")),
        recorded_as="2023-11-14T22:13:20Z",
    ),
)


def test_carries_the_key_of_another_table_and_a_time_as_it_is_written() -> None:
    read = parse_scheduled_close(as_message(KEYED))
    assert read == KEYED
    # Not compared: they say where the record is.
    assert read.connection.key == KEYED.connection.key
    assert read.connection.recorded_as == KEYED.connection.recorded_as


def test_a_message_about_a_table_that_needs_neither_has_neither() -> None:
    assert {"key", "recordedAs"}.isdisjoint(json.loads(as_message(DUE)))
    assert parse_scheduled_close(as_message(DUE)).connection.key == ()


@pytest.mark.parametrize(("role", "is_kept"), [("r" * 1_022, True), ("r" * 1_023, False)])
def test_a_label_that_is_too_long_is_left_out(role: str, *, is_kept: bool) -> None:
    long = replace(DUE, connection=replace(DUE.connection, role=role))
    read = parse_scheduled_close(as_message(long)).connection
    assert read.role == (role if is_kept else None)
    assert read.connection_id == DUE.connection.connection_id


def test_the_longest_key_fits_ten_times_into_a_request() -> None:
    key = (KeyPart("a", "S", "\x00" * 2_048), KeyPart("b", "S", "\x00" * 1_024))
    longest = replace(DUE, connection=replace(DUE.connection, key=key))
    assert len(as_message(longest)) < 25_000


@pytest.mark.parametrize(
    "key",
    [
        None,
        "room",
        {},
        [["room"]],
        [["room", "S", 7]],
        [["room", "S", ""]],
        [["room", "X", "r1"]],
        [["room", "N", "seven"]],
        [["room", "B", "AP8"]],
        [["room", "S", "r1", "r2"]],
        [["a", "S", "1"], ["b", "S", "2"], ["c", "S", "3"]],
        [7],
    ],
)
def test_refuses_a_key_that_is_none(key: object) -> None:
    body = json.dumps(json.loads(as_message(DUE)) | {"key": key})
    with pytest.raises(InvalidRequest, match=r"^key is malformed$"):
        parse_scheduled_close(body)
