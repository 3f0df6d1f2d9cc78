"""microburst between the handlers and MiniStack: AWS's errors in AWS's wire format.

microburst knows an ``@connections`` call only by paths like ``/prod/@connections/id``, MiniStack
only below ``/_aws/execute-api/{apiId}``. So a relay stands behind microburst and puts the prefix
in front. microburst loses an answer by its body only, so the relay also gives the empty ones a
body while answers are to be lost. Everything else it passes on as it is.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import unquote

from tests.support.loopback import LoopbackServer, body_of

__all__ = ["ANSWER_LOST", "Proxy", "fault_proxy"]

ANSWER_LOST: Final = {"response": {"abort_bytes": 0}}
"""The call takes effect, and its connection breaks before the first byte of the answer's body."""

_START_S: Final = 20.0
_HOP_BY_HOP: Final = frozenset(
    {"connection", "transfer-encoding", "content-length", "date", "server"}
)


class Proxy:
    """A running microburst; ``endpoint`` is where the clients of AWS go."""

    def __init__(self, port: int, relay: "_Relay") -> None:
        self._port = port
        self._relay = relay
        self.endpoint = f"http://127.0.0.1:{port}"

    def plan(self, *rules: Mapping[str, object]) -> None:
        """Replace all rules; without any, everything passes. The record of faults begins anew."""
        self._relay.fills_empty_answers = any("response" in rule for rule in rules)
        self._ask("POST", "rules", rules)
        self._ask("DELETE", "fired")

    def let_be_silent(self, connection_id: str, *, since_s: float) -> None:
        """Let API Gateway's account of a connection say that it is silent since then (Unix)."""
        self._relay.silent_since[connection_id] = datetime.fromtimestamp(since_s, UTC)

    def faults(self) -> list[Mapping[str, Any]]:
        """Return each fault since the last plan, up to 2,000: its operation and its action."""
        fired: list[Mapping[str, Any]] = self._ask("GET", "fired?limit=2000")
        return fired

    def requests(self) -> tuple[int, int]:
        """Return how many requests came since the start, and how many of them met a fault."""
        counts = self._ask("GET", "stats")["requests"]
        return counts["total"], counts["faulted"]

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request(method, f"/_microburst/{path}", json.dumps(content))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 200, body
        return json.loads(body)


@contextmanager
def fault_proxy(upstream_port: int, api_id: str) -> Iterator[Proxy]:
    """Run the relay and microburst; both end with the block."""
    with _Relay(upstream_port, api_id) as relay:
        port = _free_port()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "microburst"),
                *("--upstream", f"http://127.0.0.1:{relay.port}"),
                *("--host", "127.0.0.1", "--port", str(port), "--no-resign"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_open(port)
            yield Proxy(port, relay)
        finally:
            process.terminate()
            process.wait(10)


class _Relay(LoopbackServer):
    """What microburst takes for AWS."""

    def __init__(self, upstream_port: int, api_id: str) -> None:
        self.upstream_port = upstream_port
        self.api_id = api_id
        self.fills_empty_answers = False
        self.silent_since: dict[str, datetime] = {}
        super().__init__(_handler_of(self))


def _handler_of(relay: _Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one write

        def _pass_on(self) -> None:
            body = body_of(self)  # microburst sends some in chunks
            path = self.path
            if path.startswith("/prod/@connections/"):
                path = f"/_aws/execute-api/{relay.api_id}{path}"
            upstream = http.client.HTTPConnection("127.0.0.1", relay.upstream_port, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            status = answer.status
            connection_id = unquote(path.rpartition("/")[2])
            if self.command == "GET" and status == 200 and connection_id in relay.silent_since:
                since = relay.silent_since[connection_id].isoformat(timespec="milliseconds")
                content = json.dumps(json.loads(content) | {"lastActiveAt": since}).encode()
            if relay.fills_empty_answers and not content and status in (200, 202, 204):
                status, content = 200, b"{}"
            self.send_response_only(status)
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

    return Handler


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
