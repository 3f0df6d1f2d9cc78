"""The closes of one sweep: each in its turn, and counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from hangup.core.connection import Connection, EpochMs
from hangup.core.outcomes import CloseCounter, CloseResult
from hangup.core.report import CloseStatus
from hangup.idle.closer import Closer
from hangup.idle.guard import Answer, Guard
from hangup.idle.pacer import Pacer
from hangup.ports import ConcurrentMap


@dataclass(slots=True, kw_only=True, eq=False)
class Closes:
    """Closes what one sweep found idle, and counts what that came to.

    ``questions`` paces what API Gateway is asked. A ``witness`` hears what came of each connection.
    """

    closer: Closer
    guard: Guard
    questions: Pacer
    concurrent_map: ConcurrentMap
    correlation_id: str
    witness: Callable[[Connection, CloseResult], None] | None
    counter: CloseCounter = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing counted."""
        self.counter = self.closer.counter()

    def close_all(self, first: Sequence[Connection], others: Sequence[Connection]) -> None:
        """Close each, at both paces; the further records of a connection come last."""
        list(self.concurrent_map(self.close, self.in_turn(self.at_pace(first))))
        list(self.concurrent_map(self.close_other, self.in_turn(self.at_pace(others))))

    def at_pace(self, connections: Iterable[Connection]) -> Iterator[Connection]:
        """Yield each when it may be asked about, until the sweep may not go on."""
        return takewhile(lambda _: self.waits_to_ask(), connections)

    def in_turn(self, connections: Iterable[Connection]) -> Iterator[Connection]:
        """Yield each when its close has a turn, until the sweep may not go on."""
        return takewhile(lambda _: self.waits_for_turn(), connections)

    def waits_to_ask(self) -> bool:
        """Wait for the pace of questions; return False if the sweep may not go on."""
        return self.questions.wait(self.guard.may_go_on)

    def waits_for_turn(self) -> bool:
        """Wait for the turn of a close; return False if the sweep may not go on."""
        return self.closer.pacer.wait(self.guard.may_go_on)

    def takes_turn(self) -> bool:
        """Return whether a close may start now. Then the turn is taken."""
        return self.guard.may_go_on() and self.closer.pacer.take()

    def close(self, connection: Connection, answer: Answer | None = None) -> None:
        """Close a connection that has a turn. With an ``answer`` that has just come, do not ask."""
        deadline_ms = self.guard.policy.deadline_of(connection)
        result = self.closer.close_idle_connection(
            connection,
            self.guard.terms_of(connection),
            correlation_id=self.correlation_id,
            answer=answer,
        )
        self.count(connection, result, deadline_ms=deadline_ms)

    def close_other(self, connection: Connection) -> None:
        """Close by a further record of a connection, which has a turn."""
        result = self.closer.close_idle_connection(
            connection,
            replace(self.guard.terms_of(connection), only_gone=True),
            correlation_id=self.correlation_id,
        )
        # One connection, one timeout.
        self.count(connection, result)

    def count(
        self, connection: Connection, result: CloseResult, *, deadline_ms: EpochMs | None = None
    ) -> None:
        """Count what became of a connection, and a timeout only by a record with its deadline."""
        if result.status is not CloseStatus.UNCONFIRMED:
            self.guard.failed(result.error)
        self.counter.add(connection, result, deadline_ms=deadline_ms)
        if self.witness is not None:
            self.witness(connection, result)
