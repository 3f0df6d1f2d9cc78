"""The obvious handler of a message: boto3's resource, and Powertools as its guide shows it.

It records the client's activity and acknowledges it, and logs a line, as a first version does.
Environment and effects are those of Hangup's message handler.
"""

import json
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

__all__ = ["lambda_handler"]

logger = Logger(service="messages")
table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Record that the client is there, and acknowledge its message; 410 without a record."""
    connection_id = event["requestContext"]["connectionId"]
    message = json.loads(event["body"])
    now_ms = time.time_ns() // 1_000_000
    try:
        table.update_item(
            Key={"connectionId": connection_id},
            UpdateExpression="SET lastActivityTime = :now",
            ConditionExpression="attribute_exists(connectionId)",
            ExpressionAttributeValues={":now": now_ms},
        )
    except table.meta.client.exceptions.ConditionalCheckFailedException:
        return {"statusCode": 410}
    logger.info("activity recorded", connection_id=connection_id, action=message["action"])
    return {
        "statusCode": 200,
        "body": json.dumps({"type": f"{message['action']}Ack", "timestamp": now_ms}),
    }
