"""What becomes of a record after its connection was closed, or was found gone."""

from enum import StrEnum


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
