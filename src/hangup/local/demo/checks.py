"""Whether a demo went as promised: what clients saw, what the tables hold, what metrics say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.runtime import calls
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import TimeoutReason
from hangup.core.report import NAMESPACE
from hangup.local.demo.clients import Client
from hangup.local.deploy import Deployment
from hangup.local.ministack.engine import Engine
from hangup.local.waiting import comes_true
from hangup.sessions.model import Role

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_SETTLE_S: Final = 10.0
"""Cleanup and metrics follow the close asynchronously: how long a check waits until it holds."""
_NORMAL_CLOSE: Final = 1000
_MAX_LATENESS_MS: Final = 4_000
"""For a cold start, of all functions at once."""
_NOTICE_MEMBERS: Final = {"type", "message", "idleSeconds", "timestamp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, in words, and whether it was kept."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Who did what, and what was seen from the clients' side.

    ``silent`` fell silent; ``notified`` were talking in a session that ended; ``talking`` are the
    rest. ``still_there`` says for each open client whether a last heartbeat was answered.
    """

    idle_timeout_s: int
    silent: Sequence[Client]
    notified: Sequence[Client]
    talking: Sequence[Client]
    still_there: Mapping[str, bool]
    sweeps: Sequence[Mapping[str, Any]]


def check_demo(engine: Engine, stack: Deployment, seen: Observation) -> list[Check]:
    """Return every promise of the demo and whether it was kept."""
    metrics = Metrics(engine)
    of_metrics = _of_queue if stack.close_queue_url else _of_sweeps
    return [
        *_of_clients(seen),
        *_of_tables(engine, stack, seen),
        *_of_closes(metrics, seen),
        *of_metrics(metrics, seen),
    ]


def _of_clients(seen: Observation) -> Iterator[Check]:
    yield Check(
        text=f"each of the {len(seen.silent)} silent clients got exactly the notice, and was"
        " closed",
        holds=all(_was_timed_out(client, seen.idle_timeout_s) for client in seen.silent),
    )
    yield Check(
        text=f"each of the {len(seen.notified)} listeners of the ended session was notified, got"
        " no timeout notice, and was closed",
        holds=all(_was_notified(client) for client in seen.notified),
    )
    yield Check(
        text=f"each of the {len(seen.talking)} talking clients is still there and answered",
        holds=all(
            client.is_open
            and seen.still_there.get(client.name)
            and not client.messages("connectionTimeout")
            for client in seen.talking
        ),
    )


def _was_timed_out(client: Client, idle_timeout_s: int) -> bool:
    notices = client.messages("connectionTimeout")
    if len(notices) != 1 or client.silent_since_ms is None:
        return False
    notice = notices[0]
    idle_s, at_ms = notice.get("idleSeconds"), notice.get("timestamp")
    return (
        set(notice) == _NOTICE_MEMBERS
        and notice["message"] == "Connection closed due to inactivity"
        and isinstance(idle_s, int)
        and idle_s >= idle_timeout_s
        and isinstance(at_ms, int)
        # Not before the timeout after the last message, which may have arrived a moment later.
        and at_ms > client.silent_since_ms + idle_timeout_s * 1000 - 1000 * client.interval_s
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
    dynamodb = engine.client("dynamodb")
    connections = DynamoDbConnections(dynamodb, calls, stack.connections_table)
    sessions = DynamoDbSessions(
        dynamodb,
        calls,
        connections_table=stack.connections_table,
        sessions_table=stack.sessions_table,
    )
    remaining = sorted((client.session_id, str(client.role)) for client in seen.talking)

    def only_those_remain() -> bool:
        found = connections.scan_all_connections()
        return sorted((str(c.session_id), str(c.role)) for c in found) == remaining

    yield Check(
        text=f"the connections table holds those {len(seen.talking)} and nobody else",
        holds=_settles(only_those_remain),
    )
    everybody = [*seen.silent, *seen.notified, *seen.talking]
    for session_id in sorted({client.session_id for client in everybody}):
        active = (session_id, str(Role.SPEAKER)) in remaining
        listeners = remaining.count((session_id, str(Role.LISTENER)))
        yield Check(
            text=f"session {session_id}: {'active' if active else 'ended'},"
            f" listenerCount {listeners}",
            holds=_settles(partial(_session_is, sessions, session_id, (active, listeners))),
        )


def _session_is(sessions: DynamoDbSessions, session_id: str, expected: tuple[bool, int]) -> bool:
    session = sessions.get(session_id)
    return session is not None and (session.is_active, session.listener_count) == expected


def _of_closes(metrics: "Metrics", seen: Observation) -> Iterator[Check]:
    yield _metric(metrics, len(seen.silent), "ConnectionsClosed")
    for role in (Role.SPEAKER, Role.LISTENER):
        count = sum(client.role is role for client in seen.silent)
        dimensions = {"Role": str(role), "Reason": str(TimeoutReason.IDLE_TIMEOUT)}
        yield _metric(metrics, count, "ConnectionTimeout", dimensions)


def _metric(
    metrics: "Metrics", expected: int, name: str, dimensions: Mapping[str, str] | None = None
) -> Check:
    which = ", ".join(f"{key}={value}" for key, value in (dimensions or {}).items())
    return Check(
        text=f"metric {name} says {expected}" + (f" for {which}" if which else ""),
        holds=_settles(lambda: metrics.total(name, **(dimensions or {})) == expected),
    )


def _of_sweeps(metrics: "Metrics", seen: Observation) -> Iterator[Check]:
    yield _add_up(
        metrics, seen, {"ConnectionsChecked": "checked", "IdleConnectionsDetected": "idle"}
    )


def _of_queue(metrics: "Metrics", seen: Observation) -> Iterator[Check]:
    closed = len(seen.silent)
    yield _add_up(metrics, seen, {"ConnectionsChecked": "checked", "ClosesScheduled": "queued"})
    yield _metric(metrics, closed, "IdleConnectionsDetected")
    yield Check(
        text=f"metric CloseLateness has {closed} values",
        holds=_settles(lambda: metrics.samples("CloseLateness") == closed),
    )
    latest_ms = metrics.maximum("CloseLateness")
    yield Check(
        text=f"the last of them was closed {latest_ms:.0f} ms after its deadline",
        holds=0 < latest_ms <= _MAX_LATENESS_MS,
    )


def _add_up(metrics: "Metrics", seen: Observation, counts: Mapping[str, str]) -> Check:
    return Check(
        text=f"metrics {' and '.join(counts)} add up to the sweeps' own",
        holds=_settles(
            lambda: all(
                metrics.total(name) == sum(sweep[count] for sweep in seen.sweeps)
                for name, count in counts.items()
            )
        ),
    )


def _settles(condition: Callable[[], bool]) -> bool:
    return comes_true(condition, within_s=_SETTLE_S)


class Metrics:
    """Hangup's metrics in the local stack's CloudWatch."""

    def __init__(self, engine: Engine) -> None:
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
            Namespace=NAMESPACE,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=[statistic],
        )
        return [point[statistic] for point in answer["Datapoints"]]
