"""The sessions table, as ``schema`` has the connections table: names and items.

Of the reference application alone: a timeout on somebody else's table loads none of it.
"""

from dataclasses import dataclass
from typing import Final

from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.values import Item, Values, string
from hangup.core.connection import EpochMs
from hangup.sessions.model import Session

LISTENERS_INDEX: Final = "sessionId-role-index"
"""The index of the connections table by session and role, called so whatever those are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSchema:
    """The attributes of a sessions table by what they mean, each with its name in the table.

    The key is ``session_id``, a string, without a sort key. Times are epoch milliseconds, all but
    ``expires_at``: DynamoDB's TTL, epoch seconds. ``connections`` is the table of who joins.
    """

    connections: TableSchema = DEFAULT_SCHEMA
    session_id: str = "sessionId"
    is_active: str = "isActive"
    speaker_connection_id: str = "speakerConnectionId"
    listener_count: str = "listenerCount"
    """Not written any more: removed when an old session is started again."""
    started_at: str = "startedAt"
    ended_at: str = "endedAt"
    expires_at: str = "expiresAt"
    claim_expires_at: str = "claimExpiresAt"
    claim_token: str = "claimToken"  # noqa: S105 - a name

    def key(self, session_id: str) -> Values:
        """Return the key of a session's item."""
        return {self.session_id: string(session_id)}

    def decode(self, item: Item) -> Session:
        """Return the session in an item that Hangup wrote. Raises KeyError or ValueError."""
        ended_at = item.get(self.ended_at)
        return Session(
            session_id=item[self.session_id]["S"],
            is_active=item[self.is_active]["BOOL"],
            speaker_connection_id=item[self.speaker_connection_id]["S"],
            started_at_ms=EpochMs(int(item[self.started_at]["N"])),
            ended_at_ms=None if ended_at is None else EpochMs(int(ended_at["N"])),
        )


DEFAULT_SESSION_SCHEMA: Final = SessionSchema()
"""The tables of the reference application."""
