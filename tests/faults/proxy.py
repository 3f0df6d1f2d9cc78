"""microburst between the handlers and MiniStack: AWS's errors in AWS's wire format.

microburst knows an ``@connections`` call only by paths like ``/prod/@connections/id``, MiniStack
only below ``/_aws/execute-api/{apiId}``. So a relay stands behind microburst and puts the prefix
in front; everything else it passes on as it is.
"""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

__all__ = ["Proxy", "fault_proxy"]

_START_S: Final = 20.0
_HOP_BY_HOP: Final = frozenset(
    {"connection", "transfer-encoding", "content-length", "date", "server"}
)


class Proxy:
    """A running microburst; ``endpoint`` is where the handlers' clients go."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    def plan(self, *rules: Mapping[str, object]) -> None:
        """Replace all rules; without any, everything passes."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request("POST", "/_microburst/rules", json.dumps(rules))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()


@contextmanager
def fault_proxy(upstream_port: int, api_id: str) -> Iterator[Proxy]:
    """Run the relay and microburst; both end with the block."""
    with _relay(upstream_port, api_id) as relay_port:
        port = _free_port()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "microburst"),
                *("--upstream", f"http://127.0.0.1:{relay_port}"),
                *("--host", "127.0.0.1", "--port", str(port), "--no-resign"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_open(port)
            yield Proxy(port)
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def _relay(upstream_port: int, api_id: str) -> Iterator[int]:
    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path
            if path.startswith("/prod/@connections/"):
                path = f"/_aws/execute-api/{api_id}{path}"
            upstream = http.client.HTTPConnection("127.0.0.1", upstream_port, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        do_GET = do_POST = do_DELETE = do_PUT = _pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "microburst did not start"
        time.sleep(0.05)


def rule(service: str, operation: str, effect: Mapping[str, object]) -> dict[str, object]:
    """Return a rule for one operation."""
    return {"service": service, "operation": operation, **effect}


Rules = Sequence[Mapping[str, object]]
