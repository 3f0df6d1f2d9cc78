"""DynamoDB items, well formed and of every other shape."""

from typing import Any

import pytest

from hangup.aws.schema import (
    connection_from_item,
    connection_to_item,
    number,
    session_from_item,
    string,
)
from hangup.core.connection import Connection, EpochMs
from hangup.core.limits import MIN_PLAUSIBLE_EPOCH_MS
from hangup.sessions.model import Role, Session

NOW_MS = EpochMs(1_700_000_000_000)
LISTENER = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    connected_at_ms=NOW_MS,
    last_activity_ms=EpochMs(NOW_MS + 5),
    target_language="de",
)


def record(**attributes: dict[str, Any]) -> Connection:
    item: dict[str, Any] = {"connectionId": {"S": "c1="}} | attributes
    return connection_from_item(item)


def test_a_record_that_is_written_reads_the_same() -> None:
    item: dict[str, Any] = dict(connection_to_item(LISTENER))
    assert connection_from_item(item) == LISTENER


def test_a_written_record_is_exactly_this() -> None:
    assert connection_to_item(LISTENER) == {
        "connectionId": {"S": "c1="},
        "sessionId": {"S": "s1"},
        "role": {"S": "listener"},
        "connectedAt": {"N": "1700000000000"},
        "lastActivityTime": {"N": "1700000000005"},
        "expiresAt": {"N": "1700010800"},  # seconds, an hour after the longest life of two
        "targetLanguage": {"S": "de"},
    }


def test_a_speaker_has_no_language_and_was_active_when_it_connected() -> None:
    item = connection_to_item(
        Connection(connection_id="c1=", session_id="s1", role=Role.SPEAKER, connected_at_ms=NOW_MS)
    )
    assert "targetLanguage" not in item
    assert item["lastActivityTime"] == item["connectedAt"]


def test_reads_a_record_that_is_only_its_id() -> None:
    assert record() == Connection(connection_id="c1=")


@pytest.mark.parametrize(
    "value", [{"S": "admin"}, {"S": ""}, {"S": "unknown"}, {"N": "1"}, {"NULL": True}, {"M": {}}]
)
def test_takes_any_other_role_for_unknown(value: dict[str, Any]) -> None:
    assert record(role=value).role is Role.UNKNOWN


@pytest.mark.parametrize("value", [{"S": ""}, {"N": "1"}, {"NULL": True}, {"L": []}])
def test_takes_a_session_that_is_no_text_for_none(value: dict[str, Any]) -> None:
    read = record(sessionId=value, targetLanguage=value)
    assert (read.session_id, read.target_language) == (None, None)


@pytest.mark.parametrize(
    "value",
    [
        {"S": "1700000000000"},
        {"S": "2023-11-14T22:13:20Z"},
        {"N": "1700000000"},  # seconds
        {"N": str(MIN_PLAUSIBLE_EPOCH_MS - 1)},
        {"N": "1700000000000000"},  # microseconds
        {"N": "1E+125"},
        {"N": "1E-130"},
        {"N": "0"},
        {"N": "-1700000000000"},
        {"NULL": True},
        {"BOOL": True},
        {"NS": ["1700000000000"]},
        {"M": {}},
        {"B": b"1700000000000"},
    ],
)
@pytest.mark.parametrize("name", ["connectedAt", "lastActivityTime"])
def test_says_which_time_is_no_plausible_epoch_millisecond(
    name: str, value: dict[str, Any]
) -> None:
    read = record(**{name: value})
    assert read.malformed == (name,)
    assert read.last_seen_ms is None


def test_says_so_of_both_times() -> None:
    read = record(connectedAt={"S": ""}, lastActivityTime={"S": ""})
    assert read.malformed == ("connectedAt", "lastActivityTime")


def test_a_malformed_activity_does_not_spoil_the_connect() -> None:
    read = record(connectedAt={"N": str(NOW_MS)}, lastActivityTime={"S": "now"})
    assert read.connected_at_ms == NOW_MS
    assert read.malformed == ("lastActivityTime",)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1700000000000", NOW_MS),
        ("1700000000000.0", NOW_MS),
        ("1700000000000.000000001", NOW_MS + 1),  # up: never a part of a millisecond early
        ("1699999999999.5", NOW_MS),
        ("1.7E+12", NOW_MS),
        (str(MIN_PLAUSIBLE_EPOCH_MS), MIN_PLAUSIBLE_EPOCH_MS),
        ("999999999999999", 999_999_999_999_999),
    ],
)
def test_reads_numbers_however_they_are_written(text: str, ms: int) -> None:
    read = record(lastActivityTime={"N": text})
    assert (read.last_activity_ms, read.malformed) == (ms, ())


def test_a_notice_time_that_makes_no_sense_is_no_notice() -> None:
    assert record(noticedAt={"S": "yes"}).noticed_at_ms is None
    assert record(noticedAt={"N": str(NOW_MS)}).noticed_at_ms == NOW_MS
    assert record(noticedAt={"S": "yes"}).malformed == ()


@pytest.mark.parametrize("ended_at_ms", [None, NOW_MS])
def test_reads_sessions(ended_at_ms: EpochMs | None) -> None:
    item: dict[str, Any] = {
        "sessionId": {"S": "s1"},
        "isActive": {"BOOL": ended_at_ms is None},
        "speakerConnectionId": {"S": "c1="},
        "listenerCount": {"N": "3"},
        "startedAt": {"N": "1690000000000"},
    }
    if ended_at_ms is not None:
        item["endedAt"] = {"N": str(ended_at_ms)}
    assert session_from_item(item) == Session(
        session_id="s1",
        is_active=ended_at_ms is None,
        speaker_connection_id="c1=",
        listener_count=3,
        started_at_ms=EpochMs(1_690_000_000_000),
        ended_at_ms=ended_at_ms,
    )


def test_writes_texts_and_numbers() -> None:
    assert string(Role.SPEAKER) == {"S": "speaker"}
    assert number(EpochMs(7)) == {"N": "7"}
