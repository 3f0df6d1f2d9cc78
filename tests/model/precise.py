"""The model with a queue between the sweeps and the closes."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from hangup.core.connection import DurationMs
from hangup.core.pacing import pace_of_questions
from hangup.idle.pacer import Pacer
from hangup.idle.scheduled import Message, ScheduledCloser
from hangup.testing import Faults, InMemoryCloseQueue, RecordingMetrics
from tests.model.machine import (
    ConnectionsMachine,
    latencies,
    moments,
    positions,
    skews,
    sweep_faults,
)
from tests.model.stores import Stores
from tests.model.world import CALLS_MS, CALM, Script, SkewedClock, Violation, World

__all__ = ["NoLookAtTheClock", "PreciseMachine", "PreciseWorld"]


class PreciseWorld(World):
    """A world whose sweeps queue what falls due."""

    due_connections = ScheduledCloser

    def __init__(self, stores: Stores, faults: Faults) -> None:
        super().__init__(stores, faults)
        self.queue = self.close_queue = InMemoryCloseQueue(self.clock, faults)

    def deliver(self, script: Script = CALM, *, again: bool = False) -> bool:
        """Run the close function on what the queue has by now; return whether it had anything.

        ``again`` delivers the same messages once more, as a queue may.
        """
        clock = SkewedClock(self.clock, script.skew_ms)
        closer = self.closer_with(clock)
        due = self.due_connections(
            closer=closer,
            questions=Pacer(clock=clock, pace=pace_of_questions(closer.pacer.pace)),
            queue=self.queue,
            metrics=RecordingMetrics(),
            concurrent_map=map,
        )
        messages = [
            Message(message_id=r.message_id, receipt=r.receipt, body=r.body)
            for r in self.queue.receive()
        ]
        ends_ms = self.clock.ms + CALLS_MS
        with self.acting(script, ends_ms=ends_ms):
            failed = due.close_scheduled(
                messages, time_left_ms=lambda: DurationMs(ends_ms - self.clock.ms)
            )
            for message in messages:
                # After a crash nothing is deleted either.
                if message.message_id not in failed and not again:
                    self.queue.delete(message.message_id)
                elif again:
                    self.queue.postpone(message.receipt, delay_s=0)
        if not script.meanwhile and self.clock.ms > ends_ms:
            raise Violation("I6: the close function left no time for its report")
        self.collect_hand_overs()
        return bool(messages)

    def wait_for_a_message(self) -> None:
        """Let time pass until the queue has something to deliver, if it ever has."""
        times_ms = [waiting.visible_ms for waiting in self.queue._waiting]
        if times_ms:
            self.clock.ms = max(self.clock.ms, min(times_ms))

    def fault_free_minute(self, *, talking: bool) -> None:
        """Let a minute pass in which nothing goes wrong and the queue is emptied."""
        super().fault_free_minute(talking=talking)
        while self.deliver():
            pass
        while self.disconnects:
            self.disconnect(0)


class PreciseMachine(ConnectionsMachine):
    """The same rules, and deliveries: late, again, failing, crashing, with clocks that differ."""

    world: PreciseWorld

    def make_world(self) -> World:
        faults = Faults()
        return PreciseWorld(self.make_stores(faults), faults)

    @rule(
        faults=sweep_faults,
        skew=skews,
        latency=latencies,
        at=moments,
        action=st.sampled_from(["", "all talk", "talk", "sweep", "disconnect", "leave"]),
        position=positions,
        again=st.booleans(),
        punctual=st.booleans(),
    )
    def messages_arrive(
        self,
        faults: dict[int, Any],
        skew: int,
        latency: int,
        at: int | str,
        action: str,
        position: int,
        again: bool,
        punctual: bool,
    ) -> None:
        if punctual:
            self.world.wait_for_a_message()
        meanwhile: dict[int | str, Any] = {at: lambda: self.act(action, position)} if action else {}
        script = Script(faults=faults, skew_ms=skew, latency_ms=latency, meanwhile=meanwhile)
        self.world.deliver(script, again=again)


class NoLookAtTheClock(ScheduledCloser):
    """Close whatever the queue brings, when it brings it."""

    def _is_past(self, *_due: object) -> bool:
        return True
