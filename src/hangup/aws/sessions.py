"""The sessions table in DynamoDB, and the transactions over both tables."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from os import urandom
from typing import Any, Final, assert_never
from uuid import uuid4

from hangup.aws.errors import Table, cancellation_codes, in_our_terms
from hangup.aws.retries import CallFailed, Calls
from hangup.aws.schema import (
    DROP_CLAIM,
    IS_UNCLAIMED,
    Request,
    Values,
    number,
    string,
    update_of,
)
from hangup.aws.session_schema import DEFAULT_SESSION_SCHEMA, LISTENERS_INDEX, SessionSchema
from hangup.aws.table import DynamoDb, DynamoDbTable
from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Role, Session, role_of

_ENDED_SESSION_TTL_S: Final = 86_400
"""An ended session is kept for a day: long enough to look at, and for every late cleanup."""

_TRANSACTION_ATTEMPTS: Final = 10
"""In the mean 5 s of pauses. Every listener of a session changes the same count, so many that
leave at once conflict with one another."""

_IS_ACTIVE: Final = "#is_active = :true"
_IS_NOT_ACTIVE: Final = "attribute_not_exists(#session_id) OR #is_active = :false"
_HAS_LISTENERS: Final = "#listener_count > :zero"
# An old speaker connection must not end what its successor has taken over.
_IS_ITS_SPEAKER: Final = "#speaker_connection_id = :speaker"
# Repeated, it keeps the first time.
_ENDING: Final = (
    "SET #is_active = :false, #ended_at = if_not_exists(#ended_at, :now),"
    " #expires_at = if_not_exists(#expires_at, :expires)"
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
        key = schema.connections.connection_id
        self._connections = DynamoDbTable(client, calls, connections_table, key=key)
        self._sessions = DynamoDbTable(client, calls, sessions_table, key=schema.session_id)
        self._either = Table(
            f"{connections_table} or {sessions_table}", f"{key} or {schema.session_id}"
        )

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written, ``None`` if there is none."""
        item = self._sessions.get(self._schema.key(session_id))
        return None if item is None else self._schema.decode(item)

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners from the index, which may lag behind a little."""
        connections = self._schema.connections
        request = {
            "IndexName": LISTENERS_INDEX,
            **connections.of_session(session_id, Role.LISTENER),
        }
        for page in self._connections.pages("Query", request):
            yield from map(connections.decode, page["Items"])

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Let nobody join any more, and return the session, to be seen to by the caller alone."""
        token = string(urandom(16).hex())
        request = self._session_update(
            speaker,
            update=f"{_ENDING}, #claim_expires_at = :claim, #claim_token = :token",
            condition=f"{_IS_ITS_SPEAKER} AND {IS_UNCLAIMED}",
            values={
                **_ending_values(speaker, now_ms),
                ":claim": number(claim_expires_ms),
                ":token": token,
            },
        )
        is_written, item = self._sessions.update({**request, "ReturnValues": "ALL_NEW"})
        if not is_written:
            if item.get(self._schema.speaker_connection_id) != string(speaker.connection_id):
                return EndRefusal.NOT_ITS_SPEAKER
            # Refused by our own claim, an attempt took effect, and its answer was lost.
            if item.get(self._schema.claim_token) != token:
                return EndRefusal.BEING_ENDED
        return self._schema.decode(item)

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and the session's part of it in one transaction."""
        update, refused = self._joining(connection)
        put = self._connections.part(self._schema.connections.creation(connection))
        match self._transact([{"Put": put}, {"Update": self._sessions.part(update)}]):
            case [] | [_Reason.CONDITION_FAILED, _]:
                # An id that is taken: this very join took effect before, for API Gateway does not
                # give an id twice. That holds whatever the session's own condition says by now.
                return JoinOutcome.JOINED
            case _:
                return refused

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and settle the session in one transaction."""
        removal = self._schema.connections.removal(connection.connection_id)
        delete = self._connections.part(removal)
        leaving = self._leaving(connection, now_ms)
        if leaving is not None:
            update, left = leaving
            match self._transact([{"Delete": delete}, {"Update": self._sessions.part(update)}]):
                case []:
                    return left
                case [_Reason.CONDITION_FAILED, _]:
                    return LeaveOutcome.ALREADY_LEFT
                case _:
                    # The session is missing, counts nobody, has ended or has another speaker:
                    # there is nothing to settle, and the record must still go.
                    pass
        removed = self._transact([{"Delete": delete}]) == []
        return LeaveOutcome.SESSION_UNTOUCHED if removed else LeaveOutcome.ALREADY_LEFT

    def _joining(self, connection: Connection) -> tuple[Request, JoinOutcome]:
        """Return the session's part of a join, and the outcome if its condition fails.

        Raises ``ValueError`` for a connection that is in no session.
        """
        match role_of(connection):
            case None:
                raise ValueError(f"a connection with role {connection.role!r} is in no session")
            case Role.LISTENER:
                update = self._session_update(
                    connection,
                    update="SET #listener_count = #listener_count + :one",
                    condition=_IS_ACTIVE,
                    values={":one": number(1), ":true": {"BOOL": True}},
                )
                return update, JoinOutcome.SESSION_NOT_ACTIVE
            case Role.SPEAKER:
                update = self._session_update(
                    connection,
                    # Started again, a session keeps its count: earlier listeners may be leaving.
                    update=(
                        "SET #is_active = :true, #speaker_connection_id = :speaker,"
                        " #started_at = :now,"
                        " #listener_count = if_not_exists(#listener_count, :zero)"
                        f" {DROP_CLAIM}, #ended_at, #expires_at"
                    ),
                    condition=_IS_NOT_ACTIVE,
                    values={
                        ":true": {"BOOL": True},
                        ":false": {"BOOL": False},
                        ":speaker": string(connection.connection_id),
                        ":now": number(connection.connected_at_ms or 0),
                        ":zero": number(0),
                    },
                )
                return update, JoinOutcome.SPEAKER_PRESENT
            case unexpected:
                assert_never(unexpected)

    def _leaving(
        self, connection: Connection, now_ms: EpochMs
    ) -> tuple[Request, LeaveOutcome] | None:
        """Return the session's part of a leave and its outcome, ``None`` if it is in no session."""
        match role_of(connection):
            case None:
                return None
            case Role.LISTENER:
                update = self._session_update(
                    connection,
                    update="SET #listener_count = #listener_count - :one",
                    condition=_HAS_LISTENERS,
                    values={":one": number(1), ":zero": number(0)},
                )
                return update, LeaveOutcome.LISTENER_LEFT
            case Role.SPEAKER:
                update = self._session_update(
                    connection,
                    update=f"{_ENDING} {DROP_CLAIM}",
                    condition=_IS_ITS_SPEAKER,
                    values=_ending_values(connection, now_ms),
                )
                return update, LeaveOutcome.SESSION_ENDED
            case unexpected:
                assert_never(unexpected)

    def _session_update(
        self, connection: Connection, *, update: str, condition: str, values: Values
    ) -> Request:
        key = self._schema.key(connection.session_id or "")
        return update_of(self._schema, key, update=update, condition=condition, values=values)

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
            return self._calls(
                "TransactWriteItems", write, table=self._either, max_attempts=_TRANSACTION_ATTEMPTS
            )
        except CallFailed as error:
            reasons = cancellation_codes(error.reason)
            if reasons and all(code in (_Reason.CONDITION_FAILED, "None") for code in reasons):
                return reasons
            raise


def _ending_values(speaker: Connection, now_ms: EpochMs) -> Values:
    return {
        ":false": {"BOOL": False},
        ":speaker": string(speaker.connection_id),
        ":now": number(now_ms),
        ":expires": number(now_ms // 1000 + _ENDED_SESSION_TTL_S),
    }
