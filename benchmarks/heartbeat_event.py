"""A heartbeat as API Gateway hands it to a function, and Lambda's context.

It imports nothing: a cold start is measured with it.
"""

__all__ = ["EVENT", "Context"]

EVENT = {
    "requestContext": {
        "routeKey": "heartbeat",
        "eventType": "MESSAGE",
        "connectionId": "OAZwIfJdDoECE6A=",
        "requestId": "OAZwIEkDDoEFrJw=",
        "domainName": "a1b2c3.execute-api.us-east-1.amazonaws.com",
        "stage": "prod",
    },
    "body": '{"action": "heartbeat"}',
    "isBase64Encoded": False,
}


class Context:
    """Lambda's context as far as either handler, or Powertools, uses it."""

    function_name = "messages"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:messages"
    aws_request_id = "6f4f6b0c-benchmark"

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may go on."""
        return 10_000
