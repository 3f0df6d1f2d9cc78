"""DynamoDB's values: made for requests, and read from items of any shape."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from hangup.core.connection import EpochMs
from hangup.core.limits import MAX_HANDOVERS, MAX_PLAUSIBLE_EPOCH_MS, MIN_PLAUSIBLE_EPOCH_MS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        UniversalAttributeValueTypeDef,
    )

Item = Mapping[str, "AttributeValueTypeDef"]
"""An item as DynamoDB returns it."""

Values = dict[str, "UniversalAttributeValueTypeDef"]
"""An item, a key, or the values of expressions, as DynamoDB takes them."""

_EXACT: Final = Context(prec=50)
"""DynamoDB's numbers have up to 38 digits."""

_SHOWN: Final = 40
"""Characters of a malformed time that are kept, to be logged."""

_NOTHING: Final["AttributeValueTypeDef"] = {}


def string(value: str) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB string."""
    return {"S": str(value)}


def number(value: int) -> "UniversalAttributeValueTypeDef":
    """Return a DynamoDB number."""
    return {"N": str(value)}


def text_in(item: Item, name: str) -> str | None:
    """Return a text that is not empty, ``None`` for anything else and for nothing."""
    return item.get(name, _NOTHING).get("S") or None


def start_of(value: "AttributeValueTypeDef") -> str:
    """Return the start of a value as text; a number that was written as a text has quotes."""
    kind, content = next(iter(value.items()), ("NULL", True))
    if kind == "NULL":
        return "null"
    text = str(content)[:_SHOWN]
    return f'"{text}"' if kind == "S" and text.isdecimal() else text


def count_in(item: Item, name: str) -> int:
    """Return a number as a count, rounded up and at most ``MAX_HANDOVERS``; 0 for anything else."""
    try:
        count = Decimal(item[name]["N"]).to_integral_value(rounding=ROUND_CEILING)
    except (KeyError, InvalidOperation):
        return 0
    return max(0, min(int(count), MAX_HANDOVERS))


def scaled(value: "AttributeValueTypeDef", factor: int) -> int | None:
    """Return a number times ``factor``, rounded up; None for anything else."""
    text = value.get("N", "")
    # Mostly digits alone, which cost a third as an int.
    if text.isdecimal():
        return int(text) * factor
    try:
        exact = _EXACT.multiply(Decimal(text), factor)
        return int(exact.to_integral_value(rounding=ROUND_CEILING))
    except (ArithmeticError, ValueError):
        return None


def epoch_ms(value: int | None, offset_ms: int = 0) -> EpochMs | None:
    """Return plausible epoch milliseconds, less an offset; None for anything else."""
    if value is None:
        return None
    ms = value - offset_ms
    return EpochMs(ms) if MIN_PLAUSIBLE_EPOCH_MS <= ms < MAX_PLAUSIBLE_EPOCH_MS else None


def time_in(item: Item, name: str) -> EpochMs | None:
    """Return a plausible epoch-millisecond number, ``None`` for anything else and for nothing.

    A fraction is rounded up: a connection is never closed a part of a millisecond early.
    """
    value = item.get(name)
    return None if value is None else epoch_ms(scaled(value, 1))
