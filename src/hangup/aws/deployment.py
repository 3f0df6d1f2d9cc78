"""A deployed reference stack, found by its name, or by its timeout function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hangup.aws.clients import client
from hangup.aws.own_functions import (
    DISCONNECT_HANDLER,
    configured,
    failed_events_of,
    timeout_function,
    variables_of,
)
from hangup.aws.runtime import calls, clock
from hangup.aws.secrets import SecretsManagerSecret
from hangup.config import DisconnectSettings, TimeoutSettings
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

OF_TIMEOUT_ALONE: Final = "TimeoutFunctionName"
"""An output that a stack of the timeout alone has, and no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOutputs:
    """What a stack says about itself."""

    stack_name: str
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """Return one output of the reference stack.

        Raises ``BackendError`` if the stack has none of that name, and ``ConfigurationError`` if
        that is because it has no sessions.
        """
        if name not in self.values:
            if OF_TIMEOUT_ALONE in self.values:
                raise ConfigurationError(
                    f"the stack {self.stack_name} is a timeout alone, without sessions:"
                    " this command is for the reference application"
                )
            raise BackendError(
                "DescribeStacks",
                "NoSuchOutput",
                f"stack {self.stack_name} has no output {name}: it is not the reference stack, or "
                "an older one",
                retryable=False,
            )
        return self.values[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedStack:
    """A reference stack's outputs, and clients for what is in it."""

    outputs: StackOutputs
    dynamodb: "DynamoDBClient"
    functions: "LambdaClient"
    management: "ApiGatewayManagementApiClient"
    queues: "SQSClient"

    @classmethod
    def of(cls, outputs: StackOutputs, client: Callable[..., Any]) -> Self:
        """Return the stack with these outputs.

        ``client`` makes a client by botocore's name of the service; a second argument is its URL.
        Raises ``BackendError`` if the stack has no management endpoint.
        """
        return cls(
            outputs=outputs,
            dynamodb=client("dynamodb"),
            functions=client("lambda"),
            management=client("apigatewaymanagementapi", outputs["ManagementEndpoint"]),
            queues=client("sqs"),
        )

    @classmethod
    def of_function(cls, name: str, client: Callable[..., Any]) -> Self:
        """Return the stack whose timeout function this is, by its name or ARN.

        Raises ``BackendError``, and ``ConfigurationError`` if it is another function, its
        environment is malformed, or it has no sessions.
        """
        functions = calls("GetFunctionConfiguration", lambda: client("lambda"))
        timeout = timeout_function(functions, name)
        settings = TimeoutSettings.from_env(variables_of(timeout))
        cleanup = settings.disconnect_function and configured(
            functions, settings.disconnect_function
        )
        if not cleanup or cleanup.get("Handler") != DISCONNECT_HANDLER:
            raise ConfigurationError(
                f"{timeout['FunctionName']} is the function of a timeout alone, without sessions:"
                " this command is for the reference application"
            )
        values = {
            "ManagementEndpoint": settings.endpoint,
            "ConnectionsTable": settings.connections_table,
            "SessionsTable": DisconnectSettings.from_env(variables_of(cleanup)).sessions_table,
            "DisconnectFunction": cleanup["FunctionName"],
            "FailedCleanupsQueueUrl": failed_events_of(functions, client("sqs"), cleanup),
        }
        return cls.of(StackOutputs(stack_name=timeout["FunctionName"], values=values), client)


def stack_outputs(cloudformation: "CloudFormationClient | None", stack_name: str) -> StackOutputs:
    """Return a stack's outputs, with ``cloudformation`` or with the caller's AWS credentials.

    Raises ``BackendError`` if the stack cannot be described.
    """
    answer = calls(
        "DescribeStacks",
        # Made here, so that a missing Region is an error like any other.
        lambda: (cloudformation or client("cloudformation")).describe_stacks(StackName=stack_name),
    )
    outputs = answer["Stacks"][0].get("Outputs", [])
    return StackOutputs(
        stack_name=stack_name, values={o["OutputKey"]: o["OutputValue"] for o in outputs}
    )


def deployed_stack(stack_name: str) -> DeployedStack:
    """Return the reference stack on AWS, with the caller's credentials.

    Raises ``BackendError`` if the stack cannot be described or is not a reference stack.
    """
    return DeployedStack.of(stack_outputs(None, stack_name), client)


def stack_of_function(name: str) -> DeployedStack:
    """Return the reference stack with this timeout function, with the caller's credentials.

    Raises as ``DeployedStack.of_function`` does.
    """
    return DeployedStack.of_function(name, client)


def deployed_join_secret(stack_name: str) -> str:
    """Return the join secret of the reference stack, with the caller's AWS credentials.

    Raises ``BackendError`` if the stack cannot be described, is not a reference stack, or its
    secret cannot be read.
    """
    arn = stack_outputs(None, stack_name)["JoinSecretArn"]
    return SecretsManagerSecret(client("secretsmanager"), calls, arn).value(clock.now_ms())
