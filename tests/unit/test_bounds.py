"""Whole numbers in bounds: what is accepted, as a value and as text, and what an error says."""

import pytest

from hangup.core.bounds import WholeNumber

SHARDS = WholeNumber(at_least=1, at_most=20)
MINUTES = WholeNumber(at_least=60, at_most=7_200, step=60)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("20", 20), ("007", 7)])
def test_reads_digits_up_to_the_bounds(text: str, number: int) -> None:
    assert SHARDS.parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "0", "21", "-1", "+1", "1.0", "1e1", " 2", "2\n", "0x1", "٣", "1_0", "9" * 5_000],
)
def test_says_what_it_is_and_what_it_is_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number from 1 to 20$") as error:
        SHARDS.parse(text)
    assert str(error.value).startswith(repr(text))


def test_with_a_step_only_multiples() -> None:
    assert MINUTES.parse("120") == 120
    for text in ("0", "61", "7260"):
        with pytest.raises(ValueError, match="is not a multiple of 60 from 60 to 7200"):
            MINUTES.parse(text)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [(1, True), (20, True), (0, False), (21, False), (True, False), (2.0, False), ("2", False)],
)
def test_accepts_whole_numbers_and_no_other_type(value: object, *, accepted: bool) -> None:
    assert SHARDS.accepts(value) is accepted
