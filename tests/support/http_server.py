"""An HTTP server that puts on record what it is asked, and answers what it is told to."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["OK", "Request", "Server", "serving"]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A server that puts requests on record; ``answer`` is what it sends back."""

    answer: Callable[[Request], bytes] = lambda _request: OK
    hangs_up: bool = False
    """Whether it closes the connection after each answer."""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    forgotten: int = 0
    """So many of the connections, in their order, end at the next request, without an answer."""
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/prod"

    def forget(self) -> None:
        """Let go of each connection so far, as a server does of one that rests: see above."""
        self.forgotten = self.connections

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _address = listener.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            self.connections += 1
            threading.Thread(
                target=self._converse, args=(peer, self.connections), daemon=True
            ).start()

    def _converse(self, peer: socket.socket, number: int) -> None:
        # A client that gives up resets the connection.
        with suppress(ConnectionError), peer, peer.makefile("rb") as lines:
            while (first := lines.readline()) not in (b"", b"\r\n"):
                if number <= self.forgotten:
                    return
                method, path, _version = first.decode().split(" ")
                fields = {}
                while (line := lines.readline()) != b"\r\n":
                    name, _, value = line.decode().partition(":")
                    fields[name.lower()] = value.strip()
                body = lines.read(int(fields.get("content-length", 0)))
                request = Request(method, path, fields, body)
                self.requests.append(request)
                # Before the answer: after it, who got it may have said something else.
                last = self.hangs_up
                peer.sendall(self.answer(request))
                if last:
                    return


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(port=listener.getsockname()[1], scheme="https" if context else "http")
    if context is not None:
        listener = context.wrap_socket(listener, server_side=True)
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    try:
        yield server
    finally:
        listener.close()
