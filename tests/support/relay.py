"""Something between the command line and the engine: what ends TLS, or a network that fails.

It passes each request on and says that it came by TLS, as a load balancer does: the engine speaks
plain HTTP, and a bucket that is reached by TLS alone refuses whoever does not come by it. From a
request of one's choice on it answers with AWS's errors in AWS's wire formats, or not at all: the
engine itself knows no throttling, no expired credentials and no lost network.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from threading import get_ident
from typing import Final
from urllib.parse import parse_qs

from tests.support.loopback import LoopbackServer, body_of

__all__ = ["Fault", "Relay", "relay_to"]

_OF_EACH_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length"})


class Fault(StrEnum):
    """What happens to a request, and to all after it."""

    LOST_NETWORK = "lost network"
    THROTTLED = "throttled"
    EXPIRED = "expired credentials"


_ERRORS: Final = {
    Fault.THROTTLED: (400, "ThrottlingException", "Rate exceeded"),
    Fault.EXPIRED: (
        400,
        "ExpiredTokenException",
        "The security token included in the request is expired",
    ),
}


@dataclass(slots=True)
class Relay:
    """Where the engine is reached; ``operations`` are the requests so far, as far as named."""

    upstream_port: int
    endpoint: str = ""
    operations: list[str] = field(default_factory=list)
    fault: Fault | None = None
    faults_from: int = 0
    """The first request (from 0) that meets the fault."""
    before: Callable[[int], object] = bool
    """What happens before each request is passed on; it gets the number of the request."""
    at_work: set[int] = field(default_factory=set)
    """The threads that have a request which is not answered yet."""

    def plan(self, fault: Fault | None, faults_from: int = 0) -> None:
        """Count anew, and let all requests from one on meet a fault."""
        self.operations.clear()
        self.fault, self.faults_from, self.before = fault, faults_from, bool

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count this thread as one that is at work."""
        self.at_work.add(get_ident())
        try:
            yield
        finally:
            self.at_work.discard(get_ident())


@contextmanager
def relay_to(upstream_port: int) -> Iterator[Relay]:
    """Run a relay in front of an engine until the end of the block."""
    relay = Relay(upstream_port)
    with LoopbackServer(_handler_of(relay)) as server:
        relay.endpoint = f"http://127.0.0.1:{server.port}"
        yield relay


def _handler_of(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one write

        def handle(self) -> None:
            # Who was interrupted leaves in the middle of whatever it was.
            with contextlib.suppress(OSError):
                super().handle()

        def _pass_on(self) -> None:
            with relay.serving():
                body = body_of(self)
                number = len(relay.operations)
                relay.operations.append(_operation(self, body))
                relay.before(number)
                if relay.fault is not None and number >= relay.faults_from:
                    self._fail(relay.fault, body)
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", relay.upstream_port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _OF_EACH_HOP}
                headers |= {"X-Forwarded-Proto": "https"}
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _OF_EACH_HOP:
                        self.send_header(name, value)
                self._send(content)

        def _fail(self, fault: Fault, body: bytes) -> None:
            if fault is Fault.LOST_NETWORK:
                # Whatever of the answer was on its way is lost too.
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, code, content = _error(fault, self, body)
            self.send_response_only(status)
            self.send_header("x-amzn-ErrorType", code)
            self._send(content)

        def _send(self, content: bytes) -> None:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: what came is in ``operations``."""

    return Handler


def _operation(request: BaseHTTPRequestHandler, body: bytes) -> str:
    if target := request.headers.get("X-Amz-Target"):
        return str(target).partition(".")[2]
    if _is_query(body):
        return parse_qs(body.decode())["Action"][0]
    return f"{request.command} {request.path}"


def _is_query(body: bytes) -> bool:
    return b"Action=" in body[:200]


def _error(fault: Fault, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
    """Return the status, the code and the body of the answer of the service that was asked."""
    status, code, message = _ERRORS[fault]
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if request.command == "HEAD":
        text = ""
    elif _is_query(body):
        text = f"<ErrorResponse>{error}</ErrorResponse>"
    elif "/s3/aws4_request" in request.headers.get("Authorization", ""):
        text = error
    else:
        text = json.dumps({"__type": code, "message": message})
    return status, code, text.encode()
