"""The exact shape of every message."""

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.messages import connection_timeout
from hangup.sessions.messages import heartbeat_ack, message_ack, session_ended

NOW_MS = EpochMs(1_699_500_000_000)


def test_the_notice_has_exactly_the_four_members_of_the_contract() -> None:
    assert connection_timeout(idle_ms=DurationMs(120_000), now_ms=NOW_MS) == {
        "type": "connectionTimeout",
        "message": "Connection closed due to inactivity",
        "idleSeconds": 120,
        "timestamp": 1_699_500_000_000,
    }


def test_idle_seconds_are_whole_and_rounded_down() -> None:
    seconds = [
        connection_timeout(idle_ms=DurationMs(ms), now_ms=NOW_MS)["idleSeconds"]
        for ms in (120_000, 120_999, 121_000)
    ]
    assert seconds == [120, 120, 121]


def test_the_other_messages_are_exact_too() -> None:
    assert session_ended(session_id="s1", now_ms=NOW_MS) == {
        "type": "sessionEnded",
        "sessionId": "s1",
        "timestamp": NOW_MS,
    }
    assert heartbeat_ack(now_ms=NOW_MS) == {"type": "heartbeatAck", "timestamp": NOW_MS}
    assert message_ack(now_ms=NOW_MS) == {"type": "messageAck", "timestamp": NOW_MS}
