"""What becomes of a record after its connection was closed, or was found gone."""

from enum import StrEnum
from typing import Final

_SLOW_CALLS: Final = 2
"""Lambda itself tries a failed cleanup again within some three minutes, so one call more is nothing
to report."""


class HandOver(StrEnum):
    """A rule of a deployment: who removes the record."""

    ALWAYS = "always"
    """The disconnect handler is called. API Gateway's own event calls it once more."""

    IF_LEFT = "if_left"
    """API Gateway's own event does the cleanup. Where the record is still there a minute later or
    more, the disconnect handler is called."""

    DELETE = "delete"
    """The record is deleted, and no handler is called."""

    NEVER = "never"
    """Nothing is done: somebody else removes the record."""

    @property
    def calls_handler(self) -> bool:
        """Whether there must be a disconnect handler."""
        return self in (HandOver.ALWAYS, HandOver.IF_LEFT)

    def calls_handler_after(self, handovers: int) -> bool:
        """Return whether the handler is called for a record that was handed over that often."""
        # The first time, if_left leaves it to API Gateway's own event.
        return self is HandOver.ALWAYS or (self is HandOver.IF_LEFT and handovers > 0)

    def is_repeated(self, handovers: int) -> bool:
        """Return whether a record that is still there after that many hand-overs is reported.

        That is after two calls of the handler, or two deletions. Not with ``NEVER``, which asks
        nobody to remove it.
        """
        calls = handovers - (self is HandOver.IF_LEFT)
        return self is not HandOver.NEVER and calls >= _SLOW_CALLS
