"""List prices: those of the package, or a user's own in the same shape."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any

from hangup.errors import ConfigurationError

__all__ = ["PriceList", "Prices", "packaged_prices", "packaged_prices_text", "parse_prices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars for one of each; ``prices.json`` says what one is, and where its price stands."""

    messages_first_billion: float
    messages_above_a_billion: float
    connection_minutes: float
    dynamodb_writes: float
    dynamodb_reads: float
    lambda_requests: float
    lambda_gb_seconds: float
    logs: float
    metrics: float
    alarms: float
    queue_requests: float
    schedules: float
    state_transitions: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices, and where and when they held."""

    region: str
    as_of: str
    currency: str
    prices: Prices


_HEADER = ("region", "as_of", "currency")
_ENTRY = ("usd", "per", "unit", "source")


def packaged_prices_text() -> str:
    """Return the package's price file as it is, for a user to copy and change."""
    return (resources.files("hangup.planner") / "prices.json").read_text(encoding="utf-8")


def packaged_prices() -> PriceList:
    """Return the package's prices."""
    return parse_prices(packaged_prices_text(), name="prices.json")


def parse_prices(text: str, *, name: str) -> PriceList:
    """Return the prices in a file's text; ``name`` is how an error calls the file.

    Raises ``ConfigurationError`` in one sentence that names the keys that are missing or unknown,
    or the price that is no number.
    """
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{name} is no JSON: {error}") from error
    _require_keys(document, (*_HEADER, "prices"), f"{name}")
    for key in _HEADER:
        if not isinstance(document[key], str):
            raise ConfigurationError(f"{name}: {key!r} must be a text")
    entries = document["prices"]
    names = tuple(field.name for field in fields(Prices))
    _require_keys(entries, names, f"{name}: 'prices'")
    return PriceList(
        region=document["region"],
        as_of=document["as_of"],
        currency=document["currency"],
        prices=Prices(**{key: _price(entries[key], f"{name}: {key!r}") for key in names}),
    )


def _price(entry: object, where: str) -> float:
    checked = _require_keys(entry, _ENTRY, where)
    for key in ("usd", "per"):
        value = checked[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0 or (key == "per" and not value):
            bound = "above 0" if key == "per" else "from 0"
            raise ConfigurationError(f"{where}: {key!r} must be a number {bound}, not {value!r}")
    return float(checked["usd"]) / float(checked["per"])


def _require_keys(value: object, keys: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} must be an object with the keys {_listed(keys)}")
    missing = [key for key in keys if key not in value]
    unknown = [key for key in value if key not in keys]
    wrong = [f"lacks {_listed(missing)}"] if missing else []
    wrong += [f"has the unknown {_listed(unknown)}"] if unknown else []
    if wrong:
        raise ConfigurationError(
            f"{where} {' and '.join(wrong)}; `hangup plan --print-prices` shows what it must hold"
        )
    return value


def _listed(keys: list[str] | tuple[str, ...]) -> str:
    return ", ".join(repr(key) for key in keys)
