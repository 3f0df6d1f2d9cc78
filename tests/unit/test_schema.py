"""DynamoDB items, well formed and of every other shape, and the names in requests."""

import re
from typing import Any

import pytest

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema, number, string
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA
from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import MIN_PLAUSIBLE_EPOCH_MS
from hangup.sessions.model import Role, Session
from tests.support.stores import OTHER_SCHEMA

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
    return DEFAULT_SCHEMA.decode(item)


@pytest.mark.parametrize("schema", [DEFAULT_SCHEMA, OTHER_SCHEMA.connections])
def test_a_record_that_is_written_reads_the_same(schema: TableSchema) -> None:
    item: dict[str, Any] = dict(schema.encode(LISTENER))
    assert schema.decode(item) == LISTENER


def test_a_written_record_is_exactly_this() -> None:
    assert DEFAULT_SCHEMA.encode(LISTENER) == {
        "connectionId": {"S": "c1="},
        "sessionId": {"S": "s1"},
        "role": {"S": "listener"},
        "connectedAt": {"N": "1700000000000"},
        "lastActivityTime": {"N": "1700000000005"},
        "expiresAt": {"N": "1700010800"},  # seconds, an hour after the longest life of two
        "targetLanguage": {"S": "de"},
    }


def test_a_speaker_has_no_language_and_was_active_when_it_connected() -> None:
    item = DEFAULT_SCHEMA.encode(
        Connection(connection_id="c1=", session_id="s1", role=Role.SPEAKER, connected_at_ms=NOW_MS)
    )
    assert "targetLanguage" not in item
    assert item["lastActivityTime"] == item["connectedAt"]


def test_reads_a_record_that_is_only_its_id() -> None:
    assert record() == Connection(connection_id="c1=")


@pytest.mark.parametrize("label", ["speaker", "admin", "unknown"])
def test_reads_any_label_as_a_role(label: str) -> None:
    assert record(role={"S": label}).role == label


@pytest.mark.parametrize("value", [{"S": ""}, {"N": "1"}, {"NULL": True}, {"M": {}}])
def test_takes_a_role_that_is_no_text_for_none(value: dict[str, Any]) -> None:
    assert record(role=value).role is None


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
@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("connectedAt", RecordedTime.CONNECTED_AT),
        ("lastActivityTime", RecordedTime.LAST_ACTIVITY),
    ],
)
def test_says_which_time_is_no_plausible_epoch_millisecond(
    name: str, time: RecordedTime, value: dict[str, Any]
) -> None:
    read = record(**{name: value})
    assert read.malformed == (time,)
    assert read.last_seen_ms is None


def test_says_so_of_both_times() -> None:
    read = record(connectedAt={"S": ""}, lastActivityTime={"S": ""})
    assert read.malformed == (RecordedTime.CONNECTED_AT, RecordedTime.LAST_ACTIVITY)


def test_a_malformed_activity_does_not_spoil_the_connect() -> None:
    read = record(connectedAt={"N": str(NOW_MS)}, lastActivityTime={"S": "now"})
    assert read.connected_at_ms == NOW_MS
    assert read.malformed == (RecordedTime.LAST_ACTIVITY,)


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
    assert DEFAULT_SESSION_SCHEMA.decode(item) == Session(
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


SPEAKER = Connection(
    connection_id="c0=", session_id="s1", role=Role.SPEAKER, connected_at_ms=NOW_MS
)


def requests_of(connections: TableSchema) -> dict[str, dict[str, Any]]:
    """Return every request that a schema can say."""
    requests: dict[str, dict[str, Any] | None] = {
        "candidates": connections.candidates(NOW_MS),
        "records with claims": connections.records_with_claims(),
        "creation": connections.creation(LISTENER),
        "removal": connections.removal("c1="),
        "claim": claim_of(connections, LISTENER),
        "claim of a silent one": claim_of(connections, SPEAKER),
        "release": connections.release("c1=", noticed_at_ms=None),
        "release after a notice": connections.release("c1=", noticed_at_ms=NOW_MS),
        "drop claim": connections.drop_claim("c1=", seen_ms=NOW_MS),
        "start clock": connections.start_clock("c1=", now_ms=NOW_MS),
        "record": recording_of(connections, resolution_ms=0),
        "record coalesced": recording_of(connections, resolution_ms=10_000),
        "of session": connections.of_session("s1", Role.LISTENER),
    }
    return {name: request for name, request in requests.items() if request is not None}


def claim_of(schema: TableSchema, connection: Connection) -> dict[str, Any] | None:
    return schema.claim(connection, now_ms=NOW_MS, claim_expires_ms=NOW_MS, token=string("t"))


def recording_of(schema: TableSchema, *, resolution_ms: int) -> dict[str, Any]:
    return schema.record_activity("c1=", now_ms=NOW_MS, resolution_ms=DurationMs(resolution_ms))


def expressions_in(request: dict[str, Any]) -> str:
    return " ".join(text for name, text in request.items() if name.endswith("Expression"))


@pytest.mark.parametrize("operation", requests_of(DEFAULT_SCHEMA))
def test_expressions_are_the_same_for_every_schema_and_the_names_its_own(operation: str) -> None:
    ours = requests_of(DEFAULT_SCHEMA)[operation]
    theirs = requests_of(OTHER_SCHEMA.connections)[operation]
    assert expressions_in(theirs) == expressions_in(ours)
    for request in (ours, theirs):
        aliases = re.findall(r"#\w+", expressions_in(request))
        assert request["ExpressionAttributeNames"].keys() == set(aliases)
    names = set(ours["ExpressionAttributeNames"].values())
    assert names.isdisjoint(theirs["ExpressionAttributeNames"].values())


@pytest.mark.parametrize("operation", requests_of(DEFAULT_SCHEMA))
def test_an_expression_has_aliases_values_and_words_of_dynamodb_alone(operation: str) -> None:
    expressions = expressions_in(requests_of(DEFAULT_SCHEMA)[operation])
    words = set(re.findall(r"(?<![#:\w])[A-Za-z_]\w*", expressions))
    assert words <= DYNAMODB_WORDS


DYNAMODB_WORDS = {
    "AND",
    "BETWEEN",
    "NOT",
    "OR",
    "REMOVE",
    "SET",
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
}


def test_the_names_of_a_request_are_made_once() -> None:
    schema = TableSchema(connection_id="once")
    first, again = claim_of(schema, LISTENER), claim_of(schema, LISTENER)
    assert first is not None
    assert again is not None
    assert first["ExpressionAttributeNames"] is again["ExpressionAttributeNames"]


def test_a_dropped_claim_leaves_no_token() -> None:
    update = DEFAULT_SCHEMA.drop_claim("c1=", seen_ms=NOW_MS)
    removed = re.findall(r"#\w+", update["UpdateExpression"])
    names = update["ExpressionAttributeNames"]
    assert [names[alias] for alias in removed] == ["claimExpiresAt", "claimToken"]
