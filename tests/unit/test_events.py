"""API Gateway's events: what is read of them, and the synthetic disconnect event."""

from typing import Any

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.core.events import GatewayAddress, disconnect_event, parse_disconnect, route_of
from hangup.core.limits import MAX_CONNECTION_ID_LENGTH
from hangup.errors import InvalidRequest
from tests.support.recorded import CONNECTION_ID, recorded

NOW_MS = EpochMs(1_699_500_000_000)
ADDRESS = GatewayAddress(
    domain_name="abc123.execute-api.eu-west-1.amazonaws.com", stage="prod", api_id="abc123"
)
ODD_CONNECTION_IDS = [None, "", "x" * (MAX_CONNECTION_ID_LENGTH + 1), "a b", "a\n", "é", 7, ["a"]]


class TestRoute:
    @pytest.mark.parametrize(
        ("event", "route"),
        [("connect", "$connect"), ("message", "heartbeat"), ("disconnect", "$disconnect")],
    )
    def test_reads_the_recorded_events(self, event: str, route: str) -> None:
        assert route_of(recorded(event)) == (CONNECTION_ID, route)

    @pytest.mark.parametrize("connection_id", ["x" * MAX_CONNECTION_ID_LENGTH, "a+b/c_d-e="])
    def test_accepts_ids_up_to_their_bounds(self, connection_id: str) -> None:
        assert route_of(_disconnect(connectionId=connection_id))[0] == connection_id

    @pytest.mark.parametrize("connection_id", ODD_CONNECTION_IDS)
    def test_refuses_odd_ids(self, connection_id: object) -> None:
        with pytest.raises(InvalidRequest, match="connectionId is missing or malformed"):
            route_of(_disconnect(connectionId=connection_id))

    @pytest.mark.parametrize("route_key", [None, "", 7])
    def test_refuses_an_event_without_a_route(self, route_key: object) -> None:
        with pytest.raises(InvalidRequest, match="routeKey is missing or malformed"):
            route_of(_disconnect(routeKey=route_key))

    @pytest.mark.parametrize(
        "event", [None, [], "", 1, {}, {"requestContext": None}, {"requestContext": []}]
    )
    def test_refuses_what_is_no_websocket_event(self, event: object) -> None:
        with pytest.raises(InvalidRequest, match="not a WebSocket event") as refusal:
            route_of(event)
        assert refusal.value.status == 400

    def test_refuses_a_scheduled_event(self) -> None:
        with pytest.raises(InvalidRequest, match="not a WebSocket event"):
            route_of(recorded("scheduled"))


class TestDisconnect:
    def test_reads_the_recorded_event(self) -> None:
        assert parse_disconnect(recorded("disconnect")) == CONNECTION_ID

    @pytest.mark.parametrize("connection_id", ODD_CONNECTION_IDS)
    def test_refuses_odd_ids(self, connection_id: object) -> None:
        with pytest.raises(InvalidRequest, match="connectionId is missing or malformed"):
            parse_disconnect(_disconnect(connectionId=connection_id))

    @pytest.mark.parametrize("event", ["connect", "message"])
    def test_refuses_events_of_other_routes(self, event: str) -> None:
        with pytest.raises(InvalidRequest, match=r"routeKey is not \$disconnect") as refusal:
            parse_disconnect(recorded(event))
        assert refusal.value.status == 400

    @pytest.mark.parametrize("event_type", ["MESSAGE", "CONNECT", None, 1])
    def test_refuses_a_message_whose_action_is_the_route(self, event_type: object) -> None:
        with pytest.raises(InvalidRequest, match="eventType is not DISCONNECT"):
            parse_disconnect(_disconnect(eventType=event_type))


def _disconnect(**context: object) -> dict[str, Any]:
    event = recorded("disconnect")
    event["requestContext"].update(context)
    return event


def test_a_synthetic_disconnect_looks_like_api_gateways_own() -> None:
    connection = Connection(
        connection_id="c1=",
        session_id="s1",
        role="speaker",
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
