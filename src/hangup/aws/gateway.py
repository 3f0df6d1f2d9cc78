"""The API Gateway Management API (``@connections``) of one stage."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hangup.aws.errors import ServiceError, in_our_terms
from hangup.aws.http.json import to_json
from hangup.aws.retries import Calls, Result
from hangup.core.connection import ConnectionInfo, EpochMs, JsonObject, NoConnection
from hangup.core.events import GatewayAddress, is_connection_id
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

    from hangup.aws.http.services import DirectManagementApi

_GET_ATTEMPTS: Final = 2
"""A connection without an answer is left to the next sweep."""

_SERVER_ERROR: Final = 500

_POST_ATTEMPTS: Final = 2
"""A message is best effort, and a 429 may mean that the client's own buffer is full: no amount of
waiting helps against that."""

_BAD_REQUEST: Final = ("BadRequestException", "400")
"""The name of a 400; without one in the answer, the status."""

_INVALID_ID: Final = "invalid connectionid"
"""What API Gateway says, in lower case, of an id that it could never have given (seen, not
documented)."""


class ManagementApiGateway:
    """``Gateway`` on a stage's management endpoint; ``client`` is used from several threads."""

    def __init__(
        self, client: "ApiGatewayManagementApiClient | DirectManagementApi", calls: Calls
    ) -> None:
        self._client = client
        self._calls = calls

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send a message, as JSON; ``GONE`` if the connection has left."""
        data = to_json(message)

        def post() -> PostOutcome:
            self._client.post_to_connection(ConnectionId=connection_id, Data=data)
            return PostOutcome.POSTED

        outcome = self._unless_gone(
            connection_id,
            "PostToConnection",
            post,
            max_attempts=_POST_ATTEMPTS,
            # It may have arrived, and should not arrive twice.
            repeat_unanswered=False,
        )
        return outcome or PostOutcome.GONE

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection; ``ALREADY_GONE`` if it has left."""
        may_be_closed = False

        def delete() -> CloseOutcome:
            nonlocal may_be_closed
            try:
                self._client.delete_connection(ConnectionId=connection_id)
            except Exception as raised:
                error = in_our_terms(raised)
                is_answered = isinstance(error, ServiceError) and error.status < _SERVER_ERROR
                may_be_closed = may_be_closed or not is_answered
                raise
            return CloseOutcome.CLOSED

        outcome = self._unless_gone(connection_id, "DeleteConnection", delete)
        # Gone after an attempt without a clear answer: that closed it. Where libcurl itself sent it
        # twice (``transport``), nobody can tell.
        return outcome or (CloseOutcome.CLOSED if may_be_closed else CloseOutcome.ALREADY_GONE)

    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        """Return what API Gateway says of a connection."""
        try:
            answer = self._unless_gone(
                connection_id,
                "GetConnection",
                lambda: self._client.get_connection(ConnectionId=connection_id),
                max_attempts=_GET_ATTEMPTS,
            )
        except BackendError as error:
            if error.code in _BAD_REQUEST and _INVALID_ID in str(error).lower():
                return NoConnection.INVALID
            raise
        if answer is None:
            return NoConnection.GONE
        last_active_ms = _epoch_ms(answer.get("LastActiveAt"))
        if last_active_ms is None:
            raise BackendError(
                "GetConnection", "MalformedAnswer", "it has no lastActiveAt", retryable=True
            )
        identity = answer.get("Identity", {})
        return ConnectionInfo(
            last_active_ms=last_active_ms,
            connected_at_ms=_epoch_ms(answer.get("ConnectedAt")),
            source_ip=identity.get("SourceIp"),
            user_agent=identity.get("UserAgent"),
        )

    def _unless_gone(
        self,
        connection_id: str,
        operation: str,
        call: Callable[[], Result],
        *,
        max_attempts: int | None = None,
        repeat_unanswered: bool = True,
    ) -> Result | None:
        """Return what ``call`` returns, ``None`` if there is no such connection."""
        if not is_connection_id(connection_id):
            # As API Gateway answers. It is not asked: ".." in a path would name something else, and
            # half a character, which DynamoDB keeps, can be in none.
            raise BackendError(operation, _BAD_REQUEST[0], _INVALID_ID, retryable=False)
        try:
            return self._calls(
                operation, call, max_attempts=max_attempts, repeat_unanswered=repeat_unanswered
            )
        except BackendError as error:
            if error.code == "GoneException":
                return None
            raise


def _epoch_ms(time: datetime | None) -> EpochMs | None:
    try:
        return None if time is None else EpochMs(round(time.timestamp() * 1000))
    except (ValueError, OverflowError):
        return None


def gateway_address(endpoint: str) -> GatewayAddress:
    """Return what a management endpoint says about its API.

    ``https://{apiId}.execute-api.{region}.amazonaws.com/{stage}`` on AWS, and
    ``http://127.0.0.1:{port}/_aws/execute-api/{apiId}/{stage}`` locally. A custom domain does not
    show its API's id: then ``api_id`` is empty.
    """
    url = urlsplit(endpoint)
    parts = [part for part in url.path.split("/") if part]
    host = url.hostname or ""
    if ".execute-api." in host:
        api_id = host.split(".", 1)[0]
    else:
        api_id = parts[2] if parts[:2] == ["_aws", "execute-api"] else ""
    return GatewayAddress(domain_name=url.netloc, stage=parts[-1] if parts else "", api_id=api_id)
