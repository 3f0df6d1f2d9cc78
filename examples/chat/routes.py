# ruff: noqa: INP001 - the top of a Lambda zip is no package
"""The routes of a small chat, with what Hangup asks of them: three lines and a decorator.

The table is the chat's own. Hangup needs the key ``connectionId`` and ``connectedAt``, epoch
milliseconds; ``tracks_activity`` adds ``lastActivityTime``.
"""

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3

from hangup import tracks_activity

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Event = Mapping[str, Any]
Answer = dict[str, object]


def connect(event: Event, _context: object) -> Answer:
    """Put a new connection on record: without a record Hangup does not know of it."""
    now_ms = time.time_ns() // 1_000_000
    item = {"connectionId": {"S": _id(event)}, "connectedAt": {"N": str(now_ms)}}
    _dynamodb().put_item(TableName=os.environ["CONNECTIONS_TABLE"], Item=item)
    return {"statusCode": 200}


@tracks_activity
def message(event: Event, _context: object) -> Answer:
    """Answer a message. The decorator has recorded by now that the client is there."""
    return {"statusCode": 200, "body": event.get("body") or ""}


def disconnect(event: Event, _context: object) -> Answer:
    """Forget a connection, however often it is asked to.

    API Gateway calls it for ``$disconnect``, and Hangup with an event of the same shape. A client
    may also send a message whose action is ``$disconnect``: that is none.
    """
    if event["requestContext"]["eventType"] != "DISCONNECT":
        return {"statusCode": 400}
    key = {"connectionId": {"S": _id(event)}}
    _dynamodb().delete_item(TableName=os.environ["CONNECTIONS_TABLE"], Key=key)
    return {"statusCode": 200}


def _id(event: Event) -> str:
    connection_id: str = event["requestContext"]["connectionId"]
    return connection_id


@cache
def _dynamodb() -> "DynamoDBClient":
    return boto3.client("dynamodb")
