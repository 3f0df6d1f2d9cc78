"""What the functions that close connections have in common: the closer, wired to AWS."""

from typing import Final, Protocol

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.direct import direct_dynamodb, direct_lambda, direct_management_api
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.process import calls, clock
from hangup.closer import Closer, Pacer
from hangup.config import gateway_address
from hangup.core.model import DurationMs
from hangup.core.pacing import Pace
from hangup.ports import Log

__all__ = ["CLAIM_MS", "closer_of"]

CLAIM_MS: Final = DurationMs(60_000)
"""The time limit of each of these functions, and so the longest that anybody can be acting on a
claim."""


class _Settings(Protocol):
    @property
    def connections_table(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def disconnect_function(self) -> str: ...

    @property
    def pace(self) -> Pace: ...


def closer_of(settings: _Settings, *, log: Log) -> Closer:
    """Return the closer of this process, with its own pace."""
    return Closer(
        connections=DynamoDbConnections(direct_dynamodb(), calls, settings.connections_table),
        gateway=ManagementApiGateway(direct_management_api(settings.endpoint), calls),
        functions=LambdaFunctions(
            direct_lambda(), calls, disconnect_function=settings.disconnect_function
        ),
        clock=clock,
        log=log,
        address=gateway_address(settings.endpoint),
        claim_ms=CLAIM_MS,
        pacer=Pacer(clock=clock, pace=settings.pace),
    )
