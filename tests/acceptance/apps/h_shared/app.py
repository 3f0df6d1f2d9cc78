"""Two stages of one API, and an API for administrators: all connections are in one table."""

import os
from typing import Any

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    context = event["requestContext"]
    key = {"connectionId": context["connectionId"]}
    if context["eventType"] == "CONNECT":
        table.put_item(
            Item={**key, "stage": context["stage"], "connectedAt": context["connectedAt"]}
        )
    elif context["eventType"] == "DISCONNECT":
        table.delete_item(Key=key)
    return {"statusCode": 200}
