"""Deploy the synthesised CloudFormation template to the local engine: create, or update.

The Lambda code is the installed package itself, zipped. On AWS the zip also holds the dependencies.
MiniStack runs functions with this environment's own packages, and our own modules alone make a zip
in milliseconds.
"""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

import hangup
from hangup.errors import LocalStackError
from hangup.local.ministack import template as emulator_template
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST, POLL_S, Engine
from hangup.local.resources import missing_resources

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STAGE: Final = "prod"
MAX_DEPLOY_S: Final = 60.0

_BUCKET: Final = "hangup-assets"
"""Holds the code and the template."""
_NOT_IN_LAMBDA: Final = frozenset({"cdk", "cli", "local", "ops", "planner", "testing"})
"""Top-level parts of the package that never run in Lambda."""
_REPLACEABLE: Final = frozenset({"ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"})
"""States of a stack whose creation failed: it can only be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployed stack: its outputs, and where its API answers on this machine.

    ``management_endpoint`` is where ``@connections`` answers, ``web_socket_url`` where clients
    connect.
    """

    outputs: Mapping[str, str]
    web_socket_url: str
    management_endpoint: str


def packaged_template(*, precise: bool = False) -> dict[str, Any]:
    """Return the template that the package ships, as synthesised from ``hangup.cdk``.

    ``precise`` is that of ``HangupStack``: with a queue, closes come to the second.
    """
    name = "template-precise.json" if precise else "template.json"
    template: dict[str, Any] = json.loads((resources.files("hangup.local") / name).read_text())
    return template


def deploy(
    engine: Engine,
    *,
    parameters: Mapping[str, str] | None = None,
    stack_name: str = "Hangup",
    template: Mapping[str, Any] | None = None,
    code: bytes | None = None,
) -> Deployment:
    """Create or update the stack and return once it is complete.

    Three parameters are set where the template has them and ``parameters`` does not:
    ``EmulatorEndpoint`` to the engine's address, ``CodeBucket`` and ``CodeKey`` to where ``code``
    is uploaded. ``template`` is the packaged one by default, ``code`` the zip of the installed
    package. The template must have the output ``ApiId``. Raise LocalStackError with the resource
    that failed and its reason, or with what the engine's state lacks.
    """
    prepared = emulator_template.prepared(packaged_template() if template is None else template)
    code = _lambda_zip() if code is None else code
    # CloudFormation replaces a function's code only when the key differs from the last one.
    code_key = f"hangup-lambda-{hashlib.sha256(code).hexdigest()[:16]}.zip"
    s3 = engine.client("s3")
    s3.create_bucket(Bucket=_BUCKET)  # in us-east-1 it succeeds for a bucket that is one's own
    s3.put_object(Bucket=_BUCKET, Key=code_key, Body=code)
    # By way of S3: it has no limit of 51,200 bytes, as a template inside the request has.
    s3.put_object(Bucket=_BUCKET, Key="template.json", Body=json.dumps(prepared).encode())
    offered = {
        "EmulatorEndpoint": engine.endpoint,
        "CodeBucket": _BUCKET,
        "CodeKey": code_key,
    }
    taken = offered.keys() & prepared.get("Parameters", {}).keys()
    values = {name: offered[name] for name in taken} | dict(parameters or {})
    cloudformation: CloudFormationClient = engine.client("cloudformation")
    stack = _create_or_update(cloudformation, stack_name, values)
    if missing := missing_resources(engine, stack_name):
        raise LocalStackError(_incomplete(engine, stack_name, missing))
    for logical_id, reserved in emulator_template.reserved_concurrency(prepared).items():
        resource = cloudformation.describe_stack_resource(
            StackName=stack_name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        engine.client("lambda").put_function_concurrency(
            FunctionName=resource["PhysicalResourceId"], ReservedConcurrentExecutions=reserved
        )
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    # The output names the address on AWS; MiniStack serves the API under this path.
    path = f"{HOST}:{engine.port}/_aws/execute-api/{outputs['ApiId']}/{STAGE}"
    return Deployment(
        outputs=outputs, web_socket_url=f"ws://{path}", management_endpoint=f"http://{path}"
    )


def _lambda_zip() -> bytes:
    """Return the zip of the installed ``hangup`` package without what only the laptop needs."""
    package = Path(hangup.__file__).parent
    buffer = io.BytesIO()
    # Some installers give files the date 0, which zip cannot express.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(package.rglob("*.py")):
            within = path.relative_to(package)
            if within.parts[0] not in _NOT_IN_LAMBDA:
                archive.write(path, package.name / within)
    return buffer.getvalue()


def _create_or_update(
    cloudformation: "CloudFormationClient", name: str, parameters: Mapping[str, str]
) -> "StackTypeDef":
    """Bring the stack to the template in S3 and return it; raise LocalStackError if that fails."""
    existing = _settled(cloudformation, name)
    if existing is not None and existing["StackStatus"] in _REPLACEABLE:
        cloudformation.delete_stack(StackName=name)
        existing = _settled(cloudformation, name)
    change = cloudformation.create_stack if existing is None else cloudformation.update_stack
    try:
        change(
            StackName=name,
            TemplateURL=f"https://s3.{REGION}.amazonaws.com/{_BUCKET}/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
    except ClientError as error:
        reason = error.response["Error"].get("Message", str(error))
        if "No updates are to be performed" not in reason:
            raise LocalStackError(f"The stack {name} was refused: {reason}") from error
    stack = _settled(cloudformation, name)
    if stack is None:
        raise LocalStackError(f"The stack {name} disappeared while it was being deployed.")
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise LocalStackError(_failure(cloudformation, stack))
    return stack


def _settled(cloudformation: "CloudFormationClient", name: str) -> "StackTypeDef | None":
    """Wait until the stack has stopped changing, and return it; None if there is no such stack."""
    deadline = time.monotonic() + MAX_DEPLOY_S
    # Among all stacks: asking for one by name is an error where there is none.
    while found := [
        s for s in cloudformation.describe_stacks()["Stacks"] if s["StackName"] == name
    ]:
        status = found[0]["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            return found[0]
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The stack {name} is still {status} after {MAX_DEPLOY_S:.0f} s; "
                "see the engine's log."
            )
        time.sleep(POLL_S)
    return None


def _incomplete(engine: Engine, stack_name: str, missing: Sequence[str]) -> str:
    where, what_to_do = "engine", "start it again"
    if engine.state_dir is not None:
        where = f"state in {engine.state_dir}"
        what_to_do = f"remove {engine.state_dir}, with all its data, and start again"
    return (
        f"The {where} lacks parts of the stack {stack_name}: {', '.join(missing)}. It may be of "
        f"another version, or restored in part; {what_to_do}."
    )


def _failure(cloudformation: "CloudFormationClient", stack: "StackTypeDef") -> str:
    """Return which resource failed first, and why."""
    what = f"it is {stack['StackStatus']}: {stack.get('StackStatusReason', 'no reason given')}"
    events = cloudformation.describe_stack_events(StackName=stack["StackName"])["StackEvents"]
    for event in events:  # newest first
        reason = event.get("ResourceStatusReason", "no reason given")
        # What was cancelled because of another failure is not the cause.
        if event.get("ResourceStatus", "").endswith("_FAILED") and "cancelled" not in reason:
            resource = f"{event.get('LogicalResourceId')} ({event.get('ResourceType')})"
            what = f"{resource} failed: {reason}"
    return f"The stack {stack['StackName']} could not be deployed: {what}"
