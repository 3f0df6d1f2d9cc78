"""When the next close may start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.pacing import Pace
from hangup.ports import Clock

_LONGEST_SLEEP_MS: Final = DurationMs(1_000)
"""With a slow pace that many share, the next turn may come after the invocation's end. So the time
left is checked this often."""


@dataclass(slots=True, kw_only=True)
class Pacer:
    """Lets closes start at a pace, on threads or on a loop.

    A close does not wait for its turn itself. The code that starts it does, so that no close starts
    and then has to wait.
    """

    clock: Clock
    pace: Pace
    _last_start_ms: EpochMs | None = None
    _taking: Lock = field(default_factory=Lock)

    def wait(self, has_time: Callable[[], bool] = lambda: True) -> bool:
        """Return True when the next close may start, and False when there is no time for it."""
        while has_time():
            early_ms = self._take_turn()
            if not early_ms:
                return True
            # Without the lock: another that is interleaved with this one would wait for it, on the
            # very thread that has to come back here. Of all that wake up, one takes the turn.
            self.clock.sleep(min(early_ms, _LONGEST_SLEEP_MS))
        return False

    def _take_turn(self) -> DurationMs:
        """Return 0 if it is taken, else in how many milliseconds there will be one."""
        with self._taking:
            now_ms = self.clock.now_ms()
            if self._last_start_ms is not None:
                # Where the clock was set back, nobody waits for it to catch up.
                self._last_start_ms = min(self._last_start_ms, now_ms)
            start_ms = self.pace.next_start_ms(last_start_ms=self._last_start_ms, now_ms=now_ms)
            if start_ms <= now_ms:
                self._last_start_ms = now_ms
            return DurationMs(start_ms - now_ms)
