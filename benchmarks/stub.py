"""AWS's endpoints as far as a sweep calls them, over TLS: run as a process of its own.

    python -m benchmarks.stub CERTIFICATE KEY

Answers ``@connections``, Lambda's Invoke, CloudWatch's PutMetricData, and a DynamoDB table of
connections that are all idle, each after 5 ms, and each at a port of its own: as on AWS, no service
is reached through a connection to another. It counts what it was asked for, so that a run can be
checked for having done its work. The first line on standard output has the ports, as JSON: those of
``SERVICES`` (TLS) and ``control`` (plain HTTP, see ``endpoints``). It ends with its standard input.
"""

import asyncio
import contextlib
import json
import ssl
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import uvloop

from benchmarks.records import connection_id, record

__all__ = ["SERVICES", "Ledger", "TooMuchAskedError", "serve"]

SERVICES: Final = ("dynamodb", "execute-api", "lambda", "monitoring")

LATENCY_S: Final = 0.005
"""What an answer takes: AWS's own calls within a Region take 3 to 10 ms."""

PAGE_RECORDS: Final = 5_000
"""Records on a page of a Scan: 1 MB of records of 200 bytes (DynamoDB API reference, Scan)."""

IDLE_FOR_MS: Final = 3_600_000

_LONG_AGO: Final = "2023-11-14T22:13:20.000Z"


def _account(last_active_at: str) -> bytes:
    """Return what API Gateway says of every connection."""
    return json.dumps(
        {
            "connectedAt": _LONG_AGO,
            "lastActiveAt": last_active_at,
            "identity": {"sourceIp": "192.0.2.10", "userAgent": "benchmark"},
        }
    ).encode()


Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class TooMuchAskedError(Exception):
    """A request that no sweep has a reason to make."""


class Ledger:
    """The table of connections, and everything that was asked for. Knows nothing of HTTP."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ids: dict[str, set[str]] = {}
        self._records = 0
        self._now_ms = 0
        self._number: dict[str, int] = {}
        self._account = _account(_LONG_AGO)
        self.reset(records=0, now_ms=0)

    def reset(self, *, records: int, now_ms: int, talking: bool = False) -> None:
        """Forget what came, and have a table of so many idle records.

        By API Gateway's account their clients have been silent for years, or are ``talking``.
        """
        self.counts.clear()
        now = datetime.fromtimestamp(now_ms / 1_000, UTC)
        self._account = _account(now.isoformat() if talking else _LONG_AGO)
        self.ids = {"notices": set(), "closes": set(), "handovers": set()}
        if (records, now_ms) != (self._records, self._now_ms):
            self._records, self._now_ms = records, now_ms
            self._number = {connection_id(number): number for number in range(records)}
            self._page.cache_clear()

    def answer(self, method: str, path: str, target: str, body: bytes) -> Answer:
        """Answer one request; ``target`` is its ``X-Amz-Target``, or empty."""
        operation = target.partition(".")[2]
        if operation == "PutMetricData":
            self.counts["metrics"] += 1
            return 200, "application/x-amz-json-1.0", b"{}"
        if operation:
            return 200, "application/x-amz-json-1.0", self._dynamodb(operation, json.loads(body))
        path = unquote(path)
        _, marker, gone_id = path.partition("/@connections/")
        if marker:
            kind = {"GET": "questions", "POST": "notices", "DELETE": "closes"}.get(method)
            if kind is None:
                raise TooMuchAskedError(f"{method} {path}")
            self.counts[kind] += 1
            if kind == "questions":
                return 200, "application/json", self._account
            self.ids[kind].add(gone_id)
            return (204 if kind == "closes" else 200), "application/json", b""
        if path.endswith("/invocations"):
            event = json.loads(body)
            self.counts["handovers"] += 1
            self.ids["handovers"].add(event["requestContext"]["connectionId"])
            return 202, "application/json", b""
        raise TooMuchAskedError(f"{method} {path}")

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and the number of different connections behind them."""
        return {
            "counts": dict(self.counts),
            "different": {kind: len(ids) for kind, ids in self.ids.items()},
        }

    def _dynamodb(self, operation: str, request: dict[str, Any]) -> bytes:
        match operation:
            case "Scan":
                self.counts["samples" if "Limit" in request else "pages"] += 1
                return self._scan(request)
            case "UpdateItem":
                self.counts["claims"] += 1
                # A listener's activity, in a minute in which it has spoken before.
                listener = {"sessionId": {"S": "s1"}, "role": {"S": "listener"}}
                spoke = request.get("ExpressionAttributeValues", {}).get(":now")
                before = {**request["Key"], **listener, "lastActivityTime": spoke}
                asked = request.get("ReturnValues") == "ALL_OLD"
                return json.dumps({"Attributes": before} if asked else {}).encode()
            case "BatchExecuteStatement":
                statements = request["Statements"]
                self.counts["claims"] += len(statements)
                return json.dumps(
                    {"Responses": [{"TableName": "connections"}] * len(statements)}
                ).encode()
            case _:
                raise TooMuchAskedError(operation)

    def _scan(self, request: dict[str, Any]) -> bytes:
        segment, segments = request.get("Segment", 0), request.get("TotalSegments", 1)
        first, end = (self._records * part // segments for part in (segment, segment + 1))
        after = request.get("ExclusiveStartKey")
        limit = request.get("Limit", PAGE_RECORDS)
        if after is not None:
            # The sample of a sweep begins at an id that there is not.
            first = self._number.get(after["connectionId"]["S"], -1) + 1
        names = request.get("ExpressionAttributeNames", {})
        projection = request.get("ProjectionExpression")
        kept = (
            None
            if projection is None
            else tuple(names.get(name.strip(), name.strip()) for name in projection.split(","))
        )
        return self._page(first, min(first + limit, end), end, kept)

    @cache  # noqa: B019 - one ledger, for as long as its process
    def _page(self, first: int, last: int, end: int, kept: tuple[str, ...] | None) -> bytes:
        items = []
        for number in range(first, last):
            item = record(
                number,
                connected_ms=self._now_ms - 2 * IDLE_FOR_MS,
                active_ms=self._now_ms - IDLE_FOR_MS,
            )
            items.append(item if kept is None else {k: item[k] for k in kept if k in item})
        page: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        if last < end:
            page["LastEvaluatedKey"] = {"connectionId": items[-1]["connectionId"]}
        return json.dumps(page, separators=(",", ":")).encode()


class _Http(asyncio.Protocol):
    """One keep-alive connection of HTTP/1.1: a request, its answer, the next request."""

    def __init__(self, respond: Callable[[str, str, str, bytes], Answer], latency_s: float) -> None:
        self._respond = respond
        self._latency_s = latency_s
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._target, self._body = b"", b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no common base

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Begin a request. This and the next are called by httptools."""
        self._path, self._target, self._body = url, b"", b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        match name.lower():
            case b"x-amz-target":
                self._target = value
            case b"expect":
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            case _:
                pass

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer, once the latency has passed."""
        method = self._parser.get_method().decode()
        path, target = self._path.decode(), self._target.decode()
        status, kind, body = self._respond(method, path, target, self._body)
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nx-amzn-RequestId: stub\r\n"
        if status != HTTPStatus.NO_CONTENT:  # which has no body, not even an empty one
            head += f"Content-Length: {len(body)}\r\n"
        answer = head.encode() + b"\r\n" + body
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._send, answer)
        else:
            self._send(answer)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(certificate: str, key: str) -> None:
    """Serve until standard input ends."""
    ledger = Ledger()

    def aws(method: str, path: str, target: str, body: bytes) -> Answer:
        try:
            return ledger.answer(method, path, target, body)
        except (TooMuchAskedError, KeyError, ValueError) as error:
            # Whoever checks the run reads it there.
            ledger.counts[f"refused: {error!r}"] += 1
            return 400, "application/x-amz-json-1.0", b'{"__type": "ValidationException"}'

    def control(method: str, path: str, target: str, body: bytes) -> Answer:
        del target
        if method == "POST":
            ledger.reset(**json.loads(body))
        elif path == "/ids":
            ids = {kind: sorted(ids) for kind, ids in ledger.ids.items()}
            return 200, "application/json", json.dumps(ids).encode()
        return 200, "application/json", json.dumps(ledger.as_json()).encode()

    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    ports = {}
    for service in SERVICES:
        server = await loop.create_server(
            lambda: _Http(aws, LATENCY_S), "127.0.0.1", 0, ssl=tls, backlog=1024
        )
        ports[service] = port = server.sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):  # "localhost" is tried there first, if there is IPv6
            await loop.create_server(
                lambda: _Http(aws, LATENCY_S), "::1", port, ssl=tls, backlog=1024
            )
    control_server = await loop.create_server(lambda: _Http(control, 0), "127.0.0.1", 0)
    ports["control"] = control_server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
