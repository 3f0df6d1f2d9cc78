"""Chat rooms in one table.

CONN#<id>   META          a connection: who, in which room, since when
CONN#<id>   PREFERENCES   what its client asked for
ROOM#<name> META          how many are in the room
ROOM#<name> CONN#<id>     a member
USER#<name> PROFILE       a user
"""

import json
import logging
import os
import time
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key

log = logging.getLogger()
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
clients = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["CALLBACK_URL"])


def tell_room(room: str, message: dict[str, str]) -> None:
    members = table.query(
        KeyConditionExpression=Key("pk").eq(f"ROOM#{room}") & Key("sk").begins_with("CONN#")
    )["Items"]
    for member in members:
        connection_id = str(member["sk"]).removeprefix("CONN#")
        try:
            clients.post_to_connection(
                ConnectionId=connection_id, Data=json.dumps(message).encode()
            )
        except clients.exceptions.GoneException:
            log.info("gone: %s", connection_id)


def count_members(room: str, by: int) -> None:
    table.update_item(
        Key={"pk": f"ROOM#{room}", "sk": "META"},
        UpdateExpression="ADD members :by",
        ExpressionAttributeValues={":by": by},
    )


def connect(connection_id: str, event: dict[str, Any]) -> None:
    wanted = event["queryStringParameters"]
    user, room = wanted["user"], wanted["room"]
    key = f"CONN#{connection_id}"
    joined = int(time.time())
    with table.batch_writer() as batch:
        batch.put_item({"pk": key, "sk": "META", "user": user, "room": room, "joined": joined})
        batch.put_item({"pk": key, "sk": "PREFERENCES", "language": wanted.get("lang", "en")})
        batch.put_item({"pk": f"ROOM#{room}", "sk": key, "user": user})
    count_members(room, 1)


def disconnect(connection_id: str) -> None:
    key = f"CONN#{connection_id}"
    # A second call for the same connection finds nothing here, and fails.
    connection = table.get_item(Key={"pk": key, "sk": "META"})["Item"]
    room = str(connection["room"])
    with table.batch_writer() as batch:
        batch.delete_item({"pk": key, "sk": "META"})
        batch.delete_item({"pk": key, "sk": "PREFERENCES"})
        batch.delete_item({"pk": f"ROOM#{room}", "sk": key})
    count_members(room, -1)
    tell_room(room, {"left": str(connection["user"])})


def say(connection_id: str, event: dict[str, Any]) -> None:
    message = json.loads(event["body"])
    tell_room(message["room"], {"said": message["text"]})


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    context = event["requestContext"]
    connection_id = context["connectionId"]
    if context["eventType"] == "CONNECT":
        connect(connection_id, event)
    elif context["eventType"] == "DISCONNECT":
        disconnect(connection_id)
    else:
        say(connection_id, event)
    return {"statusCode": 200}
