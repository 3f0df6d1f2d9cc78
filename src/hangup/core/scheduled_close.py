"""Closes that are scheduled: when each message of the queue comes, and what it carries.

1. A sweep looks ahead: what is idle before the sweep after it is *due*.
2. It looks ahead for a sweep's interval and a margin, because the next sweep may start late and may
   reach a connection later than this one did. So two sweeps look ahead into some of the same
   seconds. What both queue is closed once, by the claim.
3. Delays are whole seconds, rounded down: a message comes up to a second before the connection is
   idle, and the close function waits for that moment. Rounded up, each close would be that late.
4. A message carries all that a close needs. What the client said since makes the claim fail.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from hangup.core.bounds import WholeNumber
from hangup.core.connection import Connection, DurationMs, EpochMs, KeyPart, is_epoch_ms
from hangup.core.events import is_connection_id
from hangup.core.limits import MAX_CONNECTION_S, MAX_HANDOVERS, MAX_QUEUE_DELAY_S
from hangup.errors import InvalidRequest

_MAX_LABEL_BYTES: Final = 1_024
_MAX_KEY_PARTS: Final = 2
_KEY_KINDS: Final = {
    "S": r"(?s:.+)",
    "N": r"[-+.0-9eE]{1,140}",
    "B": r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}
"""What the value of a key attribute may be, by its type; B is base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledClose:
    """A connection as a sweep saw it, and the last millisecond at which it is not idle.

    ``silence_ms`` is how long the connection may be silent by API Gateway's account.
    ``recording_is_well`` is what that sweep found of the recording of activity, at
    ``judged_at_ms``. With ``asks`` False, the record decides and API Gateway is not asked.
    """

    connection: Connection
    deadline_ms: EpochMs
    correlation_id: str
    silence_ms: DurationMs
    judged_at_ms: EpochMs
    recording_is_well: bool = False
    asks: bool = True


def wait_ms(deadline_ms: EpochMs, *, now_ms: EpochMs) -> DurationMs:
    """Return how long until the connection is idle, if it stays silent; 0 if it is by now."""
    return DurationMs(max(0, deadline_ms + 1 - now_ms))


def delay_s(deadline_ms: EpochMs, *, now_ms: EpochMs) -> int:
    """Return the delay of a message in whole seconds, rounded down, 0 to 900.

    After it the connection is idle, or will be in less than a second. A message whose deadline is
    further away than a queue can wait comes early, and is queued again.
    """
    return min(wait_ms(deadline_ms, now_ms=now_ms) // 1000, MAX_QUEUE_DELAY_S)


def as_message(close: ScheduledClose) -> str:
    """Return the message that carries it: a JSON object, times in epoch milliseconds.

    It has less than 25 KB, so that ten fit in a request: a key has 3 KB at most, and longer labels
    than sessions and roles have are left out.
    """
    connection = close.connection
    return json.dumps(
        {
            "connectionId": connection.connection_id,
            "sessionId": _short(connection.session_id),
            "role": _short(connection.role),
            "connectedAt": connection.connected_at_ms,
            "lastActivityTime": connection.last_activity_ms,
            "gatewayActiveAt": connection.gateway_active_ms,
            "noticedAt": connection.noticed_at_ms,
            "handovers": connection.handovers,
            **({"key": connection.key} if connection.key else {}),
            **({"recordedAs": connection.recorded_as} if connection.recorded_as else {}),
            "deadline": close.deadline_ms,
            "correlationId": close.correlation_id,
            "silence": close.silence_ms,
            "judgedAt": close.judged_at_ms,
            "recordingIsWell": close.recording_is_well,
            "asks": close.asks,
        },
        separators=(",", ":"),
    )


def parse_scheduled_close(body: object) -> ScheduledClose:
    """Return what a message carries. Raises ``InvalidRequest`` (400) naming what is malformed."""
    message = _object(body)
    connection_id, correlation_id = message.get("connectionId"), message.get("correlationId")
    if not isinstance(connection_id, str) or not is_connection_id(connection_id):
        raise InvalidRequest(400, "connectionId is missing or malformed")
    handovers, silence_ms = message.get("handovers"), message.get("silence")
    if not WholeNumber(at_least=0, at_most=MAX_HANDOVERS).accepts(handovers):
        raise InvalidRequest(400, "handovers is malformed")
    if not WholeNumber(at_least=1, at_most=MAX_CONNECTION_S * 1000).accepts(silence_ms):
        raise InvalidRequest(400, "silence is missing or malformed")
    is_well, asks = message.get("recordingIsWell"), message.get("asks")
    if not (isinstance(is_well, bool) and isinstance(asks, bool)):
        raise InvalidRequest(400, "recordingIsWell or asks is missing or malformed")
    if not isinstance(correlation_id, str):
        raise InvalidRequest(400, "correlationId is missing or malformed")
    connection = Connection(
        connection_id=connection_id,
        session_id=_label(message, "sessionId"),
        role=_label(message, "role"),
        connected_at_ms=_time(message, "connectedAt"),
        last_activity_ms=_time(message, "lastActivityTime"),
        gateway_active_ms=_time(message, "gatewayActiveAt"),
        noticed_at_ms=_time(message, "noticedAt"),
        handovers=handovers,
        key=_key(message),
        recorded_as=_label(message, "recordedAs"),
    )
    deadline_ms, judged_at_ms = _time(message, "deadline"), _time(message, "judgedAt")
    if judged_at_ms is None:
        raise InvalidRequest(400, "judgedAt is missing")
    if deadline_ms is None or connection.last_seen_ms is None:
        raise InvalidRequest(400, "the deadline, or the activity that it counts from, is missing")
    if deadline_ms <= connection.last_seen_ms:
        raise InvalidRequest(400, "deadline is not after the last activity")
    return ScheduledClose(
        connection=connection,
        deadline_ms=deadline_ms,
        correlation_id=correlation_id,
        silence_ms=DurationMs(silence_ms),
        judged_at_ms=judged_at_ms,
        recording_is_well=is_well,
        asks=asks,
    )


def _short(label: str | None) -> str | None:
    # As JSON: an escaped character takes up to 12 bytes.
    return label if label is None or len(json.dumps(label)) <= _MAX_LABEL_BYTES else None


def _label(message: dict[str, object], name: str) -> str | None:
    label = message.get(name)
    if label is not None and not isinstance(label, str):
        raise InvalidRequest(400, f"{name} is malformed")
    return label


def _key(message: dict[str, object]) -> tuple[KeyPart, ...]:
    parts = message.get("key", [])
    if not isinstance(parts, list) or len(parts) > _MAX_KEY_PARTS:
        raise InvalidRequest(400, "key is malformed")
    return tuple(_key_part(part) for part in parts)


def _key_part(part: object) -> KeyPart:
    texts = part if isinstance(part, list) else []
    if len(texts) != len(KeyPart._fields) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(400, "key is malformed")
    key = KeyPart(*texts)
    if key.kind not in _KEY_KINDS or not re.fullmatch(_KEY_KINDS[key.kind], key.value):
        raise InvalidRequest(400, "key is malformed")
    return key


def _object(body: object) -> dict[str, object]:
    try:
        message = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequest(400, "the message is not a JSON object")
    return message


def _time(message: dict[str, object], name: str) -> EpochMs | None:
    value = message.get(name)
    if value is None:
        return None
    if not is_epoch_ms(value):
        raise InvalidRequest(400, f"{name} is not a plausible number of epoch milliseconds")
    return EpochMs(value)
