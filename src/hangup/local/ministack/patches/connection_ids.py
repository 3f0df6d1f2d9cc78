"""Answer 400 for what cannot be a connection id.

API Gateway answers ``@connections`` with 400 BadRequestException "Invalid connectionId" for a
malformed id, and with 410 GoneException for a well-formed one that it does not know
(localstack/localstack#4694, serverless-offline#749). MiniStack 1.5.33 answers 410 for both. It can
go when MiniStack tells them apart.

API Gateway's ids are base64 that ends in "=", 13 to 16 characters (observed; no source bounds
them). MiniStack's own are 16 hexadecimal digits. Both forms are well-formed here.
"""

import json
import re
from http import HTTPStatus
from typing import Final

from ministack.services import apigateway

from hangup.core.limits import MAX_CONNECTION_ID_LENGTH

_OF_MINISTACK: Final = r"[0-9a-f]{16}"
_OF_API_GATEWAY: Final = rf"(?=.{{12,{MAX_CONNECTION_ID_LENGTH}}}$)[A-Za-z0-9+/_-]+={{1,2}}"
_WELL_FORMED: Final = re.compile(f"{_OF_MINISTACK}|{_OF_API_GATEWAY}")
_HEADERS: Final = {"Content-Type": "application/json", "x-amzn-ErrorType": "BadRequestException"}
_BODY: Final = json.dumps({"message": "Invalid connectionId"}).encode()


def install() -> None:
    """Look at the id before MiniStack looks for its connection."""
    serve = apigateway.handle_connections_api

    async def serve_well_formed(
        method: str, api_id: str, stage: str, connection_id: str, *arguments: object
    ) -> tuple[int, dict[str, str], bytes]:
        if not _WELL_FORMED.fullmatch(connection_id):
            return HTTPStatus.BAD_REQUEST, dict(_HEADERS), _BODY
        answer: tuple[int, dict[str, str], bytes] = await serve(
            method, api_id, stage, connection_id, *arguments
        )
        return answer

    apigateway.handle_connections_api = serve_well_formed
