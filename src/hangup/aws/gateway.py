"""The API Gateway Management API (``@connections``) of one stage."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hangup.aws.http.json import to_json
from hangup.aws.retries import Calls, Result
from hangup.core.connection import EpochMs, JsonObject
from hangup.core.events import GatewayAddress
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

    from hangup.aws.http.services import DirectManagementApi

_GET_ATTEMPTS: Final = 2
"""The guard asks about several connections, and takes no answer for a doubt."""

_POST_ATTEMPTS: Final = 2
"""A message is best effort, and a 429 may mean that the client's own buffer is full: no amount of
waiting helps against that."""


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
        attempts = 0

        def delete() -> CloseOutcome:
            nonlocal attempts
            attempts += 1
            self._client.delete_connection(ConnectionId=connection_id)
            return CloseOutcome.CLOSED

        outcome = self._unless_gone(connection_id, "DeleteConnection", delete)
        # Gone at the second attempt: the first, whatever it was answered, closed it. Where libcurl
        # itself sent it twice (``transport``), nobody can tell.
        return outcome or (CloseOutcome.CLOSED if attempts > 1 else CloseOutcome.ALREADY_GONE)

    def last_active_ms(self, connection_id: str) -> EpochMs | None:
        """Return the last activity by API Gateway's own account; None if the connection is gone."""
        answer = self._unless_gone(
            connection_id,
            "GetConnection",
            lambda: self._client.get_connection(ConnectionId=connection_id),
            max_attempts=_GET_ATTEMPTS,
        )
        if answer is None:
            return None
        try:
            return EpochMs(round(answer["LastActiveAt"].timestamp() * 1000))
        except (KeyError, ValueError, OverflowError) as error:
            raise BackendError(
                "GetConnection", "MalformedAnswer", "it has no lastActiveAt", retryable=True
            ) from error

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
        if _is_made_up(connection_id):
            return None
        try:
            return self._calls(
                operation, call, max_attempts=max_attempts, repeat_unanswered=repeat_unanswered
            )
        except BackendError as error:
            if _names_no_connection(error):
                return None
            raise


def _is_made_up(connection_id: str) -> bool:
    """Say whether this is an id that API Gateway never gives, and that cannot be asked about.

    Dots alone would, in a path, name something else than a connection; half a character, which
    DynamoDB keeps, can be in none.
    """
    try:
        connection_id.encode()
    except UnicodeEncodeError:
        return True
    return connection_id in (".", "..")


def _names_no_connection(error: BackendError) -> bool:
    """Say whether there is, by this error, no such connection.

    Besides 410 for an id that no longer exists, API Gateway answers 400, "Invalid connectionId",
    to one that it could never have given: a record that was made up.
    """
    return error.code == "GoneException" or (
        error.code == "BadRequestException" and "connectionid" in str(error).lower()
    )


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
