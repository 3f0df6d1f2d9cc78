"""``tracks_activity`` around a user's own handler, on a stub of AWS."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from hangup.aws.conditions import equals
from hangup.aws.schema import TableSchema
from hangup.aws.times import TimeUnit
from hangup.errors import ConfigurationError
from hangup.handlers.tracks_activity import tracks_activity
from tests.support.aws_stub import AwsStub
from tests.support.documents import page
from tests.support.idle_world import Context
from tests.support.recorded import CONNECTION_ID, recorded

REFUSED = "ConditionalCheckFailedException"


@tracks_activity
def handler(event: dict[str, Any], context: str) -> str:
    """Answer what it was called with."""
    if event.get("fail"):
        raise RuntimeError("the handler's own")
    return f"handled for {context}"


def logged(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(line["level"], line["message"]) for line in lines]


def test_records_activity_and_calls_the_handler(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert handler(recorded("message"), "me") == "handled for me"
    (request,) = aws.calls("UpdateItem")
    assert request["Key"] == {"connectionId": {"S": CONNECTION_ID}}
    assert logged(capsys) == []


def test_looks_like_the_handler_that_it_is_around() -> None:
    assert handler.__name__ == "handler"
    assert handler.__doc__ == "Answer what it was called with."


def test_activity_counts_even_if_the_handler_fails(aws: AwsStub) -> None:
    with pytest.raises(RuntimeError, match="the handler's own"):
        handler(recorded("message") | {"fail": True}, "me")
    assert len(aws.calls("UpdateItem")) == 1


def test_calls_the_handler_if_the_activity_is_not_recorded(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("UpdateItem", status=400, code="AccessDeniedException")
    assert handler(recorded("message"), "me") == "handled for me"
    assert logged(capsys) == [("ERROR", "activity not recorded")]


def test_the_documented_metric_filter_finds_what_was_not_recorded(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    (message,) = re.findall(r'`\{ \$\.message = "([^"]+)" \}`', page("guides/existing-stack"))
    aws.fail("UpdateItem", status=400, code="AccessDeniedException")
    handler(recorded("message"), "me")
    assert logged(capsys) == [("ERROR", message)]


def test_calls_the_handler_for_an_event_that_is_none_of_a_websocket(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert handler(recorded("scheduled"), "me") == "handled for me"
    assert logged(capsys) == [("ERROR", "activity not recorded")]
    assert aws.log == []


def test_an_orphan_is_logged_and_handled_and_no_record_is_made(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("UpdateItem", status=400, code=REFUSED)
    assert handler(recorded("message"), "me") == "handled for me"
    assert logged(capsys) == [("WARNING", "activity of an orphan: no record")]
    assert aws.operations == ["UpdateItem"]


def test_activity_that_is_on_record_already_is_nothing_to_log(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("UpdateItem", status=400, code=REFUSED, Item={"connectionId": {"S": CONNECTION_ID}})
    assert handler(recorded("message"), "me") == "handled for me"
    assert logged(capsys) == []


def test_coalesces_writes_when_told_to(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_RESOLUTION_SECONDS", "10")
    handler(recorded("message"), "me")
    values = aws.calls("UpdateItem")[0]["ExpressionAttributeValues"]
    assert int(values[":now"]["N"]) - int(values[":old"]["N"]) == 10_000


def test_a_missing_table_is_no_outage_and_fails_by_name(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONNECTIONS_TABLE")
    with pytest.raises(ConfigurationError, match="CONNECTIONS_TABLE is not set"):
        handler(recorded("message"), "me")


def test_a_log_level_that_there_is_not_breaks_neither_the_import_nor_the_handler(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "TRACE")
    assert handler(recorded("message"), "me") == "handled for me"
    assert len(aws.calls("UpdateItem")) == 1
    fresh = [
        sys.executable,
        "-c",
        "import hangup.handlers.tracks_activity, hangup.handlers.timeout_handler",
    ]
    result = subprocess.run(fresh, env=os.environ, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_needs_nothing_that_an_extra_brings(aws: AwsStub) -> None:
    left_out = ("pycurl", "curl", "greenlet", "orjson", "jwt", "typer", "rich", "boto3")
    record = (
        f"import sys; sys.modules.update(dict.fromkeys({left_out}));"
        "from hangup.handlers.tracks_activity import tracks_activity;"
        f"tracks_activity(lambda event, context: None)({recorded('message')}, None)"
    )
    result = subprocess.run(
        [sys.executable, "-c", record], env=os.environ, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")
    assert aws.operations == ["UpdateItem"]


@pytest.mark.parametrize("remaining_ms", [1, 3_000, 6_999])
def test_records_where_the_function_has_less_time_than_ours(
    aws: AwsStub, remaining_ms: int
) -> None:
    # 3 s is Lambda's default.
    context = Context(remaining_ms=lambda: remaining_ms)
    assert tracks_activity(lambda _event, _context: "handled")(recorded("message"), context)
    assert aws.operations == ["UpdateItem"]


def test_tries_no_second_time_where_the_time_is_short(
    aws: AwsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("UpdateItem", status=500, code="InternalServerError")
    context = Context(remaining_ms=lambda: 3_000)
    assert tracks_activity(lambda _event, _context: "handled")(recorded("message"), context)
    assert aws.operations == ["UpdateItem"]
    assert logged(capsys) == [("ERROR", "activity not recorded")]


@pytest.mark.parametrize("left_out", ["pycurl", "greenlet"])
def test_records_without_libcurl_too(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    # A user's zip may leave them out: they differ from processor to processor.
    monkeypatch.setitem(sys.modules, left_out, None)
    assert handler(recorded("message"), "me") == "handled for me"
    (update,) = aws.calls("UpdateItem")
    assert update["Key"] == {"connectionId": {"S": CONNECTION_ID}}


@pytest.mark.parametrize("name", ["connect", "disconnect"])
def test_what_the_client_did_not_say_is_no_activity(aws: AwsStub, name: str) -> None:
    assert handler(recorded(name), "me") == "handled for me"
    assert aws.operations == []


@pytest.mark.parametrize(
    ("route_key", "event_type", "recorded_times"),
    [
        ("$default", "MESSAGE", 1),
        ("$default", None, 1),
        ("$disconnect", "MESSAGE", 1),  # a message may select any route
        ("$connect", "MESSAGE", 1),
        ("$default", "CONNECT", 0),  # an API without a route for it
        ("$default", "DISCONNECT", 0),
        ("$connect", None, 0),
        ("$disconnect", None, 0),
    ],
)
def test_only_what_the_client_sent_is_activity(
    aws: AwsStub, route_key: str, event_type: str | None, recorded_times: int
) -> None:
    event = recorded("message")
    event["requestContext"] |= {"routeKey": route_key, "eventType": event_type}
    if event_type is None:
        del event["requestContext"]["eventType"]
    assert handler(event, "me") == "handled for me"
    assert len(aws.calls("UpdateItem")) == recorded_times


def test_records_in_the_table_of_a_schema(aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = TableSchema(
        connection_id="pk",
        id_prefix="CONN#",
        key_attributes=(("pk", "S"), ("sk", "S")),
        last_activity="seen",
        last_activity_unit=TimeUnit.SECONDS,
        only=(equals("sk", "META"),),
    )
    monkeypatch.setenv("TABLE_SCHEMA", schema.as_json())
    assert handler(recorded("message"), "me") == "handled for me"
    (request,) = aws.calls("UpdateItem")
    assert request["Key"] == {"pk": {"S": f"CONN#{CONNECTION_ID}"}, "sk": {"S": "META"}}
    assert request["ExpressionAttributeNames"]["#last_activity"] == "seen"
    assert re.fullmatch(r"[0-9]{10}", request["ExpressionAttributeValues"][":now"]["N"])


def test_says_where_no_record_is_found_by_its_id_alone(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = TableSchema(key_attributes=(("room", "S"), ("connectionId", "S")))
    monkeypatch.setenv("TABLE_SCHEMA", schema.as_json())
    with pytest.raises(ConfigurationError, match="the table schema does not say room: record act"):
        handler(recorded("message"), "me")
    assert aws.calls("UpdateItem") == []
