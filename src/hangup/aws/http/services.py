"""AWS's services on ``transport``: what the adapters use of five of botocore's clients.

Each method takes what botocore's method of that name does, returns what is used of its result, and
raises ``ServiceError`` for an answer that is an error. ``transport`` is asked for its transport at
every call, and may make it at the first: most sweeps close nothing.
"""

import io
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from hangup.aws.errors import ServiceError
from hangup.aws.http.account import account
from hangup.aws.http.json import from_json, to_json

if TYPE_CHECKING:
    from hangup.aws.http.transport import Answer, Headers, Transport

_FIRST_ERROR: Final = 300
"""A redirection is none of an API's answers."""

# One transport is made at a time: botocore's session, which may be asked, is no more than that.
_making = Lock()


class _Service:
    def __init__(self, transport: "Callable[[], Transport]") -> None:
        self._transport = transport


class _JsonService(_Service):
    """A service that is told the operation in a header, and takes and answers JSON."""

    _TARGET: ClassVar[str]
    """Its name there, with the version of its API."""
    _JSON: ClassVar[str]
    """The version of JSON that it takes."""

    def _call(self, operation: str, request: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return _content(operation, self._send(operation, request))

    def _send(self, operation: str, request: Mapping[str, Any]) -> "Answer":
        return self._transport().send(
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

    _TARGET = "DynamoDB_20120810"
    _JSON = "1.0"

    def scan(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Return one page of a table."""
        return self._call("Scan", request)

    def query(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Return one page of the items with a key."""
        return self._call("Query", request)

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Return one item."""
        return self._call("GetItem", request)

    def update_item(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Update one item."""
        return self._call("UpdateItem", request)

    def transact_write_items(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Write several items, or none."""
        return self._call("TransactWriteItems", request)


class DirectSecrets(_JsonService):
    """Secrets Manager's reading of a secret."""

    _TARGET = "secretsmanager"
    _JSON = "1.1"

    def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: ANN401, N803 - boto3's
        """Return a secret's current value."""
        return self._call("GetSecretValue", {"SecretId": SecretId})


class DirectSqs(_JsonService):
    """SQS's calls of a queue that something is sent to."""

    _TARGET = "AmazonSQS"
    _JSON = "1.0"

    def send_message_batch(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Send up to ten messages."""
        return self._call("SendMessageBatch", request)

    def change_message_visibility(self, **request: Any) -> None:  # noqa: ANN401 - likewise
        """Say when a message that was received is to be delivered again."""
        _expect_success("ChangeMessageVisibility", self._send("ChangeMessageVisibility", request))


class DirectManagementApi(_Service):
    """The API Gateway Management API of one stage."""

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803 - boto3's
        """Send a message to a connection."""
        answer = self._transport().send("POST", _connection(ConnectionId), body=Data)
        _expect_success("PostToConnection", answer)

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803 - boto3's
        """Close a connection."""
        answer = self._transport().send("DELETE", _connection(ConnectionId))
        _expect_success("DeleteConnection", answer)

    def get_connection(self, *, ConnectionId: str) -> Any:  # noqa: ANN401, N803 - boto3's
        """Return what API Gateway knows of a connection; of the times, ``LastActiveAt`` alone."""
        answer = self._transport().send("GET", _connection(ConnectionId))
        last_active = _content("GetConnection", answer).get("lastActiveAt")
        if last_active is None:
            return {}
        try:
            return {"LastActiveAt": datetime.fromisoformat(last_active)}
        except (TypeError, ValueError) as error:
            raise _malformed("GetConnection", answer, "lastActiveAt is no time") from error


class DirectLambda(_Service):
    """Lambda's asynchronous ``invoke``."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: ANN401, N803 - boto3's
        """Queue one invocation."""
        answer = self._transport().send(
            "POST",
            _function(FunctionName),
            headers=(f"X-Amz-Invocation-Type: {InvocationType}",),
            body=Payload,
        )
        _expect_success("Invoke", answer)
        return {"Payload": io.BytesIO(answer.body)}


def direct_dynamodb() -> DirectDynamoDb:
    """Return DynamoDB."""
    return DirectDynamoDb(_lazily("dynamodb"))


def direct_management_api(endpoint: str) -> DirectManagementApi:
    """Return the Management API of the stage behind a management endpoint."""
    return DirectManagementApi(_lazily("execute-api", endpoint))


def direct_lambda() -> DirectLambda:
    """Return Lambda."""
    return DirectLambda(_lazily("lambda"))


def direct_secrets() -> DirectSecrets:
    """Return Secrets Manager."""
    return DirectSecrets(_lazily("secretsmanager"))


def direct_sqs() -> DirectSqs:
    """Return SQS."""
    return DirectSqs(_lazily("sqs"))


def _lazily(service: str, url: str | None = None) -> "Callable[[], Transport]":
    """Return a function that returns the transport that it made at its first call."""
    made: list[Transport] = []

    def get() -> "Transport":
        if not made:
            with _making:
                if not made:
                    made.append(_transport(service, url))
        return made[0]

    return get


def _transport(service: str, url: str | None = None) -> "Transport":
    """Return a transport to a service, at ``url`` or where the account has it."""
    # libcurl is loaded where it is needed, and not in functions that make no such call.
    from hangup.aws.http.transport import Transport  # noqa: PLC0415

    ours = account()
    return Transport(
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


def _content(operation: str, answer: "Answer") -> Any:  # noqa: ANN401 - JSON
    """Return the answer's members; raise ``ServiceError`` if it is an error, or has none."""
    _expect_success(operation, answer)
    members = _members(answer.body)
    if members is None:
        raise _malformed(operation, answer, "the answer is no JSON object")
    return members


def _expect_success(operation: str, answer: "Answer") -> None:
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
    raise ServiceError(operation, code, str(message), status=answer.status, members=members)


def _malformed(operation: str, answer: "Answer", message: str) -> ServiceError:
    """Return what is raised for a success that is not the service's: a proxy's own page, say."""
    return ServiceError(operation, "MalformedAnswer", message, status=answer.status)


def _members(body: bytes) -> Mapping[str, Any] | None:
    """Return the members of a JSON object, None if it is none."""
    try:
        members = from_json(body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None
