"""A deployed timeout, whatever stack it is in, found from the environment of its own function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hangup.aws.clients import client as client_of
from hangup.aws.deployment import OF_TIMEOUT_ALONE, StackOutputs, stack_outputs
from hangup.aws.runtime import calls
from hangup.aws.schema import TableSchema, schema_of
from hangup.config import TimeoutSettings
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.type_defs import FunctionConfigurationResponseTypeDef

_TIMEOUT: Final = (OF_TIMEOUT_ALONE, "TimeoutFunction")
"""The output that names the timeout function: of the timeout alone, and of the reference stack."""

_FUNCTION: Final = ("Function", "FunctionName")
"""How the outputs end that name the functions of a stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedTimeout:
    """A stack that has a timeout. ``client`` makes clients as that of ``DeployedStack.of`` does.

    ``log_groups`` are those of all of the stack's functions.
    """

    stack_name: str
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
                " stack of hangup deploy, nor the reference stack",
                retryable=False,
            )
        functions = functions_of(outputs.values, client("lambda"))
        environment = functions[timeout].get("Environment", {}).get("Variables", {})
        settings = TimeoutSettings.from_env(environment)
        return cls(
            stack_name=outputs.stack_name,
            settings=settings,
            schema=schema_of(settings.table_schema),
            log_groups=log_groups_of(functions),
            client=client,
        )


def deployed_timeout(stack_name: str) -> DeployedTimeout:
    """Return the timeout in a stack on AWS, with the caller's credentials; raise as ``of`` does."""
    return DeployedTimeout.of(stack_outputs(None, stack_name), client_of)


def functions_of(
    outputs: Mapping[str, str], client: "LambdaClient"
) -> "Mapping[str, FunctionConfigurationResponseTypeDef]":
    """Return how the functions that a stack's outputs name are configured, by the output.

    Raises ``BackendError``.
    """
    return {
        output: calls(
            "GetFunctionConfiguration",
            lambda name=name: client.get_function_configuration(FunctionName=name),  # type: ignore[misc]
        )
        for output, name in outputs.items()
        if output.endswith(_FUNCTION)
    }


def log_groups_of(
    functions: "Mapping[str, FunctionConfigurationResponseTypeDef]",
) -> tuple[str, ...]:
    """Return where the functions log."""
    return tuple(one["LoggingConfig"]["LogGroup"] for one in functions.values())
