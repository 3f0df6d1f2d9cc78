"""A socket that was kept for the next request, and that the server has closed: who hears of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.errors import KeptSocketClosedError
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.account import Keys
from hangup.aws.http.loop import Loop
from hangup.aws.http.services import DirectDynamoDb, DirectManagementApi
from hangup.aws.http.transport import CurlTransport
from hangup.aws.retries import Calls
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import BackendError
from hangup.testing import FakeAws
from tests.support.http_server import Server, serving
from tests.support.precise_world import PreciseWorld

AT_ONCE = 16
"""Sockets that are kept: one for each request under way at once."""

NOW_MS = EpochMs(1_700_000_000_000)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as plain:
        yield plain


def transport_to(server: Server) -> CurlTransport:
    return CurlTransport(
        server.url,
        service="execute-api",
        region="eu-central-1",
        keys=lambda: Keys("AKIDEXAMPLE", "a-secret", None),
        ca_file="",
    )


def keep_sockets(transport: CurlTransport, server: Server) -> None:
    """Keep as many as requests at once, and let the server close them, unheard."""

    def send(number: int) -> int:
        return transport.send("POST", f"/{number}", body=b"{}").status

    assert Loop(AT_ONCE).map(send, range(AT_ONCE)) == [200] * AT_ONCE
    server.forget()
    server.requests.clear()


def test_the_error_of_a_request_with_a_body_says_it(server: Server) -> None:
    transport = transport_to(server)
    keep_sockets(transport, server)
    with pytest.raises(KeptSocketClosedError, match="the kept socket was closed") as error:
        transport.send("POST", "/c1", body=b"{}")
    assert error.value.code == "ConnectionClosedError"
    assert server.requests == []


def test_one_that_a_request_opened_itself_is_no_kept_one(server: Server) -> None:
    server.hangs_up = True
    server.answer = lambda _request: b""
    with pytest.raises(Exception, match="no answer") as error:
        transport_to(server).send("POST", "/c1", body=b"{}")
    assert not isinstance(error.value, KeptSocketClosedError)


def test_a_notice_is_lost_and_counted(server: Server, calls: Calls) -> None:
    transport = transport_to(server)
    gateway = ManagementApiGateway(DirectManagementApi(lambda: transport), calls)
    keep_sockets(transport, server)

    def notify(number: int) -> PostOutcome | None:
        try:
            return gateway.post_to_connection(f"c{number}=", {"type": "connectionTimeout"})
        except BackendError:
            return None

    sent = Loop(AT_ONCE).map(notify, range(2 * AT_ONCE))
    lost = sent.count(None)
    assert lost == calls.sockets_lost() > 0
    assert len(server.requests) == 2 * AT_ONCE - lost


def test_a_claim_is_made_again_and_counted(server: Server, calls: Calls) -> None:
    transport = transport_to(server)
    connections = DynamoDbConnections(DirectDynamoDb(lambda: transport), calls, "connections")
    keep_sockets(transport, server)
    connection = Connection(connection_id="c1=", connected_at_ms=EpochMs(0))
    until_ms = EpochMs(NOW_MS + 60_000)
    assert connections.claim(connection, now_ms=NOW_MS, claim_expires_ms=until_ms)
    assert calls.sockets_lost() == 1  # the other sockets were let go of
    assert len(server.requests) == 1


def test_a_close_is_sent_again_below_and_not_counted(server: Server, calls: Calls) -> None:
    transport = transport_to(server)
    gateway = ManagementApiGateway(DirectManagementApi(lambda: transport), calls)
    keep_sockets(transport, server)
    assert gateway.delete_connection("c1=") is CloseOutcome.CLOSED
    assert calls.sockets_lost() == 0
    assert len(server.requests) == 1


def counting(*totals: int) -> Callable[[], int]:
    """Return what a process says it has lost by now, which only grows."""
    remaining = iter(totals)
    return lambda: next(remaining)


def said(world: FakeAws) -> list[dict[str, object]]:
    return [
        fields
        for level, event, fields in world.log.lines
        if (level, event) == ("warning", "found kept sockets closed")
    ]


def test_a_sweep_reports_what_was_lost_during_it() -> None:
    world = FakeAws()
    closer = world.make_closer(sockets_lost=counting(40, 42, 42, 42))
    sweep = world.make_sweep(closer=closer)
    reports = [
        sweep.check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(60_000), correlation_id="sweep"
        )
        for _ in range(2)
    ]
    assert [report.as_json()["socketsLost"] for report in reports] == [2, 0]
    assert said(world) == [{"count": 2}]


def test_the_close_function_reports_what_was_lost_during_its_batch() -> None:
    world = PreciseWorld()
    due = replace(world.due, closer=world.make_closer(sockets_lost=counting(1, 4, 4, 4)))
    for _ in range(2):
        assert due.close_scheduled([], time_left_ms=lambda: DurationMs(60_000)) == []
    assert said(world) == [{"count": 3}]
