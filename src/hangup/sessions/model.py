"""Sessions, the roles in them, and the outcomes of joining, ending and leaving one."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from hangup.core.connection import Connection, EpochMs


class Role(StrEnum):
    """What a connection is in its session.

    Code that decides by role matches every member, so mypy names each place that a new one needs.
    """

    SPEAKER = "speaker"
    LISTENER = "listener"


def role_of(connection: Connection) -> Role | None:
    """Return the connection's role in a session.

    ``None`` for any other label, and for a record that names no session. Such a connection is in
    no session: it cannot join one, and no session changes when it leaves.
    """
    if connection.session_id is None or connection.role not in list(Role):
        return None
    return Role(connection.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One speaker and its listeners. ``ended_at_ms`` is ``None`` while the session is active.

    A session that has ended may be started again: each time is a *run* of its own. A connection
    starts one session at most, so its id names the run.
    """

    session_id: str
    is_active: bool
    speaker_connection_id: str
    started_at_ms: EpochMs
    ended_at_ms: EpochMs | None = None

    @property
    def run(self) -> str:
        """The id of this run of the session."""
        return self.speaker_connection_id


def has_ended(session: Session | None, run: str | None) -> bool:
    """Say whether this run of a session has ended; ``None`` is a session that does not exist.

    A listener that joined before listeners had a run (``None``) belongs to whatever run is active.
    """
    return session is None or not session.is_active or run not in (session.run, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """A validated request to join: which session, as what, and a listener's language."""

    session_id: str
    role: Role
    target_language: str | None = None


class JoinOutcome(Enum):
    """The outcome of a join. Only ``JOINED`` wrote anything."""

    JOINED = auto()
    SESSION_NOT_ACTIVE = auto()
    SPEAKER_PRESENT = auto()
    ID_TAKEN = auto()
    """The connection id is on record for another join."""


class EndRefusal(Enum):
    """Why a call did not end the session."""

    NOT_ITS_SPEAKER = auto()
    """The session does not exist, or has another speaker."""
    BEING_ENDED = auto()
    """Another invocation is closing its listeners."""


class LeaveOutcome(Enum):
    """The outcome of a cleanup."""

    LEFT = auto()
    """The record is removed, and no session has changed."""
    SESSION_ENDED = auto()
    """The session has ended, its listeners are closed, and the speaker's record is removed."""
    ALREADY_LEFT = auto()
    """The record was removed before: nothing was done."""
    LEFT_TO_ANOTHER = auto()
    """Another invocation is ending the session and will remove the record."""
