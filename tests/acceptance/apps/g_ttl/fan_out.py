"""Tell all clients about each change of the table, whatever it is."""

import json
import logging
import os
from typing import Any

import boto3
from boto3.dynamodb.conditions import Attr

log = logging.getLogger()
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
clients = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["CALLBACK_URL"])


def handler(event: dict[str, Any], _context: object) -> None:
    changes = [
        {
            "change": record["eventName"],
            "who": record["dynamodb"]["Keys"]["connectionId"]["S"],
            "attributes": sorted(record["dynamodb"].get("NewImage", {})),
        }
        for record in event["Records"]
    ]
    for item in table.scan(FilterExpression=Attr("holder").not_exists())["Items"]:
        for change in changes:
            try:
                clients.post_to_connection(
                    ConnectionId=str(item["connectionId"]), Data=json.dumps(change).encode()
                )
            except clients.exceptions.GoneException:
                log.info("gone: %s", item["connectionId"])
                break
