"""Tables as other people have them, and the items in them.

The shapes are those of `docs/reference/tables.md`, and more. Each has a key, times and a filter of
its own.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from hangup.aws.conditions import Rule, attribute_exists, begins_with, equals
from hangup.aws.schema import TableSchema
from hangup.aws.times import TimeCodec, TimeUnit
from hangup.core.connection import Connection

__all__ = ["SHAPES", "Item", "attributes_of", "item_of", "key_of", "named", "table_of"]

Item = dict[str, Any]

_PK_AND_SK: Final = (("pk", "S"), ("sk", "S"))

SHAPES: Final[Mapping[str, TableSchema]] = {
    "A, bare": TableSchema(connected_at=None, last_activity=None, session_id=None, role=None),
    "B, renamed": TableSchema(connection_id="id", connected_at="createdAt", last_activity=None),
    "C, constant partition": TableSchema(
        connection_id="sk",
        key_attributes=_PK_AND_SK,
        connected_at_unit=TimeUnit.ISO8601,
        only=(equals("pk", "CONNECTIONS"),),
    ),
    "C, by partition": TableSchema(
        connection_id="sk",
        key_attributes=_PK_AND_SK,
        connected_at_unit=TimeUnit.ISO8601,
        partition=equals("pk", "CONNECTIONS"),
    ),
    "D, prefixes": TableSchema(
        connection_id="pk",
        id_prefix="CONN#",
        key_attributes=_PK_AND_SK,
        connected_at="joined",
        connected_at_unit=TimeUnit.SECONDS,
        only=(equals("sk", "META"),),
    ),
    "E, room and connection": TableSchema(
        key_attributes=(("room", "S"), ("connectionId", "S")),
        session_id="room",
        connected_at=None,
    ),
    "F, attribute": TableSchema(
        connection_id="socket",
        key_attributes=(("userId", "S"),),
        connected_at=None,
        last_activity="lastSeen",
        last_activity_unit=TimeUnit.ISO8601,
    ),
    "G, TTL": TableSchema(
        connected_at=None,
        last_activity="ttl",
        last_activity_unit=TimeUnit.SECONDS,
        last_activity_offset_s=300,
    ),
    "H, shared": TableSchema(only=(equals("stage", "prod"), equals("version", 3))),
    "numbers and bytes": TableSchema(
        connection_id="socket",
        id_prefix="ws:",
        key_attributes=(("tenant", "N"), ("device", "B")),
        connected_at="since",
        connected_at_unit=TimeUnit.SECONDS,
        connected_at_offset_s=7_200,
        last_activity_unit=TimeUnit.ISO8601,
        only=(attribute_exists("flag"), begins_with("kind", "web"), equals("live", value=True)),
    ),
}

_NO_ATTRIBUTES: Final = frozenset(
    (
        "id_prefix",
        "key_attributes",
        "connected_at_unit",
        "connected_at_offset_s",
        "last_activity_unit",
        "last_activity_offset_s",
        "only",
        "index",
        "partition",
    )
)


def attributes_of(schema: object) -> Mapping[str, str]:
    """Return the fields that name attributes, each with the name."""
    names = {
        one.name: getattr(schema, one.name)
        for one in fields(schema)  # type: ignore[arg-type]
        if one.init and one.name not in _NO_ATTRIBUTES
    }
    return {field: name for field, name in names.items() if isinstance(name, str)}


def named(name: str | None) -> str:
    """Return the name of an attribute that the schema has."""
    assert name is not None
    return name


def item_of(connection: Connection, schema: TableSchema) -> Item:
    """Return the item of a record of whatever shape, in DynamoDB's JSON."""
    texts = {
        schema.session_id: connection.session_id,
        schema.role: connection.role,
        schema.session_run: connection.session_run,
        schema.target_language: connection.target_language,
    }
    numbers = {
        schema.gateway_active: connection.gateway_active_ms,
        schema.noticed_at: connection.noticed_at_ms,
        schema.handovers: connection.handovers or None,
    }
    connect = TimeCodec(schema.connected_at_unit, schema.connected_at_offset_s)
    activity = TimeCodec(schema.last_activity_unit, schema.last_activity_offset_s)
    times = (
        (schema.connected_at, connect, connection.connected_at_ms),
        (schema.last_activity, activity, connection.last_activity_ms),
    )
    return (
        {name: {"S": str(text)} for name, text in texts.items() if name and text is not None}
        | {name: {"N": str(number)} for name, number in numbers.items() if number is not None}
        | {name: codec.encode_exactly(ms) for name, codec, ms in times if name and ms is not None}
        | {schema.time_attribute(time).name: {"S": value} for time, value in connection.malformed}
        | _conditions(schema)
        | key_of(connection.connection_id, schema)
        | {schema.connection_id: {"S": f"{schema.id_prefix}{connection.connection_id}"}}
    )


def key_of(connection_id: str, schema: TableSchema, *, number: int = 1) -> Item:
    """Return a key for a record of a connection: ``number`` tells several apart."""
    made = {
        "S": {"S": f"{number} {connection_id}"},
        "N": {"N": str(number)},
        "B": {"B": f"{number} {connection_id}".encode("utf-8", "surrogatepass")},
    }
    known = _conditions(schema)
    the_id = {schema.connection_id: {"S": f"{schema.id_prefix}{connection_id}"}}
    return {
        name: the_id.get(name) or known.get(name) or made[kind]
        for name, kind in schema.key_attributes or ((schema.connection_id, "S"),)
    }


def _conditions(schema: TableSchema) -> Item:
    """Return attributes that meet the conditions of a schema."""
    every = [*schema.only, *([schema.partition] if schema.partition else [])]
    return {
        one.attribute: {"BOOL": False} if one.rule is Rule.EXISTS else one.as_value()
        for one in every
    }


def table_of(schema: TableSchema) -> Any:
    """Return the definition of a table with the key of a schema."""
    key = schema.key_attributes or ((schema.connection_id, "S"),)
    return {
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for kind, (name, _) in zip(("HASH", "RANGE"), key, strict=False)
        ],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": type_} for name, type_ in key
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
