"""Turn the reference stack into CloudFormation: for AWS, and for the package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from hangup.cdk.code import code_of
from hangup.cdk.stack import HangupStack

# Without a default: whoever deploys the template names a bucket of their own. S3 bucket names are
# global, so a fixed name would run the code of whoever owns that bucket.
_CODE_PARAMETERS = {
    "CodeBucket": {"Type": "String", "Description": "S3 bucket that holds the Lambda zip"},
    "CodeKey": {"Type": "String", "Description": "Key of the Lambda zip in that bucket"},
}
_CODE = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}


def synthesise(
    *, outdir: Path, lambda_zip: Path, precise: bool = False, shards: int = 1
) -> dict[str, Any]:
    """Write the CDK assembly of the stack to ``outdir``, and return its template.

    ``precise`` and ``shards`` are ``HangupStack``'s. ``lambda_zip`` is the code, for arm64.
    """
    app = cdk.App(outdir=str(outdir), analytics_reporting=False)
    stack = HangupStack(app, "Hangup", code=code_of(lambda_zip), precise=precise, shards=shards)
    template: dict[str, Any] = app.synth().get_stack_artifact(stack.artifact_id).template
    return template


def packaged_template(template: Mapping[str, Any]) -> str:
    """Return the text of the copy of ``template`` that the package carries.

    It is for deployments without CDK. It is the same stack without CDK's notes about its own paths
    and without CDK's bootstrap stack. The functions' code is at ``CodeBucket`` and ``CodeKey``, so
    the copy changes only with the infrastructure.
    """
    resources = {
        logical_id: _packaged_resource(resource)
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] != "AWS::CDK::Metadata"
    }
    parameters = {**template["Parameters"], **_CODE_PARAMETERS}
    del parameters["BootstrapVersion"]
    copy = {**template, "Parameters": parameters, "Resources": resources}
    copy.pop("Rules", None)
    # Indented by one: with two spaces it is more than a request to CloudFormation may hold.
    return json.dumps(copy, indent=1, sort_keys=True) + "\n"


def _packaged_resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    copy = {key: value for key, value in resource.items() if key != "Metadata"}
    if resource["Type"] == "AWS::Lambda::Function":
        copy["Properties"] = {**resource["Properties"], "Code": _CODE}
    return copy
