"""What CloudFormation accepts for the parameters of the packaged templates."""

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from hangup.errors import LocalStackError
from hangup.local.deploy import deploy, packaged_template
from tests.support.local_stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

pytestmark = pytest.mark.integration

CODE = {"CodeBucket": "code-of-this-test", "CodeKey": "hangup.zip"}


def create(stack: Stack, parameters: dict[str, str], *, precise: bool = False) -> None:
    """Create, and delete, a stack with the template's parameters and one small resource."""
    cloudformation: CloudFormationClient = stack.engine.client("cloudformation")
    template = {
        "Parameters": packaged_template(precise=precise)["Parameters"],
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    }
    cloudformation.create_stack(
        StackName="parameters",
        TemplateBody=json.dumps(template),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
    )
    cloudformation.delete_stack(StackName="parameters")


@pytest.mark.parametrize("precise", [False, True])
def test_takes_whole_seconds_in_bounds(stack: Stack, *, precise: bool) -> None:
    for seconds in ("75", "120", "7200"):
        create(stack, {**CODE, "IdleTimeoutSeconds": seconds}, precise=precise)
    create(stack, {**CODE, "ActivityResolutionSeconds": "0"}, precise=precise)


@pytest.mark.parametrize(
    ("parameters", "precise", "bounds"),
    [
        ({"IdleTimeoutSeconds": "90.5"}, False, "from 1 to 7200"),
        ({"IdleTimeoutSeconds": "0"}, False, "from 1 to 7200"),
        ({"IdleTimeoutSeconds": "7201"}, False, "from 1 to 7200"),
        ({"IdleTimeoutSeconds": "90.5"}, True, "from 75 to 7200"),
        ({"IdleTimeoutSeconds": "60"}, True, "from 75 to 7200"),
        ({"ActivityResolutionSeconds": "0.5"}, False, "from 0 to 7200"),
        ({"ActivityResolutionSeconds": "-1"}, True, "from 0 to 7200"),
    ],
)
def test_refuses_what_every_sweep_would_fail_with(
    stack: Stack, *, parameters: dict[str, str], precise: bool, bounds: str
) -> None:
    with pytest.raises(ClientError, match=f"must be a whole number {bounds}"):
        create(stack, {**CODE, **parameters}, precise=precise)


def test_asks_for_the_place_of_the_code(stack: Stack) -> None:
    for missing in CODE:
        given = {name: value for name, value in CODE.items() if name != missing}
        with pytest.raises(ClientError, match=missing):
            create(stack, given)


def test_the_local_deployment_says_what_a_parameter_must_be(stack: Stack) -> None:
    with pytest.raises(LocalStackError, match=r"The stack Refused was refused: .*IdleTimeout"):
        deploy(stack.engine, parameters={"IdleTimeoutSeconds": "90.5"}, stack_name="Refused")
