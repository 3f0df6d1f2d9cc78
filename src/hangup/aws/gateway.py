"""The API Gateway Management API (``@connections``) of one stage."""

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from hangup.aws.clients import as_backend_error, error_code, no_answer
from hangup.core.model import JsonObject
from hangup.ports import CloseOutcome, PostOutcome

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["ManagementApiGateway"]


class ManagementApiGateway:
    """``Gateway`` on a stage's management endpoint; ``client`` is used from several threads."""

    def __init__(self, client: "ApiGatewayManagementApiClient") -> None:
        self._client = client

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        """Send a message, as JSON; ``GONE`` if the connection has left."""
        data = json.dumps(message, separators=(",", ":")).encode()
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=data)
        except ClientError as error:
            if error_code(error) == "GoneException":
                return PostOutcome.GONE
            raise as_backend_error("PostToConnection", error) from error
        except BotoCoreError as error:
            raise no_answer("PostToConnection", error) from error
        return PostOutcome.POSTED

    def delete_connection(self, connection_id: str) -> CloseOutcome:
        """Close a connection; ``ALREADY_GONE`` if it has left."""
        try:
            self._client.delete_connection(ConnectionId=connection_id)
        except ClientError as error:
            if error_code(error) == "GoneException":
                return CloseOutcome.ALREADY_GONE
            raise as_backend_error("DeleteConnection", error) from error
        except BotoCoreError as error:
            raise no_answer("DeleteConnection", error) from error
        return CloseOutcome.CLOSED
