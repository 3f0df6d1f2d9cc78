"""DynamoDB items, well formed and of every other shape, and the names in requests."""

import re
from dataclasses import replace
from typing import Any

import pytest

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA
from hangup.aws.table_requests import TableRequests
from hangup.aws.values import number, string
from hangup.core.connection import Connection, DurationMs, EpochMs, RecordedTime
from hangup.core.limits import MAX_HANDOVERS, MIN_PLAUSIBLE_EPOCH_MS
from hangup.sessions.model import Role, Session
from tests.support.schemas import SHAPES, item_of
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
    ("value", "shown"),
    [
        ({"S": "1700000000000"}, '"1700000000000"'),
        ({"S": "2023-11-14T22:13:20Z"}, "2023-11-14T22:13:20Z"),
        ({"S": ""}, ""),
        ({"S": "x" * 1_000}, "x" * 40),
        ({"N": "1700000000"}, "1700000000"),  # seconds
        ({"N": str(MIN_PLAUSIBLE_EPOCH_MS - 1)}, str(MIN_PLAUSIBLE_EPOCH_MS - 1)),
        ({"N": "1700000000000000"}, "1700000000000000"),  # microseconds
        ({"N": "1E+125"}, "1E+125"),
        ({"N": "1E-130"}, "1E-130"),
        ({"N": "0"}, "0"),
        ({"N": "-1700000000000"}, "-1700000000000"),
        ({"NULL": True}, "null"),
        ({"BOOL": True}, "True"),
        ({"NS": ["1700000000000"]}, "['1700000000000']"),
        ({"M": {}}, "{}"),
        ({"B": b"1700000000000"}, "b'1700000000000'"),
        ({}, "null"),
    ],
)
@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("connectedAt", RecordedTime.CONNECTED_AT),
        ("lastActivityTime", RecordedTime.LAST_ACTIVITY),
    ],
)
def test_says_which_time_is_no_plausible_epoch_millisecond_and_how_it_begins(
    name: str, time: RecordedTime, value: dict[str, Any], shown: str
) -> None:
    read = record(**{name: value})
    assert read.malformed == ((time, shown),)
    assert read.last_seen_ms is None


def test_says_so_of_both_times() -> None:
    read = record(connectedAt={"S": ""}, lastActivityTime={"S": ""})
    assert read.malformed == ((RecordedTime.CONNECTED_AT, ""), (RecordedTime.LAST_ACTIVITY, ""))


def test_a_malformed_activity_does_not_spoil_the_connect() -> None:
    read = record(connectedAt={"N": str(NOW_MS)}, lastActivityTime={"S": "now"})
    assert read.connected_at_ms == NOW_MS
    assert read.malformed == ((RecordedTime.LAST_ACTIVITY, "now"),)


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


def test_a_time_of_api_gateways_account_that_makes_no_sense_is_none() -> None:
    assert record(gatewayActiveAt={"S": "now"}) == Connection(connection_id="c1=")
    assert record(gatewayActiveAt={"N": "1700000000"}).gateway_active_ms is None
    assert record(gatewayActiveAt={"N": str(NOW_MS)}).last_seen_ms == NOW_MS


@pytest.mark.parametrize(
    ("value", "handovers"),
    [
        ({"N": "0"}, 0),
        ({"N": "7"}, 7),
        ({"N": str(MAX_HANDOVERS)}, MAX_HANDOVERS),
        ({"N": str(MAX_HANDOVERS + 1)}, MAX_HANDOVERS),
        ({"N": "9" * 38}, MAX_HANDOVERS),
        ({"N": "1E+125"}, MAX_HANDOVERS),
        ({"N": "-1"}, 0),
        ({"N": "1.5"}, 2),
        ({"S": "7"}, 0),
        ({"BOOL": True}, 0),
    ],
)
def test_a_count_is_a_whole_number_up_to_the_most(value: dict[str, Any], handovers: int) -> None:
    assert record(handovers=value).handovers == handovers


@pytest.mark.parametrize("schema", [DEFAULT_SCHEMA, OTHER_SCHEMA.connections])
@pytest.mark.parametrize("time", RecordedTime)
def test_a_time_can_be_named_as_its_table_does(schema: TableSchema, time: RecordedTime) -> None:
    item: dict[str, Any] = {
        schema.connection_id: {"S": "c1="},
        schema.time_attribute(time).name: {"N": str(NOW_MS)},
    }
    read = schema.decode(item)
    times = {
        RecordedTime.CONNECTED_AT: read.connected_at_ms,
        RecordedTime.LAST_ACTIVITY: read.last_activity_ms,
        RecordedTime.GATEWAY_ACTIVE: read.gateway_active_ms,
    }
    assert times[time] == NOW_MS
    assert list(times.values()).count(None) == 2


@pytest.mark.parametrize("ended_at_ms", [None, NOW_MS])
def test_reads_sessions(ended_at_ms: EpochMs | None) -> None:
    item: dict[str, Any] = {
        "sessionId": {"S": "s1"},
        "isActive": {"BOOL": ended_at_ms is None},
        "speakerConnectionId": {"S": "c1="},
        "startedAt": {"N": "1690000000000"},
    }
    if ended_at_ms is not None:
        item["endedAt"] = {"N": str(ended_at_ms)}
    assert DEFAULT_SESSION_SCHEMA.decode(item) == Session(
        session_id="s1",
        is_active=ended_at_ms is None,
        speaker_connection_id="c1=",
        started_at_ms=EpochMs(1_690_000_000_000),
        ended_at_ms=ended_at_ms,
    )


def test_writes_texts_and_numbers() -> None:
    assert string(Role.SPEAKER) == {"S": "speaker"}
    assert number(EpochMs(7)) == {"N": "7"}


SPEAKER = Connection(
    connection_id="c0=", session_id="s1", role=Role.SPEAKER, connected_at_ms=NOW_MS
)
DEFAULT_REQUESTS = TableRequests(DEFAULT_SCHEMA)
TIMELESS = Connection(connection_id="c1=")
SEEN_BY_GATEWAY = replace(TIMELESS, gateway_active_ms=NOW_MS)


def requests_of(schema: TableSchema) -> dict[str, dict[str, Any]]:
    """Return every request about a table of this schema."""
    connections = TableRequests(schema)
    listener, speaker = read_back(LISTENER, schema), read_back(SPEAKER, schema)
    timeless, asked = read_back(TIMELESS, schema), read_back(SEEN_BY_GATEWAY, schema)
    requests: dict[str, dict[str, Any] | None] = {
        "candidates": connections.candidates(NOW_MS, NOW_MS),
        "sample": connections.swept(),
        "all records": connections.all_records(),
        "records with claims": connections.records_with_claims(),
        "claim": claim_of(connections, listener),
        "claim of a silent one": claim_of(connections, speaker),
        "claim without times": claim_of(connections, asked),
        "claim of a noticed one": claim_of(connections, noticed(listener)),
        "claim of a silent, noticed one": claim_of(connections, noticed(speaker)),
        "claim of a noticed one without times": claim_of(connections, noticed(asked)),
        "release": connections.release(listener, noticed_at_ms=None, handovers=1),
        "release after a notice": connections.release(listener, noticed_at_ms=NOW_MS, handovers=1),
        "note": note_of(connections, listener),
        "note of a silent one": note_of(connections, speaker),
        "note without times": note_of(connections, timeless),
        "deletion": deletion_of(connections, listener),
        "deletion of a silent one": deletion_of(connections, speaker),
        "deletion without times": deletion_of(connections, asked),
    }
    if schema.session_id and schema.role:
        requests["of session"] = connections.of_session("s1", Role.LISTENER)
    if schema.table_key.follows_from_id:
        requests["creation"] = connections.creation(LISTENER)
        requests["removal"] = connections.removal("c1=")
        requests["drop claim"] = connections.drop_claim("c1=", seen_ms=NOW_MS)
        if schema.last_activity:
            requests["record"] = recording_of(connections, resolution_ms=0)
            requests["record coalesced"] = recording_of(connections, resolution_ms=10_000)
    return {name: request for name, request in requests.items() if request is not None}


def read_back(connection: Connection, schema: TableSchema) -> Connection:
    """Return a connection as it is read from a table that has no other times than the schema's."""
    return schema.decode(item_of(connection, schema))


def deletion_of(schema: TableRequests, connection: Connection) -> dict[str, Any]:
    return schema.deletion(connection, claim_expires_ms=NOW_MS)


def noticed(connection: Connection) -> Connection:
    return replace(connection, noticed_at_ms=EpochMs(NOW_MS + 5))


def note_of(schema: TableRequests, connection: Connection) -> dict[str, Any]:
    return schema.record_gateway_activity(connection, active_ms=NOW_MS, now_ms=NOW_MS)


def claim_of(schema: TableRequests, connection: Connection) -> dict[str, Any] | None:
    return schema.claim(connection, now_ms=NOW_MS, claim_expires_ms=NOW_MS, token=string("t"))


def recording_of(schema: TableRequests, *, resolution_ms: int) -> dict[str, Any]:
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
        assert request.get("ExpressionAttributeNames", {}).keys() == set(aliases)
    names = set(ours.get("ExpressionAttributeNames", {}).values())
    assert names.isdisjoint(theirs.get("ExpressionAttributeNames", {}).values())


EVERY_REQUEST = {
    f"{operation} ({shape})": request
    for shape, schema in {"default": DEFAULT_SCHEMA, **SHAPES}.items()
    for operation, request in requests_of(schema).items()
}


def test_a_request_has_the_names_and_values_that_its_expressions_use_and_no_others() -> None:
    for operation, request in EVERY_REQUEST.items():
        expressions = expressions_in(request)
        # DynamoDB refuses any other, and an empty set of them.
        values = set(re.findall(r":\w+", expressions))
        assert request.get("ExpressionAttributeValues", {}).keys() == values, operation
        assert request.get("ExpressionAttributeValues") != {}, operation
        aliases = set(re.findall(r"#\w+", expressions))
        assert request.get("ExpressionAttributeNames", {}).keys() == aliases, operation
        # Nor does it return an attribute twice.
        projected = re.findall(r"#\w+", request.get("ProjectionExpression", ""))
        names = [request["ExpressionAttributeNames"][alias] for alias in projected]
        assert len(names) == len(set(names)), operation


def test_no_expression_has_parentheses_round_parentheses_or_is_too_long() -> None:
    for operation, request in EVERY_REQUEST.items():
        for text in (value for value in request.values() if isinstance(value, str)):
            assert not has_redundant_parentheses(text), operation
            assert len(text.encode()) <= 4_096, operation


def has_redundant_parentheses(text: str) -> bool:
    opened: list[int] = []
    pairs = set()
    for place, character in enumerate(text):
        if character == "(":
            opened.append(place)
        elif character == ")":
            pairs.add((opened.pop(), place))
    return any((start + 1, end - 1) in pairs for start, end in pairs)


def test_an_expression_has_aliases_values_and_words_of_dynamodb_alone() -> None:
    for operation, request in EVERY_REQUEST.items():
        words = set(re.findall(r"(?<![#:\w])[A-Za-z_]\w*", expressions_in(request)))
        assert words <= DYNAMODB_WORDS, operation


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
    "begins_with",
    "contains",
    "size",
}


def test_a_record_without_any_time_cannot_be_claimed() -> None:
    assert claim_of(DEFAULT_REQUESTS, TIMELESS) is None


def test_a_count_in_a_request_is_never_beyond_the_most() -> None:
    often = replace(LISTENER, handovers=MAX_HANDOVERS)
    claim = claim_of(DEFAULT_REQUESTS, often)
    assert claim is not None
    release = DEFAULT_REQUESTS.release(often, noticed_at_ms=None, handovers=MAX_HANDOVERS + 1)
    for request in (claim, release):
        values = request["ExpressionAttributeValues"]
        assert values[":handovers"] == {"N": str(MAX_HANDOVERS)}


def test_the_names_of_a_request_are_made_once() -> None:
    schema = TableRequests(TableSchema(connection_id="once"))
    first, again = claim_of(schema, LISTENER), claim_of(schema, LISTENER)
    assert first is not None
    assert again is not None
    assert first["ExpressionAttributeNames"] is again["ExpressionAttributeNames"]


def test_a_dropped_claim_leaves_neither_token_nor_count() -> None:
    update = DEFAULT_REQUESTS.drop_claim("c1=", seen_ms=NOW_MS)
    removed = re.findall(r"#\w+", update["UpdateExpression"])
    names = update["ExpressionAttributeNames"]
    assert [names[alias] for alias in removed] == ["claimExpiresAt", "claimToken", "handovers"]
