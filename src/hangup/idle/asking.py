"""Ask about what looks idle, keep who is there, close who is not: API Gateway's account decides.

Where that is the source of activity, every client looks idle once a timeout, and most are kept. So
here a question comes before a turn to close:

1. Questions have a pace of their own, and wait for no close.
2. Who was active since what is on record is kept, and the time is written forward: the next
   question comes when the connection is due by that time. If it cannot be written, the next sweep
   asks again.
3. Who was not is closed at once if there is a turn of the pace. If not, the close waits. Each
   question that is answered later looks whether there is a turn by now; the rest is closed when
   all were asked, as far as there is time. What waited is asked about again, in its turn.
4. Before the first that is gone is handed over, the control group is asked (``core.guard``). It
   can only hold the sweep.
5. Several records of one connection share an answer, if the sweep met them in one batch.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hangup.core.connection import Connection
from hangup.core.guard import Seen
from hangup.core.policy import part_records
from hangup.idle.closes import Closes
from hangup.idle.guard import Answer


@dataclass(slots=True, kw_only=True, eq=False)
class Asking:
    """The questions of one sweep, and what follows from them.

    ``closes`` has the paces, closes in turn, and counts who is left.
    """

    closes: Closes
    _waiting: deque[Connection] = field(default_factory=deque)
    """To be closed, and without a turn."""
    _others: list[Connection] = field(default_factory=list)
    """Further records of connections that are closed."""
    _gone: list[tuple[Connection, Answer]] = field(default_factory=list)
    """They wait for the control group."""
    _is_our_table: bool = False
    _shared: dict[str, Answer | None] = field(default_factory=dict)
    """The answers that further records in this batch are waiting for."""

    def ask_about(self, found: Sequence[Connection], met: set[str]) -> None:
        """Ask about connections that look idle; keep them, close them, or let them wait."""
        first, others = part_records(found, met)
        self._shared = dict.fromkeys(one.connection_id for one in others)
        list(self.closes.concurrent_map(self._ask, self.closes.at_pace(first)))
        list(self.closes.concurrent_map(self._ask_about_other, self.closes.at_pace(others)))
        if not self._gone or not self.closes.guard.may_go_on():
            return
        self.closes.guard.check_control_group()
        if self.closes.guard.hold is not None:
            return
        self._is_our_table = True
        gone, self._gone = self._gone, []
        list(self.closes.concurrent_map(self._close_gone, gone))

    def close_the_rest(self) -> None:
        """Close what is waiting, each in its turn, and then the further records."""
        list(self.closes.concurrent_map(self.closes.close, self.closes.in_turn(self._waiting)))
        list(self.closes.concurrent_map(self.closes.close_other, self.closes.in_turn(self._others)))

    def _ask(self, connection: Connection) -> None:
        answer = self._answer_about(connection)
        if connection.connection_id in self._shared:
            self._shared[connection.connection_id] = answer
        left = self.closes.closer.reason_to_leave(
            connection, answer, self.closes.guard.terms_of(connection)
        )
        if left is not None:
            self.closes.count(connection, left)
        elif answer.seen is Seen.GONE and not self._is_our_table:
            self._gone.append((connection, answer))
        else:
            self._close_or_wait(connection, answer)
        if self._waiting and self.closes.takes_turn():
            self.closes.close(self._waiting.popleft())

    def _close_gone(self, gone: tuple[Connection, Answer]) -> None:
        connection, answer = gone
        self._close_or_wait(connection, answer)

    def _close_or_wait(self, connection: Connection, answer: Answer) -> None:
        connection = self.closes.closer.as_told(connection, answer)
        if not self._waiting and self.closes.takes_turn():
            self.closes.close(connection, answer)
        else:
            self._waiting.append(connection)

    def _ask_about_other(self, connection: Connection) -> None:
        answer = self._shared.get(connection.connection_id) or self._answer_about(connection)
        # The first record may be waiting for its close. What is not kept comes after that.
        if answer.seen in (Seen.QUIET, Seen.GONE):
            self._others.append(connection)
            return
        terms = replace(self.closes.guard.terms_of(connection), only_gone=True)
        left = self.closes.closer.reason_to_leave(connection, answer, terms)
        assert left is not None  # noqa: S101 - nothing else is closed
        self.closes.count(connection, left)

    def _answer_about(self, connection: Connection) -> Answer:
        return self.closes.closer.confirmer.ask(
            connection, silence_ms=self.closes.guard.terms_of(connection).silence_ms
        )
