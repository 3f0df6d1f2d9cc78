"""The construct where API Gateway's account is the source of activity."""

import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from tests.support.existing_stack import add_timeout, existing_stack, synthesised

pytestmark = pytest.mark.infra


def activities(stack: cdk.Stack) -> list[object]:
    functions = synthesised(stack).of_type("AWS::Lambda::Function").values()
    return [one["Environment"]["Variables"].get("ACTIVITY") for one in functions]


@pytest.mark.parametrize(("precise", "functions"), [(False, 1), (True, 2)])
def test_every_function_that_closes_is_told(
    lambda_zip: Path, *, precise: bool, functions: int
) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip, activity="gateway", precise=precise)
    assert activities(stack) == ["gateway"] * functions


def test_nothing_is_said_of_it_by_default(lambda_zip: Path) -> None:
    stack = existing_stack()
    add_timeout(stack, lambda_zip)
    assert activities(stack) == [None]


def test_takes_a_parameter(lambda_zip: Path) -> None:
    stack = existing_stack()
    parameter = cdk.CfnParameter(stack, "Activity", allowed_values=["recorded", "gateway"])
    add_timeout(
        stack,
        lambda_zip,
        activity=parameter.value_as_string,
        last_active_counts="both",
        activity_resolution_seconds=10,
    )
    assert activities(stack) == [{"Ref": "Activity"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activity": "client"},
            "activity must be recorded or gateway or a token, not 'client'.",
        ),
        (
            {"activity": "gateway", "last_active_counts": "both"},
            (
                "last_active_counts must not be both: with ACTIVITY gateway nobody has to record"
                " activity, so the records cannot decide."
            ),
        ),
        (
            {"activity": "gateway", "activity_resolution_seconds": 10},
            (
                "activity_resolution_seconds must be 0 with activity='gateway', not 10: API"
                " Gateway's times are exact."
            ),
        ),
    ],
)
def test_refuses_what_contradicts_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        add_timeout(existing_stack(), None, **options)
