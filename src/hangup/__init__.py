"""Hang up on idle Amazon API Gateway WebSocket connections, and clean up after them once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hangup.handlers.tracks_activity import tracks_activity

__all__ = ["__version__", "tracks_activity"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Only when asked for: it loads the adapters, which most of the package does without.
    if name == "tracks_activity":
        from hangup.handlers.tracks_activity import tracks_activity  # noqa: PLC0415

        return tracks_activity
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
