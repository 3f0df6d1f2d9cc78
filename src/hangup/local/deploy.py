"""Deploy the synthesised CloudFormation template to the local engine: create, or update."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from hangup.errors import LocalStackError
from hangup.local import template as local_template
from hangup.local.client import REGION
from hangup.local.code import lambda_zip, object_key
from hangup.local.engine import HOST, Engine

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

__all__ = ["Deployment", "deploy", "packaged_template"]

STAGE: Final = "prod"
CODE_BUCKET: Final = "hangup-assets"
MAX_DEPLOY_S: Final = 60.0
POLL_S: Final = 0.05
MAX_INLINE_TEMPLATE_BYTES: Final = 51_200
"""Larger templates go by way of S3. CloudFormation user guide, quotas."""

_REPLACEABLE: Final = frozenset({"ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"})
"""States of a stack whose creation failed: it can only be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployed stack and where its parts are.

    ``management_endpoint`` is where ``@connections`` answers, ``web_socket_url`` where clients
    connect; both are on this machine. A field whose output the template does not have is "".
    """

    outputs: Mapping[str, str]
    web_socket_url: str
    management_endpoint: str
    api_id: str
    connections_table: str
    sessions_table: str
    join_secret_arn: str
    timeout_function: str
    disconnect_function: str
    connect_function: str
    message_function: str
    sweep_rule: str
    failed_cleanups_queue_url: str
    close_function: str
    close_queue_url: str
    failed_closes_queue_url: str


def packaged_template(*, precise: bool = False) -> dict[str, Any]:
    """Return the template that the package ships, as synthesised from ``hangup.cdk``.

    ``precise`` is ``HangupStack``'s: with a queue, closes come to the second.
    """
    name = "template-precise.json" if precise else "template.json"
    try:
        text = (resources.files("hangup.local") / name).read_text()
    except FileNotFoundError:
        raise LocalStackError(
            "The package has no CloudFormation template; run: make synth"
        ) from None
    template: dict[str, Any] = json.loads(text)
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
    package. Raise LocalStackError with the resource that failed and its reason.
    """
    original = packaged_template() if template is None else template
    code = lambda_zip() if code is None else code
    prepared = local_template.prepared(original)
    _put(engine, CODE_BUCKET, object_key(code), code)
    offered = {
        "EmulatorEndpoint": engine.endpoint,
        "CodeBucket": CODE_BUCKET,
        "CodeKey": object_key(code),
    }
    taken = offered.keys() & prepared.get("Parameters", {}).keys()
    values = {name: offered[name] for name in taken} | dict(parameters or {})
    cloudformation: CloudFormationClient = engine.client("cloudformation")
    _remove_failed_creation(cloudformation, stack_name)
    _create_or_update(engine, cloudformation, stack_name, prepared, values)
    stack = _wait(cloudformation, stack_name)
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise LocalStackError(_failure(cloudformation, stack))
    _reserve_concurrency(engine, cloudformation, stack_name, prepared)
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    return _deployment(engine, outputs)


def _deployment(engine: Engine, outputs: Mapping[str, str]) -> Deployment:
    api_id = outputs.get("ApiId", "")
    # The output names the address on AWS; MiniStack serves the API under this path.
    path = f"{HOST}:{engine.port}/_aws/execute-api/{api_id}/{STAGE}"
    return Deployment(
        outputs=outputs,
        web_socket_url=f"ws://{path}" if api_id else "",
        management_endpoint=f"http://{path}" if api_id else "",
        api_id=api_id,
        connections_table=outputs.get("ConnectionsTable", ""),
        sessions_table=outputs.get("SessionsTable", ""),
        join_secret_arn=outputs.get("JoinSecretArn", ""),
        timeout_function=outputs.get("TimeoutFunction", ""),
        disconnect_function=outputs.get("DisconnectFunction", ""),
        connect_function=outputs.get("ConnectFunction", ""),
        message_function=outputs.get("MessageFunction", ""),
        sweep_rule=outputs.get("SweepRule", ""),
        failed_cleanups_queue_url=outputs.get("FailedCleanupsQueueUrl", ""),
        close_function=outputs.get("CloseFunction", ""),
        close_queue_url=outputs.get("CloseQueueUrl", ""),
        failed_closes_queue_url=outputs.get("FailedClosesQueueUrl", ""),
    )


def _put(engine: Engine, bucket: str, key: str, body: bytes) -> None:
    s3 = engine.client("s3")
    s3.create_bucket(Bucket=bucket)  # in us-east-1 it succeeds for a bucket that is one's own
    s3.put_object(Bucket=bucket, Key=key, Body=body)


def _reserve_concurrency(
    engine: Engine,
    cloudformation: "CloudFormationClient",
    stack_name: str,
    template: Mapping[str, Any],
) -> None:
    for logical_id, reserved in local_template.reserved_concurrency(template).items():
        resource = cloudformation.describe_stack_resource(
            StackName=stack_name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        engine.client("lambda").put_function_concurrency(
            FunctionName=resource["PhysicalResourceId"], ReservedConcurrentExecutions=reserved
        )


def _remove_failed_creation(cloudformation: "CloudFormationClient", stack_name: str) -> None:
    stack = _describe(cloudformation, stack_name)
    if stack is not None and stack["StackStatus"] in _REPLACEABLE:
        cloudformation.delete_stack(StackName=stack_name)
        _wait(cloudformation, stack_name)


def _create_or_update(
    engine: Engine,
    cloudformation: "CloudFormationClient",
    stack_name: str,
    template: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> None:
    text = json.dumps(template, separators=(",", ":"))
    arguments: dict[str, Any] = {
        "StackName": stack_name,
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
    }
    if len(text.encode()) <= MAX_INLINE_TEMPLATE_BYTES:
        arguments["TemplateBody"] = text
    else:
        _put(engine, "hangup-templates", "template.json", text.encode())
        arguments["TemplateURL"] = (
            f"https://s3.{REGION}.amazonaws.com/hangup-templates/template.json"
        )
    try:
        if _describe(cloudformation, stack_name) is None:
            cloudformation.create_stack(**arguments)
        else:
            cloudformation.update_stack(**arguments)
    except ClientError as error:
        reason = error.response["Error"].get("Message", str(error))
        if "No updates are to be performed" not in reason:
            raise LocalStackError(f"The stack {stack_name} was refused: {reason}") from error


def _describe(cloudformation: "CloudFormationClient", stack_name: str) -> "StackTypeDef | None":
    """Return the stack, or None if there is none of that name (or only a deleted one)."""
    try:
        stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"].get("Code") == "ValidationError":
            return None
        raise
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _wait(cloudformation: "CloudFormationClient", stack_name: str) -> "StackTypeDef":
    """Wait until the stack has stopped changing, and return it; a deleted one as it was."""
    deadline = time.monotonic() + MAX_DEPLOY_S
    stack = last = _describe(cloudformation, stack_name)
    while stack is not None and stack["StackStatus"].endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The stack {stack_name} is still {stack['StackStatus']} after "
                f"{MAX_DEPLOY_S:.0f} s; see the engine's log."
            )
        time.sleep(POLL_S)
        last = stack
        stack = _describe(cloudformation, stack_name)
    found = stack or last
    if found is None:
        raise LocalStackError(f"The stack {stack_name} disappeared while it was being deployed.")
    return found


def _failure(cloudformation: "CloudFormationClient", stack: "StackTypeDef") -> str:
    """Return which resource failed first, and why."""
    name = stack["StackName"]
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    # Newest first. What was cancelled because of another failure is no cause.
    for event in reversed(events):
        reason = event.get("ResourceStatusReason", "")
        if event.get("ResourceStatus", "").endswith("_FAILED") and "cancelled" not in reason:
            return (
                f"The stack {name} could not be deployed: {event.get('LogicalResourceId')} "
                f"({event.get('ResourceType')}) failed: {reason or 'no reason given'}"
            )
    return (
        f"The stack {name} could not be deployed: it is {stack['StackStatus']}: "
        f"{stack.get('StackStatusReason', 'no reason given')}"
    )
