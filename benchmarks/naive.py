"""The naive way to close idle connections: what one writes first, and it works.

Read the whole table through the boto3 resource, decide here, and then go through the idle ones
one by one: a client, the notice, the close, a client, the hand-over, a metric. There is no claim,
no retry and no stop in time. Environment and effects are those of Hangup's timeout handler.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import boto3

__all__ = ["check_handler", "close", "find_idle", "lambda_handler"]

PAGE_RECORDS = 7_000
"""As much as a page has by itself; without it DynamoDB Local would take hours (see ``tables``)."""

Record = Mapping[str, Any]
"""A connection record as the boto3 resource returns it: numbers are ``Decimal``."""


def lambda_handler(_event: object, _context: object) -> dict[str, int]:
    """Close what is idle by now; return ``checked`` and ``closed``."""
    checked, idle = find_idle()
    for connection in idle:
        close(connection)
    return {"checked": checked, "closed": len(idle)}


def check_handler(_event: object, _context: object) -> dict[str, int]:
    """Find what is idle, and leave it; return ``checked`` and ``idle``."""
    checked, idle = find_idle()
    return {"checked": checked, "idle": len(idle)}


def find_idle() -> tuple[int, list[Record]]:
    """Return how many connections there are, and those that are idle."""
    table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])
    page = table.scan(Limit=PAGE_RECORDS)
    connections: list[Record] = list(page["Items"])
    while "LastEvaluatedKey" in page:
        page = table.scan(Limit=PAGE_RECORDS, ExclusiveStartKey=page["LastEvaluatedKey"])
        connections.extend(page["Items"])
    now_ms = time.time_ns() // 1_000_000
    timeout_ms = int(os.environ["CONNECTION_IDLE_TIMEOUT_SECONDS"]) * 1000
    idle = [
        connection
        for connection in connections
        if now_ms - connection.get("lastActivityTime", connection["connectedAt"]) > timeout_ms
    ]
    return len(connections), idle


def close(connection: Record) -> None:
    """Tell the client, hang up, start the cleanup, count it."""
    connection_id = connection["connectionId"]
    now_ms = time.time_ns() // 1_000_000
    message = {
        "type": "connectionTimeout",
        "message": "Connection closed due to inactivity",
        "idleSeconds": int(now_ms - connection["lastActivityTime"]) // 1000,
        "timestamp": now_ms,
    }
    gateway = boto3.client(
        "apigatewaymanagementapi", endpoint_url=os.environ["API_GATEWAY_ENDPOINT"]
    )
    gateway.post_to_connection(ConnectionId=connection_id, Data=json.dumps(message).encode())
    gateway.delete_connection(ConnectionId=connection_id)
    event = {
        "requestContext": {
            "routeKey": "$disconnect",
            "eventType": "DISCONNECT",
            "connectionId": connection_id,
        }
    }
    boto3.client("lambda").invoke(
        FunctionName=os.environ["DISCONNECT_HANDLER_FUNCTION"],
        InvocationType="Event",
        Payload=json.dumps(event),
    )
    boto3.client("cloudwatch").put_metric_data(
        Namespace="Naive",
        MetricData=[
            {
                "MetricName": "ConnectionTimeout",
                "Dimensions": [{"Name": "Role", "Value": str(connection["role"])}],
                "Value": 1,
                "Unit": "Count",
            }
        ],
    )
