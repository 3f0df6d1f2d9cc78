"""What sessions need from the outside world, in addition to ``hangup.ports``.

Every method raises ``BackendError`` for an answer that is not a normal outcome of the operation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, Session

if TYPE_CHECKING:
    # Only the consistency store needs these. Handlers do not load them at run time.
    from hangup.sessions.invariants import StoredConnection, UnreadableSession


class SessionsRepository(Protocol):
    """The sessions table, and the records of those who are in a session."""

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written (a consistent read), ``None`` if there is none."""
        ...

    def listener_ids(self, session_id: str) -> Iterator[str]:
        """Yield the ids of the session's listeners, of every run, as the index lists them.

        The index lags: a listener that joined a moment ago may be missing, and one that has left
        may be listed.
        """
        ...

    def count_listeners(self, session_id: str) -> int:
        """Return how many listeners the index lists."""
        ...

    def start(self, speaker: Connection) -> JoinOutcome:
        """Write the speaker's record and, in the same transaction, start the session.

        A session that has ended is started again. A start that took effect is ``JOINED`` again when
        it is repeated.
        """
        ...

    def add(self, listener: Connection) -> Connection:
        """Write a record if its id is new; return the record that has the id now."""
        ...

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> EndRefusal | None:
        """End the speaker's session; return ``None``, or why nothing was written.

        Only the caller may close the session's listeners until ``claim_expires_ms``.
        ``ended_at_ms`` stays the time at which the session ended first. What may succeed later is
        tried again until the invocation's deadline.
        """
        ...

    def remove(self, connection_id: str) -> bool:
        """Remove a record; return False if there was none."""
        ...


class ConsistencyStore(Protocol):
    """Both tables, read in full and consistently, and the writes that repair them.

    A write takes effect only if the value that it changes is the one that was seen, else it returns
    False.
    """

    def connection_pages(self) -> "Iterator[Sequence[StoredConnection]]":
        """Yield every connection record, page by page, in no particular order."""
        ...

    def session_pages(self) -> "Iterator[Sequence[Session | UnreadableSession]]":
        """Yield every session record, page by page, in no particular order."""
        ...

    def connection(self, connection_id: str) -> "StoredConnection | None":
        """Return a record as last written, ``None`` if there is none."""
        ...

    def session(self, session_id: str) -> "Session | UnreadableSession | None":
        """Return a session as last written, ``None`` if there is none."""
        ...

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still expires at ``seen_ms``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A failed asynchronous invocation that Lambda does not repeat, as JSON in ``body``.

    ``receipt`` is valid for this delivery of the message only.
    """

    message_id: str
    receipt: str
    body: str


class DeadLetters(Protocol):
    """The queue of cleanups that Lambda does not repeat any more."""

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages and hide them from others; none if the queue is empty."""
        ...

    def delete(self, letter: DeadLetter) -> None:
        """Remove a message from the queue."""
        ...

    def give_back(self, letter: DeadLetter) -> None:
        """Make a message visible again at once."""
        ...
