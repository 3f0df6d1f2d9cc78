"""The Terraform module: a variable for each parameter of the template, with its bounds."""

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import hcl2
import pytest

from hangup.aws.schema import TableSchema
from hangup.ops.template import timeout_template
from tests.support.documents import ROOT
from tests.support.nested import problems_of

pytestmark = pytest.mark.infra

MODULE = ROOT / "examples" / "terraform"
README = (MODULE / "README.md").read_text()
TEMPLATE: dict[str, Any] = json.loads(timeout_template())
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
OF_TERRAFORM = {"template_url", "name", "tags"}
"""The variables that are not parameters of the template."""
REQUIRED = {
    "template_url": "https://code.s3.eu-west-1.amazonaws.com/hangup.json",
    "code_bucket": "code",
    "code_key": "hangup.zip",
    "api_id": "a1b2c3d4e5",
    "stage_name": "live",
    "table_name": "connections",
    "disconnect_function_arn": "arn:aws:lambda:eu-west-1:111122223333:function:disconnect",
}
HAS_TERRAFORM = pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform here")

REFUSAL = re.compile(r"(?m)^(\w+) (?:must|is) ")
REFUSED: list[tuple[str, Any]] = [
    ("template_url", "hangup.json"),
    ("code_bucket", "A Bucket"),
    ("code_key", ""),
    ("api_id", "arn:aws:apigateway:eu-west-1::/apis/a1"),
    ("stage_name", "$default"),
    ("management_endpoint", "wss://chat.example.com/live"),
    ("table_name", "arn:aws:dynamodb:eu-west-1:111122223333:table/connections"),
    ("table_key_arn", "alias/connections"),
    ("table_schema", '{"connection_id":"id"}'),
    ("table_schema", {"connectionId": "id"}),
    ("table_schema", {"connection_id": "i" * 2048}),
    ("idle_timeout_seconds", 0),
    ("idle_timeout_seconds", 7201),
    ("idle_timeout_seconds", 90.5),
    ("timeouts_by_role", {"a role": 60}),
    ("timeouts_by_role", {"host": 0}),
    ("timeouts_by_role", {f"role{number}": 60 for number in range(11)}),
    ("last_active_counts", "all"),
    ("mode", "test"),
    ("hand_over", "sometimes"),
    ("closes_per_second", 1001),
    ("close_functions", 3),
    ("shards", 3),
    ("architecture", "arm"),
    ("deployment", "a chat"),
    ("metric_roles", []),
    ("metric_roles", ["a,b"]),
    ("alarm_topic_arn", "alarms"),
    ("log_level", "info"),
    ("log_retention_days", 31),
    ("name", "1st"),
]
REFUSED_TOGETHER: list[tuple[str, dict[str, Any]]] = [
    ("idle_timeout_seconds", {"precise": True, "idle_timeout_seconds": 74}),
    ("timeouts_by_role", {"precise": True, "timeouts_by_role": {"guest": 74}}),
    ("activity_resolution_seconds", {"activity_resolution_seconds": 120}),
    (
        "activity_resolution_seconds",
        {"activity_resolution_seconds": 60, "timeouts_by_role": {"guest": 60}},
    ),
    ("activity_resolution_seconds", {"activity_resolution_seconds": -1}),
    ("disconnect_function_arn", {"disconnect_function_arn": ""}),
    ("disconnect_function_arn", {"disconnect_function_arn": "disconnect"}),
    ("disconnect_function_arn", {"hand_over": "never"}),
    ("activity", {"activity": "none"}),
    ("activity", {"activity": "gateway", "last_active_counts": "both"}),
    ("activity", {"activity": "gateway", "activity_resolution_seconds": 10}),
]
"""What is checked beside another variable, and only if that one is right."""


def read(text: str) -> dict[str, Any]:
    """Return HCL as JSON-like values, texts without quotes."""
    found: dict[str, Any] = without_quotes(hcl2.loads(text))
    return found


def without_quotes(value: Any) -> Any:
    match value:
        case dict():
            return {
                unquoted(key): without_quotes(one)
                for key, one in value.items()
                if key not in ("__is_block__", "__comments__")
            }
        case list():
            return [without_quotes(one) for one in value]
        case str():
            return unquoted(value)
    return value


def unquoted(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def blocks(file: str, kind: str) -> dict[str, Any]:
    return {
        name: block
        for one in read((MODULE / file).read_text())[kind]
        for name, block in one.items()
    }


VARIABLES = blocks("variables.tf", "variable")
(GIVEN,) = (one["parameters"] for one in read((MODULE / "parameters.tf").read_text())["locals"])


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_each_parameter_of_the_template_has_a_variable_and_no_other_is_given() -> None:
    assert sorted(GIVEN) == sorted(PARAMETERS)
    assert set(VARIABLES) == {snake(name) for name in PARAMETERS} | OF_TERRAFORM


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_parameter_is_given_its_variable(name: str) -> None:
    assert re.findall(r"\bvar\.(\w+)", GIVEN[name])[0] == snake(name)


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_typed_described_and_validated(name: str) -> None:
    variable = VARIABLES[name]
    assert variable["description"].endswith((".", ")."))
    assert variable["type"]
    is_bounded = variable["type"] == "bool" or name == "tags"
    assert is_bounded or len(variable["validation"]) >= 1


def test_only_what_the_template_requires_is_required() -> None:
    required = {name for name, variable in VARIABLES.items() if "default" not in variable}
    assert required == {
        snake(name) for name, parameter in PARAMETERS.items() if "Default" not in parameter
    } | {"template_url"}


def test_the_stack_has_the_parameters_and_the_outputs_are_the_templates() -> None:
    (main,) = blocks("main.tf", "resource").values()
    stack = main["timeout"]
    assert stack["parameters"] == "${local.parameters}"
    assert stack["template_url"] == "${var.template_url}"
    assert stack["capabilities"] == ["CAPABILITY_IAM"]
    outputs = re.findall(r'outputs\["(\w+)"\]', (MODULE / "outputs.tf").read_text())
    assert len(outputs) >= 2
    assert set(outputs) <= set(TEMPLATE["Outputs"])


def test_the_readme_gives_the_module_what_it_requires_and_knows() -> None:
    (block,) = re.findall(r"(?ms)^```hcl\n(.*?)^```$", README)
    (module,) = (one for labelled in read(block)["module"] for one in labelled.values())
    assert module.pop("source")
    assert set(module) <= set(VARIABLES)
    assert {name for name, one in VARIABLES.items() if "default" not in one} <= set(module)


def planned(folder: Path, **variables: Any) -> "subprocess.CompletedProcess[str]":
    """Run Terraform on the variables and the parameters: the provider is not needed for that."""
    for name in ("variables.tf", "parameters.tf"):
        shutil.copy(MODULE / name, folder)
    (folder / "output.tf").write_text('output "parameters" {\n  value = local.parameters\n}\n')
    (folder / "given.auto.tfvars.json").write_text(json.dumps({**REQUIRED, **variables}))
    return subprocess.run(
        ["terraform", "apply", "-no-color", "-input=false", "-auto-approve"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def parameters(folder: Path, **variables: Any) -> Mapping[str, str]:
    """Return what CloudFormation is given."""
    ended = planned(folder, **variables)
    assert ended.returncode == 0, ended.stderr
    state = json.loads((folder / "terraform.tfstate").read_text())
    found: Mapping[str, str] = state["outputs"]["parameters"]["value"]
    return found


@HAS_TERRAFORM
def test_the_defaults_are_the_templates(tmp_path: Path) -> None:
    found = parameters(tmp_path)
    assert problems_of(found, TEMPLATE) == []
    defaults = {name: one["Default"] for name, one in PARAMETERS.items() if "Default" in one}
    given = {"DisconnectFunctionArn"}
    assert {name: found[name] for name in defaults if name not in given} == {
        name: value for name, value in defaults.items() if name not in given
    }


@HAS_TERRAFORM
def test_what_the_template_allows_the_module_allows(tmp_path: Path) -> None:
    choices = {
        name: one["AllowedValues"] for name, one in PARAMETERS.items() if "AllowedValues" in one
    }
    del choices["HandOver"]  # which goes with the function
    days = re.findall(r"\d+", VARIABLES["log_retention_days"]["validation"][0]["condition"])
    assert days == choices.pop("LogRetentionDays")
    for values in zip_longest(*choices.values()):
        given = {
            name: value if value is not None else choices[name][0]
            for name, value in zip(choices, values, strict=True)
        }
        found = parameters(tmp_path, **{snake(name): value for name, value in given.items()})
        assert given.items() <= found.items()


def test_the_fields_of_a_schema_are_those_of_the_code() -> None:
    (fields,) = (
        re.findall(r'"(\w+)"', one["condition"])
        for one in VARIABLES["table_schema"]["validation"]
        if "contains" in one["condition"]
    )
    assert fields == [one.name for one in dataclasses.fields(TableSchema) if one.init]


@HAS_TERRAFORM
def test_values_of_other_types_become_text(tmp_path: Path) -> None:
    found = parameters(
        tmp_path,
        table_schema={"connection_id": "id", "connected_at_unit": "s", "last_activity": None},
        metric_roles=["host", "guest"],
        timeouts_by_role={"host": 300, "guest": 75},
        hand_over="delete",
        disconnect_function_arn="",
        precise=True,
    )
    assert problems_of(found, TEMPLATE) == []
    assert json.loads(found["TableSchema"])["last_activity"] is None
    assert found["TimeoutsByRole"] == "guest=75,host=300"
    assert found["MetricRoles"] == "host,guest"
    assert found["Precise"] == "true"


def rounds() -> list[dict[str, Any]]:
    """Return the refused values, each variable once in a round: Terraform names all errors."""
    of_variable = [
        [(name, value) for other, value in REFUSED if other == name] for name in dict(REFUSED)
    ]
    return [dict(filter(None, given)) for given in zip_longest(*of_variable)]


@HAS_TERRAFORM
@pytest.mark.parametrize("variables", rounds(), ids=["first", "second", "third"])
def test_refuses_before_a_deployment(variables: Mapping[str, Any], tmp_path: Path) -> None:
    ended = planned(tmp_path, **variables)
    assert ended.returncode == 1
    assert set(REFUSAL.findall(ended.stderr)) == set(variables)


@HAS_TERRAFORM
@pytest.mark.parametrize(("name", "variables"), REFUSED_TOGETHER)
def test_refuses_what_contradicts(name: str, variables: Mapping[str, Any], tmp_path: Path) -> None:
    ended = planned(tmp_path, **variables)
    assert ended.returncode == 1
    assert set(REFUSAL.findall(ended.stderr)) == {name}


def test_each_validation_is_seen_to_refuse() -> None:
    validated = {name for name, one in VARIABLES.items() if "validation" in one}
    assert validated == {name for name, _ in (*REFUSED, *REFUSED_TOGETHER)}


@HAS_TERRAFORM
def test_is_in_terraforms_format() -> None:
    ended = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", MODULE], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
