"""Fakes for tests of Hangup and of code that uses it: everything in memory, nothing patched.

    world = FakeAws()
    world.add_connection("c1")
    with world.recording():
        handler(event, context)  # under @tracks_activity: it writes to this world
    world.clock.advance(seconds=121)
    world.run_sweep()
    assert world.gateway.open_ids == set()

The fakes keep to the same contract suite as the adapters (``tests/contract``), so what holds here
holds against DynamoDB. They do not store anything: everything is lost with the object.
"""

from hangup.testing.connections import InMemoryConnections
from hangup.testing.fake_aws import FakeAws
from hangup.testing.faults import Faults, Observer
from hangup.testing.queues import InMemoryCloseQueue, InMemoryDeadLetters, Received
from hangup.testing.services import (
    START_MS,
    FakeClock,
    InMemoryFunctions,
    InMemoryGateway,
    RecordingLog,
    RecordingMetrics,
    Sequential,
)
from hangup.testing.sessions import InMemoryConsistencyStore, InMemorySessions
from hangup.testing.state_table import InMemoryStates

__all__ = [
    "START_MS",
    "FakeAws",
    "FakeClock",
    "Faults",
    "InMemoryCloseQueue",
    "InMemoryConnections",
    "InMemoryConsistencyStore",
    "InMemoryDeadLetters",
    "InMemoryFunctions",
    "InMemoryGateway",
    "InMemorySessions",
    "InMemoryStates",
    "Observer",
    "Received",
    "RecordingLog",
    "RecordingMetrics",
    "Sequential",
]
