"""What the Gateway port promises: on the fake, and on MiniStack with real sockets."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.services import DirectManagementApi
from hangup.aws.runtime import calls
from hangup.core.connection import ConnectionInfo, DurationMs, EpochMs, NoConnection
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import BackendError
from hangup.local.demo.clients import join_url
from hangup.ports import Gateway
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from hangup.testing import InMemoryGateway
from tests.support.engines import transport_to
from tests.support.local_stack import Stack, stack

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["stack"]

MESSAGE = {"type": "sessionEnded", "sessionId": "s1", "timestamp": 1_700_000_000_000}


def now_ms() -> EpochMs:
    return EpochMs(time.time_ns() // 1_000_000)


class Peers(Protocol):
    """A gateway, and the other side of it: one open connection, ``c1`` or what it is called."""

    @property
    def gateway(self) -> Gateway: ...

    @property
    def connection_id(self) -> str: ...

    def next_message(self) -> object: ...

    def is_closed(self) -> bool: ...


class FakePeers:
    def __init__(self) -> None:
        self.gateway = InMemoryGateway()
        self.connection_id = "c1"
        self.gateway.open("c1")
        self.gateway.active_ms["c1"] = now_ms()

    def next_message(self) -> object:
        return self.gateway.sent["c1"].pop(0)

    def is_closed(self) -> bool:
        return "c1" not in self.gateway.open_ids


class RealPeers:
    def __init__(
        self,
        api: "ApiGatewayManagementApiClient | DirectManagementApi",
        socket: ClientConnection,
        connection_id: str,
    ) -> None:
        self.gateway = ManagementApiGateway(api, calls)
        self.connection_id = connection_id
        self._socket = socket

    def next_message(self) -> object:
        return json.loads(self._socket.recv(timeout=10))

    def is_closed(self) -> bool:
        try:
            self._socket.recv(timeout=10)
        except ConnectionClosed as closed:
            return closed.rcvd is not None and closed.rcvd.code == 1000
        return False


def management_api(
    stack: Stack, *, direct: bool
) -> "ApiGatewayManagementApiClient | DirectManagementApi":
    endpoint = stack.deployed.management_endpoint
    if not direct:
        client: ApiGatewayManagementApiClient = stack.engine.client(
            "apigatewaymanagementapi", endpoint_url=endpoint
        )
        return client
    transport = transport_to(endpoint, service="execute-api")
    return DirectManagementApi(lambda: transport)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("ministack", marks=pytest.mark.integration),
        pytest.param("ministack, direct", marks=pytest.mark.integration),
    ]
)
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    if request.param == "fake":
        yield FakePeers()
        return
    real: Stack = request.getfixturevalue("stack")
    api = management_api(real, direct=request.param == "ministack, direct")
    session_id = uuid4().hex
    token = mint_join_token(
        session_id=session_id,
        role=Role.SPEAKER,
        secret=real.secret,
        now_ms=now_ms(),
        lifetime_ms=DurationMs(60_000),
    )
    url = join_url(
        real.deployed.web_socket_url, session_id=session_id, role=Role.SPEAKER, token=token
    )
    with connect(url, ping_interval=None, proxy=None) as socket:
        session = real.sessions.get(session_id)
        assert session is not None
        yield RealPeers(api, socket, session.speaker_connection_id)


def test_a_message_arrives_as_it_is(peers: Peers) -> None:
    posted = peers.gateway.post_to_connection(peers.connection_id, MESSAGE)
    assert posted is PostOutcome.POSTED
    assert peers.next_message() == MESSAGE


def test_a_close_closes_and_comes_after_the_message_before_it(peers: Peers) -> None:
    peers.gateway.post_to_connection(peers.connection_id, MESSAGE)
    assert peers.gateway.delete_connection(peers.connection_id) is CloseOutcome.CLOSED
    assert peers.next_message() == MESSAGE
    assert peers.is_closed()


def test_a_connection_that_was_closed_is_gone_for_everything(peers: Peers) -> None:
    peers.gateway.delete_connection(peers.connection_id)
    assert peers.gateway.delete_connection(peers.connection_id) is CloseOutcome.ALREADY_GONE
    assert peers.gateway.post_to_connection(peers.connection_id, MESSAGE) is PostOutcome.GONE
    assert peers.gateway.get_connection(peers.connection_id) is NoConnection.GONE


@pytest.mark.parametrize(
    "connection_id", ["L0SM9cOFvHcCIhw=", "a+b-c+d_e+f+g=", "0123456789abcdef"]
)
def test_an_id_that_nobody_has_is_gone(peers: Peers, connection_id: str) -> None:
    assert peers.gateway.post_to_connection(connection_id, MESSAGE) is PostOutcome.GONE
    assert peers.gateway.delete_connection(connection_id) is CloseOutcome.ALREADY_GONE
    assert peers.gateway.get_connection(connection_id) is NoConnection.GONE


@pytest.mark.parametrize("connection_id", ["a/b?c", ".", "..", "room#lobby", "c\ud83d"])
def test_an_id_of_another_form_is_no_connection_and_names_nothing_else(
    peers: Peers, connection_id: str
) -> None:
    assert peers.gateway.get_connection(connection_id) is NoConnection.INVALID
    for act in (
        lambda: peers.gateway.post_to_connection(connection_id, MESSAGE),
        lambda: peers.gateway.delete_connection(connection_id),
    ):
        with pytest.raises(BackendError, match="invalid connectionid") as error:
            act()
        assert not error.value.retryable
    assert isinstance(peers.gateway.get_connection(peers.connection_id), ConnectionInfo)


def test_the_last_activity_is_epoch_milliseconds(peers: Peers) -> None:
    info = peers.gateway.get_connection(peers.connection_id)
    assert isinstance(info, ConnectionInfo)
    # Whole seconds on the wire, rounded down.
    assert now_ms() - 30_000 < info.last_active_ms <= now_ms()
