"""What is changed in the template on its way to MiniStack, and what is not."""

import re
from typing import Any

import pytest

from hangup.local.deploy import packaged_template
from hangup.local.ministack.template import prepared, reserved_concurrency
from tests.support.templates import Resources


@pytest.fixture(params=[False, True], ids=["inline", "precise"])
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    return packaged_template(precise=request.param)


def test_changes_nothing_in_the_template_itself(template: dict[str, Any]) -> None:
    before = repr(template)
    prepared(template)
    assert repr(template) == before


def test_leaves_out_what_ministack_does_not_take(template: dict[str, Any]) -> None:
    resources = prepared(template)["Resources"]
    gone = template["Resources"].keys() - resources.keys()
    assert {template["Resources"][name]["Type"] for name in gone} == {
        "AWS::ApiGatewayV2::RouteResponse",
        "AWS::SQS::QueuePolicy",
    }
    for resource in resources.values():
        wanted = resource.get("DependsOn", [])
        assert resources.keys() >= set([wanted] if isinstance(wanted, str) else wanted)


def test_lists_the_concurrency_that_ministack_does_not_reserve(template: dict[str, Any]) -> None:
    assert set(reserved_concurrency(prepared(template)).values()) == {1}


def test_every_function_takes_its_code_from_the_deployer_s_bucket(template: dict[str, Any]) -> None:
    functions = Resources(template=prepared(template)).of_type("AWS::Lambda::Function").values()
    code = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}
    assert [function["Code"] for function in functions] == [code] * len(functions)
    for name in ("CodeBucket", "CodeKey"):
        assert template["Parameters"][name].keys() == {"Type", "Description"}


def test_takes_a_timeout_of_whole_seconds_that_may_be_as_short_as_the_demo_s(
    template: dict[str, Any],
) -> None:
    pattern = prepared(template)["Parameters"]["IdleTimeoutSeconds"]["AllowedPattern"]
    accepted = [value for value in ("4", "120", "0", "90.5", "-1", "") if re.search(pattern, value)]
    assert accepted == ["4", "120"]


def test_who_may_send_a_message_may_send_a_batch_and_nobody_gets_more() -> None:
    template = packaged_template(precise=True)
    before, after = (
        Resources(template=t).grants("timeout_handler") for t in (template, prepared(template))
    )
    queue = "${IdleTimeoutScheduledClosesQueue.Arn}"
    assert before[queue] == {"sqs:SendMessage"}
    assert after == {**before, queue: {"sqs:SendMessage", "sqs:SendMessageBatch"}}
