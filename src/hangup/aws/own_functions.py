"""Hangup's own functions in an account, known by their handlers, and their queues. Read only."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from hangup.aws.runtime import calls
from hangup.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.type_defs import FunctionConfigurationResponseTypeDef
    from mypy_boto3_sqs import SQSClient

Configured: TypeAlias = "FunctionConfigurationResponseTypeDef"
"""What GetFunctionConfiguration says of a function."""

TIMEOUT_HANDLER: Final = "hangup.handlers.timeout_handler.lambda_handler"
DISCONNECT_HANDLER: Final = "hangup.handlers.disconnect_handler.lambda_handler"


def configured(client: "LambdaClient", name: str) -> Configured:
    """Return how a function is configured, by its name or ARN. Raises ``BackendError``."""
    return calls(
        "GetFunctionConfiguration", lambda: client.get_function_configuration(FunctionName=name)
    )


def timeout_function(client: "LambdaClient", name: str) -> Configured:
    """Return how a timeout function is configured, by its name or ARN.

    Raises ``BackendError``, and ``ConfigurationError`` for any other function.
    """
    function = configured(client, name)
    handler = function.get("Handler")
    if handler != TIMEOUT_HANDLER:
        said = f"its handler is {handler}" if handler else "it has no handler"
        raise ConfigurationError(
            f"{function['FunctionName']} is not a timeout function of Hangup: {said}; name the"
            f" function whose handler is {TIMEOUT_HANDLER}"
        )
    return function


def variables_of(function: Configured) -> Mapping[str, str]:
    """Return the environment of a function."""
    return function.get("Environment", {}).get("Variables", {})


def functions_behind(
    client: "LambdaClient", function: Configured, queue_url: str
) -> Sequence[Configured]:
    """Return the functions that get the messages of a queue in the account of a function.

    Raises ``BackendError``.
    """
    _, partition, _, region, account, *_ = function["FunctionArn"].split(":")
    queue = f"arn:{partition}:sqs:{region}:{account}:{queue_url.rpartition('/')[2]}"
    answer = calls(
        "ListEventSourceMappings",
        lambda: client.list_event_source_mappings(EventSourceArn=queue),
    )
    return [configured(client, one["FunctionArn"]) for one in answer["EventSourceMappings"]]


def dead_letters_of(client: "SQSClient", queue_url: str) -> str | None:
    """Return the name of the queue for what a queue gives up, None where there is none.

    Raises ``BackendError``.
    """
    answer = calls(
        "GetQueueAttributes",
        lambda: client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"]),
    )
    # What is not set is not in the answer.
    policy = answer.get("Attributes", {}).get("RedrivePolicy")
    return str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2] if policy else None


def failed_events_of(functions: "LambdaClient", queues: "SQSClient", function: Configured) -> str:
    """Return the URL of the queue for the asynchronous events that a function has failed on.

    Raises ``BackendError``, and ``ConfigurationError`` where there is no such queue.
    """
    about = calls(
        "GetFunctionEventInvokeConfig",
        lambda: functions.get_function_event_invoke_config(
            FunctionName=function["FunctionName"], Qualifier="$LATEST"
        ),
    )
    destination = about.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", "")
    if ":sqs:" not in destination:
        raise ConfigurationError(
            f"{function['FunctionName']} has no queue for the events that it fails on: give it one"
            " as its on-failure destination, as the reference stack has"
        )
    *_, account, name = destination.split(":")
    return calls(
        "GetQueueUrl",
        lambda: queues.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account),
    )["QueueUrl"]
