"""What the functions that close connections have in common: the closer, wired to AWS."""

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.functions import LambdaFunctions
from hangup.aws.gateway import ManagementApiGateway, gateway_address
from hangup.aws.http.services import DirectDynamoDb, DirectLambda, DirectManagementApi
from hangup.aws.runtime import calls, clock
from hangup.config import CloserSettings
from hangup.idle.closer import Closer
from hangup.idle.guard import Confirmer
from hangup.idle.pacer import Pacer
from hangup.ports import Log


def closer_of(settings: CloserSettings, *, log: Log) -> Closer:
    """Return the closer of this process, with its own pace."""
    function = settings.disconnect_function
    gateway = ManagementApiGateway(DirectManagementApi(url=settings.endpoint), calls)
    return Closer(
        connections=DynamoDbConnections(DirectDynamoDb(), calls, settings.connections_table),
        gateway=gateway,
        functions=LambdaFunctions(DirectLambda(), calls, disconnect_function=function)
        if function
        else None,
        clock=clock,
        log=log,
        address=gateway_address(settings.endpoint),
        pacer=Pacer(clock=clock, pace=settings.pace),
        confirmer=Confirmer(gateway=gateway, clock=clock, counts_both=settings.counts_both),
        metric_roles=settings.metric_roles,
        acts=settings.acts,
        hand_over=settings.hand_over,
    )
