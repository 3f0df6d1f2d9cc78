"""The SAM example: resolved as SAM does it, and what its nested stack is given."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.nested import problems_of
from tests.support.sam import NoManagedPolicies
from tests.support.templates import Resources

pytestmark = pytest.mark.infra

EXAMPLE = ROOT / "examples" / "sam"
SOURCE = (EXAMPLE / "template.yaml").read_text()
TEMPLATE: dict[str, Any] = json.loads(timeout_template())
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def sam() -> Resources:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        document = yaml_parse(SOURCE)
        # As `sam deploy` does: the folder is uploaded.
        document["Globals"]["Function"]["CodeUri"] = "s3://code/routes.zip"
        template = transform(document, {"AWS::Region": REGION}, NoManagedPolicies())
    return Resources(template=template)


def lints(text: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        found = lint(text, config=ManualArgs(regions=[REGION]))
    return [f"{one.rule.id} {one.message}" for one in found]


def test_cfn_lint_finds_nothing() -> None:
    assert lints(SOURCE) == []


def test_cfn_lint_finds_what_is_wrong() -> None:
    wrong = SOURCE.replace("TemplateURL:", "TemplateUrl:")
    assert any("TemplateUrl" in one for one in lints(wrong))


def test_the_nested_stack_is_given_what_the_template_asks_for(sam: Resources) -> None:
    (nested,) = sam.of_type("AWS::CloudFormation::Stack").values()
    assert nested["TemplateURL"] == {"Ref": "HangupTemplateUrl"}
    assert problems_of(nested["Parameters"], TEMPLATE) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"IdleTimeoutSecond": "90"}, "IdleTimeoutSecond: not a parameter"),
        ({"ApiId": None}, "ApiId: required"),
        ({"Mode": "test"}, "Mode: 'test' is not allowed"),
        ({"IdleTimeoutSeconds": 0}, "IdleTimeoutSeconds: '0' is not allowed"),
        ({"DisconnectFunctionArn": None}, "DisconnectFunctionArn: required with HandOver always"),
        ({"TableSchema": '{"id":"x"}'}, "TableSchema: "),
    ],
)
def test_what_is_wrong_with_its_parameters_is_found(
    sam: Resources, changes: Mapping[str, Any], problem: str
) -> None:
    (nested,) = sam.of_type("AWS::CloudFormation::Stack").values()
    changed = {**nested["Parameters"], **changes}
    given = {name: value for name, value in changed.items() if value is not None}
    (found,) = problems_of(given, TEMPLATE)
    assert found.startswith(problem)


def test_the_nested_stack_is_given_this_api_table_and_function(sam: Resources) -> None:
    (nested,) = sam.of_type("AWS::CloudFormation::Stack").values()
    (api,) = sam.of_type("AWS::ApiGatewayV2::Api")
    (table,) = sam.of_type("AWS::DynamoDB::Table")
    (stage,) = sam.of_type("AWS::ApiGatewayV2::Stage").values()
    given = nested["Parameters"]
    assert given["ApiId"] == {"Ref": api}
    assert given["StageName"] == stage["StageName"]
    assert given["TableName"] == {"Ref": table}
    assert given["DisconnectFunctionArn"] == {"Fn::GetAtt": ["Disconnect", "Arn"]}
    key = sam.of_type("AWS::DynamoDB::Table")[table]["KeySchema"]
    assert [one["AttributeName"] for one in key] == [DEFAULT_SCHEMA.connection_id]


def test_each_route_is_a_function_of_the_routes(sam: Resources) -> None:
    keys = [route["RouteKey"] for route in sam.of_type("AWS::ApiGatewayV2::Route").values()]
    assert sorted(keys) == ["$connect", "$default", "$disconnect"]
    routes = (ROOT / "examples" / "node" / "routes.mjs").read_text()
    functions = sam.of_type("AWS::Lambda::Function").values()
    handlers = [function["Handler"] for function in functions]
    assert sorted(handlers) == ["routes.connect", "routes.disconnect", "routes.message"]
    for handler in handlers:
        assert f"export async function {handler.partition('.')[2]}(" in routes
    for function in functions:
        assert function["Environment"]["Variables"].keys() == {"CONNECTIONS_TABLE"}


def test_its_code_is_the_folder_of_the_routes() -> None:
    code = yaml_parse(SOURCE)["Globals"]["Function"]["CodeUri"]
    assert (EXAMPLE / code).resolve() == ROOT / "examples" / "node"
    assert Path(EXAMPLE / code / "record-activity.mjs").is_file()
