"""The ``@connections`` calls of a WebSocket API stage: where they go, and who may make them."""

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_iam as iam


def stage_endpoint(api: apigatewayv2.IWebSocketApi, stage: apigatewayv2.IWebSocketStage) -> str:
    """Return the URL to which the SDK adds ``/@connections/id``.

    It equals ``stage.callback_url``, which an imported stage does not have.
    """
    stack = cdk.Stack.of(api)
    host = f"{api.api_id}.execute-api.{stack.region}.{stack.url_suffix}"
    return f"https://{host}/{stage.stage_name}"


def manage_connections(
    api: apigatewayv2.IWebSocketApi, stage: apigatewayv2.IWebSocketStage, methods: list[str]
) -> iam.PolicyStatement:
    """Return a statement that allows some ``@connections`` calls on one stage of one API.

    ``methods`` names the calls: POST sends a message, DELETE closes, GET looks up. The form
    ``api-id/stage/METHOD/@connections/id`` is that of the API Gateway developer guide, "Control
    access to WebSocket APIs with IAM authorization". Only the connection id is a wildcard.
    """
    stack = cdk.Stack.of(api)
    return iam.PolicyStatement(
        actions=["execute-api:ManageConnections"],
        resources=[
            stack.format_arn(
                service="execute-api",
                resource=api.api_id,
                resource_name=f"{stage.stage_name}/{method}/@connections/*",
            )
            for method in methods
        ],
    )
