"""Both transports, over real sockets: signatures, connections, time-outs, TLS."""

import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import botocore.auth
import pytest
import trustme
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import get_cert_path

from hangup.aws.errors import UnansweredError
from hangup.aws.http import botocore_transport, transport
from hangup.aws.http.account import Keys
from hangup.aws.http.answer import Answer, Transport
from hangup.aws.http.botocore_transport import BotocoreTransport
from hangup.aws.http.loop import Loop
from hangup.aws.http.threads import Threads
from hangup.aws.http.transport import CurlTransport
from tests.support.http_server import OK, Request, Server, serving

KEYS = Keys("AKIDEXAMPLE", "a-secret", "a-session-token=+/")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as plain:
        yield plain


class InterleavedTransport:
    """A transport whose every request is one of several calls at a time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, *arguments: Any, **further: Any) -> Answer:
        (answer,) = at_once(2).map(lambda _: self._transport.send(*arguments, **further), [None])
        return answer


WAYS = ["libcurl", "libcurl, interleaved", "botocore", "botocore, interleaved"]
"""Who sends the tests' requests, and whether each waits for its answer alone."""
_way = [WAYS[0]]


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    _way[:] = [request.param]
    return str(request.param)


def at_once(in_flight: int) -> Loop | Threads:
    return Loop(in_flight) if "libcurl" in _way[0] else Threads(in_flight)


def transport_to(server: Server, *, keys: Keys = KEYS, ca_file: str = "") -> Transport:
    made = plain_transport(server, keys=lambda: keys, ca_file=ca_file)
    return InterleavedTransport(made) if "interleaved" in _way[0] else made


def plain_transport(
    server: Server, *, keys: Callable[[], Keys] = lambda: KEYS, ca_file: str = ""
) -> Transport:
    make = CurlTransport if "libcurl" in _way[0] else BotocoreTransport
    return make(
        server.url, service="execute-api", region="eu-central-1", keys=keys, ca_file=ca_file
    )


def set_time_outs(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        for module in (transport, botocore_transport):
            monkeypatch.setattr(module, name, value)


def signature_by_botocore(request: Request, server: Server, keys: Keys) -> str:
    """Sign what came as botocore would have, at the time at which it was signed."""
    when = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    signed = re.search(r"SignedHeaders=([^,]+)", request.headers["authorization"])
    assert signed is not None
    again = AWSRequest(
        request.method,
        f"{server.scheme}://{request.headers['host']}{request.path}",
        data=request.body or None,
        headers={
            name: request.headers[name]
            for name in signed[1].split(";")
            if name not in ("host", "x-amz-date", "x-amz-security-token")
        },
    )
    with patch.object(botocore.auth, "get_current_datetime", return_value=when):
        botocore.auth.SigV4Auth(Credentials(*keys), "execute-api", "eu-central-1").add_auth(again)
    return str(again.headers["Authorization"]).rpartition("Signature=")[2]


@contextmanager
def no_answer(code: str, match: str | None = None) -> Iterator[None]:
    with pytest.raises(UnansweredError, match=match) as error:
        yield
    assert error.value.code == code


def receive_whole(peer: socket.socket) -> None:
    """Read a request whose body is ``{}``. Its head may come first."""
    received = b""
    while not received.endswith(b"{}"):
        received += peer.recv(65_536)


def lead_through(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


class TestSignature:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/@connections/L0SM9cOFvHcCIhw%3D", b'{"type":"connectionTimeout"}'),
            ("DELETE", "/@connections/a%2Bb%2Fc%3D", b""),
            ("GET", "/@connections/%C3%A4%20%25", b""),
        ],
    )
    @pytest.mark.parametrize("keys", [KEYS, Keys("AKID2", "no-token", None)])
    def test_is_botocores(
        self, server: Server, method: str, path: str, body: bytes, keys: Keys
    ) -> None:
        sent = transport_to(server, keys=keys).send(
            method, path, headers=("X-Amz-Invocation-Type: Event",), body=body
        )
        assert (sent.status, sent.body) == (200, b"{}")
        (request,) = server.requests
        assert (request.method, request.path, request.body) == (method, f"/prod{path}", body)
        assert request.headers.get("x-amz-security-token") == keys.token
        signature = request.headers["authorization"].rpartition("Signature=")[2]
        assert signature == signature_by_botocore(request, server, keys)

    def test_is_by_the_keys_of_the_moment(self, server: Server) -> None:
        both = [Keys(name, f"secret of {name}", f"token of {name}") for name in ("first", "second")]
        keys = iter(both)
        ours = plain_transport(server, keys=lambda: next(keys))
        ours.send("DELETE", "/@connections/c1")
        ours.send("DELETE", "/@connections/c1")
        assert server.connections == 1
        for request, its in zip(server.requests, both, strict=True):
            assert f"Credential={its.access_key}/" in request.headers["authorization"]
            assert request.headers["x-amz-security-token"] == its.token
            signature = request.headers["authorization"].rpartition("Signature=")[2]
            assert signature == signature_by_botocore(request, server, its)

    def test_needs_keys(self, server: Server) -> None:
        def none() -> Keys:
            raise UnansweredError("NoCredentialsError", "none")

        with no_answer("NoCredentialsError"):
            plain_transport(server, keys=none).send("DELETE", "/@connections/c1")
        assert server.connections == 0

    def test_is_not_asked_for_by_an_answer(self, server: Server) -> None:
        server.answer = lambda _request: (
            b"HTTP/1.1 401 -\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        )
        ours = transport_to(server)
        assert ours.send("POST", "/@connections/c1", body=b"{}").status == 401
        assert len(server.requests) == 1


class TestConnections:
    def test_one_serves_request_after_request(self, server: Server) -> None:
        ours = transport_to(server)
        for _ in range(20):
            ours.send("POST", "/@connections/c1", body=b"{}")
        assert (server.connections, len(server.requests)) == (1, 20)

    def test_there_are_as_many_as_requests_at_once_and_answers_are_not_mixed_up(
        self, server: Server
    ) -> None:
        def echo(request: Request) -> bytes:
            time.sleep(0.002)
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
                len(request.path),
                request.path.encode(),
            )

        server.answer = echo
        ours = transport_to(server)
        paths = [f"/@connections/{number}" for number in range(300)]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda path: ours.send("DELETE", path).body, paths))
        assert answers == [f"/prod{path}".encode() for path in paths]
        assert server.connections <= 8

    def test_one_thread_has_several_requests_under_way(self, server: Server) -> None:
        together = threading.Barrier(8)

        def answer(request: Request) -> bytes:
            together.wait(10)
            path = request.path.encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path)

        server.answer = answer
        ours = plain_transport(server)
        paths = [f"/@connections/{number}" for number in range(80)]
        answers = at_once(8).map(lambda path: ours.send("DELETE", path).body, paths)
        assert answers == [f"/prod{path}".encode() for path in paths]
        assert server.connections == 8

    def test_one_that_the_server_closed_is_not_used_again(self, server: Server) -> None:
        server.answer = lambda _request: OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        ours = transport_to(server)
        for _ in range(3):
            assert ours.send("DELETE", "/@connections/c1").status == 200
        assert server.connections == 3

    def test_one_that_rested_for_long_is_not_used_again(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        set_time_outs(monkeypatch, REST_S=1)
        ours = transport_to(server)
        ours.send("DELETE", "/@connections/c1")
        time.sleep(0.1)
        ours.send("DELETE", "/@connections/c1")
        assert server.connections == 1
        time.sleep(2.1 if "libcurl" in way else 1.1)  # libcurl counts whole seconds
        ours.send("DELETE", "/@connections/c1")
        assert server.connections == 2

    @pytest.mark.parametrize("others_go_on", [False, True])
    def test_none_is_used_that_rested_while_the_function_was_frozen(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, others_go_on: bool
    ) -> None:
        """As on AWS: the servers have gone, nobody heard of it, and libcurl's clock stood still."""
        together = threading.Barrier(16)

        def answer(_request: Request) -> bytes:
            together.wait(10)
            return OK

        server.answer = answer
        ours = plain_transport(server)

        def notify(number: int) -> int:
            return ours.send("POST", f"/@connections/{number}", body=b"{}").status

        assert at_once(16).map(notify, range(16)) == [200] * 16
        assert server.connections == 16
        # Whoever is asked on one of these connections hangs up, without an answer.
        server.answer = lambda _request: OK
        server.forget()
        began_s = time.time()
        with serving() as another:
            elsewhere = plain_transport(another)
            for passed_s in range(1, 61):
                monkeypatch.setattr(time, "time", lambda now_s=began_s + passed_s: now_s)
                if others_go_on:
                    elsewhere.send("DELETE", "/@connections/c1")
        assert at_once(16).map(notify, range(32)) == [200] * 32

    def test_one_that_the_server_closed_unasked_costs_no_message_twice(
        self, server: Server
    ) -> None:
        ours = transport_to(server)
        ours.send("POST", "/@connections/c1", body=b"{}")
        server.answer = lambda _request: b""
        server.hangs_up = True
        with no_answer("ConnectionClosedError"):
            ours.send("POST", "/@connections/c1", body=b"{}")
        assert len(server.requests) == 2

    def test_one_that_was_sent_once_is_not_taken_for_unsent(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def answer_once_and_leave() -> None:
            peer, _address = listener.accept()
            with peer:
                receive_whole(peer)
                peer.sendall(OK)
                receive_whole(peer)
                listener.close()

        thread = threading.Thread(target=answer_once_and_leave)
        thread.start()
        ours = transport_to(Server(port=port))
        ours.send("POST", "/@connections/c1", body=b"{}")
        with no_answer("ConnectionClosedError"):
            ours.send("POST", "/@connections/c1", body=b"{}")
        thread.join(5)

    def test_an_answer_with_an_error_is_an_answer(self, server: Server) -> None:
        server.answer = lambda _request: (
            b"HTTP/1.1 410 Gone\r\nx-amzn-ErrorType: GoneException\r\nContent-Length: 0\r\n\r\n"
        )
        answer = transport_to(server).send("DELETE", "/@connections/c1")
        assert (answer.status, answer.body) == (410, b"")
        assert answer.header("x-amzn-errortype") == "GoneException"
        assert answer.header("x-amzn-requestid") == ""

    def test_may_lead_through_a_proxy(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lead_through(f"http://localhost:{server.port}", monkeypatch)
        elsewhere = Server(port=1)
        transport_to(elsewhere).send("DELETE", "/@connections/c1")
        assert [request.path for request in server.requests] == [f"{elsewhere.url}/@connections/c1"]

    @pytest.mark.parametrize(
        "proxy", ["http://me:s3c/ret@localhost:1", "me:s3c ret@localhost", "foo://me:s3c-ret@h:1"]
    )
    def test_no_error_tells_the_password_of_a_proxy(
        self, proxy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lead_through(proxy, monkeypatch)
        with pytest.raises(UnansweredError) as error:
            transport_to(Server(port=1)).send("DELETE", "/@connections/c1")
        assert "s3c" not in "".join(traceback.format_exception(error.value))
        assert "proxy" in str(error.value)


class TestNoAnswer:
    def test_no_error_tells_the_keys(self) -> None:
        with pytest.raises(UnansweredError) as error:
            transport_to(Server(port=1)).send("POST", "/@connections/c1", body=b"{}")
        said = "".join(traceback.format_exception(error.value))
        assert not any(key and key in said for key in KEYS)

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as stopped:
            nowhere = Server(port=stopped.getsockname()[1])
        with no_answer("EndpointConnectionError", match=f"localhost:{nowhere.port}"):
            transport_to(nowhere).send("DELETE", "/@connections/c1")

    def test_no_connection_in_time_is_told_from_no_answer_in_time(
        self, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        set_time_outs(monkeypatch, CONNECT_S=0.2)
        with socket.create_server(("127.0.0.1", 0)) as mute:  # it never begins to talk TLS
            there = Server(port=mute.getsockname()[1], scheme="https")
            ours = transport_to(there, ca_file=str(get_cert_path(verify=True)))
            # botocore takes TLS for a part of the request: what it cannot tell, it does not claim.
            with no_answer("ConnectTimeoutError" if "libcurl" in way else "ReadTimeoutError"):
                ours.send("POST", "/@connections/c1", body=b"{}")

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
    def test_the_server_hangs_up(self, server: Server, answer: bytes) -> None:
        server.answer = lambda _request: answer
        server.hangs_up = True
        with no_answer("ConnectionClosedError"):
            transport_to(server).send("DELETE", "/@connections/c1")
        assert len(server.requests) == 1

    def test_the_server_says_nothing_in_time_and_the_next_request_is_served(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()

        def late(_request: Request) -> bytes:
            released.wait(10)
            return OK

        set_time_outs(monkeypatch, CONNECT_S=0.1, READ_S=0.2)
        server.answer = late
        ours = transport_to(server)
        with no_answer("ReadTimeoutError"):
            ours.send("DELETE", "/@connections/c1")
        released.set()
        set_time_outs(monkeypatch, READ_S=3)
        assert ours.send("DELETE", "/@connections/c2").status == 200
        assert server.connections == 2

    def test_a_request_without_an_answer_does_not_hold_up_the_others(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()

        def answer(request: Request) -> bytes:
            if request.path.endswith("silent"):
                released.wait(10)
            return OK

        # Long enough for twenty answers on a busy machine.
        set_time_outs(monkeypatch, CONNECT_S=1.0, READ_S=1.0)
        server.answer = answer
        ours = plain_transport(server)
        done: list[str] = []

        def send(name: str) -> None:
            with suppress(UnansweredError):
                ours.send("DELETE", f"/@connections/{name}")
            done.append(name)

        at_once(2).map(send, ["silent", *map(str, range(20))])
        released.set()
        assert done == [*map(str, range(20)), "silent"]


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @staticmethod
    def serving(authority: trustme.CA, *names: str) -> "Iterator[Server]":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        with serving(context) as server:
            yield server

    @staticmethod
    def file_of(authority: trustme.CA, folder: Path) -> str:
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        return str(folder / "ca.pem")

    def test_a_certificate_of_the_authority_is_good(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        for server in self.serving(authority, "localhost"):
            ours = transport_to(server, ca_file=self.file_of(authority, tmp_path))
            for _ in range(3):
                assert ours.send("POST", "/@connections/c1", body=b"{}").body == b"{}"
            assert server.connections == 1

    def test_one_of_another_authority_is_not(self, authority: trustme.CA, tmp_path: Path) -> None:
        for server in self.serving(authority, "localhost"):
            ours = transport_to(server, ca_file=self.file_of(trustme.CA(), tmp_path))
            with no_answer("SSLError", match="certificate"):
                ours.send("DELETE", "/@connections/c1")
            assert server.requests == []

    @pytest.mark.parametrize("content", [None, "", "no certificate"])
    def test_a_file_that_has_none_is_an_error_of_tls(
        self, authority: trustme.CA, tmp_path: Path, content: str | None
    ) -> None:
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        for server in self.serving(authority, "localhost"):
            with no_answer("SSLError"):
                transport_to(server, ca_file=str(file)).send("DELETE", "/@connections/c1")
            assert server.connections == 0

    def test_nor_one_for_another_host(self, authority: trustme.CA, tmp_path: Path) -> None:
        for server in self.serving(authority, "elsewhere.example"):
            ours = transport_to(server, ca_file=self.file_of(authority, tmp_path))
            with no_answer("SSLError", match="certificate|hostname"):
                ours.send("DELETE", "/@connections/c1")
            assert server.requests == []
