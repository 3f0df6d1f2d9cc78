"""A deployed timeout, whatever stack it is in, found from the environment of its own function."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hangup.aws.clients import client as client_of
from hangup.aws.deployment import OF_TIMEOUT_ALONE, StackOutputs, stack_outputs
from hangup.aws.own_functions import (
    Configured,
    configured,
    functions_behind,
    timeout_function,
    variables_of,
)
from hangup.aws.runtime import calls
from hangup.aws.schema import TableSchema, schema_of
from hangup.config import TimeoutSettings
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_TIMEOUT: Final = (OF_TIMEOUT_ALONE, "TimeoutFunction")
"""The output that names the timeout function: of the timeout alone, and of the reference stack."""

_FUNCTION: Final = ("Function", "FunctionName")
"""How the outputs end that name the functions of a stack."""


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
    def of_function(cls, name: str, client: Callable[..., Any]) -> Self:
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


def deployed_timeout(stack_name: str) -> DeployedTimeout:
    """Return the timeout in a stack on AWS, with the caller's credentials; raise as ``of`` does."""
    return DeployedTimeout.of(stack_outputs(None, stack_name), client_of)


def timeout_of_function(name: str) -> DeployedTimeout:
    """Return the timeout with this function on AWS, with the caller's credentials.

    Raises as ``of_function`` does.
    """
    return DeployedTimeout.of_function(name, client_of)


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
