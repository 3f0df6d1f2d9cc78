"""The price file: one price of each, with its unit, its source and the date of all."""

import json
from datetime import date
from importlib import resources

import pytest

from hangup.planner.fleet import Fleet
from hangup.planner.plan import make_plan
from hangup.planner.prices import PriceList, list_prices

DOCUMENT = json.loads((resources.files("hangup.planner") / "prices.json").read_text("utf-8"))


def test_the_prices_are_those_of_one_of_each() -> None:
    prices = list_prices()
    assert (prices.region, prices.as_of) == ("us-east-1", DOCUMENT["as_of"])
    assert prices.usd["messages_first_billion"] == pytest.approx(1e-6)
    assert prices.usd["lambda_gb_seconds"] == 0.0000133334
    assert prices.usd["logs"] == pytest.approx(0.5e-9)


def test_every_price_says_where_it_stands_and_when() -> None:
    assert date.fromisoformat(DOCUMENT["as_of"])
    for entry in DOCUMENT["prices"].values():
        assert entry["source"].startswith("https://aws.amazon.com/")
        assert entry["unit"]


def total_usd(name: str, usd: float) -> float:
    """Return the bill of a large fleet in which one price is another."""
    prices = list_prices()
    changed = PriceList(region=prices.region, as_of=prices.as_of, usd={**prices.usd, name: usd})
    plan = make_plan(Fleet(connections=1_000_000, precise=True), changed)
    return plan.topologies["precise"].total_usd


@pytest.mark.parametrize("name", DOCUMENT["prices"])
def test_every_price_counts(name: str) -> None:
    assert total_usd(name, 1) > total_usd(name, 0)
