"""HTTP servers of the tests, on loopback and on a port of their own."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class LoopbackServer:
    """A server that answers from ``with`` to its end; its port is known, and kept, before."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        # Its pause between looks for the end is the time that a stop takes.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def service(answer: Callable[[bytes], tuple[int, str]]) -> Iterator[int]:
    """Yield the port of a service that answers each POST so, and each GET with status 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            status, body = answer(body_of(self))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # Who was interrupted does not wait for it.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with LoopbackServer(Handler) as server:
        yield server.port


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    """Read a body, whole or in chunks; botocore asks before it sends a large one."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        request.send_response_only(100)
        request.end_headers()
        request.wfile.flush()
    if "chunked" not in request.headers.get("Transfer-Encoding", ""):
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    parts = []
    while size := int(request.rfile.readline().split(b";")[0], 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)
