"""What a schema of somebody else's table may say, its JSON, and what its times mean."""

import json
from typing import Any

import pytest

from hangup.aws.conditions import Condition, attribute_exists, begins_with, equals
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema, schema_of
from hangup.aws.times import TimeUnit
from hangup.core.connection import Connection, EpochMs, RecordedTime
from hangup.core.limits import MAX_SCHEMA_BYTES
from hangup.errors import ConfigurationError
from tests.support.schemas import SHAPES, item_of

NOW_MS = EpochMs(1_700_000_000_000)
PK_AND_SK = (("pk", "S"), ("sk", "S"))


class TestJson:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_schema_comes_back_from_its_json_as_it_was(self, shape: str) -> None:
        schema = SHAPES[shape]
        again = TableSchema.from_json(schema.as_json())
        assert again == schema
        assert hash(again) == hash(schema)
        assert again.as_json() == schema.as_json()
        assert schema_of(schema.as_json()) == schema

    def test_says_what_differs_and_no_more(self) -> None:
        assert DEFAULT_SCHEMA.as_json() == "{}"
        assert SHAPES["D, prefixes"].as_json() == (
            '{"connection_id":"pk","id_prefix":"CONN#","key_attributes":[["pk","S"],["sk","S"]],'
            '"connected_at":"joined","connected_at_unit":"s","only":[["equals","sk","META"]]}'
        )
        assert TableSchema(role=None).as_json() == '{"role":null}'

    def test_a_variable_that_is_not_set_is_the_reference_application(self) -> None:
        assert schema_of(None) is DEFAULT_SCHEMA
        assert TableSchema.from_json("{}") == DEFAULT_SCHEMA

    def test_a_unit_may_be_its_name_alone(self) -> None:
        in_seconds: Any = "s"
        assert TableSchema(connected_at_unit=in_seconds).connected_at_unit is TimeUnit.SECONDS

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "1", "[" * 2_000])
    def test_anything_but_an_object_is_refused(self, text: str) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^the table schema (is not JSON|must be a JS)"
        ):
            TableSchema.from_json(text)

    def test_a_field_that_there_is_not_is_named_beside_those_that_there_are(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r'no field "ids"; its fields are connection_id,'
        ):
            TableSchema.from_json('{"ids":"x"}')

    def test_the_environment_has_no_room_for_more(self) -> None:
        long = "x" * 250
        conditions = tuple(equals(f"{number}{long}", "y") for number in range(8))
        schema = TableSchema(only=conditions)
        with pytest.raises(ConfigurationError, match=r"as JSON, and 2048 at most fit into the env"):
            schema.as_json()
        text = json.dumps({"only": [list(condition) for condition in conditions]})
        with pytest.raises(ConfigurationError, match=r"has more than 2048 bytes: shorten"):
            TableSchema.from_json(text)
        fits = TableSchema(only=conditions[:7])
        assert len(fits.as_json()) <= MAX_SCHEMA_BYTES
        assert TableSchema.from_json(fits.as_json()) == fits


REFUSED: dict[str, list[Any]] = {
    "connection_id": [None, "", 7, ["id"], "x" * 256],
    "id_prefix": [None, 7, "x" * 256],
    "key_attributes": [
        None,
        "pk",
        ["pk"],
        [["pk"]],
        [["pk", "X"]],
        [["pk", "S", "HASH"]],
        [["", "S"]],
        [[7, "S"]],
        [["pk", "S"], ["pk", "S"]],
        [["a", "S"], ["b", "S"], ["c", "S"]],
    ],
    "session_id": ["", 7],
    "role": ["", {}],
    "connected_at": ["", True],
    "connected_at_unit": ["sec", None, "S", 1, []],
    "connected_at_offset_s": [-1, 1.5, "300", True, 31_622_401],
    "last_activity": ["", 7],
    "last_activity_unit": ["iso", {}],
    "last_activity_offset_s": [-300, None],
    "gateway_active": [None, ""],
    "claim_token": [None],
    "only": [
        None,
        "pk",
        [["pk"]],
        [["exists", "pk"]],
        [["begins_with", "pk"]],
        [["begins_with", "pk", ""]],
        [["begins_with", "pk", 7]],
        [["attribute_exists", "pk", "x"]],
        [["equals", "pk"]],
        [["equals", "pk", None]],
        [["equals", "pk", 1.5]],
        [["equals", "pk", 10**16]],
        [["equals", "pk", "x" * 1_025]],
        [["equals", "", "x"]],
        [["equals", "pk", "x", "y"]],
        [["equals", "pk", ["x"]]],
        [["attribute_exists", f"a{number}"] for number in range(11)],
    ],
    "index": ["", 7],
    "partition": [
        "pk",
        ["begins_with", "pk", "x"],
        ["equals", "pk", True],
        ["equals", "pk", ""],
        [],
    ],
}


class TestChecks:
    @pytest.mark.parametrize(
        ("field", "value"),
        [(field, value) for field, values in REFUSED.items() for value in values],
    )
    def test_an_error_names_the_field_what_it_must_be_and_what_it_is(
        self, field: str, value: Any
    ) -> None:
        with pytest.raises(ConfigurationError) as refused:
            TableSchema.from_json(json.dumps({field: value}))
        text = str(refused.value)
        assert text.startswith(f"the table schema's {field} must be ")
        assert ", not " in text
        assert len(text) < 700

    def test_so_does_one_about_what_is_no_json(self) -> None:
        with pytest.raises(ConfigurationError, match=r"connection_id must be .*, not b'x'"):
            TableSchema(connection_id=b"x")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "text",
        ['{"only":[' + "[" * 990 + "]" * 990 + "]}", '{"role":' + "[" * 800 + "]" * 800 + "}"],
    )
    def test_so_does_one_about_what_is_nested_deep(self, text: str) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^the table schema('s (only|role) must be| is)"
        ):
            TableSchema.from_json(text)

    def test_so_does_one_about_a_number_of_thousands_of_digits(self) -> None:
        with pytest.raises(ConfigurationError, match=r"offset_s must be .*, not a int$"):
            TableSchema(last_activity_offset_s=10**5_000)

    @pytest.mark.parametrize(
        ("only", "text"),
        [
            (
                (equals("kind", "a"), equals("kind", "b")),
                "only has conditions on kind that exclude",
            ),
            (
                (begins_with("kind", "a"), equals("kind", "b")),
                "only has conditions on kind that ex",
            ),
            ((equals("handovers", 0),), "only compares handovers, which is written as handovers"),
            ((begins_with("claimToken", "a"),), "only compares claimToken, which is written as cl"),
        ],
    )
    def test_so_does_one_about_conditions_that_nothing_meets(
        self, only: tuple[Condition, ...], text: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=text):
            TableSchema(only=only)

    @pytest.mark.parametrize(
        ("shape", "decide"),
        [
            ("H, shared", True),
            ("B, renamed", False),
            ("E, room and connection", False),
            ("G, TTL", False),
        ],
    )
    def test_says_whose_records_decide(self, shape: str, *, decide: bool) -> None:
        assert SHAPES[shape].records_decide == decide

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"role": "connectionId"}, "role is 'connectionId', and so is connection_id: give one"),
            (
                {"last_activity": "connectedAt"},
                "last_activity is 'connectedAt', and so is connected",
            ),
            ({"handovers": "noticedAt"}, "handovers is 'noticedAt', and so is noticed_at"),
            (
                {"key_attributes": (("connectionId", "S"), ("lastActivityTime", "N"))},
                "last_activity is 'lastActivityTime', which is in the key and cannot be written",
            ),
            (
                {"key_attributes": (("connectionId", "B"),)},
                "connection_id is in the key, and so must have the type S there",
            ),
            (
                {
                    "key_attributes": (("tenant", "N"), ("connectionId", "S")),
                    "only": ["tenant", "7"],
                },
                "only compares tenant, a key of type N, with another type",
            ),
            (
                {"partition": equals("pk", "x")},
                "partition must name the table's partition key conn",
            ),
            (
                {"key_attributes": PK_AND_SK, "partition": equals("sk", "x")},
                "partition must name the table's partition key pk, or have an index",
            ),
            (
                {
                    "key_attributes": PK_AND_SK,
                    "partition": equals("pk", "x"),
                    "only": ["pk", "y"],
                },
                "only has a condition on the partition key pk: leave it out",
            ),
            (
                {
                    "connection_id": "sk",
                    "id_prefix": "C#",
                    "key_attributes": PK_AND_SK,
                    "partition": equals("pk", "x"),
                    "only": ["sk", "C#1"],
                },
                "only may have one condition on the sort key sk, with the prefix",
            ),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, fields: dict[str, Any], text: str) -> None:
        if "only" in fields:
            fields = fields | {"only": (equals(*fields["only"]),)}
        with pytest.raises(ConfigurationError) as refused:
            TableSchema(**fields)
        assert str(refused.value).startswith(f"the table schema's {text}")

    def test_the_reference_applications_own_names_may_be_taken(self) -> None:
        """A TTL that is called as ours, say: nothing of ours is written into another's table."""
        schema = TableSchema(last_activity="expiresAt", last_activity_unit=TimeUnit.SECONDS)
        item: dict[str, Any] = {"connectionId": {"S": "c1="}, "expiresAt": {"N": "1700000000"}}
        assert schema.decode(item).last_activity_ms == NOW_MS


class TestItems:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_reads_what_the_application_wrote(self, shape: str) -> None:
        schema = SHAPES[shape]
        connection = Connection(
            connection_id="c1=",
            connected_at_ms=EpochMs(NOW_MS - 5_001) if schema.connected_at else None,
            last_activity_ms=EpochMs(NOW_MS - 1) if schema.last_activity else None,
        )
        item = item_of(connection, schema)
        assert schema.matches(item)
        read = schema.decode(item)
        assert (read.connection_id, read.connected_at_ms, read.last_activity_ms) == (
            connection.connection_id,
            connection.connected_at_ms,
            connection.last_activity_ms,
        )

    @pytest.mark.parametrize(
        ("condition", "value", "holds"),
        [
            (begins_with("a", "x"), {"S": "xy"}, True),
            (begins_with("a", "x"), {"S": "x"}, True),
            (begins_with("a", "x"), {"S": "y"}, False),
            (begins_with("a", "x"), {"L": [{"S": "x"}]}, False),
            (attribute_exists("a"), {"NULL": True}, True),
            (equals("a", "x"), {"S": "x"}, True),
            (equals("a", "x"), {"S": "X"}, False),
            (equals("a", "7"), {"N": "7"}, False),
            (equals("a", 7), {"N": "7"}, True),
            (equals("a", 7), {"N": "7.0"}, True),
            (equals("a", 7), {"S": "7"}, False),
            (equals("a", value=True), {"BOOL": True}, True),
            (equals("a", value=True), {"BOOL": False}, False),
            (equals("a", value=True), {"N": "1"}, False),
            (equals("a", 1), {"BOOL": True}, False),
        ],
    )
    def test_a_condition_is_as_dynamodb_has_it(
        self, condition: Condition, value: Any, *, holds: bool
    ) -> None:
        schema = TableSchema(only=(condition,))
        the_id: Any = {"connectionId": {"S": "c1="}}
        assert schema.matches(the_id | {"a": value}) is holds
        assert not schema.matches(the_id)
        assert not schema.matches({"a": value})

    @pytest.mark.parametrize(
        ("time", "text"),
        [
            (RecordedTime.CONNECTED_AT, ("since", "epoch seconds")),
            (RecordedTime.LAST_ACTIVITY, ("lastActivityTime", "ISO 8601 text")),
            (RecordedTime.GATEWAY_ACTIVE, ("gatewayActiveAt", "epoch ms")),
        ],
    )
    def test_says_how_a_time_is_called_and_written(
        self, time: RecordedTime, text: tuple[str, str]
    ) -> None:
        assert SHAPES["numbers and bytes"].time_attribute(time) == text

    def test_says_where_there_is_no_such_time(self) -> None:
        assert SHAPES["A, bare"].time_attribute(RecordedTime.CONNECTED_AT) == ("", "epoch ms")


def time_of(value: Any, unit: str, offset_s: int = 0) -> Connection:
    schema = TableSchema(last_activity_unit=TimeUnit(unit), last_activity_offset_s=offset_s)
    return schema.decode({"connectionId": {"S": "c1="}, "lastActivityTime": value})


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "offset_s", "ms"),
        [
            ("1700000000", 0, NOW_MS),
            ("1700000000.5", 0, NOW_MS + 500),
            ("1700000000.0001", 0, NOW_MS + 1),  # up: never a part of a millisecond early
            ("1.7E+9", 0, NOW_MS),
            ("1700000300", 300, NOW_MS),
            ("1700000000", 300, NOW_MS - 300_000),
        ],
    )
    def test_reads_seconds(self, text: str, offset_s: int, ms: int) -> None:
        assert time_of({"N": text}, "s", offset_s).last_activity_ms == ms

    @pytest.mark.parametrize("text", ["1700000000000", "0", "-1", "NaN", "1E+100"])
    def test_a_number_that_is_no_second_of_our_days_is_malformed(self, text: str) -> None:
        read = time_of({"N": text}, "s")
        assert read.last_activity_ms is None
        assert read.malformed == ((RecordedTime.LAST_ACTIVITY, text),)

    @pytest.mark.parametrize(
        ("text", "ms"),
        [
            ("2023-11-14T22:13:20Z", NOW_MS),
            ("2023-11-14T22:13:20", NOW_MS),
            ("2023-11-14T22:13:20.000Z", NOW_MS),
            ("2023-11-14T22:13:20.0001Z", NOW_MS + 1),
            ("2023-11-14T22:13:20.123456+00:00", NOW_MS + 124),
            ("2023-11-14T23:13:20+01:00", NOW_MS),
            ("2023-11-14T10:13:20-12:00", NOW_MS),
            ("2023-11-14 22:13:20", NOW_MS),
            ("20231114T221320Z", NOW_MS),
        ],
    )
    def test_reads_iso_8601_and_keeps_the_text(self, text: str, ms: int) -> None:
        read = time_of({"S": text}, "iso8601")
        assert (read.last_activity_ms, read.recorded_as, read.malformed) == (ms, text, ())

    @pytest.mark.parametrize(
        "value",
        [
            {"S": "soon"},
            {"S": "2023-11-14"},
            {"S": "2023-11-14T22+00:00"},
            {"S": "2023-11-14T22:13Z"},
            {"S": "2023-W46"},
            {"S": ""},
            {"S": "1700000000"},
            {"N": "1700000000000"},
            {"NULL": True},
            {"S": "2023-11-14T22:13:60Z"},
            {"S": "2023-11-13T22:13:20-23:59"},  # no place on earth is so far west
            {"S": f"2023-11-14T22:13:20.{'0' * 60}Z"},
        ],
    )
    def test_what_is_no_such_text_is_malformed(self, value: Any) -> None:
        read = time_of(value, "iso8601")
        assert (read.last_activity_ms, read.recorded_as) == (None, None)
        assert len(read.malformed) == 1

    def test_an_offset_may_bring_a_text_to_its_time(self) -> None:
        read = time_of({"S": "2023-11-14T22:18:20Z"}, "iso8601", 300)
        assert read.last_activity_ms == NOW_MS
