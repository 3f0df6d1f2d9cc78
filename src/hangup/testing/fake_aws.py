"""All fakes as one world, and what an application's own tests do in it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.state_table import StateTableConnections
from hangup.core.connection import Connection, DurationMs, RecordedTime
from hangup.core.events import GatewayAddress
from hangup.core.guard import Activity
from hangup.core.pacing import Pace
from hangup.core.policy import IdlePolicy
from hangup.core.report import SweepReport
from hangup.idle.closer import Closer
from hangup.idle.guard import Confirmer, Watch
from hangup.idle.pacer import Pacer
from hangup.idle.sweep import Sweep
from hangup.testing.connections import InMemoryConnections
from hangup.testing.faults import Faults
from hangup.testing.queues import InMemoryCloseQueue, InMemoryDeadLetters
from hangup.testing.services import (
    FakeClock,
    InMemoryFunctions,
    InMemoryGateway,
    RecordingLog,
    RecordingMetrics,
    Sequential,
)
from hangup.testing.sessions import InMemoryConsistencyStore, InMemorySessions
from hangup.testing.state_table import InMemoryStates

if TYPE_CHECKING:
    from hangup.ports import ConnectionsRepository

_ADDRESS = GatewayAddress(
    domain_name="a1b2c3.execute-api.us-east-1.amazonaws.com", stage="test", api_id="a1b2c3"
)
_A_MINUTE = DurationMs(60_000)


class FakeAws:
    """All fakes, wired to one another and to one set of faults.

    ``schema`` is that of the items of ``connections.put_item``. Set ``activity`` to ``gateway`` for
    sweeps whose source of activity is API Gateway's account (``gateway.active_ms``). With
    ``state_table``, sweeps write their state to ``states`` and not to ``connections``;
    ``repository`` has both.
    """

    def __init__(  # noqa: PLR0913 - keywords for what a test may want another of
        self,
        faults: Faults | None = None,
        clock: FakeClock | None = None,
        metrics: RecordingMetrics | None = None,
        log: RecordingLog | None = None,
        schema: TableSchema = DEFAULT_SCHEMA,
        *,
        state_table: bool = False,
    ) -> None:
        self.faults = faults or Faults()
        self.clock = clock or FakeClock()
        self.metrics = metrics or RecordingMetrics()
        self.log = log or RecordingLog()
        self.schema = schema
        self.activity: str = Activity.RECORDED
        self.connections = InMemoryConnections(
            self.faults, schema=schema, has_state=not state_table
        )
        self.states = InMemoryStates(self.faults)
        self.repository: ConnectionsRepository = self.connections
        if state_table:
            self.repository = StateTableConnections(self.connections, self.states, schema.table_key)
        self.sessions = InMemorySessions(self.connections, self.faults)
        self.gateway = InMemoryGateway(self.faults, self.clock)
        self.functions = InMemoryFunctions(self.faults)
        self.store = InMemoryConsistencyStore(self.connections, self.sessions, self.faults)
        self.dead_letters = InMemoryDeadLetters(self.faults)
        self.close_queue = InMemoryCloseQueue(self.clock, self.faults)

    def add_connection(self, connection_id: str) -> None:
        """Open a socket, and put it on record as an application's ``$connect`` does: now."""
        self.gateway.open(connection_id)
        self.gateway.active_ms[connection_id] = self.clock.now_ms()
        self.connections.put(
            Connection(connection_id=connection_id, connected_at_ms=self.clock.now_ms())
        )

    def record_of(self, connection_id: str) -> Connection | None:
        """Return the record of a connection, ``None`` if there is none."""
        record = self.connections.records.get(connection_id)
        return None if record is None else record.connection

    def recording(self, *, resolution_s: int = 0) -> AbstractContextManager[None]:
        """Let handlers under ``@tracks_activity`` record in this world, as a context manager.

        ``resolution_s`` is what ``ACTIVITY_RESOLUTION_SECONDS`` would be, seconds.
        """
        # Here, because it loads botocore, and most tests of the rules need none.
        from hangup.handlers.tracks_activity import Recorder, recording_by  # noqa: PLC0415

        return recording_by(Recorder(self.connections, self.clock, DurationMs(resolution_s * 1000)))

    def make_closer(self, **overrides: Any) -> Closer:  # noqa: ANN401 - fields of Closer
        """Return a closer on these fakes, without a pace. ``overrides`` are its fields."""
        fields: dict[str, Any] = {
            "connections": self.repository,
            "gateway": self.gateway,
            "functions": self.functions,
            "clock": self.clock,
            "log": self.log,
            "address": _ADDRESS,
            "pacer": Pacer(clock=self.clock, pace=Pace(0)),
            "confirmer": self.make_confirmer(),
            "metric_roles": frozenset(("speaker", "listener")),
        }
        return Closer(**(fields | overrides))

    def make_confirmer(self, *, counts_both: bool = False) -> Confirmer:
        """Return what asks this world's API Gateway; ``counts_both`` is whether that is settled."""
        return Confirmer(
            gateway=self.gateway,
            clock=self.clock,
            counts_both=counts_both,
            activity=Activity(self.activity),
            records_end=self.schema.table_key.has_id,
        )

    def make_sweep(
        self,
        *,
        idle_timeout_s: int = 120,
        idle_timeouts_by_role_s: Mapping[str, int] | None = None,
        **overrides: Any,  # noqa: ANN401 - fields of Sweep
    ) -> Sweep:
        """Return a sweep on these fakes, with the construct's defaults and without a pace.

        The timeouts are in seconds, 1 or more. ``overrides`` are the sweep's fields.
        """
        by_role_s = idle_timeouts_by_role_s or {}
        policy = IdlePolicy(
            idle_timeout_ms=DurationMs(idle_timeout_s * 1000),
            activity_resolution_ms=DurationMs(0),
            by_role={role: DurationMs(seconds * 1000) for role, seconds in by_role_s.items()},
        )
        closer = overrides.get("closer") or self.make_closer()
        policy = overrides.get("policy") or policy
        fields: dict[str, Any] = {
            "closer": closer,
            "watch": Watch(
                connections=closer.connections, confirmer=closer.confirmer, policy=policy
            ),
            "metrics": self.metrics,
            "policy": policy,
            "questions": Pacer(clock=self.clock, pace=Pace(0)),
            "times": {time: self.schema.time_attribute(time) for time in RecordedTime},
            "total_segments": 1,
            "concurrency": Sequential(),
        }
        return Sweep(**(fields | overrides))

    def run_sweep(
        self, *, idle_timeout_s: int = 120, idle_timeouts_by_role_s: Mapping[str, int] | None = None
    ) -> SweepReport:
        """Run one sweep with the construct's defaults and without a pace; return its counts.

        The timeouts are in seconds, 1 or more. What it hands over to the disconnect handler is in
        ``functions.events``, in order. Raises SweepFailed if a planned fault left work.
        """
        sweep = self.make_sweep(
            idle_timeout_s=idle_timeout_s, idle_timeouts_by_role_s=idle_timeouts_by_role_s
        )
        return sweep.check_and_close_idle_connections(
            time_left_ms=lambda: _A_MINUTE, correlation_id="sweep"
        )
