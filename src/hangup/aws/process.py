"""What a Lambda process has once, for all its invocations, of which it serves one at a time."""

from typing import Final, Protocol

from hangup.aws.calls import Calls, Deadline
from hangup.aws.clock import SystemClock

__all__ = ["Invocation", "calls", "clock", "deadline"]

clock: Final = SystemClock()
deadline: Final = Deadline(clock)
calls: Final = Calls(clock, deadline)


class Invocation(Protocol):
    """What handlers use of Lambda's context."""

    @property
    def aws_request_id(self) -> str:
        """Lambda's id of this invocation."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may go on."""
        ...
