"""What a ``TableSchema`` may say, and how it is written as JSON.

Every error names the field, what it must be and what it is: ``SchemaError``.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from hangup.aws.conditions import Condition, Rule
from hangup.aws.times import TimeUnit
from hangup.core.bounds import WholeNumber
from hangup.core.limits import MAX_SCHEMA_BYTES
from hangup.errors import ConfigurationError, SchemaError

MAX_CONDITIONS: Final = 10
"""Most conditions in ``only``. A bound of our own: an expression of DynamoDB's has 4 KB at most."""

_MAX_NAME: Final = 255
_MAX_VALUE: Final = 1_024
OFFSETS: Final = WholeNumber(at_least=0, at_most=31_622_400)
_NUMBERS: Final = range(-(10**15), 10**15 + 1)
KEY_TYPES: Final = ("S", "N", "B")
_MOST_KEY_PARTS: Final = 2
_CONDITION_LENGTHS: Final = (2, 3)

_OPTIONAL: Final = ("session_id", "role", "connected_at", "last_activity", "index")
_WRITTEN: Final = (
    "last_activity",
    "gateway_active",
    "noticed_at",
    "handovers",
    "claim_expires_at",
    "claim_token",
)
"""What Hangup writes into the application's items."""
_READ: Final = ("connection_id", "session_id", "role", "connected_at")
_PAIR: Final = 2

WHAT_IS_MORE: Final = (
    "with this schema the id is not in the key, so an item is more than a connection; choose"
    " if_left or never"
)
"""Why an item must not be deleted with its connection."""

Fields = Mapping[str, Any]


def checked(fields: Fields) -> dict[str, Any]:
    """Return the fields of a schema as they are kept. Raises ``ConfigurationError``."""
    kept = {name: _CHECKS.get(name, _name)(name, value) for name, value in fields.items()}
    _check_names(kept)
    _check_only(kept)
    _check_key(kept)
    return kept


def _name(field: str, value: object) -> str | None:
    if value is None and field in _OPTIONAL:
        return None
    if not isinstance(value, str) or not 1 <= len(value.encode(errors="replace")) <= _MAX_NAME:
        kind = "the name of an index" if field == "index" else "the name of an attribute"
        or_none = " or null, for none" if field in _OPTIONAL else ""
        _refuse(field, value, f"{kind} (1 to {_MAX_NAME} bytes){or_none}")
    return value


def _prefix(field: str, value: object) -> str:
    if not isinstance(value, str) or len(value.encode(errors="replace")) > _MAX_NAME:
        _refuse(field, value, f"the text before each id (up to {_MAX_NAME} bytes)")
    return value


def _unit(field: str, value: object) -> TimeUnit:
    if value not in list(TimeUnit):
        _refuse(field, value, "ms, s or iso8601")
    return TimeUnit(str(value))


def _offset(field: str, value: object) -> int:
    if not OFFSETS.accepts(value):
        _refuse(field, value, f"{OFFSETS}, in seconds")
    return value


def _key_attributes(field: str, value: object) -> tuple[tuple[str, str], ...]:
    must = "one or two pairs of a name and its type (S, N or B), the partition key first"
    pairs = [_items(field, pair, must) for pair in _items(field, value, must)]
    if any(len(pair) != _PAIR or pair[1] not in KEY_TYPES for pair in pairs):
        _refuse(field, value, must)
    names = {_name(field, name) for name, _ in pairs}
    if len(pairs) > _MOST_KEY_PARTS or len(names) < len(pairs):
        _refuse(field, value, must)
    return tuple((str(name), str(kind)) for name, kind in pairs)


def _only(field: str, value: object) -> tuple[Condition, ...]:
    conditions = _items(field, value, f"up to {MAX_CONDITIONS} conditions")
    if len(conditions) > MAX_CONDITIONS:
        _refuse(field, value, f"up to {MAX_CONDITIONS} conditions")
    return tuple(_condition(field, condition) for condition in conditions)


def _condition(field: str, value: object) -> Condition:
    must = (
        '["begins_with", attribute, text], ["attribute_exists", attribute] or'
        ' ["equals", attribute, text, whole number or truth value]'
    )
    parts = _items(field, value, must)
    if len(parts) not in _CONDITION_LENGTHS:
        _refuse(field, value, must)
    rule, attribute, compared = (*parts, None)[: max(_CONDITION_LENGTHS)]
    if rule not in list(Rule):
        _refuse(field, value, must)
    is_fit = {
        Rule.BEGINS_WITH: isinstance(compared, str) and compared != "",
        Rule.EXISTS: compared is None,
        Rule.EQUALS: isinstance(compared, str)
        or (isinstance(compared, int) and compared in _NUMBERS),
    }
    if not is_fit[Rule(rule)] or len(str(compared).encode(errors="replace")) > _MAX_VALUE:
        _refuse(field, value, must)
    return Condition(Rule(rule), str(_name(field, attribute)), compared)


def _partition(field: str, value: object) -> Condition | None:
    if value is None:
        return None
    condition = _condition(field, value)
    # DynamoDB has no such values in a key.
    cannot_be_a_key = isinstance(condition.value, bool) or condition.value == ""
    if condition.rule is not Rule.EQUALS or cannot_be_a_key:
        _refuse(field, value, "the partition key and its value: equals(attribute, value)")
    return condition


_CHECKS: Final = {
    "id_prefix": _prefix,
    "connected_at_unit": _unit,
    "last_activity_unit": _unit,
    "connected_at_offset_s": _offset,
    "last_activity_offset_s": _offset,
    "key_attributes": _key_attributes,
    "only": _only,
    "partition": _partition,
}


def _check_names(fields: Fields) -> None:
    """Check that no attribute has two meanings, of which one would be written over the other."""
    meanings: dict[str, str] = {}
    for field in (*_READ, *_WRITTEN):
        name = fields[field]
        if name in meanings:
            _fail(field, f"is {name!r}, and so is {meanings[name]}: give one of them another name")
        if name is not None:
            meanings[name] = field
    for name, _ in fields["key_attributes"]:
        if meanings.get(name) in _WRITTEN:
            _fail(
                meanings[name],
                f"is {name!r}, which is in the key and cannot be written: name another",
            )


def _check_only(fields: Fields) -> None:
    """Check that an item can meet all conditions, also after it was written."""
    only = fields["only"]
    for place, one in enumerate(only):
        if any(one.excludes(other) for other in only[:place]):
            _fail("only", f"has conditions on {one.attribute} that exclude one another")
        field = next((field for field in _WRITTEN if fields[field] == one.attribute), None)
        if field is not None and one.rule is not Rule.EXISTS:
            _fail("only", f"compares {one.attribute}, which is written as {field}")


def key_of(
    key_attributes: Sequence[tuple[str, str]], connection_id: str
) -> Sequence[tuple[str, str]]:
    """Return the names and types of a table's key: by default the id alone."""
    return key_attributes or ((connection_id, "S"),)


def _check_key(fields: Fields) -> None:
    """Check that what is said of the key's attributes fits their types."""
    types = dict(key_of(fields["key_attributes"], fields["connection_id"]))
    if types.get(fields["connection_id"], "S") != "S":
        _fail("connection_id", "is in the key, and so must have the type S there")
    partition, index = fields["partition"], fields["index"]
    said = [*fields["only"], *([partition] if partition and index is None else [])]
    for condition in said:
        kind = types.get(condition.attribute)
        if kind and condition.rule is not Rule.EXISTS and kind not in condition.as_value():
            _fail(
                "only", f"compares {condition.attribute}, a key of type {kind}, with another type"
            )
    if partition is None:
        return
    if index is None and partition.attribute != next(iter(types)):
        _fail(
            "partition",
            f"must name the table's partition key {next(iter(types))}, or have an index",
        )
    others = [one for one in fields["only"] if one.attribute == partition.attribute]
    if any(one not in (partition, Condition(Rule.EXISTS, one.attribute)) for one in others):
        _fail("only", f"has a condition on the partition key {partition.attribute}: leave it out")
    if index is None:
        sort_key = list(types)[1:]
        rules = [
            one for one in fields["only"] if one.attribute in sort_key and one.value is not None
        ]
        if len(rules) + bool(fields["id_prefix"] and fields["connection_id"] in sort_key) > 1:
            _fail("only", f"may have one condition on the sort key {sort_key[0]}, with the prefix")


def _items(field: str, value: object, must: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        _refuse(field, value, must)
    return value


def _refuse(field: str, value: object, must: str) -> NoReturn:
    _fail(field, f"must be {must}, not {_shown(value)}")


def _fail(field: str, text: str) -> NoReturn:
    raise SchemaError(field, text)


def _shown(value: object) -> str:
    text = f"a {type(value).__name__}"
    # Neither writes an int of thousands of digits, or what is nested too deep.
    for write in (json.dumps, repr):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            text = write(value)
            break
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}..."


def in_json(fields: Fields) -> str:
    """Return fields as compact JSON. Raises ``ConfigurationError`` if it is too long."""
    text = json.dumps(
        {name: _plain(name, value) for name, value in fields.items()}, separators=(",", ":")
    )
    if len(text) > MAX_SCHEMA_BYTES:
        raise ConfigurationError(
            f"the table schema has {len(text)} bytes as JSON, and {MAX_SCHEMA_BYTES} at most fit"
            " into the environment of a function: shorten its conditions"
        )
    return text


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, Condition):
        parts = [value.rule, value.attribute]
        return parts if value.value is None else [*parts, value.value]
    return [_plain(name, one) for one in value] if isinstance(value, tuple) else value


def fields_in(text: str, known: Iterable[str]) -> Fields:
    """Return the fields in a schema's JSON. Raises ``ConfigurationError``."""
    if len(text.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise ConfigurationError(
            f"the table schema has more than {MAX_SCHEMA_BYTES} bytes: shorten its conditions"
        )
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"the table schema is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError('the table schema must be a JSON object, such as {"role":"kind"}')
    for name in fields:
        if name not in known:
            raise ConfigurationError(
                f"the table schema has no field {_shown(name)}; its fields are {', '.join(known)}"
            )
    return fields
