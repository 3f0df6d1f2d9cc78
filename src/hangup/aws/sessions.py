"""The sessions table in DynamoDB, and the transactions over both tables."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import count
from random import randrange
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from hangup.aws.clients import as_backend_error, cancellation_codes, no_answer, translated
from hangup.aws.items import (
    connection_from_item,
    connection_to_item,
    number,
    session_from_item,
    string,
)
from hangup.core.model import Connection, DurationMs, EpochMs, Role, Session
from hangup.ports import Clock, JoinOutcome, LeaveOutcome

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        DeleteTypeDef,
        PutTypeDef,
        TransactWriteItemTypeDef,
        UniversalAttributeValueTypeDef,
        UpdateTypeDef,
    )

__all__ = ["LISTENERS_INDEX", "DynamoDbSessions"]

LISTENERS_INDEX: Final = "sessionId-role-index"
"""The index of the connections table by session and role."""

_ENDED_SESSION_TTL_S: Final = 86_400
"""An ended session is kept for a day: long enough to look at, and for every late cleanup."""

_MAX_REPEATS: Final = 7
_FIRST_PAUSE_MS: Final = 40
"""Longest pause before the first repetition, doubled for each further one: 5 s in all. Every
listener of a session changes the same count, so many that leave at once conflict."""


class _Reason(StrEnum):
    CONDITION_FAILED = "ConditionalCheckFailed"


class DynamoDbSessions:
    """``SessionsRepository`` on two DynamoDB tables."""

    def __init__(
        self, client: "DynamoDBClient", *, connections_table: str, sessions_table: str, clock: Clock
    ) -> None:
        self._client = client
        self._connections_table = connections_table
        self._sessions_table = sessions_table
        self._clock = clock

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written, ``None`` if there is none."""
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._sessions_table,
                Key={"sessionId": string(session_id)},
                ConsistentRead=True,
            )
        item = answer.get("Item")
        return None if item is None else session_from_item(item)

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners from the index, which may lag behind a little."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._connections_table,
            IndexName=LISTENERS_INDEX,
            KeyConditionExpression="#sessionId = :session AND #role = :listener",
            ExpressionAttributeNames={"#sessionId": "sessionId", "#role": "role"},
            ExpressionAttributeValues={
                ":session": string(session_id),
                ":listener": string(Role.LISTENER),
            },
        )
        iterator = iter(pages)
        while True:
            with translated("Query"):
                page = next(iterator, None)
            if page is None:
                return
            yield from map(connection_from_item, page["Items"])

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and the session's part of it in one transaction."""
        put: PutTypeDef = {
            "TableName": self._connections_table,
            "Item": connection_to_item(connection),
            "ConditionExpression": "attribute_not_exists(connectionId)",
        }
        match self._transact([{"Put": put}, {"Update": self._joining(connection)}]):
            case [] | [_Reason.CONDITION_FAILED, _]:
                # An id that is taken: this very join took effect before, for API Gateway does not
                # give an id twice. That holds whatever the session's own condition says by now.
                return JoinOutcome.JOINED
            case _ if connection.role is Role.SPEAKER:
                return JoinOutcome.SPEAKER_PRESENT
            case _:
                return JoinOutcome.SESSION_NOT_ACTIVE

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and settle the session in one transaction."""
        delete: DeleteTypeDef = {
            "TableName": self._connections_table,
            "Key": {"connectionId": string(connection.connection_id)},
            "ConditionExpression": "attribute_exists(connectionId)",
        }
        settle = self._leaving(connection, now_ms)
        if settle is not None:
            match self._transact([{"Delete": delete}, {"Update": settle}]):
                case []:
                    return (
                        LeaveOutcome.SESSION_ENDED
                        if connection.role is Role.SPEAKER
                        else LeaveOutcome.LISTENER_LEFT
                    )
                case [_Reason.CONDITION_FAILED, _]:
                    return LeaveOutcome.ALREADY_LEFT
                case _:
                    # The session is missing, counts nobody, has ended or has another speaker:
                    # there is nothing to settle, and the record must still go.
                    pass
        removed = self._transact([{"Delete": delete}]) == []
        return LeaveOutcome.SESSION_UNTOUCHED if removed else LeaveOutcome.ALREADY_LEFT

    def _joining(self, connection: Connection) -> "UpdateTypeDef":
        if connection.role is Role.LISTENER:
            return self._session_update(
                connection,
                update="SET listenerCount = listenerCount + :one",
                condition="isActive = :true",
                values={":one": number(1), ":true": {"BOOL": True}},
            )
        return self._session_update(
            connection,
            # Started again, a session keeps its count: listeners of before may still be leaving.
            update=(
                "SET isActive = :true, speakerConnectionId = :speaker, startedAt = :now,"
                " listenerCount = if_not_exists(listenerCount, :zero) REMOVE endedAt, expiresAt"
            ),
            condition="attribute_not_exists(sessionId) OR isActive = :false",
            values={
                ":true": {"BOOL": True},
                ":false": {"BOOL": False},
                ":speaker": string(connection.connection_id),
                ":now": number(connection.connected_at_ms or 0),
                ":zero": number(0),
            },
        )

    def _leaving(self, connection: Connection, now_ms: EpochMs) -> "UpdateTypeDef | None":
        if connection.session_id is None or connection.role is Role.UNKNOWN:
            return None
        if connection.role is Role.LISTENER:
            return self._session_update(
                connection,
                update="SET listenerCount = listenerCount - :one",
                condition="listenerCount > :zero",
                values={":one": number(1), ":zero": number(0)},
            )
        return self._session_update(
            connection,
            update="SET isActive = :false, endedAt = :now, expiresAt = :expires",
            # An old speaker connection must not end what its successor has taken over.
            condition="isActive = :true AND speakerConnectionId = :speaker",
            values={
                ":true": {"BOOL": True},
                ":false": {"BOOL": False},
                ":speaker": string(connection.connection_id),
                ":now": number(now_ms),
                ":expires": number(now_ms // 1000 + _ENDED_SESSION_TTL_S),
            },
        )

    def _session_update(
        self,
        connection: Connection,
        *,
        update: str,
        condition: str,
        values: dict[str, "UniversalAttributeValueTypeDef"],
    ) -> "UpdateTypeDef":
        return {
            "TableName": self._sessions_table,
            "Key": {"sessionId": string(connection.session_id or "")},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }

    def _transact(self, items: Sequence["TransactWriteItemTypeDef"]) -> list[str]:
        """Return ``[]`` if everything was written, else why each item was not (nothing was).

        A conflict with another writer is repeated with exponential backoff, and raised at last.
        """
        for attempt in count():
            try:
                self._client.transact_write_items(TransactItems=items)
            except ClientError as error:
                codes = cancellation_codes(error)
                if codes and all(code in (_Reason.CONDITION_FAILED, "None") for code in codes):
                    return codes
                failure = as_backend_error("TransactWriteItems", error)
                # Only a cancellation is repeated here: boto3 itself repeats everything else.
                if not codes or not failure.retryable or attempt == _MAX_REPEATS:
                    raise failure from error
            except BotoCoreError as error:
                raise no_answer("TransactWriteItems", error) from error
            else:
                return []
            # Full jitter: writers that met once shall not meet again.
            longest_ms = _FIRST_PAUSE_MS << attempt
            self._clock.sleep(DurationMs(randrange(longest_ms + 1)))  # noqa: S311 - no secret
        raise AssertionError("count() does not end")
