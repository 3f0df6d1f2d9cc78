"""The price file: the package's own, and what is said about a user's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hangup.errors import ConfigurationError
from hangup.planner.prices import packaged_prices, packaged_prices_text, parse_prices

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
        (lambda d: d["prices"].pop("logs"), "mine.json: 'prices' lacks 'logs'"),
        (
            lambda d: [d["prices"].pop("logs"), d["prices"].pop("alarms")],
            "mine.json: 'prices' lacks 'logs', 'alarms'",
        ),
        (lambda d: d["prices"].update(log=1), "mine.json: 'prices' has the unknown 'log'"),
        (
            lambda d: d["prices"].update(log=d["prices"].pop("logs")),
            "mine.json: 'prices' lacks 'logs' and has the unknown 'log'",
        ),
        (lambda d: d.pop("as_of"), "mine.json lacks 'as_of'"),
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


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"prices": NaN,}'])
def test_what_is_no_json_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mine\.json is no JSON"):
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
