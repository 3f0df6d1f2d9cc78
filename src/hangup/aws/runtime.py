"""What a Lambda process has once, for all its invocations, of which it serves one at a time."""

import time
from typing import Final, Protocol

from hangup.aws.http.loop import sleep
from hangup.aws.retries import Calls, Deadline
from hangup.core.connection import DurationMs, EpochMs


class SystemClock:
    """``Clock`` of the machine that runs the function."""

    def now_ms(self) -> EpochMs:
        """Return the current time."""
        return EpochMs(time.time_ns() // 1_000_000)

    def monotonic_ms(self) -> DurationMs:
        """Return how long it is since some point in the past. It never goes back."""
        return DurationMs(time.monotonic_ns() // 1_000_000)

    def sleep(self, duration_ms: DurationMs) -> None:
        """Return after about ``duration_ms`` milliseconds; concurrent calls go on meanwhile."""
        sleep(duration_ms / 1000)


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
