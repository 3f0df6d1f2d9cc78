"""Run the function of a WebSocket route like any other invocation.

MiniStack 1.5.33 invokes it on one shared worker, past its own dispatcher: one call at a time,
without logs, and an exception's text is sent to the client. On AWS calls run concurrently, each
has a log, and the client gets "Internal server error".
"""

import json
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc


def install() -> None:
    """Let API Gateway's side get a worker that calls the dispatcher."""
    lambda_runtime.get_or_create_worker = _Route


class _Route:
    """Stands in for a worker: each call goes through the dispatcher.

    A route's function cannot have reserved concurrency here: MiniStack does not pass its record on.
    """

    def __init__(
        self, func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str
    ) -> None:
        del func_name, qualifier  # both are in the configuration
        self._function = {"config": config, "code_zip": code_zip}

    def invoke(self, event: dict[str, Any], request_id: str) -> dict[str, Any]:
        answer = lambda_svc._execute_function(self._function, event)  # noqa: SLF001
        if not (answer.get("error") or answer.get("throttle")):
            return {"status": "ok", "result": answer.get("body")}
        # MiniStack sends this text to the client.
        error = {
            "message": "Internal server error",
            "connectionId": event["requestContext"]["connectionId"],
            "requestId": request_id,
        }
        return {"status": "error", "error": json.dumps(error)}
