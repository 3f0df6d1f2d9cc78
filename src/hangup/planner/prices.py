"""The list prices of ``prices.json``, the one price table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

Prices = Mapping[str, float]
"""US dollars for one of each, by its name in ``prices.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """``usd`` for one of each, in a Region at a date; ``prices.json`` has units and sources."""

    region: str
    as_of: str
    usd: Prices


def list_prices() -> PriceList:
    """Return the prices of ``prices.json``."""
    document = json.loads((resources.files("hangup.planner") / "prices.json").read_text("utf-8"))
    usd = {name: price["usd"] / price["per"] for name, price in document["prices"].items()}
    return PriceList(region=document["region"], as_of=document["as_of"], usd=usd)
