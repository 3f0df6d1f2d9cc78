"""When the next close may start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from hangup.core.connection import DurationMs, EpochMs
from hangup.core.pacing import Pace
from hangup.ports import Clock

_LONGEST_SLEEP_MS: Final = DurationMs(50)
"""With a slow pace that many share, the next turn may come after the invocation's end, and a turn
may be given back meanwhile. So both are looked at this often."""

_LONGEST_REST_MS: Final = 1_000


@dataclass(slots=True, kw_only=True, eq=False)
class Pacer:
    """Lets closes start at a pace, on threads or on a loop.

    A close does not wait for its turn itself. The code that starts it does, so that no close starts
    and then has to wait. ``most`` is how many may start at all, None without a bound.
    """

    clock: Clock
    pace: Pace
    most: int | None = None
    _last_start_ms: EpochMs | None = None
    _given_back: int = 0
    _at_once_left: int = 0
    """Of those that start together, how many have not started."""
    _taking: Lock = field(default_factory=Lock)

    def wait(self, has_time: Callable[[], bool] = lambda: True) -> bool:
        """Return True when the next close may start, and False when there is no time for it."""
        while has_time() and self.most != 0:
            early_ms = self._take_turn()
            if not early_ms:
                return True
            # Without the lock: another that is interleaved with this one would wait for it, on the
            # very thread that has to come back here. Of all that wake up, one takes the turn.
            self.clock.sleep(min(early_ms, _LONGEST_SLEEP_MS))
        return False

    def take(self) -> bool:
        """Return whether the next close may start now. Then the turn is taken."""
        return self.most != 0 and not self._take_turn()

    def give_back(self) -> None:
        """Let somebody else have the turn of a close that came to nothing, at once."""
        with self._taking:
            self._given_back += 1
            if self.most is not None:
                self.most += 1

    def _take_turn(self) -> DurationMs:
        """Return 0 if it is taken, else in how many milliseconds there will be one."""
        with self._taking:
            early_ms = self._early_ms()
            if not early_ms and self.most is not None:
                self.most -= 1
            return early_ms

    def _early_ms(self) -> DurationMs:
        now_ms = EpochMs(self.clock.monotonic_ms())
        last_ms = self._last_start_ms
        if last_ms is None or now_ms - last_ms > self.pace.interval_ms + _LONGEST_REST_MS:
            # After a rest, what was given back before it is not made up for.
            self._given_back = 0
        if self._given_back:
            # First: so no more of them wait than closes are under way.
            self._given_back -= 1
            return DurationMs(0)
        if self._at_once_left:
            self._at_once_left -= 1
            return DurationMs(0)
        start_ms = self.pace.next_start_ms(last_start_ms=last_ms, now_ms=now_ms)
        if start_ms <= now_ms:
            self._last_start_ms = now_ms
            self._at_once_left = self.pace.at_once - 1
        return DurationMs(start_ms - now_ms)
