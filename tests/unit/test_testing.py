"""What ``hangup.testing`` offers to an application's own tests."""

import re
import sys
from typing import Any

import pytest

from examples.chat import routes
from hangup.aws.schema import TableSchema
from hangup.core.connection import DurationMs
from hangup.handlers.tracks_activity import tracks_activity
from hangup.testing import START_MS, FakeAws
from tests.support.documents import page
from tests.support.recorded import CONNECTION_ID, recorded


@tracks_activity
def handler(_event: object, _context: object) -> str:
    return "handled"


def test_the_documented_example_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(
        r"```python\n(from hangup\.testing.*?)```", page("guides/testing"), re.DOTALL
    )
    monkeypatch.setitem(sys.modules, "routes", routes)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own page
    names["test_a_silent_client_is_closed"]()


def test_a_decorated_handler_records_in_the_world_and_no_longer_than_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONNECTIONS_TABLE", "x")  # malformed: to be read after the world is left
    world = FakeAws()
    world.add_connection(CONNECTION_ID)
    now_ms = world.clock.advance(seconds=7)
    with world.recording():
        assert handler(recorded("message"), None) == "handled"
    record = world.record_of(CONNECTION_ID)
    assert record is not None
    assert (record.connected_at_ms, record.last_activity_ms) == (START_MS, now_ms)
    with pytest.raises(Exception, match="CONNECTIONS_TABLE must be"):
        handler(recorded("message"), None)


def test_coalesces_when_told_to() -> None:
    world = FakeAws()
    world.add_connection(CONNECTION_ID)
    with world.recording(resolution_s=10):
        handler(recorded("message"), None)
        world.clock.advance(seconds=9)
        handler(recorded("message"), None)
    record = world.record_of(CONNECTION_ID)
    assert record is not None
    assert record.last_activity_ms == START_MS


def test_a_sweep_closes_after_the_timeout_and_not_at_it() -> None:
    world = FakeAws()
    world.add_connection("c1")
    world.clock.advance(seconds=120)
    assert world.run_sweep().closes.closed == 0
    world.clock.sleep(DurationMs(1))
    assert world.run_sweep().closes.closed == 1
    assert world.metrics.total("ConnectionsClosed") == 1
    assert world.record_of("nobody") is None


def test_takes_items_of_a_table_whose_attributes_are_called_otherwise() -> None:
    world = FakeAws(schema=TableSchema(connection_id="id", last_activity="lastSeen"))
    world.gateway.open("c1")
    world.connections.put_item({"id": {"S": "c1"}, "lastSeen": {"N": str(START_MS)}})
    world.clock.advance(seconds=120)
    assert world.run_sweep().closes.closed == 0
    world.clock.sleep(DurationMs(1))
    assert world.run_sweep().closes.closed == 1
