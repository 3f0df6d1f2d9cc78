"""The settings of each function: one table of environment variables, read here and nowhere else.

``VARIABLES`` is the table. The environment is parsed by it, ``hangup.cdk`` checks its arguments by
it, and ``make docs`` prints it into the docs. A missing or malformed variable raises
``ConfigurationError`` with its name, what it must be, and what it holds.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from hangup.core.bounds import WholeNumber
from hangup.core.connection import DurationMs
from hangup.core.guard import NOT_WITH_GATEWAY, Activity, LastActiveCounts
from hangup.core.hand_over import HandOver
from hangup.core.limits import (
    MAX_CLOSERS,
    MAX_CONNECTION_S,
    MAX_ROLES,
    MAX_SCAN_SEGMENTS,
    MAX_SCHEMA_BYTES,
)
from hangup.core.pacing import Pace
from hangup.core.policy import IdlePolicy
from hangup.core.report import NAMESPACE
from hangup.core.texts import Text
from hangup.errors import ConfigurationError
from hangup.variables import ROLE, Environment, ManagementEndpoint, SecondsByRole, Variable

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""What ``LOG_LEVEL`` may be, in capitals or not."""

DEFAULT_METRIC_ROLES: Final = ("speaker", "listener")

_TABLE: Final = Text(
    "the name of a DynamoDB table (3 to 255 letters, digits, dots, hyphens or underscores) or its"
    " ARN",
    r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1020}",
)
_QUEUE: Final = Text("the URL of an SQS queue", r"https?://[!-~]{1,1000}")

CONNECTION_IDLE_TIMEOUT_SECONDS: Final = Variable(
    "CONNECTION_IDLE_TIMEOUT_SECONDS",
    WholeNumber(at_least=1, at_most=MAX_CONNECTION_S),
    120,
    "timeout",
    "close a connection that has been silent for longer",
)
IDLE_TIMEOUTS_BY_ROLE: Final[Variable[Mapping[str, int] | None]] = Variable(
    "IDLE_TIMEOUTS_BY_ROLE",
    SecondsByRole(),
    None,
    "timeout",
    "timeouts of roles that have one of their own, such as `speaker=300,listener=60`",
)
ACTIVITY_RESOLUTION_SECONDS: Final = Variable(
    "ACTIVITY_RESOLUTION_SECONDS",
    WholeNumber(at_least=0, at_most=MAX_CONNECTION_S),
    0,
    "timeout, message, `tracks_activity`",
    "write a connection's activity at most once in this time; the same in all three",
)
TABLE_SCHEMA: Final[Variable[str | None]] = Variable(
    "TABLE_SCHEMA",
    Text(f"JSON of up to {MAX_SCHEMA_BYTES} bytes", rf"(?s:.{{1,{MAX_SCHEMA_BYTES}}})"),
    None,
    "timeout, close, `tracks_activity`",
    "what the attributes of the connections table mean, where that is not the reference"
    " application's: `TableSchema.as_json()`",
)
STATE_TABLE: Final[Variable[str | None]] = Variable(
    "STATE_TABLE",
    _TABLE,
    None,
    "timeout, close",
    "Hangup's own state, by connection id, where nothing is to be written to the records of"
    " connections; one table for each deployment",
)
SCAN_SEGMENTS: Final = Variable(
    "SCAN_SEGMENTS",
    WholeNumber(at_least=1, at_most=MAX_SCAN_SEGMENTS),
    16,
    "timeout",
    "segments of the table in a scan; four are read at a time",
)
CLOSES_PER_SECOND: Final = Variable(
    "CLOSES_PER_SECOND",
    WholeNumber(at_least=0, at_most=1_000),
    200,
    "timeout, close",
    "closes a second of all functions together; 0 means unlimited",
)
PACE_SHARED_BY: Final = Variable(
    "PACE_SHARED_BY",
    WholeNumber(at_least=1, at_most=MAX_CLOSERS),
    1,
    "timeout, close",
    "how many functions share `CLOSES_PER_SECOND`, in equal parts",
)
_OPTIONAL_CLOSE_QUEUE_URL: Final[Variable[str | None]] = Variable(
    "CLOSE_QUEUE_URL",
    _QUEUE,
    None,
    "timeout",
    "the queue of scheduled closes; without one the sweep closes by itself",
)
_CLOSE_QUEUE_URL: Final = Variable("CLOSE_QUEUE_URL", _QUEUE, "", "close", "the same queue")
LAST_ACTIVE_COUNTS: Final = Variable(
    "LAST_ACTIVE_COUNTS",
    Text("unsettled, client or both", "|".join(LastActiveCounts)),
    str(LastActiveCounts.UNSETTLED),
    "timeout, close",
    "`both`: every route records, so the record decides; `unsettled` or `client`: a connection"
    " that is active by API Gateway's account stays open",
)
ACTIVITY: Final = Variable(
    "ACTIVITY",
    Text("recorded or gateway", "|".join(Activity)),
    str(Activity.RECORDED),
    "timeout, close",
    "`gateway`: nobody records activity; API Gateway is asked about each connection once a timeout",
)
MODE: Final = Variable(
    "MODE",
    Text("close or observe", "close|observe"),
    "close",
    "timeout, close",
    "`observe`: decide and report, write and close nothing",
)
HAND_OVER: Final = Variable(
    "HAND_OVER",
    Text("always, if_left, delete or never", "|".join(HandOver)),
    str(HandOver.ALWAYS),
    "timeout, close",
    "what becomes of a closed connection's record: the disconnect handler is called; is called"
    " where the record is still there a minute later; the record is deleted; it is left",
)
METRIC_ROLES: Final = Variable(
    "METRIC_ROLES",
    Text(
        f"up to {MAX_ROLES} names of roles, separated by commas",
        f"{ROLE}(,{ROLE}){{0,{MAX_ROLES - 1}}}",
    ),
    ",".join(DEFAULT_METRIC_ROLES),
    "timeout, close",
    "the roles that `ConnectionTimeout` names; any other is `other`",
)
METRICS_NAMESPACE: Final = Variable(
    "METRICS_NAMESPACE",
    Text(
        "the name of a CloudWatch namespace (1 to 255 letters, digits or ._/#:-), not of AWS/",
        "(?!AWS/)[A-Za-z0-9._/#:-]{1,255}",
    ),
    NAMESPACE,
    "timeout, close",
    "where the metrics go; one for each deployment",
)
HEARTBEAT_ACK: Final = Variable(
    "HEARTBEAT_ACK",
    Text("true or false", "true|false"),
    "true",
    "message",
    "whether a heartbeat is answered with `heartbeatAck`",
)
API_GATEWAY_ENDPOINT: Final = Variable(
    "API_GATEWAY_ENDPOINT",
    ManagementEndpoint(),
    "",
    "timeout, close, message, disconnect",
    "where `@connections` is; `http://` on loopback only",
)
_CONNECTIONS_TABLE: Final = Variable(
    "CONNECTIONS_TABLE",
    _TABLE,
    "",
    "timeout, close, connect, message, disconnect, `tracks_activity`",
    "the records of connections",
)
_SESSIONS_TABLE: Final = Variable(
    "SESSIONS_TABLE",
    _TABLE,
    "",
    "connect, message, disconnect",
    "the reference application's sessions",
)
FUNCTION_NAME: Final = Text("the name or ARN of a function", r"[A-Za-z0-9_:$-]{1,256}")
_DISCONNECT_HANDLER_FUNCTION: Final = Variable(
    "DISCONNECT_HANDLER_FUNCTION",
    FUNCTION_NAME,
    "",
    "timeout, close",
    "the function that cleans up after a close",
)
_JOIN_SECRET_ARN: Final = Variable(
    "JOIN_SECRET_ARN",
    Text("the ARN or name of a Secrets Manager secret", r"[A-Za-z0-9/_+=.@:-]{1,2048}"),
    "",
    "connect",
    "signs join tokens; at least 32 bytes",
)
LOG_LEVEL: Final = Variable(
    "LOG_LEVEL",
    Text(f"one of {', '.join(LOG_LEVELS)}", f"(?i:{'|'.join(LOG_LEVELS)})"),
    "INFO",
    "timeout, close, connect, message, disconnect",
    "the lowest level of log lines; `tracks_activity` reads it too, and takes anything else for"
    " `INFO`",
)

VARIABLES: Final[tuple[Variable[Any], ...]] = (
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    IDLE_TIMEOUTS_BY_ROLE,
    ACTIVITY_RESOLUTION_SECONDS,
    TABLE_SCHEMA,
    STATE_TABLE,
    SCAN_SEGMENTS,
    CLOSES_PER_SECOND,
    PACE_SHARED_BY,
    _OPTIONAL_CLOSE_QUEUE_URL,
    _CLOSE_QUEUE_URL,
    LAST_ACTIVE_COUNTS,
    ACTIVITY,
    MODE,
    HAND_OVER,
    METRIC_ROLES,
    METRICS_NAMESPACE,
    HEARTBEAT_ACK,
    API_GATEWAY_ENDPOINT,
    _CONNECTIONS_TABLE,
    _SESSIONS_TABLE,
    _DISCONNECT_HANDLER_FUNCTION,
    _JOIN_SECRET_ARN,
    LOG_LEVEL,
)
"""Every variable that Hangup reads, in the order of the docs."""


def as_markdown() -> str:
    """Return the table as the docs have it: a row of ``VARIABLES`` a line."""
    lines = ["| Variable | Read by | Default | Must be | What |", "|---|---|---|---|---|"]
    for one in VARIABLES:
        default = {"": "required", None: "none"}.get(one.default, f"`{one.default}`")
        lines.append(f"| `{one.name}` | {one.read_by} | {default} | {one.accepted} | {one.about} |")
    return "\n".join(lines)


# The settings are no dataclasses: each of these would add half a millisecond to a cold start.
# LOG_LEVEL is only checked, because Powertools reads it by itself.
class _Settings:
    """What every function needs."""

    def __init__(self, env: Environment) -> None:
        self.connections_table: Final = _CONNECTIONS_TABLE.read(env)

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> Self:
        """Read the variables; raise ``ConfigurationError`` for the first that is invalid."""
        return cls(env)


class CloserSettings(_Settings):
    """What a function needs that closes connections."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        LOG_LEVEL.read(env)
        self.endpoint: Final = API_GATEWAY_ENDPOINT.read(env)
        self.hand_over: Final = HandOver(HAND_OVER.read(env))
        self.disconnect_function: Final = (
            _DISCONNECT_HANDLER_FUNCTION.read(env) if self.hand_over.calls_handler else None
        )
        self.pace: Final = Pace(CLOSES_PER_SECOND.read(env), shared_by=PACE_SHARED_BY.read(env))
        self.table_schema: Final = TABLE_SCHEMA.read(env)
        self.state_table: Final = STATE_TABLE.read(env)
        self.counts_both: Final = LAST_ACTIVE_COUNTS.read(env) == LastActiveCounts.BOTH
        self.activity: Final = Activity(ACTIVITY.read(env))
        if self.counts_both and self.activity is Activity.GATEWAY:
            raise ConfigurationError(
                f"{LAST_ACTIVE_COUNTS.name} must not be both: {NOT_WITH_GATEWAY}"
            )
        self.acts: Final = MODE.read(env) == "close"
        self.metric_roles: Final = frozenset(METRIC_ROLES.read(env).split(","))
        self.metrics_namespace: Final = METRICS_NAMESPACE.read(env)


class TimeoutSettings(CloserSettings):
    """What the timeout handler needs. Durations come in seconds and leave in milliseconds."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        by_role = IDLE_TIMEOUTS_BY_ROLE.read(env) or {}
        self.policy: Final = IdlePolicy(
            idle_timeout_ms=_milliseconds(CONNECTION_IDLE_TIMEOUT_SECONDS.read(env)),
            activity_resolution_ms=_milliseconds(ACTIVITY_RESOLUTION_SECONDS.read(env)),
            by_role={role: _milliseconds(seconds) for role, seconds in by_role.items()},
        )
        if self.policy.activity_resolution_ms and self.activity is Activity.GATEWAY:
            raise ConfigurationError(
                f"{ACTIVITY_RESOLUTION_SECONDS.name} must be 0 with {ACTIVITY.name} gateway:"
                " API Gateway's times are exact"
            )
        self.total_segments: Final = SCAN_SEGMENTS.read(env)
        self.close_queue_url: Final = _OPTIONAL_CLOSE_QUEUE_URL.read(env)


class CloseSettings(CloserSettings):
    """What the close handler needs."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.close_queue_url: Final = _CLOSE_QUEUE_URL.read(env)


class ConnectSettings(_Settings):
    """What the connect handler needs."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        LOG_LEVEL.read(env)
        self.sessions_table: Final = _SESSIONS_TABLE.read(env)
        self.join_secret: Final = _JOIN_SECRET_ARN.read(env)


class ActivitySettings(_Settings):
    """What recording activity needs."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.resolution_ms: Final = _milliseconds(ACTIVITY_RESOLUTION_SECONDS.read(env))


class TrackingSettings(ActivitySettings):
    """What recording activity needs in somebody else's function."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.table_schema: Final = TABLE_SCHEMA.read(env)


class MessageSettings(ActivitySettings):
    """What the message handler needs."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        LOG_LEVEL.read(env)
        self.sessions_table: Final = _SESSIONS_TABLE.read(env)
        self.endpoint: Final = API_GATEWAY_ENDPOINT.read(env)
        self.acknowledges_heartbeats: Final = HEARTBEAT_ACK.read(env) == "true"


class DisconnectSettings(_Settings):
    """What the disconnect handler needs."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        LOG_LEVEL.read(env)
        self.sessions_table: Final = _SESSIONS_TABLE.read(env)
        self.endpoint: Final = API_GATEWAY_ENDPOINT.read(env)


def _milliseconds(seconds: int) -> DurationMs:
    return DurationMs(seconds * 1_000)
