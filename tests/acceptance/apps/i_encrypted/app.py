"""Devices that report now and then."""

import os
import time
from typing import Any

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    context = event["requestContext"]
    key = {"connectionId": context["connectionId"]}
    now_ms = time.time_ns() // 1_000_000
    if context["eventType"] == "CONNECT":
        table.put_item(Item={**key, "connectedAt": now_ms})
    elif context["eventType"] == "DISCONNECT":
        table.delete_item(Key=key)
    else:
        table.update_item(
            Key=key,
            UpdateExpression="SET reportedAt = :now",
            ConditionExpression="attribute_exists(connectionId)",
            ExpressionAttributeValues={":now": now_ms},
        )
    return {"statusCode": 200}
