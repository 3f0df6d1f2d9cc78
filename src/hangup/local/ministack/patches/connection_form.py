"""Answer GetConnection in API Gateway's form.

On AWS ``connectedAt`` and ``lastActiveAt`` are camelCase and ISO 8601 with milliseconds. MiniStack
1.5.33 answers PascalCase with integers, of which boto3 parses nothing. It can go when MiniStack
answers in that form.
"""

import json
from datetime import UTC, datetime
from http import HTTPStatus

from ministack.services import apigateway

from hangup.local.ministack.patches.connection_times import times_of


def install() -> None:
    """Change what MiniStack's ``@connections`` answers to GET."""
    serve = apigateway.handle_connections_api

    async def serve_in_form(
        method: str, api_id: str, stage: str, connection_id: str, *arguments: object
    ) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = await serve(method, api_id, stage, connection_id, *arguments)
        times = times_of(connection_id)
        if method == "GET" and status == HTTPStatus.OK and times is not None:
            connection = {
                "connectedAt": _iso_8601(times.connected_at_ms),
                "lastActiveAt": _iso_8601(times.last_active_at_ms),
                "identity": json.loads(body)["Identity"],
            }
            body = json.dumps(connection).encode()
        return status, headers, body

    apigateway.handle_connections_api = serve_in_form


def _iso_8601(epoch_ms: int) -> str:
    text = datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
