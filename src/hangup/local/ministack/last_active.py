"""What moves the ``lastActiveAt`` that ``GetConnection`` answers."""

from enum import StrEnum


class LastActive(StrEnum):
    """AWS does not document which of the two its API Gateway does."""

    CLIENT = "client"
    """Messages of the client alone."""
    BOTH = "both"
    """Messages of the client, and messages that were posted to it."""
