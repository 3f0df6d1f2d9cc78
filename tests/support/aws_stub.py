"""AWS on loopback for unit tests: real HTTP, programmed answers, every request on record.

    aws.answer("Scan", {"Items": [], "Count": 0, "ScannedCount": 0})
    aws.fail("DeleteConnection", status=410, code="GoneException")
    aws.calls("Invoke")  # the decoded payloads, in the order of their arrival
    aws.targets("DeleteConnection")  # the connection ids, likewise

Operations are named as AWS names them. Unprogrammed ones succeed with the emptiest answer. An
error that boto3 retries (5xx, throttling codes) costs a second or two: plan others. The fixture
``aws`` (tests/conftest.py) has one ready; for its type, import ``tests.support.aws_stub``.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.loopback import LoopbackServer

__all__ = ["ACTIVE_SESSION", "JOIN_SECRET", "AwsStub", "Failure"]

JOIN_SECRET = "the-join-secret-of-the-unit-tests-0123456789"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``target`` is a connection id or a function's name where the path has one.

    ``content`` is the decoded body: the request of DynamoDB and Secrets Manager, the message of
    ``PostToConnection``, the payload of ``Invoke``, and nothing for the other two of a connection.
    """

    operation: str
    content: Json
    target: str = ""
    invocation_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as AWS answers it; ``members`` are further members of its body."""

    status: int
    code: str
    message: str = "planned"
    members: Mapping[str, object] = field(default_factory=dict)


Reply = Mapping[str, object] | Failure
Planned = Reply | Callable[[Call], Reply]

_EMPTY_PAGE: Reply = {"Items": [], "Count": 0, "ScannedCount": 0}
_DEFAULTS: dict[str, Reply] = {
    "GetConnection": {
        "connectedAt": "2023-11-14T22:13:20.000Z",
        "lastActiveAt": "2023-11-14T22:13:20.000Z",
        "identity": {"sourceIp": "192.0.2.10", "userAgent": "unit-test"},
    },
    "GetSecretValue": {"Name": "join-secret", "SecretString": JOIN_SECRET},
    "Query": _EMPTY_PAGE,
    "Scan": _EMPTY_PAGE,
}
ACTIVE_SESSION: Json = {
    "sessionId": {"S": "s1"},
    "isActive": {"BOOL": True},
    "speakerConnectionId": {"S": "speaker="},
    "startedAt": {"N": "1690000000000"},
}
"""The item of a session that listeners may join."""

_STATUS = {"DeleteConnection": 204, "Invoke": 202}


class AwsStub(LoopbackServer):
    """The stub's server; ``endpoint`` is its base URL, ``management_endpoint`` that of a stage."""

    def __init__(self) -> None:
        self.log: list[Call] = []
        """Every request in the order of its arrival."""
        self._planned: dict[str, list[Planned]] = {}
        self._lock = threading.Lock()
        super().__init__(_handler_of(self))
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.management_endpoint = f"{self.endpoint}/_aws/execute-api/abc123/prod"

    def reset(self) -> None:
        """Forget what is planned and what came."""
        with self._lock:
            self.log.clear()
            self._planned.clear()

    def answer(self, operation: str, *answers: Planned) -> None:
        """Plan one answer a call, the last of them for every further call.

        An answer is the body, a ``Failure``, or a function of the ``Call`` that returns either.
        """
        with self._lock:
            self._planned[operation] = list(answers)

    def fail(
        self,
        operation: str,
        *,
        status: int,
        code: str,
        message: str = "planned",
        times: int | None = None,
        **members: object,
    ) -> None:
        """Fail the next ``times`` calls, or all; ``members`` are added to the error's body."""
        failure = Failure(status=status, code=code, message=message, members=members)
        with self._lock:
            after = self._planned.get(operation, [_default])
            self._planned[operation] = [failure] if times is None else [failure] * times + after

    def calls(self, operation: str) -> list[Json]:
        """Return what each call of an operation carried, in the order of arrival."""
        return [call.content for call in self.log if call.operation == operation]

    def targets(self, operation: str) -> list[str]:
        """Return the connection ids or function names of an operation's calls, likewise."""
        return [call.target for call in self.log if call.operation == operation]

    @property
    def operations(self) -> Sequence[str]:
        """The names of all calls, likewise."""
        return [call.operation for call in self.log]

    @property
    def writes(self) -> Sequence[str]:
        """The calls that change something."""
        reads = {"BatchGetItem", "GetConnection", "GetItem", "GetSecretValue", "Query", "Scan"}
        return [operation for operation in self.operations if operation not in reads]

    def reply_to(self, call: Call) -> Reply:
        """Put the request on record and return the answer that is its turn."""
        with self._lock:
            self.log.append(call)
            planned = self._planned.get(call.operation)
            if planned is None:
                return _default(call)
            reply = planned[0] if len(planned) == 1 else planned.pop(0)
        return reply(call) if callable(reply) else reply


def _default(call: Call) -> Reply:
    """Return the answer of a call that nothing is planned for."""
    if call.content.get("ReturnValues") == "ALL_OLD":
        return {"Attributes": call.content["Key"]}
    return _DEFAULTS.get(call.operation, {})


def _handler_of(stub: AwsStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one write

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            call = _decoded(self.command, self.path, self.headers, body)
            reply = stub.reply_to(call)
            if isinstance(reply, Failure):
                answer = {"__type": reply.code, "message": reply.message, **reply.members}
                self._send(reply.status, answer, error_type=reply.code)
            else:
                self._send(_STATUS.get(call.operation, 200), reply)

        def do_DELETE(self) -> None:
            self.do_POST()

        def do_GET(self) -> None:
            self.do_POST()

        def _send(
            self, status: int, answer: Mapping[str, object], *, error_type: str | None = None
        ) -> None:
            content = b"" if status in (202, 204) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            if error_type is not None:
                self.send_header("x-amzn-ErrorType", error_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: what came is in ``requests``."""

    return Handler


_CONNECTION_OPERATIONS = {
    "DELETE": "DeleteConnection",
    "GET": "GetConnection",
    "POST": "PostToConnection",
}


def _decoded(method: str, path: str, headers: Message, body: bytes) -> Call:
    content = json.loads(body or b"{}")
    operation = headers.get("X-Amz-Target")
    if operation is not None:  # DynamoDB_20120810.Scan, secretsmanager.GetSecretValue
        return Call(operation=operation.partition(".")[2], content=content)
    parts = unquote(urlsplit(path).path).split("/")
    if "functions" in parts:  # /2015-03-31/functions/{name}/invocations
        return Call(
            operation="Invoke" if parts[-1] == "invocations" else "GetFunctionConfiguration",
            content=content,
            target=parts[parts.index("functions") + 1],
            invocation_type=headers.get("X-Amz-Invocation-Type"),
        )
    return Call(  # {stage}/@connections/{id}
        operation=_CONNECTION_OPERATIONS[method],
        content=content,
        target="/".join(parts[parts.index("@connections") + 1 :]),
    )
