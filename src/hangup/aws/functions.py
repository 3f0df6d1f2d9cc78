"""The disconnect handler, invoked through Lambda."""

from typing import TYPE_CHECKING

from hangup.aws.http.json import to_json
from hangup.aws.retries import Calls
from hangup.core.connection import JsonObject

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

    from hangup.aws.http.services import DirectLambda


class LambdaFunctions:
    """``Functions`` on Lambda; ``disconnect_function`` is a name or an ARN."""

    def __init__(
        self, client: "LambdaClient | DirectLambda", calls: Calls, *, disconnect_function: str
    ) -> None:
        self._client = client
        self._calls = calls
        self._disconnect_function = disconnect_function

    def invoke_disconnect_handler(self, event: JsonObject) -> None:
        """Queue one asynchronous invocation; Lambda repeats it twice if it fails."""
        payload = to_json(event)

        def invoke() -> None:
            answer = self._client.invoke(
                FunctionName=self._disconnect_function, InvocationType="Event", Payload=payload
            )
            # Unread, the answer's stream keeps its connection out of the pool, and every further
            # call pays for a TLS handshake.
            answer["Payload"].read()

        self._calls("Invoke", invoke)
