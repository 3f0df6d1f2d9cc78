"""The price file: the package's own, and what is said about a user's."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hangup.errors import ConfigurationError
from hangup.planner.prices import packaged_prices, packaged_prices_text, parse_prices
from tests.support.documents import ROOT

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> str:
    document = json.loads(packaged_prices_text())
    change(document)
    return json.dumps(document)


def test_the_packages_prices_are_those_of_one_of_each() -> None:
    prices = packaged_prices().prices
    assert prices.messages_first_billion == pytest.approx(1e-6)
    assert prices.lambda_gb_seconds == 0.0000133334
    assert prices.logs == pytest.approx(0.5e-9)


def test_every_price_of_the_package_says_where_it_stands_and_when() -> None:
    document = json.loads(packaged_prices_text())
    assert document["as_of"]
    for entry in document["prices"].values():
        assert entry["source"].startswith("https://aws.amazon.com/")
        assert entry["unit"]


def test_a_users_price_counts() -> None:
    text = changed(lambda d: d["prices"]["logs"].update(usd=0.7))
    assert parse_prices(text, name="mine.json").prices.logs == pytest.approx(0.7e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda d: [d["prices"].pop("logs"), d["prices"].pop("alarms"), d.update(currency="€")],
            "'prices' lacks 'logs', 'alarms', which the package has in USD only, not in €",
        ),
        (lambda d: d["prices"].update(log=1), "mine.json: 'prices' has the unknown 'log'"),
        (
            lambda d: d["prices"].update(log=d["prices"].pop("logs")),
            "mine.json: 'prices' has the unknown 'log'",
        ),
        (lambda d: d["prices"].clear(), "mine.json: 'prices' has no price"),
        (lambda d: d.pop("as_of"), "mine.json lacks 'as_of'"),
        (lambda d: d.update(as_of="soon"), "mine.json: 'as_of' must be a date like 2026-11-24"),
        (lambda d: d.update(region=""), "mine.json: 'region' must be a text of 1 to 200"),
        (lambda d: d.update(currency="\ud800"), "mine.json: 'currency' must be a text"),
        (lambda d: d.update(currency="U\0D"), "mine.json: 'currency' must be a text"),
        (lambda d: d["prices"]["logs"].pop("source"), "mine.json: 'logs' lacks 'source'"),
        (lambda d: d["prices"]["logs"].update(source=""), "mine.json: 'logs': 'source' must be a"),
        (lambda d: d["prices"]["logs"].update(unit=7), "mine.json: 'logs': 'unit' must be a text"),
        (lambda d: d["prices"]["logs"].update(usd=10**400), "must be a number from 0, not 1000"),
        (
            lambda d: d["prices"]["logs"].update(usd=1e308, per=1e-308),
            "mine.json: 'logs': 'usd' / 'per' must be at most 1,000,000, not inf",
        ),
        (lambda d: d["prices"]["logs"].update(usd=1_000_001, per=1), "'usd' / 'per' must be at"),
        (lambda d: d.update(note="x"), "mine.json has the unknown 'note'"),
        (lambda d: d.update(region=7), "mine.json: 'region' must be a text"),
        (lambda d: d.update(prices=[]), "mine.json: 'prices' must be an object with the keys"),
        (lambda d: d["prices"].update(logs=0.5), "mine.json: 'logs' must be an object with"),
        (lambda d: d["prices"]["logs"].pop("per"), "mine.json: 'logs' lacks 'per'"),
        (
            lambda d: d["prices"]["logs"].update(usd="0.5"),
            "mine.json: 'logs': 'usd' must be a number from 0, not '0.5'",
        ),
        (lambda d: d["prices"]["logs"].update(usd=-1), "'usd' must be a number from 0, not -1"),
        (lambda d: d["prices"]["logs"].update(usd=True), "must be a number from 0, not True"),
        (lambda d: d["prices"]["logs"].update(per=0), "'per' must be a number above 0, not 0"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(change: Change, says: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_prices(changed(change), name="mine.json")
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_the_dearest_price_there_may_be_is_taken() -> None:
    text = changed(lambda d: d["prices"]["logs"].update(usd=1_000_000, per=1))
    assert parse_prices(text, name="mine.json").prices.logs == 1_000_000


def test_a_price_of_minus_0_is_0() -> None:
    text = changed(lambda d: d["prices"]["logs"].update(usd=-0.0))
    assert math.copysign(1, parse_prices(text, name="mine.json").prices.logs) == 1


LOGS: dict[str, Any] = {"usd": 0.6, "per": 1_000_000_000, "unit": "byte", "source": "our contract"}


def test_a_file_of_one_price_leaves_the_others_as_they_are() -> None:
    text = json.dumps({"as_of": "2027-01-05", "prices": {"logs": LOGS}})
    shipped, ours = packaged_prices(), parse_prices(text, name="mine.json")
    assert ours.prices == replace(shipped.prices, logs=0.6e-9)
    assert (ours.region, ours.as_of, ours.currency) == ("us-east-1", shipped.as_of, "USD")
    assert (ours.own, ours.own_region, ours.own_as_of) == (("logs",), "us-east-1", "2027-01-05")


def test_the_file_in_the_documentation_is_one() -> None:
    text = (ROOT / "docs" / "planning.md").read_text().split("```json\n", 1)[1].split("```", 1)[0]
    ours = parse_prices(text, name="mine.json")
    assert ours.own == ("logs",)


def test_a_file_of_one_price_may_be_of_another_region() -> None:
    text = json.dumps({"as_of": "2027-01-05", "region": "eu-west-1", "prices": {"logs": LOGS}})
    ours = parse_prices(text, name="mine.json")
    assert ours.region == "us-east-1"
    assert ours.own_region == "eu-west-1"


def test_a_file_of_all_prices_has_its_own_region_date_and_currency() -> None:
    text = changed(lambda d: d.update(region="eu-west-1", as_of="2027-01-05", currency="EUR"))
    ours = parse_prices(text, name="mine.json")
    assert (ours.region, ours.as_of, ours.currency) == ("eu-west-1", "2027-01-05", "EUR")
    assert ours.own == ()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"prices": NaN,}', "7" * 5_000])
def test_what_is_no_json_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mine\.json is not JSON"):
        parse_prices(text, name="mine.json")


@pytest.mark.parametrize("text", ["[]", "7", "null", '"x"'])
def test_what_is_no_object_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mine\.json must be an object"):
        parse_prices(text, name="mine.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_price_that_is_no_real_number_is_refused(number: str) -> None:
    text = packaged_prices_text().replace('"usd": 0.25', f'"usd": {number}')
    with pytest.raises(ConfigurationError, match="'connection_minutes': 'usd' must be a number"):
        parse_prices(text, name="mine.json")
