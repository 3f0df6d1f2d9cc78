"""cdk-nag's AwsSolutions rules on the reference stack, the construct and the template alone.

Each finding that stays has its reason here. A new finding fails, and so does a reason that no
finding needs any more. In the template, cdk-nag cannot see statements that stand under a condition:
they are those of the construct, where it sees them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
import pytest
from aws_cdk.cloudformation_include import CfnInclude
from cdk_nag import AwsSolutionsChecks

from hangup.cdk import HangupStack
from hangup.cdk.code import code_of
from tests.support.documents import ROOT
from tests.support.existing_stack import add_timeout, existing_stack

pytestmark = pytest.mark.infra

ACCEPTED: Final = {
    (r"AwsSolutions-L1", r".*Handler.*Function.*"): (
        "The zip has wheels that are compiled for this version of Python, and the tests run on it."
        " AWS supports it until 2029."
    ),
    (r"AwsSolutions-IAM5\[Resource::.*/@connections/\*\]", r".*HandlerRole.*|.*Handler/Role/.*"): (
        "The ids of connections are not known beforehand. The grant ends at one stage and one"
        " method."
    ),
    (
        r"AwsSolutions-IAM5\[Resource::.*:table/<TableName>/index/\*\]",
        r"Template/.*TimeoutHandlerRole.*",
    ): (
        "The index is named within TableSchema, where CloudFormation cannot look. The grant is to"
        " read, and ends at one table. The construct names the index where it knows the schema."
    ),
    (r"AwsSolutions-DDB3", r".*StateTable.*"): (
        "The state is of the connections that are open now. Its items expire, and after a loss the"
        " next sweep starts afresh."
    ),
    (r"AwsSolutions-SMG4", r"Hangup/JoinSecret"): (
        "A new secret makes every join token invalid at once, so it is changed by hand."
    ),
    (r"AwsSolutions-APIG4", r"Hangup/Api/\$connect-Route/Resource"): (
        "The connect function checks the signed join token itself."
    ),
    (r"AwsSolutions-APIG4", r"Hangup/Api/(heartbeat|\$default|\$disconnect)-Route/Resource"): (
        "API Gateway authorises WebSocket clients at $connect alone."
    ),
    (r"AwsSolutions-APIG1", r"Hangup/Stage/Resource"): (
        "The functions log each join, close and cleanup with a correlation id. A line for each"
        " heartbeat would double the cost of logs."
    ),
    (r"AwsSolutions-SQS3", r"Hangup/FailedCleanups/Resource"): (
        "It is a queue of failed invocations, with an alarm. hangup redrive empties it."
    ),
}
"""The reason of each accepted finding, by patterns of the rule and of the construct's path."""


@pytest.fixture(scope="module")
def findings(
    lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory
) -> frozenset[tuple[str, str]]:
    """Return each finding: the rule, and the path of the construct."""
    outdir = tmp_path_factory.mktemp("nag")
    # cdk-nag alone: cfn-lint looks at the templates in other tests.
    app = cdk.App(
        analytics_reporting=False, outdir=str(outdir), builtin_cloud_formation_validation=False
    )
    HangupStack(app, "Hangup", code=code_of(lambda_zip), precise=True)
    everything = {"precise": True, "dashboard": True, "state_table": True, "shards": 6}
    add_timeout(existing_stack(app), lambda_zip, **everything)
    CfnInclude(
        cdk.Stack(app, "Template"),
        "Timeout",
        template_file=str(ROOT / "src" / "hangup" / "ops" / "timeout.template.json"),
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    # CDK ends a synthesis with an error where there are findings, and writes them before.
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = json.loads((outdir / "validation-report.json").read_text())
    return frozenset(_read(report))


def _read(report: Any) -> Iterator[tuple[str, str]]:
    for plugin in report["pluginReports"]:
        for violation in plugin["violations"]:
            for place in violation["violatingConstructs"]:
                yield violation["ruleName"], place["constructPath"]


def _is_about(patterns: tuple[str, str], finding: tuple[str, str]) -> bool:
    return all(map(re.fullmatch, patterns, finding))


def test_every_finding_has_a_reason_to_stay(findings: frozenset[tuple[str, str]]) -> None:
    assert {path.partition("/")[0] for _, path in findings} == {"Hangup", "Chat", "Template"}
    without = [one for one in findings if not any(_is_about(which, one) for which in ACCEPTED)]
    assert sorted(without) == []


def test_every_reason_is_of_a_finding(findings: frozenset[tuple[str, str]]) -> None:
    unused = [which for which in ACCEPTED if not any(_is_about(which, one) for one in findings)]
    assert unused == []
