"""The examples for Serverless and for CDK in TypeScript, resolved by what npm installs."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.nested import problems_of
from tests.support.node import node_folder, packages_of
from tests.support.serverless import rooms_schema
from tests.support.templates import Resources

pytestmark = [pytest.mark.infra, pytest.mark.install]

EXAMPLES = ROOT / "examples"
TEMPLATE: dict[str, Any] = json.loads(timeout_template())
REGION = "eu-west-1"
URL = f"https://code.s3.{REGION}.amazonaws.com/hangup.json"


def laid_out(name: str, folder: Path, *others: str) -> Path:
    """Copy an example and those that it names into ``folder``, with the packages of its lock."""
    packages = packages_of(EXAMPLES / name) / "node_modules"
    for one in (name, *others):
        files = shutil.ignore_patterns("node_modules", ".serverless", "cdk.out")
        shutil.copytree(EXAMPLES / one, folder / one, ignore=files)
    (folder / name / "node_modules").symlink_to(packages)
    return folder / name


def run(folder: Path, *command: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command without an account's keys, and without asking any machine for them."""
    node = node_folder() / "node"
    return subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": f"{node.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            **env,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# -- Serverless ----------------------------------------------------------------------------------

GIVEN = (
    *("--param", f"templateUrl={URL}"),
    *("--param", "codeBucket=code"),
    *("--param", "codeKey=hangup.zip"),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out("serverless", tmp_path_factory.mktemp("serverless"))


def osls(service: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    node = node_folder() / "node"
    program = service / "node_modules" / "osls" / "bin" / "serverless.js"
    return run(service, node, program, *arguments)


@pytest.fixture(scope="module")
def rooms(service: Path) -> Resources:
    ended = osls(service, "package", "--stage", "prod", "--region", REGION, *GIVEN)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    file = service / ".serverless" / "cloudformation-template-update-stack.json"
    return Resources(template=json.loads(file.read_text()))


def test_serverless_gives_the_nested_stack_what_the_template_asks_for(rooms: Resources) -> None:
    (nested,) = rooms.of_type("AWS::CloudFormation::Stack").values()
    assert nested["TemplateURL"] == URL
    given = nested["Parameters"]
    assert problems_of(given, TEMPLATE) == []
    assert (given["CodeBucket"], given["CodeKey"]) == ("code", "hangup.zip")


def test_serverless_names_the_api_the_stage_the_table_and_the_function(rooms: Resources) -> None:
    (nested,) = rooms.of_type("AWS::CloudFormation::Stack").values()
    (api,) = rooms.of_type("AWS::ApiGatewayV2::Api")
    (stage,) = rooms.of_type("AWS::ApiGatewayV2::Stage").values()
    (table,) = rooms.of_type("AWS::DynamoDB::Table")
    functions = rooms.of_type("AWS::Lambda::Function")
    given = nested["Parameters"]
    assert given["ApiId"] == {"Ref": api}
    assert given["StageName"] == stage["StageName"] == "prod"
    assert given["TableName"] == {"Ref": table}
    name, _ = given["DisconnectFunctionArn"]["Fn::GetAtt"]
    assert functions[name]["Handler"] == "routes.disconnect"


def test_the_schema_of_the_service_is_that_of_its_table(rooms: Resources) -> None:
    (table,) = rooms.of_type("AWS::DynamoDB::Table").values()
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    key = [(one["AttributeName"], types[one["AttributeName"]]) for one in table["KeySchema"]]
    assert rooms_schema().table_key.attributes == key


def test_the_services_zip_holds_its_routes(service: Path, rooms: Resources) -> None:
    with zipfile.ZipFile(service / ".serverless" / "rooms.zip") as packed:
        assert packed.namelist() == ["routes.mjs"]
        routes = packed.read("routes.mjs").decode()
    for function in rooms.of_type("AWS::Lambda::Function").values():
        name = function["Handler"].removeprefix("routes.")
        assert f"export async function {name}(" in routes


def test_a_service_without_the_addresses_is_refused(service: Path) -> None:
    ended = osls(service, "package", "--stage", "prod", "--region", REGION)
    assert ended.returncode == 1
    assert "Properties.TemplateURL" in ended.stdout + ended.stderr


# -- CDK in TypeScript ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = laid_out("cdk-typescript", tmp_path_factory.mktemp("cdk"), "node")
    # The template, and a zip in the place of the functions'.
    (folder / "hangup.template.json").write_text(timeout_template())
    with zipfile.ZipFile(folder / "hangup.zip", "w") as packed:
        packed.writestr("hangup/__init__.py", "")
    return folder


def synthesised(app: Path) -> "subprocess.CompletedProcess[str]":
    node = node_folder() / "node"
    return run(app, node, "app.ts", CDK_OUTDIR="cdk.out")


@pytest.fixture(scope="module")
def templates(app: Path) -> Mapping[str, dict[str, Any]]:
    ended = synthesised(app)
    assert ended.returncode == 0, ended.stderr
    # What CDK's own validation finds.
    assert "WARNING" not in ended.stderr
    files = (app / "cdk.out").glob("*.template.json")
    return {
        "nested" if ".nested." in file.name else "chat": json.loads(file.read_text())
        for file in files
    }


def test_the_app_is_checked_by_typescript(app: Path) -> None:
    node = node_folder() / "node"
    tsc = (app / "node_modules" / ".bin" / "tsc").resolve()
    assert run(app, node, tsc).returncode == 0
    wrong = re.sub(r'IdleTimeoutSeconds: "(\d+)"', r"IdleTimeoutSeconds: \1", source(app))
    assert wrong != source(app)
    (app / "wrong.ts").write_text(wrong)
    ended = run(app, node, tsc, "--ignoreConfig", "--noEmit", "--module", "nodenext", "wrong.ts")
    assert "Type 'number' is not assignable to type 'string'" in ended.stdout


def source(app: Path) -> str:
    return (app / "app.ts").read_text()


def test_cdk_gives_the_nested_stack_what_the_template_asks_for(
    templates: Mapping[str, dict[str, Any]],
) -> None:
    chat = Resources(template=templates["chat"])
    (nested,) = chat.of_type("AWS::CloudFormation::Stack").values()
    assert problems_of(nested["Parameters"], TEMPLATE) == []
    (api,) = chat.of_type("AWS::ApiGatewayV2::Api")
    (table,) = chat.of_type("AWS::DynamoDB::Table")
    assert nested["Parameters"]["ApiId"] == {"Ref": api}
    assert nested["Parameters"]["TableName"] == {"Ref": table}
    name, _ = nested["Parameters"]["DisconnectFunctionArn"]["Fn::GetAtt"]
    functions = chat.of_type("AWS::Lambda::Function")
    assert functions[name]["Handler"] == "routes.disconnect"


def test_the_included_template_is_the_packaged_one(
    templates: Mapping[str, dict[str, Any]],
) -> None:
    for section in ("Parameters", "Conditions", "Outputs"):
        assert templates["nested"][section] == TEMPLATE[section]
    assert templates["nested"]["Resources"].keys() == TEMPLATE["Resources"].keys()


@pytest.mark.parametrize("which", ["chat", "nested"])
def test_cfn_lint_finds_no_error_in_what_cdk_writes(
    which: str, templates: Mapping[str, dict[str, Any]]
) -> None:
    found = lint(json.dumps(templates[which]), config=ManualArgs(regions=[REGION]))
    assert [str(one) for one in found if one.rule.id.startswith("E")] == []


def test_the_routes_of_the_app_exist(templates: Mapping[str, dict[str, Any]]) -> None:
    routes = (EXAMPLES / "node" / "routes.mjs").read_text()
    functions = Resources(template=templates["chat"]).of_type("AWS::Lambda::Function").values()
    handlers = sorted(function["Handler"] for function in functions)
    assert handlers == ["routes.connect", "routes.disconnect", "routes.message"]
    for handler in handlers:
        assert f"export async function {handler.partition('.')[2]}(" in routes


def test_the_zips_of_the_app_hold_the_routes_and_no_packages(app: Path) -> None:
    assets = [one for one in (app / "cdk.out").glob("asset.*") if one.is_dir()]
    (routes,) = assets
    assert sorted(one.name for one in routes.iterdir()) == ["record-activity.mjs", "routes.mjs"]
