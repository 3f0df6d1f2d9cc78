"""Fakes for tests of Hangup and of code that uses it: everything in memory, nothing patched.

    world = InMemoryWorld()
    world.gateway.open("c1")
    world.sessions.join(Connection(connection_id="c1", ...))

The fakes keep to the same contract suite as the adapters (``tests/contract``), so what holds here
holds against DynamoDB. They are no stores: everything is lost with the object.
"""

from dataclasses import dataclass, field

from hangup.testing.connections import InMemoryConnections
from hangup.testing.due import InMemoryDueQueue, Received
from hangup.testing.faults import Faults, Observer
from hangup.testing.outside import (
    START_MS,
    FakeClock,
    InMemoryFunctions,
    InMemoryGateway,
    RecordingLog,
    RecordingMetrics,
)
from hangup.testing.sessions import InMemorySessions
from hangup.testing.upkeep import InMemoryAudit, InMemoryDeadLetters

__all__ = [
    "START_MS",
    "FakeClock",
    "Faults",
    "InMemoryAudit",
    "InMemoryConnections",
    "InMemoryDeadLetters",
    "InMemoryDueQueue",
    "InMemoryFunctions",
    "InMemoryGateway",
    "InMemorySessions",
    "InMemoryWorld",
    "Observer",
    "Received",
    "RecordingLog",
    "RecordingMetrics",
]


@dataclass(slots=True)
class InMemoryWorld:
    """All fakes, wired to one another and to one set of faults."""

    faults: Faults = field(default_factory=Faults)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)
    log: RecordingLog = field(default_factory=RecordingLog)
    connections: InMemoryConnections = field(init=False)
    sessions: InMemorySessions = field(init=False)
    gateway: InMemoryGateway = field(init=False)
    functions: InMemoryFunctions = field(init=False)
    audit: InMemoryAudit = field(init=False)
    dead_letters: InMemoryDeadLetters = field(init=False)
    due_queue: InMemoryDueQueue = field(init=False)

    def __post_init__(self) -> None:
        self.connections = InMemoryConnections(self.faults)
        self.sessions = InMemorySessions(self.connections, self.faults)
        self.gateway = InMemoryGateway(self.faults)
        self.functions = InMemoryFunctions(self.faults)
        self.audit = InMemoryAudit(self.connections, self.sessions, self.faults)
        self.dead_letters = InMemoryDeadLetters(self.faults)
        self.due_queue = InMemoryDueQueue(self.clock, self.faults)
