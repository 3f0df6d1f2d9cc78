"""The sessions table in DynamoDB, and the records of those who are in a session.

No two listeners write the same item, so that any number of them may join and leave at once:
DynamoDB refuses a write to an item that somebody else's transaction holds. Only the start of a
session is a transaction.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from os import urandom
from typing import Any, Final
from uuid import uuid4

from hangup.aws.errors import Table, cancellation_codes, in_our_terms
from hangup.aws.expressions import DROP_CLAIM, IS_UNCLAIMED
from hangup.aws.retries import CallFailed, Calls
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, LISTENERS_INDEX, SessionSchema
from hangup.aws.table import DynamoDb, DynamoDbTable
from hangup.aws.table_requests import Request, TableRequests, update_of
from hangup.aws.values import Values, number, string
from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError
from hangup.sessions.model import EndRefusal, JoinOutcome, Role, Session

_ENDED_SESSION_TTL_S: Final = 86_400
"""An ended session is kept for a day: long enough to look at, and for every late cleanup."""

_UNTIL_THE_DEADLINE: Final = 1_000
"""More attempts than fit into an invocation, whose deadline ends them: pauses are 1 s in the mean.
Until the session has ended, listeners may join it, and nobody closes those that are there."""

_IS_NOT_ACTIVE: Final = "attribute_not_exists(#session_id) OR #is_active = :false"
_START: Final = (
    "SET #is_active = :true, #speaker_connection_id = :speaker, #started_at = :now"
    f" {DROP_CLAIM}, #ended_at, #expires_at, #listener_count"
)
# An old speaker connection must not end what its successor has taken over.
_IS_ITS_SPEAKER: Final = "#speaker_connection_id = :speaker"
# Repeated, it keeps the first time.
_END: Final = (
    "SET #is_active = :false, #ended_at = if_not_exists(#ended_at, :now),"
    " #expires_at = if_not_exists(#expires_at, :expires),"
    " #claim_expires_at = :claim, #claim_token = :token REMOVE #listener_count"
)


class _Reason(StrEnum):
    CONDITION_FAILED = "ConditionalCheckFailed"


class DynamoDbSessions:
    """``SessionsRepository`` on two DynamoDB tables."""

    def __init__(
        self,
        client: DynamoDb,
        calls: Calls,
        *,
        connections_table: str,
        sessions_table: str,
        schema: SessionSchema = DEFAULT_SESSION_SCHEMA,
    ) -> None:
        self._client = client
        self._calls = calls
        self._schema = schema
        self._requests = TableRequests(schema.connections)
        key = schema.connections.connection_id
        self._connections = DynamoDbTable(client, calls, connections_table, key=key)
        self._sessions = DynamoDbTable(client, calls, sessions_table, key=schema.session_id)
        self._either = Table(
            f"{connections_table} or {sessions_table}", f"{key} or {schema.session_id}"
        )

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written, ``None`` if there is none."""
        item = self._sessions.get(self._schema.key(session_id))
        try:
            return None if item is None else self._schema.decode(item)
        except (KeyError, ValueError) as error:
            raise BackendError(
                "GetItem",
                "NoSession",
                f"session {session_id} has a missing or invalid attribute: {error}",
                retryable=False,
            ) from error

    def listener_ids(self, session_id: str) -> Iterator[str]:
        """Yield the ids of the session's listeners from the index."""
        schema = self._schema.connections
        for page in self._connections.pages("Query", self._listeners(session_id)):
            yield from (schema.decode(item).connection_id for item in page["Items"])

    def count_listeners(self, session_id: str) -> int:
        """Return how many listeners the index lists, without reading them over the wire."""
        request = {**self._listeners(session_id), "Select": "COUNT"}
        return sum(page["Count"] for page in self._connections.pages("Query", request))

    def start(self, speaker: Connection) -> JoinOutcome:
        """Write the record and start the session in one transaction."""
        put = self._connections.part(self._requests.creation(speaker))
        update = self._session_update(
            speaker,
            update=_START,
            condition=_IS_NOT_ACTIVE,
            values={
                ":true": {"BOOL": True},
                ":false": {"BOOL": False},
                ":speaker": string(speaker.connection_id),
                ":now": number(speaker.connected_at_ms or 0),
            },
        )
        match self._transact([{"Put": put}, {"Update": self._sessions.part(update)}]):
            case []:
                return JoinOutcome.JOINED
            case [_Reason.CONDITION_FAILED, _]:
                # This very start took effect before, whatever the session has come to since.
                item = self._connections.get(self._schema.connections.key(speaker.connection_id))
                before = item and self._schema.connections.decode(item)
                is_this = before and (before.session_id, before.role) == (
                    speaker.session_id,
                    speaker.role,
                )
                return JoinOutcome.JOINED if is_this else JoinOutcome.ID_TAKEN
            case _:
                return JoinOutcome.SPEAKER_PRESENT

    def add(self, listener: Connection) -> Connection:
        """Put the record if its id is new; return the record that has the id."""
        schema = self._schema.connections
        is_written, taken_by = self._connections.put(self._requests.creation(listener))
        return listener if is_written else schema.decode(taken_by)

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> EndRefusal | None:
        """Let nobody join any more, and leave the listeners to the caller alone."""
        token = string(urandom(16).hex())
        request = self._session_update(
            speaker,
            update=_END,
            condition=f"{_IS_ITS_SPEAKER} AND {IS_UNCLAIMED}",
            values={
                ":false": {"BOOL": False},
                ":speaker": string(speaker.connection_id),
                ":now": number(now_ms),
                ":expires": number(now_ms // 1000 + _ENDED_SESSION_TTL_S),
                ":claim": number(claim_expires_ms),
                ":token": token,
            },
        )
        is_written, refused = self._sessions.update(request, max_attempts=_UNTIL_THE_DEADLINE)
        # Refused by our own claim: an attempt took effect, and its answer was lost.
        if is_written or refused.get(self._schema.claim_token) == token:
            return None
        is_its = refused.get(self._schema.speaker_connection_id) == string(speaker.connection_id)
        return EndRefusal.BEING_ENDED if is_its else EndRefusal.NOT_ITS_SPEAKER

    def remove(self, connection_id: str) -> bool:
        """Delete the record; return False if there was none."""
        return self._connections.delete(self._requests.removal(connection_id)).is_written

    def _listeners(self, session_id: str) -> Request:
        return {
            "IndexName": LISTENERS_INDEX,
            **self._requests.of_session(session_id, Role.LISTENER),
        }

    def _session_update(
        self, connection: Connection, *, update: str, condition: str, values: Values
    ) -> Request:
        return update_of(
            self._schema,
            self._schema.key(connection.session_id or ""),
            update=update,
            condition=condition,
            values=values,
        )

    def _transact(self, items: Sequence[Any]) -> list[str]:
        """Return ``[]`` if everything was written, else why each item was not (nothing was)."""
        token = uuid4()

        def write() -> list[str]:
            nonlocal token
            try:
                self._client.transact_write_items(
                    TransactItems=items, ClientRequestToken=str(token)
                )
            except Exception as error:
                # Repeated with its token, a transaction that took effect unanswered succeeds
                # again. One that was cancelled is over: what follows is another.
                reasons = cancellation_codes(in_our_terms(error))
                if reasons:
                    token = uuid4()
                # The record decides: where its condition fails, a conflict over the session's
                # part is not worth another attempt.
                if reasons[:1] == [_Reason.CONDITION_FAILED]:
                    return [_Reason.CONDITION_FAILED, *["None"] * (len(reasons) - 1)]
                raise
            return []

        try:
            return self._calls("TransactWriteItems", write, table=self._either)
        except CallFailed as error:
            reasons = cancellation_codes(error.reason)
            if reasons and all(code in (_Reason.CONDITION_FAILED, "None") for code in reasons):
                return reasons
            raise
