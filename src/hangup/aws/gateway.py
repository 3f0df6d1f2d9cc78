"""The API Gateway Management API (``@connections``) of one stage."""

import json
from typing import TYPE_CHECKING, Final

from hangup.aws.calls import Calls
from hangup.core.model import EpochMs, JsonObject
from hangup.errors import BackendError
from hangup.ports import CloseOutcome, PostOutcome

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["ManagementApiGateway"]

_GONE: Final = "GoneException"

_POST_ATTEMPTS: Final = 2
"""A message is best effort, and a 429 may mean that the client's own buffer is full: no amount of
waiting helps against that."""


class ManagementApiGateway:
    """``Gateway`` on a stage's management endpoint; ``client`` is used from several threads."""

    def __init__(self, client: "ApiGatewayManagementApiClient", calls: Calls) -> None:
        self._client = client
        self._calls = calls

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send a message, as JSON; ``GONE`` if the connection has left."""
        data = json.dumps(message, separators=(",", ":")).encode()
        try:
            self._calls(
                "PostToConnection",
                lambda: self._client.post_to_connection(ConnectionId=connection_id, Data=data),
                max_attempts=_POST_ATTEMPTS,
            )
        except BackendError as error:
            if error.code == _GONE:
                return PostOutcome.GONE
            raise
        return PostOutcome.POSTED

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection; ``ALREADY_GONE`` if it has left."""
        try:
            self._calls(
                "DeleteConnection",
                lambda: self._client.delete_connection(ConnectionId=connection_id),
            )
        except BackendError as error:
            if error.code == _GONE:
                return CloseOutcome.ALREADY_GONE
            raise
        return CloseOutcome.CLOSED

    def last_active_ms(self, connection_id: str) -> EpochMs | None:
        """Return the last activity by API Gateway's own account; None if the connection is gone."""
        try:
            answer = self._calls(
                "GetConnection", lambda: self._client.get_connection(ConnectionId=connection_id)
            )
        except BackendError as error:
            if error.code == _GONE:
                return None
            raise
        if "LastActiveAt" not in answer:
            raise BackendError(
                "GetConnection", "MalformedAnswer", "it has no lastActiveAt", retryable=False
            )
        return EpochMs(round(answer["LastActiveAt"].timestamp() * 1000))
