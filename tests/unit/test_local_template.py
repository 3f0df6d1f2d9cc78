"""What is changed in the template on its way to MiniStack, and what is not."""

from typing import Any

import pytest

from hangup.local.deploy import packaged_template
from hangup.local.template import code_buckets, prepared, reserved_concurrency
from tests.support.templates import Resources


@pytest.fixture(params=[False, True], ids=["inline", "precise"])
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    return packaged_template(precise=request.param)


def test_changes_nothing_in_the_template_itself(template: dict[str, Any]) -> None:
    before = repr(template)
    prepared(template, code_key="code.zip")
    assert repr(template) == before


def test_leaves_out_what_ministack_does_not_take(template: dict[str, Any]) -> None:
    resources = prepared(template, code_key="code.zip")["Resources"]
    gone = template["Resources"].keys() - resources.keys()
    assert {template["Resources"][name]["Type"] for name in gone} == {
        "AWS::ApiGatewayV2::RouteResponse",
        "AWS::SQS::QueuePolicy",
    }
    for resource in resources.values():
        wanted = resource.get("DependsOn", [])
        assert resources.keys() >= set([wanted] if isinstance(wanted, str) else wanted)


def test_every_function_gets_the_code_that_was_uploaded(template: dict[str, Any]) -> None:
    ready = prepared(template, code_key="code.zip")
    functions = Resources(template=ready).of_type("AWS::Lambda::Function").values()
    assert {function["Code"]["S3Key"] for function in functions} == {"code.zip"}
    assert code_buckets(ready) == {"hangup-assets"}
    assert set(reserved_concurrency(ready).values()) == {1}


def test_who_may_send_a_message_may_send_a_batch_and_nobody_gets_more() -> None:
    template = packaged_template(precise=True)
    before, after = (
        Resources(template=t).grants("timeout_handler")
        for t in (template, prepared(template, code_key="code.zip"))
    )
    queue = "${IdleTimeoutDueClosesQueue.Arn}"
    assert before[queue] == {"sqs:SendMessage"}
    assert after == {**before, queue: {"sqs:SendMessage", "sqs:SendMessageBatch"}}
