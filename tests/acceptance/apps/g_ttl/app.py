"""Presence: a client is there as long as it sends something every five minutes."""

import os
import time
from typing import Any

import boto3

FIVE_MINUTES_S = 300
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    context = event["requestContext"]
    key = {"connectionId": context["connectionId"]}
    ttl = int(time.time()) + FIVE_MINUTES_S
    if context["eventType"] == "CONNECT":
        table.put_item(Item={**key, "ttl": ttl})
    elif context["eventType"] == "DISCONNECT":
        table.delete_item(Key=key)
    else:
        table.update_item(
            Key=key,
            UpdateExpression="SET #ttl = :ttl",
            ConditionExpression="attribute_exists(connectionId)",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":ttl": ttl},
        )
    return {"statusCode": 200}
