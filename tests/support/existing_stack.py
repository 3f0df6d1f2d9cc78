"""A stack whose API, table and disconnect handler were made elsewhere."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

from hangup.cdk import IdleConnectionTimeout
from hangup.cdk.code import code_of
from tests.support.templates import Resources

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/chat"
FUNCTION_ARN = "arn:aws:lambda:eu-west-1:111122223333:function:hang-up"
KEY_ARN = "arn:aws:kms:eu-west-1:111122223333:key/0d1e2f30-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
TOPIC_ARN = "arn:aws:sns:eu-west-1:111122223333:alarms"


def existing_stack(app: cdk.App | None = None) -> cdk.Stack:
    environment = cdk.Environment(account="111122223333", region="eu-west-1")
    return cdk.Stack(app or cdk.App(), "Chat", env=environment)


def add_timeout(
    stack: cdk.Stack,
    lambda_zip: Path | None,
    **options: Any,
) -> IdleConnectionTimeout:
    """Take the construct into a stack whose API, table and handler were made elsewhere."""
    api = apigatewayv2.WebSocketApi.from_web_socket_api_attributes(
        stack, "Api", web_socket_id="a1b2c3"
    )
    arguments: dict[str, Any] = {
        "api": api,
        "stage": apigatewayv2.WebSocketStage.from_web_socket_stage_attributes(
            stack, "Stage", api=api, stage_name="live"
        ),
        "connections_table": dynamodb.Table.from_table_arn(stack, "Table", TABLE_ARN),
        "disconnect_handler": lambda_.Function.from_function_arn(stack, "Handler", FUNCTION_ARN),
        "code": code_of(lambda_zip) if lambda_zip else None,
    }
    return IdleConnectionTimeout(stack, "IdleTimeout", **{**arguments, **options})


def synthesised(stack: cdk.Stack) -> Resources:
    return Resources(template=dict(Template.from_stack(stack).to_json()))
