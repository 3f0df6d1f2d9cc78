"""Deploy the synthesised CloudFormation template to the local engine: create, or update."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from hangup.errors import LocalStackError
from hangup.local.code import lambda_zip, object_key
from hangup.local.ministack import template as emulator_template
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import HOST, Engine

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STAGE: Final = "prod"
CODE_BUCKET: Final = "hangup-assets"
MAX_DEPLOY_S: Final = 60.0
POLL_S: Final = 0.05
TEMPLATE_BUCKET: Final = "hangup-templates"

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
    package. Raise LocalStackError with the resource that failed and its reason.
    """
    original = packaged_template() if template is None else template
    code = lambda_zip() if code is None else code
    prepared = emulator_template.prepared(original)
    _put(engine, CODE_BUCKET, object_key(code), code)
    offered = {
        "EmulatorEndpoint": engine.endpoint,
        "CodeBucket": CODE_BUCKET,
        "CodeKey": object_key(code),
    }
    taken = offered.keys() & prepared.get("Parameters", {}).keys()
    values = {name: offered[name] for name in taken} | dict(parameters or {})
    stack = _create_or_update(engine, stack_name, prepared, values)
    for logical_id, reserved in emulator_template.reserved_concurrency(prepared).items():
        _reserve_concurrency(engine, stack_name, logical_id, reserved)
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
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


def _create_or_update(
    engine: Engine, name: str, template: Mapping[str, Any], parameters: Mapping[str, str]
) -> "StackTypeDef":
    """Bring the stack to the template and return it; raise LocalStackError if that fails."""
    cloudformation: CloudFormationClient = engine.client("cloudformation")
    existing = _settled(cloudformation, name)
    if existing is not None and existing["StackStatus"] in _REPLACEABLE:
        cloudformation.delete_stack(StackName=name)
        existing = _settled(cloudformation, name)
    # By way of S3: it has no limit of 51,200 bytes, as a template inside the request has.
    _put(engine, TEMPLATE_BUCKET, "template.json", json.dumps(template).encode())
    change = cloudformation.create_stack if existing is None else cloudformation.update_stack
    try:
        change(
            StackName=name,
            TemplateURL=f"https://s3.{REGION}.amazonaws.com/{TEMPLATE_BUCKET}/template.json",
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
    while True:
        try:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if error.response["Error"].get("Code") == "ValidationError":
                return None
            raise
        status = stack["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            return None if status == "DELETE_COMPLETE" else stack
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The stack {name} is still {status} after {MAX_DEPLOY_S:.0f} s; "
                "see the engine's log."
            )
        time.sleep(POLL_S)


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


def _put(engine: Engine, bucket: str, key: str, body: bytes) -> None:
    s3 = engine.client("s3")
    s3.create_bucket(Bucket=bucket)  # in us-east-1 it succeeds for a bucket that is one's own
    s3.put_object(Bucket=bucket, Key=key, Body=body)


def _reserve_concurrency(engine: Engine, stack_name: str, logical_id: str, reserved: int) -> None:
    resource = engine.client("cloudformation").describe_stack_resource(
        StackName=stack_name, LogicalResourceId=logical_id
    )["StackResourceDetail"]
    engine.client("lambda").put_function_concurrency(
        FunctionName=resource["PhysicalResourceId"], ReservedConcurrentExecutions=reserved
    )
