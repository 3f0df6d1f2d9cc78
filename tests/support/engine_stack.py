"""A small stack for the tests of the local engine, and what one asks it."""

import io
import json
import socket
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as ws_connect

from hangup.local.deploy import Deployment
from hangup.local.ministack.engine import Engine

HANDLER = """
import boto3, json, os, time

def handler(event, context):
    connection = event.get("requestContext", {})
    table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])
    if connection.get("eventType") == "CONNECT":
        table.put_item(Item={"connectionId": connection["connectionId"]})
        return {"statusCode": 200}
    if connection.get("eventType") == "DISCONNECT":
        table.delete_item(Key={"connectionId": connection["connectionId"]})
        return {"statusCode": 200}
    if "requestContext" in event:
        order = json.loads(event["body"])
        print("order", order)
        if order.get("fail"):
            raise RuntimeError("a secret of the handler")
        time.sleep(order.get("sleep", 0))
        return {"statusCode": 200, "body": json.dumps({"env": dict(os.environ), **order})}
    if "emit" in event:
        print(json.dumps({"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [
            {"Namespace": "Test", "Dimensions": [[]], "Metrics": [{"Name": "Closed"}]},
            {"Namespace": "Test", "Dimensions": [["Role"]], "Metrics": [{"Name": "Timeout"}]},
        ]}, "Role": "speaker", "Closed": event["emit"], "Timeout": [1, 2]}))
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "scan" in event:
        table.scan()
    if "fail" in event:
        raise RuntimeError(event["fail"])
    return "done"
"""


def code(handler: str = HANDLER) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("routes.py", handler)
    return buffer.getvalue()


CODE = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}


def integration(function: str) -> dict[str, Any]:
    uri = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/"
    return {
        "Type": "AWS::ApiGatewayV2::Integration",
        "Properties": {
            "ApiId": {"Ref": "Api"},
            "IntegrationType": "AWS_PROXY",
            "IntegrationUri": {"Fn::Sub": f"{uri}${{{function}.Arn}}/invocations"},
        },
    }


def template() -> dict[str, Any]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    grant = {
        "Effect": "Allow",
        "Action": ["dynamodb:PutItem", "dynamodb:DeleteItem"],
        "Resource": {"Fn::GetAtt": ["Table", "Arn"]},
    }
    resources: dict[str, Any] = {
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "connectionId", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "connectionId", "KeyType": "HASH"}],
            },
        },
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": trust,
                "Policies": [
                    {
                        "PolicyName": "table",
                        "PolicyDocument": {"Version": "2012-10-17", "Statement": [grant]},
                    }
                ],
            },
        },
        "Secret": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "s"}},
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": CODE,
                "Runtime": "python3.13",
                "Handler": "routes.handler",
                "Timeout": 30,
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Environment": {"Variables": {"CONNECTIONS_TABLE": {"Ref": "Table"}}},
            },
        },
        "Single": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": CODE,
                "Runtime": "python3.13",
                "Handler": "routes.handler",
                "ReservedConcurrentExecutions": 1,
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Environment": {"Variables": {"CONNECTIONS_TABLE": {"Ref": "Table"}}},
            },
        },
        "Api": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {
                "Name": "test",
                "ProtocolType": "WEBSOCKET",
                "RouteSelectionExpression": "$request.body.action",
            },
        },
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {"ApiId": {"Ref": "Api"}, "StageName": "prod", "AutoDeploy": True},
        },
        "Integration": integration("Function"),
        "Failing": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": "failing",
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": "Function"}}],
                "Statistic": "Sum",
                "Period": 2,
                "EvaluationPeriods": 1,
                "Threshold": 0,
                "ComparisonOperator": "GreaterThanThreshold",
                "TreatMissingData": "notBreaching",
            },
        },
        "Silent": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": "silent",
                "Namespace": "Test",
                "MetricName": "Closed",
                "Statistic": "SampleCount",
                "Period": 2,
                "EvaluationPeriods": 2,
                "DatapointsToAlarm": 2,
                "Threshold": 1,
                "ComparisonOperator": "LessThanThreshold",
                "TreatMissingData": "breaching",
            },
        },
    }
    for name, key in (("Connect", "$connect"), ("Default", "$default"), ("Leave", "$disconnect")):
        resources[f"{name}Route"] = {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "RouteKey": key,
                "Target": {"Fn::Sub": "integrations/${Integration}"},
            },
        }
    resources["DefaultResponse"] = {
        "Type": "AWS::ApiGatewayV2::RouteResponse",
        "Properties": {
            "ApiId": {"Ref": "Api"},
            "RouteId": {"Ref": "DefaultRoute"},
            "RouteResponseKey": "$default",
        },
    }
    outputs = {
        "ApiId": "Api",
        "ConnectionsTable": "Table",
        "ConnectFunction": "Function",
        "TimeoutFunction": "Single",
        "JoinSecretArn": "Secret",
    }
    return {
        "Parameters": {"CodeBucket": {"Type": "String"}, "CodeKey": {"Type": "String"}},
        "Resources": resources,
        "Outputs": {key: {"Value": {"Ref": value}} for key, value in outputs.items()},
    }


def template_without_alarms() -> dict[str, Any]:
    whole = template()
    kept = {k: r for k, r in whole["Resources"].items() if "Alarm" not in r["Type"]}
    return {**whole, "Resources": kept}


def until(condition: Callable[[], object], *, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def connect(deployment: Deployment) -> ClientConnection:
    return ws_connect(deployment.web_socket_url, proxy=None)


def close_code(client: ClientConnection) -> int | None:
    """Wait until the server has closed the connection, and return its code."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    return closed.value.rcvd.code if closed.value.rcvd else None


def connection_ids(engine: Engine, deployment: Deployment) -> list[str]:
    items = engine.client("dynamodb").scan(TableName=deployment.outputs["ConnectionsTable"])[
        "Items"
    ]
    return [item["connectionId"]["S"] for item in items]


def invoke(engine: Engine, function: str, event: dict[str, Any], kind: str) -> dict[str, Any]:
    answer: dict[str, Any] = engine.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(event), InvocationType=kind
    )
    return answer


def statistics(engine: Engine, namespace: str, name: str, **dimensions: str) -> dict[str, float]:
    now = datetime.now(UTC)
    points = engine.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": k, "Value": v} for k, v in dimensions.items()],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(seconds=1),
        Period=86_400,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    return {key: sum(point[key] for point in points) for key in ("Sum", "SampleCount")}


def alarm(engine: Engine, name: str) -> str:
    alarms = engine.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(alarms[0]["StateValue"])


def processes(run_dir: Path) -> list[str]:
    """Return the command lines of the engine's process and of its workers."""
    lines = []
    for entry in Path("/proc").iterdir():
        # A process may end while this looks at it.
        with suppress(OSError):
            if entry.name.isdigit():
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in lines if str(run_dir) in line]


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
