"""Texts of a form: said, checked and parsed here and nowhere else."""

import re


class Text:
    """The texts that match a pattern, and what to call them."""

    def __init__(self, name: str, pattern: str) -> None:
        self._name = name
        self.pattern = pattern

    def __str__(self) -> str:
        return self._name

    def accepts(self, value: object) -> bool:
        """Return whether this is one of the texts; no other type is."""
        # The pattern is compiled when it is needed: no function needs all of them.
        return isinstance(value, str) and bool(re.fullmatch(self.pattern, value, re.ASCII))

    def parse(self, text: str) -> str:
        """Return the text; raise ``ValueError`` if it is not one of them."""
        if not self.accepts(text):
            raise ValueError(text)
        return text


class Unfit(ValueError):
    """A text with a known mistake; the error's own text says what to change."""
