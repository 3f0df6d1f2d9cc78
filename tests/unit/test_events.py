"""API Gateway's events: what is read of them, and the synthetic disconnect event."""

import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parser.models import APIGatewayWebSocketDisconnectEventModel

from hangup.core.connection import Connection, ConnectionInfo, EpochMs
from hangup.core.events import (
    NO_ADDRESS,
    GatewayAddress,
    disconnect_event,
    parse_connect,
    parse_disconnect,
    route_of,
)
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


CONNECTION = Connection(
    connection_id="c1=",
    session_id="s1",
    role="speaker",
    connected_at_ms=EpochMs(1_699_499_000_000),
    last_activity_ms=EpochMs(1_699_499_600_000),
)
INFO = ConnectionInfo(
    last_active_ms=EpochMs(1_699_499_600_000),
    connected_at_ms=EpochMs(1_699_498_999_000),
    source_ip="192.0.2.10",
    user_agent="Python/3.12 websockets/17.4",
)
KNOWN_BY_ITS_ID = Connection(connection_id="c1=")
HANDED_OVER = [
    pytest.param(CONNECTION, INFO, id="asked"),
    pytest.param(CONNECTION, None, id="gone"),
    pytest.param(CONNECTION, ConnectionInfo(last_active_ms=NOW_MS), id="only its activity known"),
    pytest.param(KNOWN_BY_ITS_ID, None, id="of another shape, gone"),
    pytest.param(KNOWN_BY_ITS_ID, INFO, id="of another shape, asked"),
]


def handed_over(connection: Connection = CONNECTION, info: ConnectionInfo | None = INFO) -> Any:
    return disconnect_event(connection, info, ADDRESS, now_ms=NOW_MS, correlation_id="tick-1")


def test_a_synthetic_disconnect_looks_like_api_gateways_own() -> None:
    event = handed_over()
    assert event == {
        "headers": {
            "Host": "abc123.execute-api.eu-west-1.amazonaws.com",
            "x-api-key": "",
            "X-Forwarded-For": "192.0.2.10",
            "x-restapi": "",
        },
        "multiValueHeaders": {
            "Host": ["abc123.execute-api.eu-west-1.amazonaws.com"],
            "x-api-key": [""],
            "X-Forwarded-For": ["192.0.2.10"],
            "x-restapi": [""],
        },
        "requestContext": {
            "routeKey": "$disconnect",
            "eventType": "DISCONNECT",
            "connectionId": "c1=",
            "domainName": "abc123.execute-api.eu-west-1.amazonaws.com",
            "stage": "prod",
            "apiId": "abc123",
            "requestId": "tick-1",
            "extendedRequestId": "tick-1",
            "requestTime": "09/Nov/2023:03:20:00 +0000",
            "requestTimeEpoch": NOW_MS,
            "connectedAt": 1_699_498_999_000,
            "identity": {"sourceIp": "192.0.2.10", "userAgent": "Python/3.12 websockets/17.4"},
            "messageDirection": "IN",
            "disconnectStatusCode": 1001,
            "disconnectReason": "IDLE_TIMEOUT",
        },
        "isBase64Encoded": False,
        "sessionId": "s1",
        "role": "speaker",
        "correlationId": "tick-1",
    }


@pytest.mark.parametrize(("connection", "info"), HANDED_OVER)
class TestHandedOver:
    def test_has_what_api_gateways_own_has_and_three_members_more(
        self, connection: Connection, info: ConnectionInfo | None
    ) -> None:
        event = handed_over(connection, info)
        assert shape_of(event) == shape_of(
            recorded("disconnect") | {"sessionId": "", "role": "", "correlationId": ""}
        )
        assert parse_disconnect(event) == "c1="

    def test_nothing_in_it_is_null_but_the_session(
        self, connection: Connection, info: ConnectionInfo | None
    ) -> None:
        event = handed_over(connection, info)
        del event["sessionId"]
        assert "null" not in json.dumps(event)

    def test_is_an_event_for_powertools(
        self, connection: Connection, info: ConnectionInfo | None
    ) -> None:
        event = APIGatewayWebSocketDisconnectEventModel.model_validate(
            json.loads(json.dumps(handed_over(connection, info)))
        )
        context = event.request_context
        assert context.connection_id == "c1="
        assert context.disconnect_status_code == 1001
        assert context.request_time_epoch == datetime(2023, 11, 9, 3, 20, tzinfo=UTC)
        assert context.connected_at <= context.request_time_epoch
        expected_ip = info and info.source_ip
        assert str(context.identity.source_ip) == f"{expected_ip or NO_ADDRESS}/32"
        assert event.headers["X-Forwarded-For"] == (expected_ip or NO_ADDRESS)

    @pytest.mark.infra
    def test_is_an_event_for_a_handler_in_javascript(
        self, connection: Connection, info: ConnectionInfo | None, tmp_path: Path
    ) -> None:
        handler = tmp_path / "handler.mjs"
        handler.write_text(HANDLER)
        answer = subprocess.run(
            [node(), str(handler)],
            input=json.dumps(handed_over(connection, info)),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
        source_ip = (info and info.source_ip) or NO_ADDRESS
        assert json.loads(answer) == {
            "forwardedFor": source_ip,
            "sourceIp": source_ip,
            "userAgent": (info and info.user_agent) or "",
            "host": ADDRESS.domain_name,
            "requestTime": "09/Nov/2023:03:20:00 +0000",
            "hasConnected": True,
        }


HANDLER = """
// Reads what handlers read of API Gateway's own event; what is missing is an error or undefined.
const handler = async ({ headers, multiValueHeaders, requestContext }) => ({
  forwardedFor: headers['X-Forwarded-For'].split(',')[0].trim(),
  sourceIp: requestContext.identity.sourceIp,
  userAgent: requestContext.identity.userAgent,
  host: multiValueHeaders.Host[0],
  requestTime: requestContext.requestTime,
  hasConnected: new Date(requestContext.connectedAt) <= new Date(requestContext.requestTimeEpoch),
});
let text = '';
for await (const part of process.stdin) text += part;
console.log(JSON.stringify(await handler(JSON.parse(text))));
"""


def node() -> str:
    """Return the Node.js that CDK would use."""
    from hangup.cdk.node import choose_node  # noqa: PLC0415 - loads CDK

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JSII_NODE", "")
        choose_node()
        return os.environ["JSII_NODE"]


def shape_of(value: object) -> object:
    """Return a JSON value with nothing in it but the types of what it holds."""
    match value:
        case dict():
            return {key: shape_of(inner) for key, inner in value.items() if key != "sessionId"}
        case list():
            return [shape_of(inner) for inner in value]
        case _:
            return type(value)


def test_the_recorded_event_is_one_for_powertools_too() -> None:
    event = recorded("disconnect")
    assert APIGatewayWebSocketDisconnectEventModel.model_validate(event)


@pytest.mark.parametrize(
    ("connection", "info", "connected_at"),
    [
        (CONNECTION, INFO, 1_699_498_999_000),
        (CONNECTION, replace(INFO, connected_at_ms=None), 1_699_499_000_000),
        (replace(CONNECTION, connected_at_ms=None), None, 1_699_499_600_000),
        (replace(KNOWN_BY_ITS_ID, gateway_active_ms=EpochMs(7)), None, 7),
        (KNOWN_BY_ITS_ID, None, NOW_MS),
    ],
)
def test_the_connect_is_the_best_time_that_is_known(
    connection: Connection, info: ConnectionInfo | None, connected_at: int
) -> None:
    assert handed_over(connection, info)["requestContext"]["connectedAt"] == connected_at


@pytest.mark.parametrize(
    ("now_ms", "text"),
    [
        (1_699_499_999_999, "09/Nov/2023:03:19:59 +0000"),
        (1_709_251_199_000, "29/Feb/2024:23:59:59 +0000"),
        (1_704_067_200_000, "01/Jan/2024:00:00:00 +0000"),
    ],
)
def test_the_time_of_the_request_is_written_as_api_gateway_does(now_ms: int, text: str) -> None:
    event: Any = disconnect_event(
        CONNECTION, INFO, ADDRESS, now_ms=EpochMs(now_ms), correlation_id="tick-1"
    )
    assert event["requestContext"]["requestTime"] == text
    assert re.sub(r"\w", "x", text) == re.sub(
        r"\w", "x", recorded("disconnect")["requestContext"]["requestTime"]
    )


def test_a_record_of_another_shape_can_be_handed_over_too() -> None:
    event = handed_over(KNOWN_BY_ITS_ID, None)
    assert (event["sessionId"], event["role"]) == (None, "unknown")
    assert parse_disconnect(event) == "c1="


def test_a_connect_event_is_one_by_its_route_and_its_type() -> None:
    event = recorded("connect")
    assert parse_connect(event) == CONNECTION_ID
    for changed in ({"routeKey": "$default"}, {"eventType": "MESSAGE"}):
        other = event | {"requestContext": event["requestContext"] | changed}
        with pytest.raises(InvalidRequest, match=r"not \$connect, or its eventType is not CONNECT"):
            parse_connect(other)
