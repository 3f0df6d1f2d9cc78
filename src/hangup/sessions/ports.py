"""What the sessions need from the world, beside ``hangup.ports``.

Every method raises ``BackendError`` for an answer that is no normal outcome of the operation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Session

if TYPE_CHECKING:
    # For the consistency store alone; no handler should load the rules that it checks.
    from hangup.sessions.invariants import StoredConnection, UnreadableSession

__all__ = ["ConsistencyStore", "DeadLetter", "DeadLetters", "SessionsRepository"]


class SessionsRepository(Protocol):
    """The sessions table, and what must change in it together with a connection record."""

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written (a consistent read), ``None`` if there is none."""
        ...

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners; one that joined a moment ago may still be missing."""
        ...

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and, in the same transaction, the session.

        A speaker starts the session, or starts it again after it ended; a listener is counted in
        a session that is active. Repeating a join that took effect is ``JOINED`` again.
        """
        ...

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Let nobody join the speaker's session any more, and return the session as it is now.

        The caller alone may see to the session's listeners until ``claim_expires_ms``. With a
        refusal nothing was written. The first time that a session ended stays its time.
        """
        ...

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and, in the same transaction, settle the session.

        A listener is subtracted from the count; a speaker ends the session if it is still the
        session's speaker. Takes effect once, however often and by whomever it is called.
        """
        ...


class ConsistencyStore(Protocol):
    """Both tables, read in full and consistently, and the writes that only mend them.

    A write takes effect only if what it changes is what was seen. False means that it did not.
    """

    def connection_pages(self) -> "Iterator[Sequence[StoredConnection]]":
        """Yield every connection record, page by page, in no particular order."""
        ...

    def session_pages(self) -> "Iterator[Sequence[Session | UnreadableSession]]":
        """Yield every session record, likewise."""
        ...

    def connection(self, connection_id: str) -> "StoredConnection | None":
        """Return a record as last written, ``None`` if there is none."""
        ...

    def session(self, session_id: str) -> "Session | UnreadableSession | None":
        """Return a session as last written, ``None`` if there is none."""
        ...

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> bool:
        """Set the session's listener count to ``correct`` if it still is ``seen``."""
        ...

    def drop_claim(self, connection_id: str, *, seen_ms: EpochMs) -> bool:
        """Remove the claim if it still expires when it was seen to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What became of an asynchronous invocation that failed for good, as JSON in ``body``.

    ``receipt`` is good for this receipt of the message alone.
    """

    message_id: str
    receipt: str
    body: str


class DeadLetters(Protocol):
    """The queue of cleanups that failed for good."""

    def receive(self) -> Sequence[DeadLetter]:
        """Return some messages, hidden from others for now; none if the queue is empty."""
        ...

    def delete(self, letter: DeadLetter) -> None:
        """Take a message out of the queue for good."""
        ...

    def give_back(self, letter: DeadLetter) -> None:
        """Let a message be received again at once."""
        ...
