"""Answer GetConnection in API Gateway's form.

On AWS ``connectedAt`` and ``lastActiveAt`` are camelCase and ISO 8601. MiniStack 1.5.33 answers
PascalCase with integers, of which boto3 parses nothing.
"""

import json
from datetime import UTC, datetime

from ministack.services import apigateway


def install() -> None:
    """Change what MiniStack's ``@connections`` answers to GET."""
    serve = apigateway.handle_connections_api

    async def serve_in_form(method: str, *arguments: object) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = await serve(method, *arguments)
        if method == "GET" and status == 200:  # noqa: PLR2004 - HTTP's OK
            found = json.loads(body)
            connection = {
                "connectedAt": _iso_8601(found["ConnectedAt"]),
                "lastActiveAt": _iso_8601(found["LastActiveAt"]),
                "identity": found["Identity"],
            }
            body = json.dumps(connection).encode()
        return status, headers, body

    apigateway.handle_connections_api = serve_in_form


def _iso_8601(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
