"""What sessions need from the outside world, in addition to ``hangup.ports``.

Every method raises ``BackendError`` for an answer that is not a normal outcome of the operation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Session

if TYPE_CHECKING:
    # Only the consistency store needs these. Handlers do not load them at run time.
    from hangup.sessions.invariants import StoredConnection, UnreadableSession


class SessionsRepository(Protocol):
    """The sessions table, and the changes of a session and a connection record together."""

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written (a consistent read), ``None`` if there is none."""
        ...

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners. One that joined a moment ago may be missing."""
        ...

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and, in the same transaction, the session.

        A speaker starts the session, or starts it again after it ended. A listener is added to the
        count of an active session. A join that took effect is ``JOINED`` again when it is repeated.
        Raises ``ValueError`` for a connection that is in no session (``model.role_of``).
        """
        ...

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Refuse any further join to the speaker's session, and return the session as it is now.

        Only the caller may close the session's listeners until ``claim_expires_ms``. A refusal
        wrote nothing. ``ended_at_ms`` stays the time at which the session ended first.
        """
        ...

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and, in the same transaction, update the session.

        A listener is subtracted from the count. A speaker ends the session if it is still the
        session's speaker. Takes effect once, no matter who calls it and how often.
        """
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

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the session's listener count to ``correct`` if it is still ``seen``."""
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
