"""The sweep, wired to AWS by its settings: for the function, and for whoever sweeps by hand."""

from hangup.aws.http.choice import concurrency
from hangup.aws.schema import schema_of
from hangup.config import IDLE_TIMEOUTS_BY_ROLE, TABLE_SCHEMA, TimeoutSettings
from hangup.core.connection import RecordedTime
from hangup.core.timing import CLOSES_IN_FLIGHT
from hangup.errors import ConfigurationError
from hangup.handlers.wiring import closer_of, questions_of
from hangup.idle.guard import Watch
from hangup.idle.sweep import Sweep
from hangup.ports import CloseQueue, Log, Metrics


def sweep_of(
    settings: TimeoutSettings, *, log: Log, metrics: Metrics, close_queue: CloseQueue | None = None
) -> Sweep:
    """Return the sweep of this process. Raises ``ConfigurationError``."""
    schema = schema_of(settings.table_schema)
    if settings.policy.by_role and schema.role is None:
        raise ConfigurationError(
            f"{IDLE_TIMEOUTS_BY_ROLE.name} needs an attribute for the role, and this"
            f" {TABLE_SCHEMA.name} has none"
        )
    closer = closer_of(settings, schema, log=log)
    return Sweep(
        closer=closer,
        watch=Watch(
            connections=closer.connections, confirmer=closer.confirmer, policy=settings.policy
        ),
        metrics=metrics,
        policy=settings.policy,
        questions=questions_of(settings),
        times={time: schema.time_attribute(time) for time in RecordedTime},
        records_decide=schema.records_decide,
        total_segments=settings.total_segments,
        concurrency=concurrency(CLOSES_IN_FLIGHT),
        close_queue=close_queue,
    )
