"""Rooms. A client enters one as it connects, and others by a message.

Nothing runs when it leaves.
"""

import json
import os
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key

table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
clients = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["CALLBACK_URL"])


def tell_room(room: str, text: str) -> None:
    for record in table.query(KeyConditionExpression=Key("room").eq(room))["Items"]:
        connection_id = str(record["connectionId"])
        if connection_id == "#topic":
            continue
        try:
            clients.post_to_connection(
                ConnectionId=connection_id, Data=json.dumps({"said": text}).encode()
            )
        except clients.exceptions.GoneException:
            continue


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    context = event["requestContext"]
    connection_id = context["connectionId"]
    if context["eventType"] == "CONNECT":
        rooms = [event["queryStringParameters"]["room"]]
    else:
        message = json.loads(event["body"])
        rooms = message.get("enter", [])
        if "text" in message:
            tell_room(message["room"], message["text"])
    for room in rooms:
        table.put_item(Item={"room": room, "connectionId": connection_id})
    return {"statusCode": 200}
