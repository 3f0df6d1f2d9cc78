"""Hang up on idle Amazon API Gateway WebSocket connections, and clean up after them once."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hangup.aws.conditions import attribute_exists, begins_with, equals
    from hangup.aws.schema import TableSchema
    from hangup.handlers.tracks_activity import tracks_activity

__all__ = [
    "TableSchema",
    "__version__",
    "attribute_exists",
    "begins_with",
    "equals",
    "tracks_activity",
]

__version__ = "0.1.0"

_HOMES = {
    "TableSchema": "hangup.aws.schema",
    "attribute_exists": "hangup.aws.conditions",
    "begins_with": "hangup.aws.conditions",
    "equals": "hangup.aws.conditions",
    "tracks_activity": "hangup.handlers.tracks_activity",
}


def __getattr__(name: str) -> object:
    # Loaded when asked for: most of the package does without the adapters.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
