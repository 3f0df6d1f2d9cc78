# ruff: noqa: INP001 - a script
"""A chat that had a WebSocket API, a table and handlers before, and takes the idle timeout.

README.md says how to deploy it. The routes need ``hangup`` in their zip, because they import
``hangup.tracks_activity``. The function of the idle timeout brings its own.
"""

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import WebSocketLambdaIntegration
from constructs import Construct

from hangup.cdk import IdleConnectionTimeout

__all__ = ["ChatStack"]


class ChatStack(cdk.Stack):
    """The chat. ``code`` holds ``routes.py`` and the ``hangup`` package."""

    def __init__(self, scope: Construct, construct_id: str, *, code: lambda_.Code) -> None:
        super().__init__(scope, construct_id)
        self._code = code
        self._table = dynamodb.Table(
            self,
            "Connections",
            partition_key=dynamodb.Attribute(
                name="connectionId", type=dynamodb.AttributeType.STRING
            ),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        )
        api = apigatewayv2.WebSocketApi(self, "Api")
        stage = apigatewayv2.WebSocketStage(
            self, "Stage", web_socket_api=api, stage_name="live", auto_deploy=True
        )
        routes = {
            "$connect": self._function("connect", "dynamodb:PutItem"),
            "$default": self._function("message"),
            "$disconnect": self._function("disconnect", "dynamodb:DeleteItem"),
        }
        for key, function in routes.items():
            integration = WebSocketLambdaIntegration(f"{key.strip('$').title()}Call", function)
            api.add_route(key, integration=integration, return_response=key == "$default")

        # Everything that Hangup adds:
        timeout = IdleConnectionTimeout(
            self,
            "IdleTimeout",
            api=api,
            stage=stage,
            connections_table=self._table,
            disconnect_handler=routes["$disconnect"],
            idle_timeout_seconds=90,
        )
        timeout.track(routes["$default"])

    def _function(self, name: str, *actions: str) -> lambda_.Function:
        function = lambda_.Function(
            self,
            name.title(),
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"routes.{name}",
            code=self._code,
            memory_size=256,
            timeout=cdk.Duration.seconds(29),
            environment={"CONNECTIONS_TABLE": self._table.table_name},
        )
        if actions:
            self._table.grant(function, *actions)
        return function


if __name__ == "__main__":
    app = cdk.App()
    ChatStack(app, "Chat", code=lambda_.Code.from_asset("build/chat"))
    app.synth()
