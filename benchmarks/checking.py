"""A sweep of Hangup that finds what is idle and closes none of it: what checking takes by itself.

It is the deployed sweep but for one part: nobody gets a turn to be closed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hangup.aws.runtime import Invocation, deadline
from hangup.handlers.timeout_handler import _sweep as deployed_sweep
from hangup.idle.pacer import Pacer

__all__ = ["check_handler"]


@dataclass(slots=True, kw_only=True)
class _NoTurn(Pacer):
    """A pace at which no close ever begins."""

    def wait(self, has_time: Callable[[], bool] = lambda: True) -> bool:  # noqa: ARG002
        """Say that there is no turn."""
        return False


def check_handler(_event: object, context: Invocation) -> dict[str, object]:
    """Find what is idle, and leave it; return the counts, ``idle`` by the record alone."""
    sweep = deployed_sweep()
    pacer = _NoTurn(clock=sweep.closer.clock, pace=sweep.closer.pacer.pace)
    deadline.start(context.get_remaining_time_in_millis())
    report = replace(
        sweep, closer=replace(sweep.closer, pacer=pacer)
    ).check_and_close_idle_connections(time_left_ms=deadline.left_ms, correlation_id="benchmark")
    return report.as_json() | {"idle": report.found}
