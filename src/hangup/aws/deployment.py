"""What is deployed, found by the name of its stack or of its timeout function.

A ``DeployedStack`` is the reference application, a ``DeployedTimeout`` the timeout in any stack.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hangup.aws import clients
from hangup.aws.own_functions import (
    DISCONNECT_HANDLER,
    Configured,
    configured,
    failed_events_of,
    functions_behind,
    timeout_function,
    variables_of,
)
from hangup.aws.runtime import calls, clock
from hangup.aws.schema import TableSchema, schema_of
from hangup.aws.secrets import SecretsManagerSecret
from hangup.config import DisconnectSettings, TimeoutSettings
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

_OF_TIMEOUT_ALONE: Final = "TimeoutFunctionName"
"""An output that a stack of the timeout alone has, and no other."""

_TIMEOUT: Final = (_OF_TIMEOUT_ALONE, "TimeoutFunction")
"""The output that names the timeout function: of the timeout alone, and of the reference stack."""

_FUNCTION: Final = ("Function", "FunctionName")
"""How the outputs end that name the functions of a stack."""


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
            if _OF_TIMEOUT_ALONE in self.values:
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
    def of_function(cls, name: str, client: Callable[..., Any] = clients.client) -> Self:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedTimeout:
    """A timeout on AWS. ``client`` makes clients as that of ``DeployedStack.of`` does.

    ``stack_name`` is None where it was found by its function, whose name is ``function_name``.
    ``log_groups`` are those of all functions of the stack, else of those that sweep and close,
    which ``function_names`` are.
    """

    stack_name: str | None
    function_name: str
    function_names: tuple[str, ...]
    settings: TimeoutSettings
    schema: TableSchema
    log_groups: tuple[str, ...]
    client: Callable[..., Any]

    @classmethod
    def of(cls, outputs: StackOutputs, client: Callable[..., Any]) -> Self:
        """Return the timeout of the stack with these outputs.

        Raises ``BackendError`` if it has none, or its functions cannot be read, and
        ``ConfigurationError`` if the environment of its function is malformed.
        """
        timeout = next((name for name in _TIMEOUT if name in outputs.values), None)
        if timeout is None:
            raise BackendError(
                "DescribeStacks",
                "NoSuchOutput",
                f"stack {outputs.stack_name} has no output {' or '.join(_TIMEOUT)}: it is not a"
                " stack of hangup deploy, nor the reference stack; if the timeout is in it, name"
                " its function with --function",
                retryable=False,
            )
        functions = functions_of(outputs.values, client("lambda"))
        return cls._of(
            functions[timeout], *functions.values(), stack_name=outputs.stack_name, client=client
        )

    @classmethod
    def of_function(cls, name: str, client: Callable[..., Any] = clients.client) -> Self:
        """Return the timeout whose function this is, by its name or ARN.

        Raises ``BackendError``, and ``ConfigurationError`` if it is another function or its
        environment is malformed.
        """
        functions = calls("GetFunctionConfiguration", lambda: client("lambda"))
        function = timeout_function(functions, name)
        queue_url = TimeoutSettings.from_env(variables_of(function)).close_queue_url
        closing = [] if queue_url is None else functions_behind(functions, function, queue_url)
        return cls._of(function, function, *closing, stack_name=None, client=client)

    @classmethod
    def _of(
        cls,
        function: Configured,
        *functions: Configured,
        stack_name: str | None,
        client: Callable[..., Any],
    ) -> Self:
        settings = TimeoutSettings.from_env(variables_of(function))
        return cls(
            stack_name=stack_name,
            function_name=function["FunctionName"],
            function_names=tuple(one["FunctionName"] for one in functions),
            settings=settings,
            schema=schema_of(settings.table_schema),
            log_groups=log_groups_of(functions),
            client=client,
        )

    @property
    def name(self) -> str:
        """What it is called: the name of its stack, else of its function."""
        return self.stack_name or self.function_name


def stack_outputs(cloudformation: "CloudFormationClient | None", stack_name: str) -> StackOutputs:
    """Return a stack's outputs, with ``cloudformation`` or with the caller's AWS credentials.

    Raises ``BackendError`` if the stack cannot be described.
    """
    stack = calls(
        "DescribeStacks",
        # Made here, so that a missing Region is an error like any other.
        lambda: (cloudformation or clients.client("cloudformation")).describe_stacks(
            StackName=stack_name
        ),
    )["Stacks"][0]
    return StackOutputs(
        stack_name=stack_name,
        values={one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
    )


def deployed_stack(stack_name: str) -> DeployedStack:
    """Return the reference stack on AWS, with the caller's credentials.

    Raises ``BackendError`` if the stack cannot be described or is not a reference stack.
    """
    return DeployedStack.of(stack_outputs(None, stack_name), clients.client)


def deployed_timeout(stack_name: str) -> DeployedTimeout:
    """Return the timeout in a stack on AWS, with the caller's credentials; raise as ``of`` does."""
    return DeployedTimeout.of(stack_outputs(None, stack_name), clients.client)


def deployed_join_secret(stack_name: str) -> str:
    """Return the join secret of the reference stack, with the caller's AWS credentials.

    Raises ``BackendError`` if the stack cannot be described, is not a reference stack, or its
    secret cannot be read.
    """
    arn = stack_outputs(None, stack_name)["JoinSecretArn"]
    return SecretsManagerSecret(clients.client("secretsmanager"), calls, arn).value(clock.now_ms())


def functions_of(outputs: Mapping[str, str], client: "LambdaClient") -> Mapping[str, Configured]:
    """Return how the functions that a stack's outputs name are configured, by the output.

    Raises ``BackendError``.
    """
    return {
        output: configured(client, name)
        for output, name in outputs.items()
        if output.endswith(_FUNCTION)
    }


def log_groups_of(functions: Iterable[Configured]) -> tuple[str, ...]:
    """Return where the functions log."""
    return tuple(one["LoggingConfig"]["LogGroup"] for one in functions)
