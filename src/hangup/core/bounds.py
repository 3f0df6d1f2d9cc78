"""A whole number in bounds: said, checked and parsed here and nowhere else."""

import re
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeNumber:
    """The whole numbers from ``at_least`` (0 or more) to ``at_most``, both included.

    With a ``step``, only its multiples. As text it says what a value must be.
    """

    at_least: int
    at_most: int
    step: int = 1

    def __str__(self) -> str:
        kind = "a whole number" if self.step == 1 else f"a multiple of {self.step}"
        return f"{kind} from {self.at_least} to {self.at_most}"

    def accepts(self, value: object) -> TypeGuard[int]:
        """Return whether this is one of the numbers; no other type is, not even True."""
        # By its type, because True is an int for Python.
        return (
            type(value) is int and self.at_least <= value <= self.at_most and not value % self.step
        )

    def parse(self, text: str) -> int:
        """Return the number that is written here in 1 to 10 decimal digits and nothing else.

        Raise ``ValueError``, with a text fit for a user to read, for anything else.
        """
        if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not self.accepts(int(text)):
            raise ValueError(f"{text!r} is not {self}")
        return int(text)
