"""The sessions table, as ``schema`` has the connections table: names, items and expressions.

Of the reference application alone: a timeout on somebody else's table loads none of it.
"""

from dataclasses import dataclass
from typing import Final

from hangup.aws.schema import (
    DEFAULT_SCHEMA,
    DROP_CLAIM,
    IS_UNCLAIMED,
    Item,
    Request,
    TableSchema,
    Values,
    names_in,
    number,
    string,
    update_of,
)
from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import Role, Session

__all__ = ["DEFAULT_SESSION_SCHEMA", "SessionSchema"]


_LISTENERS_INDEX: Final = "sessionId-role-index"
"""The index of the connections table by session and role, called so whatever those are called."""

_ENDED_SESSION_TTL_S: Final = 86_400
"""An ended session is kept for a day: long enough to look at, and for every late cleanup."""

_IN_SESSION: Final = "#session_id = :session AND #role = :role"

_IS_ACTIVE: Final = "#is_active = :true"
_HAS_NO_SPEAKER: Final = "attribute_not_exists(#session_id) OR #is_active = :false"
# An old speaker connection must not end what its successor has taken over.
_IS_ITS_SPEAKER: Final = "#speaker_connection_id = :speaker"
_HAS_LISTENERS: Final = "#listener_count > :zero"
_COUNT_IS_AS_SEEN: Final = "#listener_count = :seen"

# Started again, a session keeps its count: earlier listeners may be leaving.
_START: Final = (
    "SET #is_active = :true, #speaker_connection_id = :speaker, #started_at = :now,"
    " #listener_count = if_not_exists(#listener_count, :zero)"
    " REMOVE #ended_at, #expires_at, #claim_expires_at, #claim_token"
)
# Repeated, it keeps the first time.
_END: Final = (
    "SET #is_active = :false, #ended_at = if_not_exists(#ended_at, :now),"
    " #expires_at = if_not_exists(#expires_at, :expires)"
)
_CLAIM: Final = "#claim_expires_at = :claim, #claim_token = :token"

_TRUE: Final[Values] = {":true": {"BOOL": True}}
_FALSE: Final[Values] = {":false": {"BOOL": False}}
_ZERO: Final[Values] = {":zero": {"N": "0"}}
_ONE: Final[Values] = {":one": {"N": "1"}}


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
            listener_count=int(item[self.listener_count]["N"]),
            started_at_ms=EpochMs(int(item[self.started_at]["N"])),
            ended_at_ms=None if ended_at is None else EpochMs(int(ended_at["N"])),
        )

    def has_speaker(self, item: Item, speaker: Connection) -> bool:
        """Return whether this connection is the speaker of the session in an item."""
        return item.get(self.speaker_connection_id) == string(speaker.connection_id)

    def holds_claim(self, item: Item, token: str) -> bool:
        """Return whether the claim in an item is the one with this token."""
        return item.get(self.claim_token) == string(token)

    def listeners(self, session_id: str) -> Request:
        """Return a query for the listeners of a session among the connections."""
        return {
            "IndexName": _LISTENERS_INDEX,
            "KeyConditionExpression": _IN_SESSION,
            "ExpressionAttributeNames": names_in(self.connections, _IN_SESSION),
            "ExpressionAttributeValues": {
                ":session": string(session_id),
                ":role": string(Role.LISTENER),
            },
        }

    def start(self, speaker: Connection) -> Request:
        """Return the start of the speaker's session; refused while it is active."""
        values = {
            ":speaker": string(speaker.connection_id),
            ":now": number(speaker.connected_at_ms or 0),
        } | (_TRUE | _FALSE | _ZERO)
        return self._update(speaker.session_id, _START, _HAS_NO_SPEAKER, values)

    def add_listener(self, listener: Connection) -> Request:
        """Return one listener more; refused if the session is not active."""
        update = "SET #listener_count = #listener_count + :one"
        return self._update(listener.session_id, update, _IS_ACTIVE, _ONE | _TRUE)

    def subtract_listener(self, listener: Connection) -> Request:
        """Return one listener less; refused if there is none."""
        update = "SET #listener_count = #listener_count - :one"
        return self._update(listener.session_id, update, _HAS_LISTENERS, _ONE | _ZERO)

    def claim_end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs, token: str
    ) -> Request:
        """Return the end of the speaker's session, and the claim on what comes after it.

        Refused if it has another speaker, or while another claim holds: until ``now_ms`` is its
        expiry.
        """
        values = {":claim": number(claim_expires_ms), ":token": string(token)}
        return self._update(
            speaker.session_id,
            f"{_END}, {_CLAIM}",
            f"{_IS_ITS_SPEAKER} AND {IS_UNCLAIMED}",
            _ending(speaker, now_ms) | values,
        )

    def end(self, speaker: Connection, *, now_ms: EpochMs) -> Request:
        """Return the end of the speaker's session and of any claim; refused as above."""
        update, values = f"{_END} {DROP_CLAIM}", _ending(speaker, now_ms)
        return self._update(speaker.session_id, update, _IS_ITS_SPEAKER, values)

    def correct_count(self, session_id: str, *, seen: int, correct: int) -> Request:
        """Return another count of listeners, if it still is the one that was ``seen``."""
        update = "SET #listener_count = :correct"
        values = {":seen": number(seen), ":correct": number(correct)}
        return self._update(session_id, update, _COUNT_IS_AS_SEEN, values)

    def _update(
        self, session_id: str | None, update: str, condition: str, values: Values
    ) -> Request:
        key = self.key(session_id or "")
        return update_of(self, key, update=update, condition=condition, values=values)


DEFAULT_SESSION_SCHEMA: Final = SessionSchema()
"""The tables of the reference application."""


def _ending(speaker: Connection, now_ms: EpochMs) -> Values:
    return {
        ":speaker": string(speaker.connection_id),
        ":now": number(now_ms),
        ":expires": number(now_ms // 1000 + _ENDED_SESSION_TTL_S),
    } | _FALSE
