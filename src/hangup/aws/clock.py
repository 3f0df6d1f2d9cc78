"""The machine's clock."""

import time

from hangup.aws.interleaving import sleep
from hangup.core.model import DurationMs, EpochMs

__all__ = ["SystemClock"]


class SystemClock:
    """``Clock`` of the machine that runs the function."""

    def now_ms(self) -> EpochMs:
        """Return the current time."""
        return EpochMs(time.time_ns() // 1_000_000)

    def sleep(self, duration_ms: DurationMs) -> None:
        """Return after about ``duration_ms`` milliseconds; calls interleaved with it go on."""
        sleep(duration_ms / 1000)
