"""List prices: those of the package, or a user's own in their place, all or some of them."""

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from importlib import resources
from typing import Any, Final

from hangup.errors import ConfigurationError

__all__ = [
    "OwnPrices",
    "PriceList",
    "Prices",
    "packaged_prices",
    "packaged_prices_text",
    "parse_prices",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrices:
    """Which prices a user's file has put in the place of the package's, and where and when."""

    names: tuple[str, ...]
    region: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices, and where and when they held: all but ``own``, if a user has given some of them."""

    region: str
    as_of: str
    currency: str
    prices: Prices
    own: OwnPrices | None = None


_NAMES: Final = tuple(field.name for field in fields(Prices))
_ENTRY: Final = ("usd", "per", "unit", "source")

_MOST_FOR_ONE: Final = 1_000_000.0
"""US dollars for one of anything: no bill of what the options allow is then too large for a float,
and nothing that AWS sells by the piece comes near it."""

_LONGEST_TEXT: Final = 200


def packaged_prices_text() -> str:
    """Return the package's price file as it is, for a user to copy and change."""
    return (resources.files("hangup.planner") / "prices.json").read_text(encoding="utf-8")


def packaged_prices() -> PriceList:
    """Return the package's prices."""
    document = json.loads(packaged_prices_text())
    prices = {name: _price(entry, f"{name!r}") for name, entry in document["prices"].items()}
    return PriceList(
        region=document["region"],
        as_of=document["as_of"],
        currency=document["currency"],
        prices=Prices(**prices),
    )


def parse_prices(text: str, *, name: str) -> PriceList:
    """Return the prices in a file's text; ``name`` is how an error calls the file.

    What the file does not price is as in the package. Each price that it has comes with its unit
    and source, and all with a date; the Region and the currency are the package's unless it says
    otherwise, and a currency of its own needs all prices.

    Raises ``ConfigurationError`` in one sentence that names the keys that are missing or unknown,
    or the price that is no number.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        # ValueError: a number of more digits than Python reads is one, as JSONDecodeError is.
        raise ConfigurationError(f"{name} is no JSON: {error}") from error
    _require_keys(document, ("as_of", "prices"), name, may_have=("region", "currency"))
    shipped = packaged_prices()
    region = _text(document.get("region", shipped.region), f"{name}: 'region'")
    currency = _text(document.get("currency", shipped.currency), f"{name}: 'currency'")
    as_of = _text(document["as_of"], f"{name}: 'as_of'")
    _require_date(as_of, f"{name}: 'as_of'")
    entries = _require_keys(document["prices"], (), f"{name}: 'prices'", may_have=_NAMES)
    own = {key: _price(entries[key], f"{name}: {key!r}") for key in _NAMES if key in entries}
    if not own:
        raise ConfigurationError(f"{name}: 'prices' has no price")
    if len(own) == len(_NAMES):
        return PriceList(region=region, as_of=as_of, currency=currency, prices=Prices(**own))
    if currency != shipped.currency:
        lacking = [key for key in _NAMES if key not in own]
        raise ConfigurationError(
            f"{name}: 'prices' lacks {_listed(lacking)}, which the package has in"
            f" {shipped.currency} only, not in {currency}"
        )
    return PriceList(
        region=shipped.region,
        as_of=shipped.as_of,
        currency=shipped.currency,
        prices=Prices(**{**asdict(shipped.prices), **own}),
        own=OwnPrices(names=tuple(own), region=region, as_of=as_of),
    )


def _price(entry: object, where: str) -> float:
    checked = _require_keys(entry, _ENTRY, where)
    for key in ("unit", "source"):
        _text(checked[key], f"{where}: {key!r}")
    usd = _number(checked["usd"], f"{where}: 'usd'", may_be_0=True)
    per = _number(checked["per"], f"{where}: 'per'", may_be_0=False)
    each = usd / per
    if each > _MOST_FOR_ONE:
        raise ConfigurationError(
            f"{where}: 'usd' / 'per' must be at most {_MOST_FOR_ONE:,.0f}, not {each:g}"
        )
    return each


def _number(value: object, where: str, *, may_be_0: bool) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            # Plus 0: the sum of -0 and it is 0, which prints without a sign.
            number = float(value) + 0.0
        except OverflowError:
            number = math.inf
    if not 0 <= number < math.inf or not (number or may_be_0):
        bound = "from 0" if may_be_0 else "above 0"
        raise ConfigurationError(f"{where} must be a number {bound}, not {reprlib.repr(value)}")
    return number


def _text(value: object, where: str) -> str:
    """Return the text, which can be printed anywhere: in a terminal and in JSON."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_TEXT):
        raise ConfigurationError(f"{where} must be a text of 1 to {_LONGEST_TEXT} characters")
    return value


def _require_date(text: str, where: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{where} must be a date like 2026-11-24, not {text!r}") from error


def _require_keys(
    value: object, keys: tuple[str, ...], where: str, *, may_have: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{where} must be an object with the keys {_listed(keys or may_have)}"
        )
    missing = [key for key in keys if key not in value]
    unknown = [key for key in value if key not in keys and key not in may_have]
    wrong = [f"lacks {_listed(missing)}"] if missing else []
    wrong += [f"has the unknown {_listed(unknown)}"] if unknown else []
    if wrong:
        raise ConfigurationError(
            f"{where} {' and '.join(wrong)}; `hangup plan --print-prices` shows what it may hold"
        )
    return value


def _listed(keys: list[str] | tuple[str, ...]) -> str:
    return ", ".join(repr(key) for key in keys)
