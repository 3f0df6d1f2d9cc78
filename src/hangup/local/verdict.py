"""Whether a demo went as promised: what clients saw, what the tables hold, what metrics say."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.runtime import calls
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA
from hangup.core.connection import Connection, TimeoutReason
from hangup.core.report import NAMESPACE
from hangup.local.deploy import Deployment
from hangup.local.engine import Engine
from hangup.local.participants import Participant
from hangup.sessions.model import Role, Session

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["Check", "Metrics", "Observation", "verdict"]

_SETTLE_S: Final = 10.0
"""Cleanup and metrics follow the close asynchronously: look again until it holds, not for ever."""
_POLL_S: Final = 0.2
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

    ``silent`` fell silent; ``told`` were talking in a session that ended; ``talking`` are the
    rest. ``still_there`` says for each open client whether a last heartbeat was answered.
    """

    idle_timeout_s: int
    silent: Sequence[Participant]
    told: Sequence[Participant]
    talking: Sequence[Participant]
    still_there: Mapping[str, bool]
    sweeps: Sequence[Mapping[str, Any]]


def verdict(engine: Engine, stack: Deployment, seen: Observation) -> list[Check]:
    """Return every promise of the demo and whether it was kept."""
    tables = _Tables(engine, stack)
    closed = len(seen.silent)
    by_role = {
        role: sum(person.role is role for person in seen.silent)
        for role in (Role.SPEAKER, Role.LISTENER)
    }
    metrics = Metrics(engine)
    survivors = {(p.session_id, p.role) for p in seen.talking}

    def only_survivors() -> bool:
        found = tables.connections()
        return len(found) == len(seen.talking) and survivors == {
            (connection.session_id, connection.role) for connection in found
        }

    def metric_is(expected: int, name: str, dimensions: Mapping[str, str]) -> bool:
        return metrics.total(name, **dimensions) == expected

    return [
        Check(
            text=f"each of the {closed} silent clients got exactly the notice, and was closed",
            holds=all(_was_hung_up_on(p, seen.idle_timeout_s) for p in seen.silent),
        ),
        Check(
            text=f"each of the {len(seen.told)} listeners of the session that ended was told so,"
            " got no notice, and was closed",
            holds=all(_was_told(p) for p in seen.told),
        ),
        Check(
            text=f"each of the {len(seen.talking)} talking clients is still there and answered",
            holds=all(p.is_open and seen.still_there.get(p.name) for p in seen.talking)
            and not any(p.messages("connectionTimeout") for p in seen.talking),
        ),
        Check(
            text=f"the connections table holds those {len(seen.talking)} and nobody else",
            holds=_settles(only_survivors),
        ),
        *(
            Check(
                text=f"session {name}: {'active' if active else 'ended'}, listenerCount {count}",
                holds=_settles(tables.session_is, name, active, count),
            )
            for name, active, count in _expected_sessions(seen)
        ),
        Check(
            text=f"metric ConnectionsClosed says {closed}",
            holds=_settles(metric_is, closed, "ConnectionsClosed", {}),
        ),
        *(
            Check(
                text=f"metric ConnectionTimeout says {count} for Role={role}, Reason=IDLE_TIMEOUT",
                holds=_settles(
                    metric_is,
                    count,
                    "ConnectionTimeout",
                    {"Role": str(role), "Reason": str(TimeoutReason.IDLE_TIMEOUT)},
                ),
            )
            for role, count in by_role.items()
        ),
        *(_of_queue(metrics, seen) if stack.close_queue_url else _of_sweeps(metrics, seen)),
    ]


def _of_sweeps(metrics: "Metrics", seen: Observation) -> list[Check]:
    return [
        Check(
            text="metrics ConnectionsChecked and IdleConnectionsDetected add up to the sweeps' own",
            holds=_add_up(metrics, seen, "ConnectionsChecked", "checked")
            and _add_up(metrics, seen, "IdleConnectionsDetected", "idle"),
        )
    ]


def _of_queue(metrics: "Metrics", seen: Observation) -> list[Check]:
    closed = len(seen.silent)
    return [
        Check(
            text="metrics ConnectionsChecked and ClosesScheduled add up to the sweeps' own",
            holds=_add_up(metrics, seen, "ConnectionsChecked", "checked")
            and _add_up(metrics, seen, "ClosesScheduled", "queued"),
        ),
        Check(
            text=f"metric IdleConnectionsDetected says {closed}",
            holds=_settles(lambda: metrics.total("IdleConnectionsDetected") == closed),
        ),
        Check(
            text=f"metric CloseLateness has {closed} values",
            holds=_settles(lambda: metrics.samples("CloseLateness") == closed),
        ),
        Check(
            text=f"the last of them was closed {metrics.maximum('CloseLateness'):.0f} ms after its"
            " deadline",
            holds=0 < metrics.maximum("CloseLateness") <= _MAX_LATENESS_MS,
        ),
    ]


def _add_up(metrics: "Metrics", seen: Observation, name: str, count: str) -> bool:
    expected = sum(sweep[count] for sweep in seen.sweeps)
    return _settles(lambda: metrics.total(name) == expected)


def _was_hung_up_on(person: Participant, idle_timeout_s: int) -> bool:
    notices = person.messages("connectionTimeout")
    if len(notices) != 1 or person.silent_since_ms is None:
        return False
    notice = notices[0]
    idle_s, at_ms = notice.get("idleSeconds"), notice.get("timestamp")
    return (
        set(notice) == _NOTICE_MEMBERS
        and notice["message"] == "Connection closed due to inactivity"
        and isinstance(idle_s, int)
        and idle_s >= idle_timeout_s
        and isinstance(at_ms, int)
        # Not before the timeout after the last word, whose arrival may be a moment later.
        and at_ms > person.silent_since_ms + idle_timeout_s * 1000 - 1000 * person.interval_s
        and person.received[-1] == notice
        and person.close_code == _NORMAL_CLOSE
    )


def _was_told(person: Participant) -> bool:
    ended = person.messages("sessionEnded")
    return (
        [message.get("sessionId") for message in ended] == [person.session_id]
        and not person.messages("connectionTimeout")
        and person.close_code == _NORMAL_CLOSE
    )


def _expected_sessions(seen: Observation) -> list[tuple[str, bool, int]]:
    everybody = [*seen.silent, *seen.told, *seen.talking]
    return [
        (
            name,
            any(p.session_id == name and p.role is Role.SPEAKER for p in seen.talking),
            sum(p.session_id == name and p.role is Role.LISTENER for p in seen.talking),
        )
        for name in sorted({person.session_id for person in everybody})
    ]


def _settles(condition: Callable[..., bool], *arguments: object) -> bool:
    deadline = time.monotonic() + _SETTLE_S
    while not condition(*arguments):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


class _Tables:
    def __init__(self, engine: Engine, stack: Deployment) -> None:
        self._client: DynamoDBClient = engine.client("dynamodb")
        self._stack = stack

    def connections(self) -> list[Connection]:
        table = DynamoDbConnections(self._client, calls, self._stack.connections_table)
        return list(table.scan_all_connections())

    def session_is(self, session_id: str, active: object, listener_count: int) -> bool:
        session = self._session(session_id)
        return (
            session is not None
            and session.is_active == active
            and session.listener_count == listener_count
        )

    def _session(self, session_id: str) -> Session | None:
        item = self._client.get_item(
            TableName=self._stack.sessions_table, Key=DEFAULT_SESSION_SCHEMA.key(session_id)
        ).get("Item")
        return None if item is None else DEFAULT_SESSION_SCHEMA.decode(item)


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
