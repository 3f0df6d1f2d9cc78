"""A sweep by hand: the function's own code, here, with the caller's credentials.

A dry run decides and asks as the function does in the mode ``observe``: it writes and closes
nothing. Neither kind counts in the metrics of the deployment.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast
from uuid import uuid4

from hangup.aws.runtime import deadline
from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.config import MODE, TimeoutSettings
from hangup.core.connection import Connection, EpochMs
from hangup.core.guard import Hold
from hangup.core.outcomes import CloseResult
from hangup.core.report import CloseStatus, Metric, SweepReport
from hangup.errors import ConfigurationError, SweepFailed
from hangup.handlers.sweeping import sweep_of
from hangup.ops.deployment_file import Deployment, as_parameter
from hangup.ports import ConnectionsRepository, ScanPage

_IGNORED: Final = "ignored records that are not connections"
_UNREADABLE: Final = "skipped records with invalid timestamps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sweep decided about one connection, and why, in words.

    ``idle_ms`` is how long it has been silent by what is on record, None where that is unknown.
    """

    connection_id: str
    role: str | None
    idle_ms: int | None
    decision: str
    why: str
    error: str | None = None

    def as_json(self) -> Mapping[str, object]:
        """Return it for programs."""
        return {
            "connectionId": self.connection_id,
            "role": self.role,
            "idleMs": self.idle_ms,
            "decision": self.decision,
            "why": self.why,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep by hand came to.

    ``failure`` is what kept it from being complete. ``unanswered`` says that API Gateway gave no
    answer about some connections, which stay open; the others can be closed.
    """

    verdicts: Sequence[Verdict]
    report: SweepReport | None
    failure: str | None
    unanswered: str | None = None

    @property
    def problem(self) -> str | None:
        """What is to be said in the end, and makes the command fail."""
        return self.failure or self.unanswered


_WORDS: Final[Mapping[CloseStatus, tuple[str, str]]] = {
    CloseStatus.WOULD_CLOSE: ("close", "silent on record, and by API Gateway's account"),
    CloseStatus.CLOSED: ("closed", "silent on record, and by API Gateway's account"),
    CloseStatus.ALREADY_GONE: ("handed over", "API Gateway does not know it any more"),
    CloseStatus.ACTIVE: ("left", "active by API Gateway's account, though not on record"),
    CloseStatus.KEPT: ("left", "active by API Gateway's account"),
    CloseStatus.NOT_YET: ("left", "idle in a moment by API Gateway's account"),
    CloseStatus.HELD: (
        "left",
        "active by API Gateway's account; a sweep from here cannot tell why",
    ),
    CloseStatus.UNCONFIRMED: ("left", "API Gateway did not say whether it is active"),
    CloseStatus.IGNORED: ("ignored", "API Gateway calls its id invalid"),
    CloseStatus.CLAIM_LOST: ("left", "it spoke, left, or is being closed by another sweep"),
    CloseStatus.CLAIM_FAILED: ("failed", "it could not be claimed"),
    CloseStatus.CLOSE_FAILED: ("failed", "it could not be closed"),
    CloseStatus.HANDOVER_FAILED: ("failed", "its cleanup could not be started"),
}

_NOT_WATCHED: Final = (
    "some are left that API Gateway saw active: a sweep from here has not watched whether activity"
    " is being recorded, as the deployed function has; --override-guard goes by the records alone"
)

_GONE: Final = ("hand over", "API Gateway does not know it any more")


class _NoMetrics:
    """``Metrics`` that nobody sees."""

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Put nothing anywhere."""


@dataclass(slots=True)
class _Lines:
    """``Log`` that keeps what is of interest afterwards."""

    fields: dict[str, dict[str, object]] = field(default_factory=dict)

    def info(self, event: str, **fields: object) -> None:
        """Keep the fields of a line."""
        self.fields[event] = fields

    warning = error = info


class _Watched:
    """A repository that tells how many records were read."""

    def __init__(self, inner: ConnectionsRepository, read: Callable[[int], None]) -> None:
        self._inner = inner
        self._read = read
        self._checked = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the other has
        return getattr(self._inner, name)

    def scan_candidates(self, **about: Any) -> Iterator[ScanPage]:  # noqa: ANN401 - likewise
        """Yield the pages of a segment."""
        for page in self._inner.scan_candidates(**about):
            self._checked += page.scanned_count
            self._read(self._checked)
            yield page


def sweep(
    environment: Mapping[str, str],
    *,
    acts: bool,
    most: int | None = None,
    override_guard: bool = False,
    read: Callable[[int], None],
) -> Swept:
    """Sweep the table of a deployment, once.

    ``environment`` is that of its timeout function. Without ``acts`` nothing is written or closed.
    ``most`` bounds the closes. ``read`` hears how many records were read. Raises
    ``ConfigurationError``, ``BackendError`` and ``InvalidRequest``.
    """
    settings = TimeoutSettings({**environment, MODE.name: "close" if acts else "observe"})
    lines, witnessed = _Lines(), list[tuple[Connection, CloseResult]]()
    wired = sweep_of(settings, log=lines, metrics=_NoMetrics())
    now_ms = wired.closer.clock.now_ms()
    wired.closer.pacer.most = most
    watched = cast("ConnectionsRepository", _Watched(wired.closer.connections, read))
    ready = replace(
        wired,
        closer=replace(wired.closer, connections=watched),
        witness=lambda connection, result: witnessed.append((connection, result)),
    )
    report = None
    try:
        report = ready.check_and_close_idle_connections(
            time_left_ms=deadline.left_ms,
            correlation_id=str(uuid4()),
            override_guard=override_guard,
        )
        failure = _failure_in(report)
    except SweepFailed as error:
        failure = str(error)
    return Swept(
        verdicts=[*(_verdict(one, result, now_ms) for one, result in witnessed), *_others(lines)],
        report=report,
        failure=failure,
        unanswered=_unanswered([result for _, result in witnessed]),
    )


def _failure_in(report: SweepReport) -> str | None:
    """Return what kept a sweep from being complete."""
    if report.hold is Hold.RECORDING:
        return _NOT_WATCHED
    if report.hold is not None:
        return f"the sweep was held: {report.hold}; {report.hold.advice}"
    if not report.complete:
        return "the sweep did not get to every record that looks idle: run it again"
    return None


def environment_of(
    deployment: Deployment, *, endpoint: str, state_table: str | None
) -> Mapping[str, str]:
    """Return the variables that the timeout function of a deployment has.

    ``endpoint`` is where ``@connections`` is, ``state_table`` the table that has the state, if
    there is one.
    """
    schema = deployment.table_schema
    variables = {
        "API_GATEWAY_ENDPOINT": endpoint,
        "CONNECTIONS_TABLE": deployment["table.name"],
        "DISCONNECT_HANDLER_FUNCTION": deployment["api.disconnect_function"],
        "HAND_OVER": deployment["timeout.hand_over"],
        "MODE": deployment["timeout.mode"],
        "ACTIVITY": deployment["timeout.activity"],
        "LAST_ACTIVE_COUNTS": deployment["timeout.last_active_counts"],
        "CONNECTION_IDLE_TIMEOUT_SECONDS": deployment["timeout.idle_seconds"],
        "IDLE_TIMEOUTS_BY_ROLE": as_parameter(deployment.timeouts_by_role_s),
        "ACTIVITY_RESOLUTION_SECONDS": deployment["timeout.activity_resolution_seconds"],
        "CLOSES_PER_SECOND": deployment["timeout.closes_per_second"],
        "METRIC_ROLES": ",".join(deployment["operation.metric_roles"]),
        "TABLE_SCHEMA": None if schema == DEFAULT_SCHEMA else schema.as_json(),
        "STATE_TABLE": state_table,
    }
    return {name: str(value) for name, value in variables.items() if value not in (None, "")}


def endpoint_of(deployment: Deployment, *, region: str | None) -> str:
    """Return where ``@connections`` of a deployment is. Raises ``ConfigurationError``."""
    said: str | None = deployment["api.endpoint"]
    if said is not None:
        return said
    if region is None:
        raise ConfigurationError(
            "no AWS Region is set: say region in [stack] of hangup.toml, or use --region"
        )
    return own_endpoint_of(deployment, region=region)


def own_endpoint_of(deployment: Deployment, *, region: str) -> str:
    """Return where API Gateway itself has ``@connections`` of a deployment."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"{deployment['api.id']}.execute-api.{region}.{suffix}"
    return f"https://{host}/{deployment['api.stage']}"


def _unanswered(results: Sequence[CloseResult]) -> str | None:
    errors = [one.error for one in results if one.status is CloseStatus.UNCONFIRMED]
    if not errors:
        return None
    error = next(filter(None, errors), None)
    why = "" if error is None else f"; first error: {error}"
    return (
        f"{len(errors):,} stay open because API Gateway did not say whether they are active:"
        f" run it again{why}"
    )


def _verdict(connection: Connection, result: CloseResult, now_ms: EpochMs) -> Verdict:
    decision, why = _GONE if result.is_gone else _WORDS[result.status]
    last_seen_ms = connection.last_seen_ms
    return Verdict(
        connection_id=connection.connection_id,
        role=connection.role,
        idle_ms=None if last_seen_ms is None else max(0, now_ms - last_seen_ms),
        decision=decision,
        why=why,
        error=None if result.error is None else str(result.error),
    )


def _others(lines: _Lines) -> Iterator[Verdict]:
    """Yield what is ignored or unreadable: of each kind the first twenty, as in the logs."""
    for one in cast("list[str]", lines.fields.get(_IGNORED, {}).get("connectionIds", [])):
        why = "no connection: by its id, or API Gateway does not know it"
        yield Verdict(connection_id=one, role=None, idle_ms=None, decision="ignored", why=why)
    records = cast("list[Mapping[str, str]]", lines.fields.get(_UNREADABLE, {}).get("records", []))
    for record in records:
        why = (
            f"{record['attribute']} is {record['value']}, which looks like {record['looksLike']};"
            f" {record['expected']} is expected"
        )
        yield Verdict(
            connection_id=record["id"], role=None, idle_ms=None, decision="unreadable", why=why
        )
