"""Texts of a form, as environment variables and the construct's arguments are."""

import pytest

from hangup.core.texts import Text, Unfit

COLOUR = Text("red or blue", "red|blue")


def test_says_what_it_accepts() -> None:
    assert str(COLOUR) == "red or blue"


@pytest.mark.parametrize("text", ["red", "blue"])
def test_takes_what_matches_as_a_whole(text: str) -> None:
    assert COLOUR.accepts(text)
    assert COLOUR.parse(text) == text


@pytest.mark.parametrize("text", ["", "reds", " red", "red\n", "RED"])
def test_refuses_every_other_text(text: str) -> None:
    assert not COLOUR.accepts(text)
    with pytest.raises(ValueError, match=f"^{text}$") as error:
        COLOUR.parse(text)
    assert not isinstance(error.value, Unfit)


@pytest.mark.parametrize("value", [None, 1, b"red", ["red"]])
def test_no_other_type_is_a_text(value: object) -> None:
    assert not COLOUR.accepts(value)


def test_a_digit_is_one_of_ascii() -> None:
    assert not Text("a digit", r"\d").accepts("٣")
