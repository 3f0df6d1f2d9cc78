"""AWS's services on ``transport``: what the adapters use of five of botocore's clients.

Each method takes what botocore's method of that name does, returns what is used of its result, and
raises ``ServiceError`` for an answer that is an error. A transport is not made before the first
call: most sweeps close nothing.
"""

import io
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, cached_property, lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from hangup.aws.errors import ServiceError
from hangup.aws.http.account import account
from hangup.aws.http.choice import transport_class
from hangup.aws.http.json import from_json, to_json

if TYPE_CHECKING:
    from hangup.aws.http.answer import Answer, Headers, Transport

_FIRST_ERROR: Final = 300
"""An API never answers with a redirection."""

_MALFORMED: Final = "MalformedAnswer"
"""The code of a success that is not the service's: a proxy's own page, say."""

_IDENTITY: Final = (("SourceIp", "sourceIp"), ("UserAgent", "userAgent"))

# One transport is made at a time: botocore's session, which may be asked, is no more than that.
_making = Lock()


class _Service:
    """A service by its name in host names.

    ``transport`` is called once, at the first call, for the transport to use. Without one it is
    that to ``url``, or to where the account has the service.
    """

    _SERVICE: ClassVar[str]

    def __init__(
        self, transport: "Callable[[], Transport] | None" = None, *, url: str | None = None
    ) -> None:
        self._make_transport = transport or partial(_transport, self._SERVICE, url)

    @cached_property
    def _transport(self) -> "Transport":
        with _making:
            return self._make_transport()


def json_operation(name: str) -> Callable[..., Any]:
    """Return the method for an operation, which takes and returns AWS's own members."""

    def call(self: "_JsonService", **request: Any) -> Any:  # noqa: ANN401 - JSON
        return _content(self._send(name, request))

    return call


class _JsonService(_Service):
    """A service that gets the operation in a header, and takes and answers JSON."""

    _TARGET: ClassVar[str]
    """Its name there, with the version of its API."""
    _JSON: ClassVar[str]
    """The version of JSON that it takes."""

    def _send(self, operation: str, request: Mapping[str, Any]) -> "Answer":
        return self._transport.send(
            "POST", "/", headers=self._headers(operation), body=to_json(request)
        )

    @classmethod
    @cache
    def _headers(cls, operation: str) -> "Headers":
        return (
            f"Content-Type: application/x-amz-json-{cls._JSON}",
            f"X-Amz-Target: {cls._TARGET}.{operation}",
        )


class DirectDynamoDb(_JsonService):
    """DynamoDB, in the low-level form that is also the one on the wire."""

    _SERVICE = "dynamodb"
    _TARGET = "DynamoDB_20120810"
    _JSON = "1.0"

    def scan(self, **request: Any) -> Any:  # noqa: ANN401 - AWS's own
        """Read a page of a table or an index."""
        return self._page("Scan", request)

    def query(self, **request: Any) -> Any:  # noqa: ANN401 - AWS's own
        """Read a page of a partition."""
        return self._page("Query", request)

    def _page(self, operation: str, request: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        """Read a page; the answer's ``Date`` is where botocore has it."""
        answer = self._send(operation, request)
        date = {"HTTPHeaders": {"date": answer.header("date")}}
        return _content(answer) | {"ResponseMetadata": date}

    get_item = json_operation("GetItem")
    batch_get_item = json_operation("BatchGetItem")
    put_item = json_operation("PutItem")
    update_item = json_operation("UpdateItem")
    delete_item = json_operation("DeleteItem")
    transact_write_items = json_operation("TransactWriteItems")


class DirectSecrets(_JsonService):
    """Secrets Manager's reading of a secret."""

    _SERVICE = "secretsmanager"
    _TARGET = "secretsmanager"
    _JSON = "1.1"

    get_secret_value = json_operation("GetSecretValue")


class DirectSqs(_JsonService):
    """SQS's calls of a queue that something is sent to."""

    _SERVICE = "sqs"
    _TARGET = "AmazonSQS"
    _JSON = "1.0"

    send_message_batch = json_operation("SendMessageBatch")

    def change_message_visibility(self, **request: Any) -> None:  # noqa: ANN401 - AWS's own
        """Say when a message that was received is to be delivered again."""
        _expect_success(self._send("ChangeMessageVisibility", request))


class DirectManagementApi(_Service):
    """The API Gateway Management API of the stage behind ``url``, its management endpoint."""

    _SERVICE = "execute-api"

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803 - boto3's
        """Send a message to a connection."""
        _expect_success(self._transport.send("POST", _connection(ConnectionId), body=Data))

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803 - boto3's
        """Close a connection."""
        _expect_success(self._transport.send("DELETE", _connection(ConnectionId)))

    def get_connection(self, *, ConnectionId: str) -> Any:  # noqa: ANN401, N803 - boto3's
        """Return what API Gateway knows of a connection, without what is missing or malformed.

        Raises ``ServiceError`` if ``lastActiveAt`` is malformed.
        """
        answer = self._transport.send("GET", _connection(ConnectionId))
        members = _content(answer)
        last_active = _time(members.get("lastActiveAt"))
        if last_active is None and members.get("lastActiveAt") is not None:
            raise ServiceError(_MALFORMED, "lastActiveAt is not a time", status=answer.status)
        found = {
            "LastActiveAt": last_active,
            "ConnectedAt": _time(members.get("connectedAt")),
            "Identity": _identity(members.get("identity")),
        }
        return {name: value for name, value in found.items() if value is not None}


class DirectLambda(_Service):
    """Lambda's asynchronous ``invoke``."""

    _SERVICE = "lambda"

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: ANN401, N803 - boto3's
        """Queue one invocation."""
        answer = self._transport.send(
            "POST",
            _function(FunctionName),
            headers=(f"X-Amz-Invocation-Type: {InvocationType}",),
            body=Payload,
        )
        _expect_success(answer)
        return {"Payload": io.BytesIO(answer.body)}


def _transport(service: str, url: str | None) -> "Transport":
    """Return a transport to a service, at ``url`` or where the account has it."""
    ours = account()
    return transport_class()(
        url or ours.url_of(service),
        service=service,
        region=ours.region,
        keys=ours.keys,
        ca_file=ours.ca_file,
    )


@cache
def _function(name: str) -> str:
    return f"/2015-03-31/functions/{quote(name, safe='')}/invocations"


@lru_cache(maxsize=256)  # a connection is written to and closed, with others in between
def _connection(connection_id: str) -> str:
    # Ids end in "=", and what has anything to be quoted is looked at character by character.
    return "/@connections/" + quote(connection_id, safe="=").replace("=", "%3D")


def _content(answer: "Answer") -> Any:  # noqa: ANN401 - JSON
    """Return the answer's members; raise ``ServiceError`` if it is an error, or has none."""
    _expect_success(answer)
    members = _members(answer.body)
    if members is None:
        raise ServiceError(_MALFORMED, "the answer is not a JSON object", status=answer.status)
    return members


def _time(value: object) -> datetime | None:
    """Return a time in ISO 8601 with its zone, None if there is no value."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None


def _identity(value: object) -> Mapping[str, str] | None:
    """Return the texts of ``identity`` by botocore's names, None if there is no value."""
    if not isinstance(value, dict):
        return None
    texts = {name: value.get(wire) for name, wire in _IDENTITY}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _expect_success(answer: "Answer") -> None:
    """Raise ``ServiceError`` for an answer that is an error."""
    if answer.status < _FIRST_ERROR:
        return
    members = _members(answer.body) or {}
    named = (
        answer.header("x-amzn-errortype")
        or members.get("__type")
        or members.get("code")
        or members.get("Code")
    )
    # "com.amazonaws.dynamodb.v20120810#Name" from one service, "Name:http://..." from another.
    code = str(named or answer.status).partition(":")[0].rpartition("#")[2]
    message = members.get("message") or members.get("Message") or ""
    raise ServiceError(code, str(message), status=answer.status, members=members)


def _members(body: bytes) -> Mapping[str, Any] | None:
    """Return the members of a JSON object, None if it is something else."""
    try:
        members = from_json(body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None
