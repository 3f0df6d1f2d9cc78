"""List prices: those of the package, or a user's own in their place, all or some of them."""

import json
import reprlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from importlib import resources
from typing import Any

from hangup.errors import ConfigurationError

__all__ = ["PriceList", "Prices", "packaged_prices", "packaged_prices_text", "parse_prices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars for one of each; ``prices.json`` has the unit and the source of each price."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices, and the Region and date of all but ``own``.

    ``own`` are the names of those that a user's file replaced, ``own_region`` and ``own_as_of``
    where and when they held.
    """

    region: str
    as_of: str
    currency: str
    prices: Prices
    own: tuple[str, ...] = ()
    own_region: str = ""
    own_as_of: str = ""


_NAMES = tuple(field.name for field in fields(Prices))

_MOST_FOR_ONE = 1_000_000.0
"""US dollars for one of anything. Far above what AWS sells by the piece, and low enough that no
bill is too large for a float."""

_LARGEST = sys.float_info.max
_LONGEST_TEXT = 200


def packaged_prices_text() -> str:
    """Return the package's price file as it is, for a user to copy and change."""
    return (resources.files("hangup.planner") / "prices.json").read_text(encoding="utf-8")


def packaged_prices() -> PriceList:
    """Return the package's prices."""
    document = json.loads(packaged_prices_text())
    prices = {name: _price(entry, repr(name)) for name, entry in document.pop("prices").items()}
    return PriceList(**document, prices=Prices(**prices))


def parse_prices(text: str, *, name: str) -> PriceList:
    """Return the prices in a file's text; ``name`` is how an error calls the file.

    What the file does not price is as in the package. Each price that it has comes with its unit
    and source, and all with a date; the Region and the currency are the package's unless it says
    otherwise, and a currency of its own needs all prices.

    Raises ``ConfigurationError`` in one sentence that names the keys that are missing or unknown,
    or the price that is not a number.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        # ValueError: JSONDecodeError, or a number of more digits than Python reads.
        raise ConfigurationError(f"{name} is not JSON: {error}") from error
    shipped = packaged_prices()
    _require_keys(document, ("as_of", "prices"), name, may_have=("region", "currency"))
    as_of = _text(document["as_of"], f"{name}: 'as_of'")
    region = _text(document.get("region", shipped.region), f"{name}: 'region'")
    currency = _text(document.get("currency", shipped.currency), f"{name}: 'currency'")
    try:
        date.fromisoformat(as_of)
    except ValueError as error:
        raise ConfigurationError(
            f"{name}: 'as_of' must be a date like 2026-11-24, not {as_of!r}"
        ) from error
    entries = _require_keys(document["prices"], (), f"{name}: 'prices'", may_have=_NAMES)
    own = {key: _price(entries[key], f"{name}: {key!r}") for key in _NAMES if key in entries}
    lacking = [key for key in _NAMES if key not in own]
    if not own:
        raise ConfigurationError(f"{name}: 'prices' has no price")
    if not lacking:
        return PriceList(region=region, as_of=as_of, currency=currency, prices=Prices(**own))
    if currency != shipped.currency:
        raise ConfigurationError(
            f"{name}: 'prices' lacks {_listed(lacking)}, which the package has in"
            f" {shipped.currency} only, not in {currency}"
        )
    prices = replace(shipped.prices, **own)
    return replace(shipped, prices=prices, own=tuple(own), own_region=region, own_as_of=as_of)


def _price(entry: object, where: str) -> float:
    checked = _require_keys(entry, ("usd", "per", "unit", "source"), where)
    for key in ("unit", "source"):
        _text(checked[key], f"{where}: {key!r}")
    usd, per = (_number(checked[key], f"{where}: {key!r}") for key in ("usd", "per"))
    if not per:
        raise ConfigurationError(f"{where}: 'per' must be a number above 0, not 0")
    if usd / per > _MOST_FOR_ONE:
        raise ConfigurationError(
            f"{where}: 'usd' / 'per' must be at most {_MOST_FOR_ONE:,.0f}, not {usd / per:g}"
        )
    return usd / per


def _number(value: object, where: str) -> float:
    # True is an int to Python.
    if not isinstance(value, int | float) or value is True or not 0 <= value <= _LARGEST:
        raise ConfigurationError(f"{where} must be a number from 0, not {reprlib.repr(value)}")
    return abs(float(value))


def _text(value: object, where: str) -> str:
    """Return a text that can be printed anywhere: in a terminal and in JSON."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_TEXT):
        raise ConfigurationError(f"{where} must be a text of 1 to {_LONGEST_TEXT} characters")
    return value


def _require_keys(
    value: object, keys: Collection[str], where: str, *, may_have: Collection[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        names = _listed(keys or may_have)
        raise ConfigurationError(f"{where} must be an object with the keys {names}")
    missing = [key for key in keys if key not in value]
    unknown = [key for key in value if key not in keys and key not in may_have]
    wrong = [f"lacks {_listed(missing)}"] * bool(missing)
    wrong += [f"has the unknown {_listed(unknown)}"] * bool(unknown)
    if wrong:
        raise ConfigurationError(
            f"{where} {' and '.join(wrong)}; `hangup plan --print-prices` shows what it may hold"
        )
    return value


def _listed(keys: Collection[str]) -> str:
    return ", ".join(map(repr, keys))
