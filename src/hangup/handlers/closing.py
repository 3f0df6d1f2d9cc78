"""What the functions that close connections have in common: the closer, wired to AWS."""

from typing import Final, Protocol

from hangup.aws.clients import lambda_client
from hangup.aws.functions import LambdaFunctions
from hangup.aws.process import calls, clock
from hangup.closer import Closer, Pacer
from hangup.config import gateway_address
from hangup.core.model import DurationMs
from hangup.core.pacing import Pace
from hangup.ports import ConnectionsRepository, Gateway, Log

__all__ = ["CLAIM_MS", "closer_of"]

CLAIM_MS: Final = DurationMs(60_000)
"""The time limit of each of these functions, and so the longest that anybody can be acting on a
claim."""


class _Settings(Protocol):
    @property
    def endpoint(self) -> str: ...

    @property
    def disconnect_function(self) -> str: ...

    @property
    def pace(self) -> Pace: ...


def closer_of(
    settings: _Settings, *, connections: ConnectionsRepository, gateway: Gateway, log: Log
) -> Closer:
    """Return the closer of this process, with its own pace."""
    return Closer(
        connections=connections,
        gateway=gateway,
        functions=LambdaFunctions(
            lambda_client(), calls, disconnect_function=settings.disconnect_function
        ),
        clock=clock,
        log=log,
        address=gateway_address(settings.endpoint),
        claim_ms=CLAIM_MS,
        pacer=Pacer(clock=clock, pace=settings.pace),
    )
