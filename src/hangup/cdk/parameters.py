"""The CloudFormation parameters of the reference stack."""

from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

from hangup.config import (
    ACTIVITY_RESOLUTION_SECONDS,
    CONNECTION_IDLE_TIMEOUT_SECONDS,
    HEARTBEAT_ACK,
    LOG_LEVEL,
    LOG_LEVELS,
    MODE,
)
from hangup.core.limits import MAX_CONNECTION_S
from hangup.core.timing import LOOK_AHEAD_S

# Patterns of whole numbers. CloudFormation knows bounds only for its type Number, and accepts 90.5
# there; so the parameters are text with a pattern.
FROM_75: Final = "7[5-9]|[89][0-9]|[1-9][0-9]{2}|[1-6][0-9]{3}|7[01][0-9]{2}|7200"
"""75 to 7200: seconds."""
FROM_1: Final = f"[1-9]|[1-6][0-9]|7[0-4]|{FROM_75}"
"""1 to 7200: seconds."""
FROM_0: Final = f"0|{FROM_1}"
"""0 to 7200: seconds."""
UP_TO_1000: Final = "0|[1-9][0-9]{0,2}|1000"
LIMIT: Final = "[1-9][0-9]{0,5}"
"""1 to 999999."""

# Half of an account's default quota (10,000 requests a second, burst 5,000). The account's other
# APIs and the @connections calls that close connections share that quota. A throttle above the
# quota protects nothing, and some Regions start with 2,500 a second.
_REQUESTS_PER_SECOND = 5_000
_REQUEST_BURST = 2_500

_TRUE_OR_FALSE = ("true", "false")


class StackParameters:
    """The parameters, added to ``stack``, and their values as tokens. Durations are seconds."""

    def __init__(self, stack: cdk.Stack, *, precise: bool) -> None:
        self._stack = stack
        self.idle_timeout_s = self._number(
            "IdleTimeoutSeconds",
            "Seconds of silence after which a connection is closed",
            default=CONNECTION_IDLE_TIMEOUT_SECONDS.default,
            bounds=(LOOK_AHEAD_S if precise else 1, MAX_CONNECTION_S),
            pattern=FROM_75 if precise else FROM_1,
        ).value_as_string
        self.activity_resolution_s = self._number(
            "ActivityResolutionSeconds",
            "Write a connection's activity at most once in this many seconds",
            default=ACTIVITY_RESOLUTION_SECONDS.default,
            bounds=(0, MAX_CONNECTION_S),
            pattern=FROM_0,
        ).value_as_string
        self.log_level = self._choice(
            "LogLevel",
            "The lowest level of log lines that the functions write",
            default=LOG_LEVEL.default,
            allowed=LOG_LEVELS,
        ).value_as_string
        self.heartbeat_ack = self._choice(
            "HeartbeatAck",
            "Whether a heartbeat is answered with heartbeatAck",
            default=HEARTBEAT_ACK.default,
            allowed=_TRUE_OR_FALSE,
        ).value_as_string
        self.mode = self._choice(
            "Mode",
            "close: close idle connections; observe: decide and report, close nothing",
            default=MODE.default,
            allowed=("close", "observe"),
        ).value_as_string
        self.last_active_counts = self._choice(
            "LastActiveCounts",
            "Whose messages move API Gateway's lastActiveAt; with both, the records decide",
            # Every route of this stack records activity, so its records can be believed.
            default="both",
            allowed=("unsettled", "client", "both"),
        ).value_as_string
        self.stage_rate_limit = self._limit(
            "StageRateLimit", "Requests a second that the stage accepts", _REQUESTS_PER_SECOND
        )
        self.stage_burst_limit = self._limit(
            "StageBurstLimit", "Requests that the stage accepts at once", _REQUEST_BURST
        )
        self.emulator_endpoint = cdk.CfnParameter(
            stack,
            "EmulatorEndpoint",
            default="",
            description="Base URL of an AWS emulator; empty on AWS",
        ).value_as_string
        reserve = self._choice(
            "ReserveConcurrency",
            "Reserve concurrent executions for the sweep; false where the account cannot",
            default="true",
            allowed=_TRUE_OR_FALSE,
        )
        self._reserves = cdk.CfnCondition(
            stack,
            "ReservesConcurrency",
            expression=cdk.Fn.condition_equals(reserve.value_as_string, "true"),
        )

    def reserve_if_wanted(self, function: lambda_.Function, executions: int) -> None:
        """Reserve this many concurrent executions where ``ReserveConcurrency`` is true."""
        resource = function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)  # noqa: S101 - what this construct makes
        resource.reserved_concurrent_executions = cdk.Token.as_number(
            cdk.Fn.condition_if(self._reserves.logical_id, executions, cdk.Aws.NO_VALUE)
        )

    def _number(
        self, name: str, description: str, *, default: int, bounds: tuple[int, int], pattern: str
    ) -> cdk.CfnParameter:
        at_least, at_most = bounds
        return cdk.CfnParameter(
            self._stack,
            name,
            default=str(default),
            allowed_pattern=f"^({pattern})$",
            constraint_description=f"must be a whole number from {at_least} to {at_most}",
            description=description,
        )

    def _limit(self, name: str, description: str, default: int) -> float:
        """Add a parameter for a limit of the stage; return its value, a token."""
        parameter = self._number(
            name, description, default=default, bounds=(1, 999_999), pattern=LIMIT
        )
        return cdk.Token.as_number(parameter.value)

    def _choice(
        self, name: str, description: str, *, default: str, allowed: Sequence[str]
    ) -> cdk.CfnParameter:
        return cdk.CfnParameter(
            self._stack,
            name,
            default=default,
            allowed_values=list(allowed),
            description=description,
        )
