"""A small WebSocket application that knows nothing of Hangup, on the engine."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any, Final

from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST, Engine

HANDLER: Final = """
import boto3, os, time
table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS"])

def handler(event, context):
    about = event["requestContext"]
    key = {"socket": "ws#" + about["connectionId"]}
    if about["eventType"] == "CONNECT":
        about = {"since": int(time.time()), "room": "hall", "env": about["stage"]}
        table.put_item(Item={**key, **about})
    elif about["eventType"] == "DISCONNECT":
        table.delete_item(Key=key)
    else:
        pass
    return {"statusCode": 200}
"""


@dataclass(frozen=True)
class App:
    engine: Engine
    api_id: str
    function_arn: str

    @property
    def endpoint(self) -> str:
        return f"{self.engine.endpoint}/_aws/execute-api/{self.api_id}/prod"

    @property
    def address(self) -> str:
        return f"ws://{HOST}:{self.engine.port}/_aws/execute-api/{self.api_id}/prod"


def deployed(engine: Engine) -> App:
    """Make a small app that knows nothing of Hangup, and an HTTP API beside it."""
    engine.client("dynamodb").create_table(
        TableName="chat-sockets",
        KeySchema=[{"AttributeName": "socket", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "socket", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole"}
    trust |= {"Principal": {"Service": "lambda.amazonaws.com"}}  # type: ignore[dict-item]
    iam = engine.client("iam")
    role = iam.create_role(RoleName="chat", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    may = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}
    iam.put_role_policy(RoleName="chat", PolicyName="chat", PolicyDocument=policy(may))
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", HANDLER)
    function = engine.client("lambda").create_function(
        FunctionName="chat",
        Runtime="python3.13",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": {"CONNECTIONS": "chat-sockets", "LEVEL": "debug"}},
    )["FunctionArn"]
    gateway = engine.client("apigatewayv2")
    gateway.create_api(Name="chat", ProtocolType="HTTP")
    api_id = gateway.create_api(
        Name="chat", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action"
    )["ApiId"]
    integration = gateway.create_integration(
        ApiId=api_id,
        IntegrationType="AWS_PROXY",
        IntegrationUri=f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}"
        "/invocations",
    )["IntegrationId"]
    for route in ("$connect", "$default", "$disconnect"):
        gateway.create_route(ApiId=api_id, RouteKey=route, Target=f"integrations/{integration}")
    for stage in ("dev", "prod"):
        gateway.create_stage(ApiId=api_id, StageName=stage, AutoDeploy=True)
    return App(engine, api_id, function)


def policy(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
