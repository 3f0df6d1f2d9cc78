"""The exact shape of every message and of the synthetic disconnect event."""

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event, parse_disconnect
from hangup.core.messages import connection_timeout
from hangup.sessions.messages import heartbeat_ack, message_ack, session_ended
from hangup.sessions.model import Role
from tests.support.recorded import recorded

NOW_MS = EpochMs(1_699_500_000_000)
ADDRESS = GatewayAddress(
    domain_name="abc123.execute-api.eu-west-1.amazonaws.com", stage="prod", api_id="abc123"
)


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


def test_a_synthetic_disconnect_looks_like_api_gateways_own() -> None:
    connection = Connection(
        connection_id="c1=",
        session_id="s1",
        role=Role.SPEAKER,
        connected_at_ms=EpochMs(1_699_499_000_000),
    )
    event = disconnect_event(connection, ADDRESS, now_ms=NOW_MS, correlation_id="tick-1")
    assert event == {
        "requestContext": {
            "routeKey": "$disconnect",
            "eventType": "DISCONNECT",
            "connectionId": "c1=",
            "domainName": "abc123.execute-api.eu-west-1.amazonaws.com",
            "stage": "prod",
            "apiId": "abc123",
            "requestId": "tick-1",
            "requestTimeEpoch": NOW_MS,
            "connectedAt": 1_699_499_000_000,
            "messageDirection": "IN",
            "disconnectStatusCode": 1001,
            "disconnectReason": "IDLE_TIMEOUT",
        },
        "isBase64Encoded": False,
        "sessionId": "s1",
        "role": "speaker",
        "correlationId": "tick-1",
    }
    assert parse_disconnect(event) == "c1="
    context = event["requestContext"]
    assert isinstance(context, dict)
    assert context.keys() <= recorded("disconnect")["requestContext"].keys()


def test_a_record_of_another_shape_can_be_handed_over_too() -> None:
    event = disconnect_event(
        Connection(connection_id="c1="), ADDRESS, now_ms=NOW_MS, correlation_id="tick-1"
    )
    assert (event["sessionId"], event["role"]) == (None, "unknown")
    assert parse_disconnect(event) == "c1="
