"""Whether a demo went as promised: what clients saw, what the tables hold, what metrics say."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.runtime import calls
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import TimeoutReason
from hangup.local.demo.clients import Client
from hangup.local.demo.story import Check
from hangup.local.deploy import Deployment
from hangup.local.ministack.engine import Engine, comes_true
from hangup.sessions.model import Role

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

IDLE_TIMEOUT_S: Final = 4

_NORMAL_CLOSE: Final = 1000
_MAX_LATENESS_MS: Final = 4_000
"""For a cold start, of all functions at once."""
_NOTICE_MEMBERS: Final = {"type", "message", "idleSeconds", "timestamp"}


# Cleanup and metrics follow the close asynchronously: so long a check waits until it holds.
_settles = partial(comes_true, within_s=10.0)


@dataclass(slots=True, kw_only=True)
class Observation:
    """The clients by what becomes of them, and what was seen.

    ``silent`` fall silent after a while; ``notified`` talk until their session ends, because its
    speaker is closed; ``talking`` are the rest. ``answered`` are those whose last heartbeat was
    acknowledged. ``sweeps`` are the counts of each sweep.
    """

    silent: Sequence[Client]
    notified: Sequence[Client]
    talking: Sequence[Client]
    answered: Collection[Client] = ()
    sweeps: list[Mapping[str, Any]] = field(default_factory=list)


def check_demo(engine: Engine, stack: Deployment, seen: Observation) -> list[Check]:
    """Return every promise of the demo and whether it was kept."""
    return [
        *_of_clients(seen),
        *_of_tables(engine, stack, seen),
        *_of_metrics(Metrics(engine, stack), seen, has_queue="CloseQueueUrl" in stack.outputs),
    ]


def _of_clients(seen: Observation) -> Iterator[Check]:
    yield (
        f"each of the {len(seen.silent)} silent clients got exactly the notice, and was closed",
        all(_was_timed_out(client) for client in seen.silent),
    )
    yield (
        (
            f"each of the {len(seen.notified)} listeners of the ended session was notified, got no"
            " timeout notice, and was closed"
        ),
        all(_was_notified(client) for client in seen.notified),
    )
    yield (
        f"each of the {len(seen.talking)} talking clients is still there and answered",
        all(
            client.is_open and client in seen.answered and not client.messages("connectionTimeout")
            for client in seen.talking
        ),
    )


def _was_timed_out(client: Client) -> bool:
    notices = client.messages("connectionTimeout")
    if len(notices) != 1 or client.silent_since_ms is None:
        return False
    notice = notices[0]
    idle_s, at_ms = notice.get("idleSeconds"), notice.get("timestamp")
    return (
        set(notice) == _NOTICE_MEMBERS
        and notice["message"] == "Connection closed due to inactivity"
        and isinstance(idle_s, int)
        and idle_s >= IDLE_TIMEOUT_S
        and isinstance(at_ms, int)
        # Not before the timeout after the last message, which may have arrived a moment later.
        and at_ms > client.silent_since_ms + IDLE_TIMEOUT_S * 1000 - 1000 * client.interval_s
        and client.received[-1] == notice
        and client.close_code == _NORMAL_CLOSE
    )


def _was_notified(client: Client) -> bool:
    ended = client.messages("sessionEnded")
    return (
        [message.get("sessionId") for message in ended] == [client.session_id]
        and not client.messages("connectionTimeout")
        and client.close_code == _NORMAL_CLOSE
    )


def _of_tables(engine: Engine, stack: Deployment, seen: Observation) -> Iterator[Check]:
    dynamodb, tables = engine.client("dynamodb"), stack.outputs
    connections = DynamoDbConnections(dynamodb, calls, tables["ConnectionsTable"])
    sessions = DynamoDbSessions(
        dynamodb,
        calls,
        connections_table=tables["ConnectionsTable"],
        sessions_table=tables["SessionsTable"],
    )
    remaining = sorted((client.session_id, str(client.role)) for client in seen.talking)

    def only_those_remain() -> bool:
        found = connections.scan_all_connections()
        return sorted((str(c.session_id), str(c.role)) for c in found) == remaining

    yield (
        f"the connections table holds those {len(seen.talking)} and nobody else",
        _settles(only_those_remain),
    )
    everybody = [*seen.silent, *seen.notified, *seen.talking]
    for session_id in sorted({client.session_id for client in everybody}):
        active = (session_id, str(Role.SPEAKER)) in remaining
        listeners = remaining.count((session_id, str(Role.LISTENER)))
        yield (
            f"session {session_id}: {'active' if active else 'ended'}, {listeners} listeners",
            _settles(partial(_session_is, sessions, session_id, (active, listeners))),
        )


def _session_is(sessions: DynamoDbSessions, session_id: str, expected: tuple[bool, int]) -> bool:
    session = sessions.get(session_id)
    return session is not None and expected == (
        session.is_active,
        sessions.count_listeners(session_id),
    )


def _of_metrics(metrics: "Metrics", seen: Observation, *, has_queue: bool) -> Iterator[Check]:
    closed = len(seen.silent)
    yield _total(metrics, closed, "ConnectionsClosed")
    for role in (Role.SPEAKER, Role.LISTENER):
        count = sum(client.role is role for client in seen.silent)
        yield _total(
            metrics,
            count,
            "ConnectionTimeout",
            Role=str(role),
            Reason=str(TimeoutReason.IDLE_TIMEOUT),
        )
    detected = "IdleConnectionsDetected"
    by_sweeps = {"ClosesScheduled": "queued"} if has_queue else {detected: "idle"}
    sums = {
        name: sum(sweep[count] for sweep in seen.sweeps)
        for name, count in {"ConnectionsChecked": "checked", **by_sweeps}.items()
    }
    yield (
        f"metrics {' and '.join(sums)} add up to the sweeps' own",
        _settles(lambda: all(metrics.total(name) == expected for name, expected in sums.items())),
    )
    if has_queue:
        yield _total(metrics, closed, detected)
        yield (
            f"metric CloseLateness has {closed} values",
            _settles(lambda: metrics.samples("CloseLateness") == closed),
        )
        latest_ms = metrics.maximum("CloseLateness")
        yield (
            f"the last of them was closed {latest_ms:.0f} ms after its deadline",
            0 < latest_ms <= _MAX_LATENESS_MS,
        )


def _total(metrics: "Metrics", expected: int, name: str, **dimensions: str) -> Check:
    which = ", ".join(f"{key}={value}" for key, value in dimensions.items())
    return (
        f"metric {name} says {expected}" + (f" for {which}" if which else ""),
        _settles(lambda: metrics.total(name, **dimensions) == expected),
    )


class Metrics:
    """A stack's metrics in the engine's CloudWatch."""

    def __init__(self, engine: Engine, stack: Deployment) -> None:
        self._namespace = stack.outputs["MetricsNamespace"]
        self._client: CloudWatchClient = engine.client("cloudwatch")

    def total(self, name: str, **dimensions: str) -> int:
        """Return the sum of a metric over the last hour."""
        return round(sum(self._points("Sum", name, dimensions)))

    def samples(self, name: str, **dimensions: str) -> int:
        """Return how many values a metric had in the last hour."""
        return round(sum(self._points("SampleCount", name, dimensions)))

    def maximum(self, name: str, **dimensions: str) -> float:
        """Return the largest value of a metric in the last hour, 0 if it had none."""
        return max(self._points("Maximum", name, dimensions), default=0.0)

    def _points(
        self,
        statistic: Literal["Sum", "SampleCount", "Maximum"],
        name: str,
        dimensions: Mapping[str, str],
    ) -> list[float]:
        now = datetime.now(UTC)
        answer = self._client.get_metric_statistics(
            Namespace=self._namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=[statistic],
        )
        return [point[statistic] for point in answer["Datapoints"]]
