"""What the precise topology does beside the sweep: messages, and the functions that close.

1. A sweep queues what is idle, or will be within its look-ahead. That is longer than a sweep's
   interval, so some connections are queued twice; the claim lets one of the messages close.
2. It also queues who is merely between two messages, if that one would be due within the look-ahead
   without the next: a share of the fleet, 0 with short heartbeats. They come to nothing.
3. All messages go through the close functions, which share the pace. A batch takes a turn of the
   pace for itself beside one for each message. That is on the safe side: messages that come to
   nothing take none.
4. A message comes up to a second before its moment, and its function waits: with a batch, for the
   last of them. Functions that wait are occupied. Where messages come faster than functions
   that wait can take them, they lie in the queue for so much of the second that the rate is met:
   waiting costs money and no capacity, and at the limit nobody waits.
"""

import math
from dataclasses import dataclass

from hangup.core.pacing import Pace, close_functions
from hangup.planner.assumptions import (
    CLOSE_LATENCY_MS,
    LOOK_AHEAD_S,
    MONTH_S,
    POLL_S,
    POLLERS,
    QUEUE_BATCH,
    ROUNDED_S,
    VCPU_SHARE,
)
from hangup.planner.fleet import Fleet

__all__ = ["QueueEstimate", "estimate_queue"]

_OCCUPIED_AT_MOST = 0.4
"""Of all messages, how many find every function occupied, where more come than one at a time can be
taken. From the simulation: most do not, since a function that gets free takes all that lie there.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEstimate:
    """The queue and its close functions, on average. Rates are a second, unless named otherwise.

    ``closers`` is how many functions close at once, at most. ``closing`` and ``live`` are messages
    of one sweep: of those who fell silent, and of those who are between two messages.
    ``close_interval_ms`` is how closely closes of all functions together can follow one another,
    ``batch`` how many messages an invocation gets.

    ``lag_s`` is how long every message lies in the queue, at most the second by which it comes
    early; ``occupied_share`` of them do so longer, until one of the functions is free.
    """

    closers: int
    closing: float
    live: float
    sweep_interval_s: float
    close_interval_ms: float
    limited_by: str
    batch: float
    batch_ms: float
    lag_s: float
    occupied_share: float

    @property
    def messages(self) -> float:
        """Messages of one sweep."""
        return self.closing + self.live

    @property
    def messages_per_second(self) -> float:
        """Messages in a second, on average."""
        return self.messages / self.sweep_interval_s

    @property
    def invocations_per_second(self) -> float:
        """Invocations of the close function."""
        return self.messages_per_second / self.batch

    @property
    def messages_per_second_at_most(self) -> float:
        """What all close functions together can take."""
        return 1000 / self.close_interval_ms

    @property
    def keeps_up(self) -> bool:
        """Whether the close functions take messages faster than they come."""
        return self.messages_per_second < self.messages_per_second_at_most

    @property
    def busy_share(self) -> float:
        """Of the messages, how many wait for a turn: as many as the functions have work, at most 1.

        A sweep sends for longer than a moment, so messages come as if at random.
        """
        return min(1.0, self.messages_per_second / self.messages_per_second_at_most)

    @property
    def longest_turn_s(self) -> float:
        """How long they do at most, seconds, evenly distributed from 0.

        So that the mean is Pollaczek and Khinchine's, for even service, in one of the functions. At
        most 1: what does not keep up waits longer and longer.
        """
        each_s = self.closers * self.close_interval_ms / 1000
        return min(1.0, each_s / (1 - self.busy_share)) if self.keeps_up else 1.0

    @property
    def requests_per_month(self) -> float:
        """Requests to SQS in 30 days: sends, receives, deletes, and receives that find nothing."""
        # A sweep with less than a batch to send sends one, if it has anything.
        sends = max(self.messages / QUEUE_BATCH, min(1.0, self.messages)) / self.sweep_interval_s
        idle_receives = POLLERS / POLL_S
        return (sends + 2 * self.invocations_per_second + idle_receives) * MONTH_S


def estimate_queue(fleet: Fleet) -> QueueEstimate:
    """Return what the queue carries if this fleet is swept every minute with ``precise``."""
    interval_s, grace_s = fleet.sweep_interval_s, fleet.grace_s
    falls_silent = fleet.idle_closes_per_second
    # Sweeps that find it due before its deadline, and one more if none came in time.
    ahead_s = min(LOOK_AHEAD_S, grace_s)
    found = ahead_s / interval_s + max(0.0, 1 - ahead_s / interval_s)
    silent = falls_silent * grace_s
    live = max(0.0, fleet.connections - silent) * _due_share(fleet)
    closing = falls_silent * interval_s * found
    per_second = (closing + live) / interval_s
    # Messages of one sweep come at whole seconds after it, and each receiver takes its share.
    batch = min(float(QUEUE_BATCH), max(1.0, per_second / POLLERS))
    closers = close_functions(fleet.closes_per_second)
    turn_ms = float(Pace(fleet.closes_per_second, shared_by=closers).interval_ms)
    interval_ms, limited_by = max(
        (fleet.close_cpu_ms / VCPU_SHARE / closers, "CPU"),
        (CLOSE_LATENCY_MS / QUEUE_BATCH / closers, "latency"),
        (turn_ms * (QUEUE_BATCH + 1) / QUEUE_BATCH / closers, "pace"),
    )
    each_ms = max(turn_ms, fleet.close_cpu_ms / VCPU_SHARE)
    # Those whose clients have spoken by then are not waited for.
    silent_share = closing / (closing + live) if closing else 0.0
    close_s = closers * interval_ms / 1000
    # What a full batch takes, and at what intervals one comes to each function.
    full_s = _longest_wait_s(QUEUE_BATCH * silent_share) + close_s
    has_s = closers * QUEUE_BATCH / per_second if per_second else full_s
    lag_s = min(ROUNDED_S, max(0.0, full_s - has_s))
    waited_s = max(0.0, _longest_wait_s(batch * silent_share) - lag_s)
    return QueueEstimate(
        closers=closers,
        closing=closing,
        live=live,
        sweep_interval_s=interval_s,
        close_interval_ms=interval_ms,
        limited_by=limited_by,
        batch=batch,
        # All but the last are closed while it waits for that one.
        batch_ms=CLOSE_LATENCY_MS + turn_ms + max(waited_s * 1000, (batch - 1) * each_ms),
        lag_s=lag_s,
        occupied_share=_occupied_share(
            per_second * (silent_share * _longest_wait_s(1) + close_s), closers
        ),
    )


def _occupied_share(load: float, closers: int) -> float:
    """Return the share of messages that find all ``closers`` occupied, one message in each.

    ``load`` is how many they would occupy, were there enough of them. Erlang's formula.
    """
    if load >= closers:
        return _OCCUPIED_AT_MOST
    all_busy = load**closers / math.factorial(closers) * closers / (closers - load)
    others = sum(load**n / math.factorial(n) for n in range(closers))
    return min(_OCCUPIED_AT_MOST, all_busy / (others + all_busy))


def _longest_wait_s(messages: float) -> float:
    """Return the mean of the longest of so many waits, each evenly distributed from 0 to 1 s."""
    return ROUNDED_S * messages / (messages + 1)


def _due_share(fleet: Fleet) -> float:
    """Return the share of those who talk that a sweep sees due: their record is old enough.

    A record's age is evenly distributed from 0 to the time between two recorded messages.
    """
    recorded_every_s = fleet.heartbeats_per_write * fleet.heartbeat_s
    due_from_s = max(0.0, fleet.grace_s - LOOK_AHEAD_S)
    return max(0.0, recorded_every_s - due_from_s) / recorded_every_s
