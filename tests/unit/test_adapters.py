"""The adapters, with botocore and without, against a stub of AWS: what they send, and answers."""

import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.connections import DynamoDbConnections
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.services import (
    DirectDynamoDb,
    DirectLambda,
    DirectManagementApi,
    DirectSecrets,
)
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.aws.secrets import SecretsManagerSecret
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection, ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.core.timing import ATTEMPT_MS, REPORT_MS
from hangup.errors import BackendError
from hangup.sessions.messages import heartbeat_ack
from hangup.sessions.model import Role
from hangup.testing import FakeClock
from tests.support.aws_stub import JOIN_SECRET, AwsStub, Call, Failure
from tests.support.http_server import serving

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = EpochMs(1_700_000_000_000)
LISTENER = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    connected_at_ms=NOW_MS,
    last_activity_ms=NOW_MS,
)
RETRYABLE = [
    (500, "InternalServerError", True),
    (503, "ServiceUnavailable", True),
    (429, "LimitExceededException", True),
    (429, "SomethingNew", True),
    (400, "ThrottlingException", True),
    (400, "ProvisionedThroughputExceededException", True),
    (403, "AccessDeniedException", False),
    (400, "ValidationException", False),
    (404, "ResourceNotFoundException", False),
]


both = pytest.mark.parametrize("transport", ["boto3", "direct"], indirect=True)


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "boto3"))


def gateway_at(endpoint: str, calls: Calls, transport: str) -> ManagementApiGateway:
    direct = transport == "direct"
    client = (
        DirectManagementApi(url=endpoint)
        if direct
        else botocore_client("apigatewaymanagementapi", endpoint)
    )
    return ManagementApiGateway(client, calls)


@pytest.fixture
def gateway(aws: AwsStub, calls: Calls, transport: str) -> ManagementApiGateway:
    return gateway_at(aws.management_endpoint, calls, transport)


@pytest.fixture
def functions(aws: AwsStub, calls: Calls, transport: str) -> LambdaFunctions:
    client = DirectLambda() if transport == "direct" else botocore_client("lambda")
    return LambdaFunctions(client, calls, disconnect_function="disconnect")


@pytest.fixture
def secret(aws: AwsStub, calls: Calls, transport: str) -> SecretsManagerSecret:
    client = DirectSecrets() if transport == "direct" else botocore_client("secretsmanager")
    return SecretsManagerSecret(client, calls, "join-secret")


@both
class TestGateway:
    def test_posts_json_to_the_connection(
        self, aws: AwsStub, gateway: ManagementApiGateway
    ) -> None:
        message = heartbeat_ack(now_ms=NOW_MS)
        assert gateway.post_to_connection("a+b/c=", message) is PostOutcome.POSTED
        assert aws.targets("PostToConnection") == ["a+b/c="]
        assert aws.calls("PostToConnection") == [message]

    def test_closes_the_connection(self, aws: AwsStub, gateway: ManagementApiGateway) -> None:
        assert gateway.delete_connection("a+b/c=") is CloseOutcome.CLOSED
        assert aws.targets("DeleteConnection") == ["a+b/c="]

    def test_gone_is_an_outcome(self, aws: AwsStub, gateway: ManagementApiGateway) -> None:
        for operation in ("PostToConnection", "DeleteConnection"):
            aws.fail(operation, status=410, code="GoneException")
        assert gateway.post_to_connection("c1", {}) is PostOutcome.GONE
        assert gateway.delete_connection("c1") is CloseOutcome.ALREADY_GONE

    def test_says_what_api_gateway_knows_of_the_connection(
        self, aws: AwsStub, gateway: ManagementApiGateway
    ) -> None:
        aws.answer("GetConnection", {"lastActiveAt": "2023-11-14T22:13:21.500Z"})
        info = gateway.get_connection("c1=")
        assert info == ConnectionInfo(last_active_ms=EpochMs(1_700_000_001_500))
        assert aws.targets("GetConnection") == ["c1="]

    def test_a_connection_that_is_gone_is_an_outcome(
        self, aws: AwsStub, gateway: ManagementApiGateway
    ) -> None:
        aws.fail("GetConnection", status=410, code="GoneException")
        assert gateway.get_connection("c1=") is NoConnection.GONE

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"connectedAt": "2023-11-14T22:13:20.000Z"},
            {"lastActiveAt": None},
            {"identity": {"sourceIp": "192.0.2.10"}},
        ],
    )
    def test_an_answer_without_that_time_is_an_error(
        self, aws: AwsStub, gateway: ManagementApiGateway, answer: dict[str, object]
    ) -> None:
        aws.answer("GetConnection", answer)
        with pytest.raises(BackendError, match="no lastActiveAt") as error:
            gateway.get_connection("c1")
        assert error.value.code == "MalformedAnswer"
        assert error.value.retryable

    @pytest.mark.parametrize(
        ("head", "members"),
        [
            ("x-amzn-ErrorType: BadRequestException\r\n", {}),
            ("x-amzn-ErrorType: BadRequestException:http://internal.amazon.com/\r\n", {}),
            ("", {"__type": "BadRequestException"}),
            ("", {"code": "BadRequestException"}),
            ("", {}),
        ],
    )
    def test_an_id_that_api_gateway_never_gave_is_no_connection(
        self, transport: str, calls: Calls, aws: AwsStub, head: str, members: dict[str, str]
    ) -> None:
        """Whether the error is named in the header, in the body or nowhere."""
        body = json.dumps({"message": "Invalid connectionId: bot_1", **members})
        answer = (
            f"HTTP/1.1 400 Bad Request\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        with serving() as server:
            server.answer = lambda _request: answer
            gateway = gateway_at(server.url, calls, transport)
            assert gateway.get_connection("bot_1") is NoConnection.INVALID
            for act in (
                lambda: gateway.post_to_connection("bot_1", {}),
                lambda: gateway.delete_connection("bot_1"),
            ):
                with pytest.raises(BackendError, match="Invalid connectionId: bot_1") as error:
                    act()
                assert not error.value.retryable

    @pytest.mark.parametrize("connection_id", ["", ".", "..", "room#lobby", "half \ud83d"])
    def test_nothing_is_asked_about_an_id_of_another_form(
        self, aws: AwsStub, gateway: ManagementApiGateway, connection_id: str
    ) -> None:
        assert gateway.get_connection(connection_id) is NoConnection.INVALID
        for act in (
            lambda: gateway.post_to_connection(connection_id, {}),
            lambda: gateway.delete_connection(connection_id),
        ):
            with pytest.raises(BackendError, match="invalid connectionid") as error:
                act()
            assert not error.value.retryable
        assert aws.log == []

    def test_a_success_says_so_by_its_status_alone(
        self, transport: str, calls: Calls, aws: AwsStub
    ) -> None:
        page = b"<html>ok</html>"
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
        with serving() as server:
            server.answer = lambda _request: answer
            gateway = gateway_at(server.url, calls, transport)
            assert gateway.post_to_connection("c1", {}) is PostOutcome.POSTED
            assert gateway.delete_connection("c1") is CloseOutcome.CLOSED

    @pytest.mark.parametrize(("status", "code", "retryable"), RETRYABLE)
    def test_everything_else_is_an_error(
        self, aws: AwsStub, gateway: ManagementApiGateway, status: int, code: str, retryable: bool
    ) -> None:
        actions: dict[str, Callable[[], object]] = {
            "PostToConnection": lambda: gateway.post_to_connection("c1", {}),
            "DeleteConnection": lambda: gateway.delete_connection("c1"),
            "GetConnection": lambda: gateway.get_connection("c1"),
        }
        for operation, act in actions.items():
            aws.fail(operation, status=status, code=code, message="no")
            with pytest.raises(BackendError) as error:
                act()
            assert str(error.value) == f"{operation} failed with {code}: no"
            assert error.value.operation == operation
            assert error.value.code == code
            assert error.value.retryable is retryable


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        b"<html>ok</html>",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"lastActiveAt": "soon"}',
        b'{"lastActiveAt": "0001-01-01T00:00:00"}',
    ],
)
def test_a_success_that_says_nothing_is_an_error_that_may_pass(
    transport: str, calls: Calls, aws: AwsStub, body: bytes
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with serving() as server:
        server.answer = lambda _request: answer
        gateway = gateway_at(server.url, calls, transport)
        with pytest.raises(BackendError, match="MalformedAnswer") as error:
            gateway.get_connection("c1")
        assert error.value.retryable


def test_says_all_that_api_gateway_says(aws: AwsStub, gateway: ManagementApiGateway) -> None:
    aws.answer(
        "GetConnection",
        {
            "lastActiveAt": "2023-11-14T22:13:21.500Z",
            "connectedAt": "2023-11-14T22:13:20Z",
            "identity": {"sourceIp": "192.0.2.10", "userAgent": "unit-test"},
        },
    )
    assert gateway.get_connection("c1=") == ConnectionInfo(
        last_active_ms=EpochMs(1_700_000_001_500),
        connected_at_ms=NOW_MS,
        source_ip="192.0.2.10",
        user_agent="unit-test",
    )


@both
class TestFunctions:
    def test_invokes_asynchronously(self, aws: AwsStub, functions: LambdaFunctions) -> None:
        functions.invoke_disconnect_handler({"correlationId": "tick-1"})
        assert aws.log == [
            Call(
                operation="Invoke",
                content={"correlationId": "tick-1"},
                target="disconnect",
                invocation_type="Event",
            )
        ]

    def test_a_failure_is_an_error(self, aws: AwsStub, functions: LambdaFunctions) -> None:
        aws.fail("Invoke", status=404, code="ResourceNotFoundException")
        with pytest.raises(BackendError, match="Invoke failed with ResourceNotFoundException"):
            functions.invoke_disconnect_handler({})


@both
class TestSecret:
    def test_is_read_once_and_again_after_five_minutes(
        self, aws: AwsStub, secret: SecretsManagerSecret
    ) -> None:
        aws.answer("GetSecretValue", {"SecretString": "old"}, {"SecretString": "new"})
        values = [secret.value(EpochMs(NOW_MS + ms)) for ms in (0, 1, 300_000, 300_001, 600_001)]
        assert values == ["old", "old", "old", "new", "new"]
        assert aws.calls("GetSecretValue") == [{"SecretId": "join-secret"}] * 2

    def test_a_failure_is_an_error_and_tried_again(
        self, aws: AwsStub, secret: SecretsManagerSecret
    ) -> None:
        aws.fail("GetSecretValue", status=400, code="AccessDeniedException", times=1)
        with pytest.raises(BackendError, match="GetSecretValue failed"):
            secret.value(NOW_MS)
        assert secret.value(NOW_MS) == JOIN_SECRET


class TestNoAnswer:
    """What never got an answer may succeed later."""

    @pytest.fixture
    def nowhere(self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> str:
        with AwsStub() as stopped:
            monkeypatch.setenv("AWS_ENDPOINT_URL", stopped.endpoint)
            return stopped.endpoint

    @both
    def test_is_a_retryable_error_of_every_adapter(
        self, nowhere: str, calls: Calls, transport: str
    ) -> None:
        direct = transport == "direct"
        gateway = gateway_at(nowhere, calls, transport)
        functions = LambdaFunctions(
            DirectLambda() if direct else botocore_client("lambda"), calls, disconnect_function="f"
        )
        connections = DynamoDbConnections(
            DirectDynamoDb() if direct else botocore_client("dynamodb"), calls, "connections"
        )
        sessions = DynamoDbSessions(
            DirectDynamoDb() if direct else botocore_client("dynamodb"),
            calls,
            connections_table="connections",
            sessions_table="sessions",
        )
        secret = SecretsManagerSecret(
            DirectSecrets() if direct else botocore_client("secretsmanager"), calls, "join-secret"
        )
        actions: list[Callable[[], object]] = [
            lambda: gateway.post_to_connection("c1", {}),
            lambda: gateway.delete_connection("c1"),
            lambda: gateway.get_connection("c1"),
            lambda: functions.invoke_disconnect_handler({}),
            lambda: connections.get("c1"),
            lambda: list(connections.scan_all_connections()),
            lambda: connections.sample_records(1),
            lambda: connections.record_gateway_activity(LISTENER, active_ms=NOW_MS, now_ms=NOW_MS),
            lambda: sessions.get("s1"),
            lambda: list(sessions.listener_ids("s1")),
            lambda: sessions.add(LISTENER),
            lambda: sessions.start(LISTENER),
            lambda: sessions.end(LISTENER, now_ms=NOW_MS, claim_expires_ms=NOW_MS),
            lambda: sessions.remove("c1"),
            lambda: secret.value(NOW_MS),
        ]
        for act in actions:
            with pytest.raises(BackendError, match="EndpointConnectionError") as error:
                act()
            assert error.value.retryable

    @both
    def test_a_message_without_an_answer_is_not_sent_twice(
        self, calls: Calls, transport: str, aws: AwsStub
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            connections: list[socket.socket] = []
            thread = threading.Thread(target=self._hang_up_on_all, args=(deaf, connections))
            thread.start()
            endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}/prod"
            gateway = gateway_at(endpoint, calls, transport)
            with pytest.raises(BackendError, match="ConnectionClosedError") as error:
                gateway.post_to_connection("c1", {})
            deaf.shutdown(socket.SHUT_RDWR)
            thread.join(5)
        assert error.value.retryable
        assert len(connections) == 1

    @staticmethod
    def _hang_up_on_all(server: socket.socket, connections: list[socket.socket]) -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _address = server.accept()
                connections.append(connection)
                connection.recv(65_536)
                connection.close()

    @both
    def test_a_message_that_cannot_have_been_sent_is_tried_again(
        self, nowhere: str, calls: Calls, transport: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = gateway_at(nowhere, calls, transport)
        pauses: list[DurationMs] = []
        monkeypatch.setattr(FakeClock, "sleep", lambda _clock, ms: pauses.append(ms))
        with pytest.raises(BackendError, match="EndpointConnectionError") as error:
            gateway.post_to_connection("c1", {})
        assert error.value.retryable
        assert len(pauses) == 1  # before the second attempt, and the last

    def test_a_call_that_cannot_be_made_is_an_error_for_good(
        self, aws: AwsStub, calls: Calls
    ) -> None:
        nameless = LambdaFunctions(botocore_client("lambda"), calls, disconnect_function="")
        with pytest.raises(BackendError, match="ParamValidationError") as error:
            nameless.invoke_disconnect_handler({})
        assert not error.value.retryable
        assert aws.log == []


def test_what_no_call_raises_is_raised_as_it_is(calls: Calls) -> None:
    def fail() -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        calls("Scan", fail)


class TestAttempts:
    """Calls that may succeed later are made again, by the clock and the time that is left."""

    def test_what_is_busy_is_called_again_after_a_pause(
        self, aws: AwsStub, connections: DynamoDbConnections, clock: FakeClock
    ) -> None:
        aws.fail("GetItem", status=500, code="InternalServerError", times=3)
        began_ms = clock.ms
        assert connections.get("c1") is None
        assert len(aws.calls("GetItem")) == 4
        assert 0 <= clock.ms - began_ms <= 50 + 100 + 200

    def test_gives_up_after_six_attempts(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        aws.fail("GetItem", status=500, code="InternalServerError")
        with pytest.raises(BackendError):
            connections.get("c1")
        assert len(aws.calls("GetItem")) == 6

    def test_what_is_refused_is_not_called_again(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        aws.fail("GetItem", status=400, code="AccessDeniedException")
        with pytest.raises(BackendError):
            connections.get("c1")
        assert len(aws.calls("GetItem")) == 1

    def test_a_message_is_worth_two_attempts(
        self, aws: AwsStub, gateway: ManagementApiGateway
    ) -> None:
        aws.fail("PostToConnection", status=429, code="LimitExceededException")
        with pytest.raises(BackendError):
            gateway.post_to_connection("c1", {})
        assert len(aws.calls("PostToConnection")) == 2

    @pytest.mark.parametrize(
        ("remaining_ms", "attempts"),
        [(REPORT_MS + ATTEMPT_MS - 1, 0), (REPORT_MS + ATTEMPT_MS, 1), (60_000, 6)],
    )
    def test_starts_no_attempt_that_the_invocation_has_no_time_for(
        self,
        aws: AwsStub,
        connections: DynamoDbConnections,
        deadline: Deadline,
        monkeypatch: pytest.MonkeyPatch,
        remaining_ms: int,
        attempts: int,
    ) -> None:
        # The longest pauses: one of none would leave the time for another attempt.
        monkeypatch.setattr("hangup.aws.retries.random.randint", lambda _low, high: high)
        aws.fail("GetItem", status=500, code="InternalServerError")
        deadline.start(remaining_ms)
        with pytest.raises(BackendError):
            connections.get("c1")
        assert len(aws.calls("GetItem")) == attempts

    def test_a_close_that_was_not_answered_and_then_is_gone_was_ours(
        self, aws: AwsStub, gateway: ManagementApiGateway
    ) -> None:
        lost = Failure(status=503, code="ServiceUnavailable")
        gone = Failure(status=410, code="GoneException")
        aws.answer("DeleteConnection", lost, gone)
        assert gateway.delete_connection("c1") is CloseOutcome.CLOSED

    @both
    @pytest.mark.parametrize("message", ["planned", "Invalid request", ""])
    def test_another_bad_request_is_an_error(
        self, aws: AwsStub, gateway: ManagementApiGateway, message: str
    ) -> None:
        other = Failure(status=400, code="BadRequestException", message=message)
        for operation in ("PostToConnection", "DeleteConnection", "GetConnection"):
            aws.answer(operation, other)
        for act in (
            lambda: gateway.post_to_connection("c1", {}),
            lambda: gateway.delete_connection("c1"),
            lambda: gateway.get_connection("c1"),
        ):
            with pytest.raises(BackendError, match="BadRequestException") as error:
                act()
            assert not error.value.retryable

    def test_time_runs_down_and_an_invocation_without_an_end_has_an_hour(
        self, deadline: Deadline, clock: FakeClock
    ) -> None:
        deadline.start(60_000)
        clock.advance(seconds=20)
        assert deadline.left_ms() == 40_000 - REPORT_MS
        deadline.start(None)
        assert deadline.left_ms() == 3_600_000


def test_the_clock_is_the_machines_and_moves_on() -> None:
    clock = SystemClock()
    before_ms = clock.now_ms()
    clock.sleep(DurationMs(2))
    assert clock.now_ms() - before_ms >= 2
    assert before_ms > 1_700_000_000_000


def test_the_functions_own_clients_wait_for_seconds_and_not_for_minutes(aws: AwsStub) -> None:
    config = botocore_client("dynamodb").meta.config
    patience_s = config.connect_timeout + config.read_timeout
    assert patience_s * 1000 == ATTEMPT_MS
