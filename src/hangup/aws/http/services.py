"""The calls of a sweep, on ``transport``: what its adapters use of four of botocore's clients.

Each method takes what botocore's method of that name does, returns what is used of its result, and
raises ``ClientError`` for an answer that is an error, so that adapters and their retries work with
either. ``transport`` is asked for its transport at every call, and may make it at the first: most
sweeps close nothing.
"""

import io
from functools import cache, lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from botocore.exceptions import ClientError
from botocore.httpsession import get_cert_path
from botocore.utils import parse_timestamp

from hangup.aws.clients import dynamodb_client, lambda_client, lazily, session, sqs_client
from hangup.aws.http.json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hangup.aws.http.transport import Answer, Transport

__all__ = [
    "DirectDynamoDb",
    "DirectLambda",
    "DirectManagementApi",
    "DirectSqs",
    "direct_dynamodb",
    "direct_lambda",
    "direct_management_api",
    "direct_sqs",
]

_FIRST_ERROR: Final = int(HTTPStatus.MULTIPLE_CHOICES)
"""A redirection is none of an API's answers."""

_JSON: Final = ("Content-Type", "application/x-amz-json-1.0")


class _Service:
    def __init__(self, transport: "Callable[[], Transport]") -> None:
        self._transport = transport


class _JsonService(_Service):
    """A service that is told the operation in a header, and takes and answers JSON."""

    _TARGET: ClassVar[str]
    """Its name there, with the version of its API."""

    def _call(self, operation: str, request: "Mapping[str, Any]") -> Any:  # noqa: ANN401 - JSON
        return _content(operation, self._send(operation, request))

    def _send(self, operation: str, request: "Mapping[str, Any]") -> "Answer":
        headers = (_JSON, ("X-Amz-Target", f"{self._TARGET}.{operation}"))
        return self._transport().send("POST", "/", headers=headers, body=to_json(request))


class DirectDynamoDb(_JsonService):
    """DynamoDB, in the low-level form that is also the one on the wire."""

    _TARGET = "DynamoDB_20120810"

    def scan(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Return one page of a table."""
        return self._call("Scan", request)

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Return one item."""
        return self._call("GetItem", request)

    def update_item(self, **request: Any) -> Any:  # noqa: ANN401 - the request is AWS's own
        """Update one item."""
        return self._call("UpdateItem", request)


class DirectSqs(_JsonService):
    """SQS's calls of a queue that something is sent to."""

    _TARGET = "AmazonSQS"

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
            return {"LastActiveAt": parse_timestamp(last_active)}
        except (ValueError, RuntimeError) as error:
            raise _malformed("GetConnection", answer, "lastActiveAt is no time") from error


class DirectLambda(_Service):
    """Lambda's asynchronous ``invoke``."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: ANN401, N803 - boto3's
        """Queue one invocation."""
        answer = self._transport().send(
            "POST",
            _function(FunctionName),
            headers=(("X-Amz-Invocation-Type", InvocationType),),
            body=Payload,
        )
        _expect_success("Invoke", answer)
        return {"Payload": io.BytesIO(answer.body)}


def direct_dynamodb() -> DirectDynamoDb:
    """Return DynamoDB, where botocore says that it is."""
    return DirectDynamoDb(
        lazily(lambda: _transport("dynamodb", dynamodb_client().meta.endpoint_url))
    )


def direct_management_api(endpoint: str) -> DirectManagementApi:
    """Return the Management API of the stage behind a management endpoint."""
    return DirectManagementApi(lazily(lambda: _transport("execute-api", endpoint)))


def direct_lambda() -> DirectLambda:
    """Return Lambda, where botocore says that it is."""
    return DirectLambda(lazily(lambda: _transport("lambda", lambda_client().meta.endpoint_url)))


def direct_sqs() -> DirectSqs:
    """Return SQS, where botocore says that it is."""
    return DirectSqs(lazily(lambda: _transport("sqs", sqs_client().meta.endpoint_url)))


def _transport(service: str, url: str) -> "Transport":
    """Return a transport with the clients' credentials, region and certificates."""
    # libcurl is loaded where it is needed, and not in functions that make no such call.
    from hangup.aws.http.transport import Transport  # noqa: PLC0415

    ours = session()
    return Transport(
        url,
        service=service,
        region=ours.get_config_variable("region"),
        credentials=ours.get_credentials(),
        ca_file=str(ours.get_config_variable("ca_bundle") or get_cert_path(verify=True)),
    )


@cache
def _function(name: str) -> str:
    return f"/2015-03-31/functions/{quote(name, safe='')}/invocations"


@lru_cache(maxsize=256)  # a connection is written to and closed, with others in between
def _connection(connection_id: str) -> str:
    # Ids end in "=", and what has anything to be quoted is looked at character by character.
    return "/@connections/" + quote(connection_id, safe="=").replace("=", "%3D")


def _content(operation: str, answer: "Answer") -> Any:  # noqa: ANN401 - JSON
    """Return the answer's members; raise ``ClientError`` if it is an error, or has none."""
    _expect_success(operation, answer)
    members = _members(answer.body)
    if members is None:
        raise _malformed(operation, answer, "the answer is no JSON object")
    return members


def _expect_success(operation: str, answer: "Answer") -> None:
    """Raise ``ClientError`` for an answer that is an error."""
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
    raise _error(operation, answer, code, str(message), members)


def _malformed(operation: str, answer: "Answer", message: str) -> ClientError:
    """Return what is raised for a success that is not the service's: a proxy's own page, say."""
    return _error(operation, answer, "MalformedAnswer", message, {})


def _error(
    operation: str, answer: "Answer", code: str, message: str, members: "Mapping[str, Any]"
) -> ClientError:
    response: Any = {
        **members,
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
    }
    return ClientError(response, operation)


def _members(body: bytes) -> "Mapping[str, Any] | None":
    """Return the members of a JSON object, None if it is none."""
    try:
        members = from_json(body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None
