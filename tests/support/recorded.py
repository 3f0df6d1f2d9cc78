"""Events in the shape in which AWS sends them, from the files beside this one.

``connect``, ``message`` and ``disconnect`` are what API Gateway sends to the functions of a
WebSocket API's routes, ``scheduled`` is what an EventBridge rule with a schedule sends.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["CONNECTION_ID", "recorded"]

CONNECTION_ID = "OAZwIfJdDoECE6A="
"""The connection that the three WebSocket events are about."""

_EVENTS = Path(__file__).parents[1] / "events"


def recorded(name: str) -> dict[str, Any]:
    """Return a new copy of the event."""
    event = json.loads((_EVENTS / f"{name}.json").read_text())
    assert isinstance(event, dict)
    return event
