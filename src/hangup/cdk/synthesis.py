"""Turn the reference stack into CloudFormation: for AWS, and for the package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

from hangup.cdk.code import lambda_code
from hangup.cdk.stack import HangupStack

__all__ = ["packaged_template", "synthesise"]

_CODE = {"S3Bucket": "hangup-assets", "S3Key": "hangup-lambda.zip"}


def synthesise(
    *, outdir: Path, build_dir: Path, precise: bool = False, segments: int = 1
) -> dict[str, Any]:
    """Write the CDK assembly of the stack to ``outdir``, and return its template.

    ``precise`` and ``segments`` are ``HangupStack``'s. The Lambda zip is built in ``build_dir``
    first. Raise BuildError if it cannot be.
    """
    app = cdk.App(outdir=str(outdir), analytics_reporting=False)
    code = lambda_code(lambda_.Architecture.ARM_64, build_dir)
    stack = HangupStack(app, "Hangup", code=code, precise=precise, segments=segments)
    template: dict[str, Any] = app.synth().get_stack_artifact(stack.artifact_id).template
    return template


def packaged_template(template: Mapping[str, Any]) -> str:
    """Return the text of the copy of ``template`` that the package carries.

    It runs the stack on a machine without CDK: the same stack, less what changes while the
    infrastructure does not (the hash of the code, CDK's notes about its own paths) and less what
    only AWS has (the bootstrap stack of CDK).
    """
    resources = {
        logical_id: _packaged_resource(resource)
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] != "AWS::CDK::Metadata"
    }
    parameters = {
        name: parameter
        for name, parameter in template["Parameters"].items()
        if name != "BootstrapVersion"
    }
    copy = {**template, "Parameters": parameters, "Resources": resources}
    copy.pop("Rules", None)
    return json.dumps(copy, indent=2, sort_keys=True) + "\n"


def _packaged_resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    copy = {key: value for key, value in resource.items() if key != "Metadata"}
    if resource["Type"] == "AWS::Lambda::Function":
        copy["Properties"] = {**resource["Properties"], "Code": _CODE}
    return copy
