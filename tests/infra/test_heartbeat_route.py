"""The heartbeat route without a function, as the guide has it."""

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk.assertions import Template

from tests.support.documents import page

pytestmark = pytest.mark.infra

GUIDE = page("guides/without-a-recorder")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", GUIDE)


def described(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    (properties,) = (
        one["Properties"]
        for one in resources.values()
        if one["Type"] == f"AWS::ApiGatewayV2::{kind}"
    )
    return {name: value for name, value in properties.items() if name not in ("ApiId", "Target")}


def test_both_forms_make_the_same_route_and_no_function() -> None:
    (snippet,) = (block for block in code_blocks("python") if "WebSocketMockIntegration" in block)
    stack = cdk.Stack(cdk.App(), "Chat")
    exec(snippet, {"api": apigatewayv2.WebSocketApi(stack, "Api")})  # noqa: S102 - the guide's code
    synthesised = Template.from_stack(stack).to_json()["Resources"]
    assert not [one for one in synthesised.values() if one["Type"].startswith("AWS::Lambda")]
    (written,) = (json.loads(block) for block in code_blocks("json"))
    for kind in ("Integration", "Route"):
        assert described(synthesised, kind) == described(written, kind)
    integration = described(written, "Integration")
    expression = integration["TemplateSelectionExpression"].removeprefix("\\")
    # The expression names the one template there is: a mock answers by its status.
    assert list(integration["RequestTemplates"]) == [expression]
    assert json.loads(integration["RequestTemplates"][expression]) == {"statusCode": 200}
    # No answer is sent: the route has no response.
    assert "RouteResponseSelectionExpression" not in described(written, "Route")
