"""The settings of each function, read from environment variables here and nowhere else.

Durations come in seconds and leave in milliseconds. A missing or malformed variable raises
``ConfigurationError`` with its name, what it expects, and what it holds.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hangup.core.connection import DurationMs
from hangup.core.events import GatewayAddress
from hangup.core.guard import DEFAULT_GUARD, GuardPolicy
from hangup.core.limits import MAX_CLOSERS, MAX_CONNECTION_S, MAX_SCAN_SEGMENTS
from hangup.core.pacing import Pace
from hangup.core.policy import IdlePolicy
from hangup.errors import ConfigurationError

__all__ = [
    "LOG_LEVELS",
    "ActivitySettings",
    "CloseSettings",
    "ConnectSettings",
    "DisconnectSettings",
    "MessageSettings",
    "TimeoutSettings",
    "gateway_address",
    "log_level_to_start_with",
]

DEFAULT_IDLE_TIMEOUT_S: Final = 120
DEFAULT_SCAN_SEGMENTS: Final = 16
DEFAULT_CLOSES_PER_SECOND: Final = 200

DEFAULT_METRIC_ROLES: Final = ("speaker", "listener")

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""What ``LOG_LEVEL`` may be, in capitals or not."""

_URL: Final = re.compile(r"[!-~]+", re.ASCII)
_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1020}", re.ASCII)
_A_TABLE: Final = (
    "the name of a DynamoDB table (3 to 255 letters, digits, dots, hyphens or underscores) or its"
    " ARN"
)
_FUNCTION: Final = re.compile(r"[A-Za-z0-9_:$-]{1,256}", re.ASCII)
_ROLE: Final = r"[A-Za-z0-9_.-]{1,64}"
_ROLES: Final = re.compile(rf"{_ROLE}(?:,{_ROLE}){{0,9}}", re.ASCII)
_QUEUE_URL: Final = re.compile(r"https?://[!-~]{1,1000}", re.ASCII)
_SECRET: Final = re.compile(r"[A-Za-z0-9/_+=.@:-]{1,2048}", re.ASCII)

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutSettings:
    """What the timeout handler needs."""

    policy: IdlePolicy
    endpoint: str
    connections_table: str
    disconnect_function: str
    total_segments: int
    guard: GuardPolicy
    pace: Pace
    metric_roles: frozenset[str]
    close_queue_url: str | None

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "TimeoutSettings":
        """Read ``CONNECTION_IDLE_TIMEOUT_SECONDS`` and the other variables of the contract."""
        _check_log_level(env)
        idle_timeout_ms = _seconds(
            env, "CONNECTION_IDLE_TIMEOUT_SECONDS", DEFAULT_IDLE_TIMEOUT_S, at_least=1
        )
        return cls(
            policy=IdlePolicy(
                idle_timeout_ms=idle_timeout_ms, activity_resolution_ms=_resolution(env)
            ),
            endpoint=_endpoint(env),
            connections_table=_connections_table(env),
            disconnect_function=_disconnect_function(env),
            total_segments=_whole_number(
                env, "SCAN_SEGMENTS", DEFAULT_SCAN_SEGMENTS, at_least=1, at_most=MAX_SCAN_SEGMENTS
            ),
            guard=GuardPolicy(
                share_percent=_whole_number(
                    env, "GUARD_SHARE_PERCENT", DEFAULT_GUARD.share_percent, at_least=1, at_most=100
                ),
                at_least=_whole_number(
                    env, "GUARD_AT_LEAST", DEFAULT_GUARD.at_least, at_least=1, at_most=10**9
                ),
                sample_size=DEFAULT_GUARD.sample_size,
            ),
            pace=_pace(env),
            metric_roles=_metric_roles(env),
            close_queue_url=_close_queue_url(env) if env.get("CLOSE_QUEUE_URL") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSettings:
    """What the close handler needs."""

    endpoint: str
    connections_table: str
    disconnect_function: str
    pace: Pace
    metric_roles: frozenset[str]
    close_queue_url: str

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "CloseSettings":
        """Read where the connections, the disconnect handler and the queue are, and the pace."""
        _check_log_level(env)
        return cls(
            endpoint=_endpoint(env),
            connections_table=_connections_table(env),
            disconnect_function=_disconnect_function(env),
            pace=_pace(env),
            metric_roles=_metric_roles(env),
            close_queue_url=_close_queue_url(env),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSettings:
    """What the connect handler needs."""

    connections_table: str
    sessions_table: str
    join_secret: str

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "ConnectSettings":
        """Read the tables and ``JOIN_SECRET_ARN``."""
        _check_log_level(env)
        return cls(
            connections_table=_connections_table(env),
            sessions_table=_sessions_table(env),
            join_secret=_matching(
                env, "JOIN_SECRET_ARN", _SECRET, "the ARN or name of a Secrets Manager secret"
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySettings:
    """What recording activity needs."""

    connections_table: str
    resolution_ms: DurationMs

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "ActivitySettings":
        """Read ``CONNECTIONS_TABLE`` and ``ACTIVITY_RESOLUTION_SECONDS``."""
        return cls(connections_table=_connections_table(env), resolution_ms=_resolution(env))


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSettings:
    """What the heartbeat handler needs."""

    connections_table: str
    endpoint: str
    resolution_ms: DurationMs
    acknowledges_heartbeats: bool

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "MessageSettings":
        """Read the table, ``API_GATEWAY_ENDPOINT`` and the optional variables of messages."""
        _check_log_level(env)
        return cls(
            connections_table=_connections_table(env),
            endpoint=_endpoint(env),
            resolution_ms=_resolution(env),
            acknowledges_heartbeats=_heartbeat_ack(env),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectSettings:
    """What the disconnect handler needs."""

    connections_table: str
    sessions_table: str
    endpoint: str

    @classmethod
    def from_env(cls, env: Environment = os.environ) -> "DisconnectSettings":
        """Read the tables and ``API_GATEWAY_ENDPOINT``."""
        _check_log_level(env)
        return cls(
            connections_table=_connections_table(env),
            sessions_table=_sessions_table(env),
            endpoint=_endpoint(env),
        )


def log_level_to_start_with(env: Environment = os.environ) -> str | None:
    """Return INFO where the environment names no level that there is, None where it does.

    Loggers are made when a module is imported, and a wrong level must not break that: the settings
    of a handler refuse it by name when it is called, and a decorated function goes on.
    """
    # Powertools, which makes the loggers, reads these two in this order.
    level = env.get("POWERTOOLS_LOG_LEVEL") or env.get("LOG_LEVEL") or "INFO"
    return None if level.upper() in LOG_LEVELS else "INFO"


def gateway_address(endpoint: str) -> GatewayAddress:
    """Return what a management endpoint says about its API.

    ``https://{apiId}.execute-api.{region}.amazonaws.com/{stage}`` on AWS, and
    ``http://127.0.0.1:{port}/_aws/execute-api/{apiId}/{stage}`` locally. A custom domain does not
    show its API's id: then ``api_id`` is empty.
    """
    url = urlsplit(endpoint)
    parts = [part for part in url.path.split("/") if part]
    host = url.hostname or ""
    if ".execute-api." in host:
        api_id = host.split(".", 1)[0]
    else:
        api_id = parts[2] if parts[:2] == ["_aws", "execute-api"] else ""
    return GatewayAddress(domain_name=url.netloc, stage=parts[-1] if parts else "", api_id=api_id)


def _endpoint(env: Environment) -> str:
    name, expected = "API_GATEWAY_ENDPOINT", "an https:// URL that ends with the stage"
    value = _required(env, name, expected)
    try:
        url = urlsplit(value)
        _ = url.port  # raises ValueError where the port is no number
    except ValueError:
        raise _malformed(name, expected, value) from None
    local = url.hostname in ("127.0.0.1", "localhost", "::1")
    if not url.hostname or (url.scheme != "https" and not (url.scheme == "http" and local)):
        raise _malformed(name, expected, value)
    if url.query or url.fragment or url.username or url.password or not _URL.fullmatch(value):
        raise _malformed(name, expected, value)
    # A custom domain may stand for one stage and need no path; API Gateway's own never does.
    if ".execute-api." in url.hostname and not url.path.strip("/"):
        raise _malformed(name, expected, value)
    return value.rstrip("/")


def _connections_table(env: Environment) -> str:
    return _matching(env, "CONNECTIONS_TABLE", _TABLE, _A_TABLE)


def _sessions_table(env: Environment) -> str:
    return _matching(env, "SESSIONS_TABLE", _TABLE, _A_TABLE)


def _disconnect_function(env: Environment) -> str:
    return _matching(env, "DISCONNECT_HANDLER_FUNCTION", _FUNCTION, "the name or ARN of a function")


def _close_queue_url(env: Environment) -> str:
    return _matching(env, "CLOSE_QUEUE_URL", _QUEUE_URL, "the URL of an SQS queue")


def _pace(env: Environment) -> Pace:
    rate = _whole_number(
        env, "CLOSES_PER_SECOND", DEFAULT_CLOSES_PER_SECOND, at_least=0, at_most=1000
    )
    shared_by = _whole_number(env, "PACE_SHARED_BY", 1, at_least=1, at_most=MAX_CLOSERS)
    return Pace(rate, shared_by=shared_by)


def _metric_roles(env: Environment) -> frozenset[str]:
    name, expected = "METRIC_ROLES", "up to 10 names of roles, separated by commas"
    value = env.get(name)
    if value is None:
        return frozenset(DEFAULT_METRIC_ROLES)
    if not _ROLES.fullmatch(value):
        raise _malformed(name, expected, value)
    return frozenset(value.split(","))


def _check_log_level(env: Environment) -> None:
    level = env.get("LOG_LEVEL")
    if level and level.upper() not in LOG_LEVELS:
        raise _malformed("LOG_LEVEL", f"one of {', '.join(LOG_LEVELS)}", level)


def _resolution(env: Environment) -> DurationMs:
    return _seconds(env, "ACTIVITY_RESOLUTION_SECONDS", 0, at_least=0)


def _seconds(env: Environment, name: str, default_s: int, *, at_least: int) -> DurationMs:
    seconds = _whole_number(env, name, default_s, at_least=at_least, at_most=MAX_CONNECTION_S)
    return DurationMs(seconds * 1000)


def _heartbeat_ack(env: Environment) -> bool:
    value = env.get("HEARTBEAT_ACK", "true")
    if value not in ("true", "false"):
        raise _malformed("HEARTBEAT_ACK", "true or false", value)
    return value == "true"


def _whole_number(env: Environment, name: str, default: int, *, at_least: int, at_most: int) -> int:
    value = env.get(name)
    if value is None:
        return default
    expected = f"a whole number from {at_least} to {at_most}"
    if not re.fullmatch(r"[0-9]{1,10}", value, re.ASCII) or not at_least <= int(value) <= at_most:
        raise _malformed(name, expected, value)
    return int(value)


def _matching(env: Environment, name: str, pattern: re.Pattern[str], expected: str) -> str:
    value = _required(env, name, expected)
    if not pattern.fullmatch(value):
        raise _malformed(name, expected, value)
    return value


def _required(env: Environment, name: str, expected: str) -> str:
    value = env.get(name)
    if not value:
        raise ConfigurationError(f"{name} is not set; it must be {expected}")
    return value


def _malformed(name: str, expected: str, value: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {expected}, not {value!r}")
