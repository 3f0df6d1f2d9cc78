"""The settings in ``[table]`` of ``hangup.toml``, and the table's schema that they make up."""

from collections.abc import Mapping
from typing import Any, Final

from hangup.aws.conditions import Condition, Rule
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.schema_checks import KEY_TYPES, MAX_CONDITIONS, OFFSETS
from hangup.aws.times import TimeUnit
from hangup.core.texts import Text
from hangup.errors import ConfigurationError, SchemaError
from hangup.ops.kinds import Flag, Listed, Members, Misfit, Name, Scalar, Setting, plain, plain_text

_ATTRIBUTE: Final = Name("the name of an attribute")
_CONDITION: Final = Members(
    "a condition: attribute, and one of equals, begins_with or exists = true",
    {"attribute": _ATTRIBUTE, "equals": Scalar(), "begins_with": Name("a text"), "exists": Flag()},
    needed=("attribute",),
    one_of=("equals", "begins_with", "exists"),
)
_TIME: Final = Members(
    'a time: { attribute = "createdAt", unit = "ms", offset_seconds = 0 }',
    {
        "attribute": _ATTRIBUTE,
        "unit": plain(Text("ms, s or iso8601", "|".join(TimeUnit)), tuple(TimeUnit)),
        "offset_seconds": plain(OFFSETS),
    },
    needed=("attribute",),
)


_FIELDS: Final[Mapping[str, str]] = {
    "key_attributes": "table.key",
    "session_id": "table.session",
    "connected_at": "table.connected_at.attribute",
    "connected_at_unit": "table.connected_at.unit",
    "connected_at_offset_s": "table.connected_at.offset_seconds",
    "last_activity": "table.last_activity.attribute",
    "last_activity_unit": "table.last_activity.unit",
    "last_activity_offset_s": "table.last_activity.offset_seconds",
    **{
        name: f"table.names.{name}"
        for name in (
            "gateway_active",
            "noticed_at",
            "handovers",
            "claim_expires_at",
            "claim_token",
        )
    },
}
"""Where a field of ``TableSchema`` is in the file; the others have the same name in ``[table]``."""


def _own_name(field: str, about: str) -> Setting:
    default = getattr(DEFAULT_SCHEMA, field)
    return Setting(f"table.names.{field}", _ATTRIBUTE, about, default=default)


TABLE_SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "table.name",
        plain_text(
            "the name of a DynamoDB table (3 to 255 letters, digits, dots, hyphens or underscores)",
            "[A-Za-z0-9_.-]{3,255}",
        ),
        "name of the DynamoDB table",
        parameter="TableName",
        is_required=True,
        example="connections",
    ),
    Setting(
        "table.kms_key",
        plain_text(
            "the ARN of a KMS key", "arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}"
        ),
        "ARN of the KMS key that encrypts the table; needed for a customer-managed key",
        parameter="TableKeyArn",
        example="arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000",
    ),
    Setting(
        "table.connection_id",
        _ATTRIBUTE,
        "attribute with the connection id, a string",
        is_required=True,
        example=DEFAULT_SCHEMA.connection_id,
    ),
    Setting(
        "table.id_prefix",
        Name("the text before each id"),
        "text before each id in that attribute",
        default="",
    ),
    Setting(
        "table.key",
        Listed(
            "the table's key: one or two attributes, the partition key first",
            Members(
                'an attribute of the key: { attribute = "pk", type = "S" }',
                {
                    "attribute": _ATTRIBUTE,
                    "type": plain(Text("S, N or B", "|".join(KEY_TYPES)), KEY_TYPES),
                },
                needed=("attribute",),
            ),
            at_least=1,
            at_most=2,
        ),
        "key of the table, the partition key first; without it, the connection id alone",
        example=[{"attribute": "pk"}, {"attribute": "sk", "type": "S"}],
    ),
    Setting(
        "table.connected_at",
        _TIME,
        "when the client connected: unit ms, s or iso8601, and seconds that it is ahead",
        example={"attribute": DEFAULT_SCHEMA.connected_at, "unit": "ms", "offset_seconds": 0},
    ),
    Setting(
        "table.last_activity",
        _TIME,
        "when the client was last active, likewise; written by your functions",
        example={"attribute": DEFAULT_SCHEMA.last_activity, "unit": "ms", "offset_seconds": 0},
    ),
    Setting(
        "table.session",
        _ATTRIBUTE,
        "attribute with a session, a room or the like: a label in logs and events",
        example=DEFAULT_SCHEMA.session_id,
    ),
    Setting(
        "table.role",
        _ATTRIBUTE,
        "attribute with the client's role: a label in metrics, and timeouts by role",
        example=DEFAULT_SCHEMA.role,
    ),
    Setting(
        "table.only",
        Listed(f"up to {MAX_CONDITIONS} conditions", _CONDITION, at_most=MAX_CONDITIONS),
        "conditions that tell connections of this deployment from other items, all of them",
        default=[],
        example=[{"attribute": "stage", "equals": "prod"}],
    ),
    Setting(
        "table.index",
        Name("the name of an index"),
        "read this index, which projects all attributes, in place of the table",
        example="by-status",
    ),
    Setting(
        "table.partition",
        Members(
            'the partition key and its value: { attribute = "pk", equals = "CONNECTIONS" }',
            {"attribute": _ATTRIBUTE, "equals": Scalar()},
            needed=("attribute", "equals"),
        ),
        "read this partition alone",
        example={"attribute": "pk", "equals": "CONNECTIONS"},
    ),
    _own_name("gateway_active", "last activity by API Gateway's account"),
    _own_name("noticed_at", "when the notice was sent"),
    _own_name("handovers", "how often the cleanup was asked for"),
    _own_name("claim_expires_at", "until when a sweep has claimed the connection"),
    _own_name("claim_token", "which sweep has claimed it"),
)
"""The table itself, and what its attributes mean."""


def schema_of(said: Mapping[str, Any]) -> TableSchema:
    """Return the schema that the settings of a checked file make up, by their dotted keys.

    Other than in ``TableSchema``, what is not said is not there: a time, a session or a role.
    Raises ``Misfit``.
    """
    fields: dict[str, Any] = {
        "connection_id": said["table.connection_id"],
        "id_prefix": said.get("table.id_prefix", ""),
        "key_attributes": tuple(
            (one["attribute"], one.get("type", "S")) for one in said.get("table.key", ())
        ),
        "session_id": said.get("table.session"),
        "role": said.get("table.role"),
        "only": tuple(_condition(one) for one in said.get("table.only", ())),
        "index": said.get("table.index"),
        "partition": _condition(said["table.partition"]) if "table.partition" in said else None,
    }
    for time in ("connected_at", "last_activity"):
        written = said.get(f"table.{time}", {})
        fields[time] = written.get("attribute")
        fields[f"{time}_unit"] = written.get("unit", TimeUnit.MILLISECONDS)
        fields[f"{time}_offset_s"] = written.get("offset_seconds", 0)
    fields |= {
        key.removeprefix("table.names."): value
        for key, value in said.items()
        if key.startswith("table.names.")
    }
    try:
        schema = TableSchema(**fields)
        schema.as_json()  # it must fit into the environment of a function
    except SchemaError as error:
        raise Misfit(_FIELDS.get(error.field, f"table.{error.field}"), error.text) from None
    except ConfigurationError as error:
        raise Misfit("table", f"is too long: {error}") from None
    return schema


def _condition(said: Mapping[str, Any]) -> Condition:
    for rule in (Rule.EQUALS, Rule.BEGINS_WITH):
        if rule in said:
            return Condition(rule, said["attribute"], said[rule])
    return Condition(Rule.EXISTS, said["attribute"])
