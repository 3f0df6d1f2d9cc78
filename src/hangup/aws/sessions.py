"""The sessions table in DynamoDB, and the transactions over both tables."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, Final, assert_never
from uuid import uuid4

from botocore.exceptions import ClientError

from hangup.aws.errors import Table, cancellation_codes
from hangup.aws.retries import AnsweredError, Calls
from hangup.aws.schema import (
    PROJECTION_NAMES,
    connection_from_item,
    connection_to_item,
    number,
    session_from_item,
    string,
)
from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import EndRefusal, JoinOutcome, LeaveOutcome, Role, Session, role_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        DeleteTypeDef,
        PutTypeDef,
        QueryInputTypeDef,
        TransactWriteItemTypeDef,
        UniversalAttributeValueTypeDef,
        UpdateTypeDef,
    )

__all__ = ["LISTENERS_INDEX", "DynamoDbSessions"]

LISTENERS_INDEX: Final = "sessionId-role-index"
"""The index of the connections table by session and role."""

_ENDED_SESSION_TTL_S: Final = 86_400
"""An ended session is kept for a day: long enough to look at, and for every late cleanup."""

_TRANSACTION_ATTEMPTS: Final = 10
"""In the mean 5 s of pauses. Every listener of a session changes the same count, so many that
leave at once conflict with one another."""


# An old speaker connection must not end what its successor has taken over.
_IS_ITS_SPEAKER: Final = "speakerConnectionId = :speaker"
# Repeated, it keeps the first time.
_ENDING: Final = (
    "SET isActive = :false, endedAt = if_not_exists(endedAt, :now),"
    " expiresAt = if_not_exists(expiresAt, :expires)"
)


_REFUSED_JOIN: Final = {
    Role.SPEAKER: JoinOutcome.SPEAKER_PRESENT,
    Role.LISTENER: JoinOutcome.SESSION_NOT_ACTIVE,
}
_LEFT: Final = {
    Role.SPEAKER: LeaveOutcome.SESSION_ENDED,
    Role.LISTENER: LeaveOutcome.LISTENER_LEFT,
}


class _Reason(StrEnum):
    CONDITION_FAILED = "ConditionalCheckFailed"


class DynamoDbSessions:
    """``SessionsRepository`` on two DynamoDB tables."""

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: Calls,
        *,
        connections_table: str,
        sessions_table: str,
    ) -> None:
        self._client = client
        self._calls = calls
        self._connections = Table(connections_table, "connectionId")
        self._sessions = Table(sessions_table, "sessionId")
        self._either = Table(
            f"{connections_table} or {sessions_table}", "connectionId or sessionId"
        )

    def get(self, session_id: str) -> Session | None:
        """Return the session as last written, ``None`` if there is none."""
        answer = self._calls(
            "GetItem",
            lambda: self._client.get_item(
                TableName=self._sessions.name,
                Key={"sessionId": string(session_id)},
                ConsistentRead=True,
            ),
            table=self._sessions,
        )
        item = answer.get("Item")
        return None if item is None else session_from_item(item)

    def listeners(self, session_id: str) -> Iterator[Connection]:
        """Yield the session's listeners from the index, which may lag behind a little."""
        request: QueryInputTypeDef = {
            "TableName": self._connections.name,
            "IndexName": LISTENERS_INDEX,
            "KeyConditionExpression": "sessionId = :session AND #role = :listener",
            "ExpressionAttributeNames": PROJECTION_NAMES,
            "ExpressionAttributeValues": {
                ":session": string(session_id),
                ":listener": string(Role.LISTENER),
            },
        }
        while True:
            page = self._calls(
                "Query", partial(self._client.query, **request), table=self._connections
            )
            yield from map(connection_from_item, page["Items"])
            if not page.get("LastEvaluatedKey"):
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def end(
        self, speaker: Connection, *, now_ms: EpochMs, claim_expires_ms: EpochMs
    ) -> Session | EndRefusal:
        """Let nobody join any more, and return the session, to be seen to by the caller alone."""
        token = string(urandom(16).hex())
        request = self._session_update(
            speaker,
            update=f"{_ENDING}, claimExpiresAt = :claim, claimToken = :token",
            condition=(
                f"{_IS_ITS_SPEAKER} AND"
                " (attribute_not_exists(claimExpiresAt) OR claimExpiresAt <= :now)"
            ),
            values={
                **_ending_values(speaker, now_ms),
                ":claim": number(claim_expires_ms),
                ":token": token,
            },
        )
        try:
            answer = self._calls(
                "UpdateItem",
                lambda: self._client.update_item(
                    TableName=request["TableName"],
                    Key=request["Key"],
                    UpdateExpression=request["UpdateExpression"],
                    ConditionExpression=request["ConditionExpression"],
                    ExpressionAttributeValues=request["ExpressionAttributeValues"],
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ),
                table=self._sessions,
            )
        except AnsweredError as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            item: Any = error.answer.response.get("Item")
            if not item or item["speakerConnectionId"] != string(speaker.connection_id):
                return EndRefusal.NOT_ITS_SPEAKER
            if item.get("claimToken") == token:
                # Our own claim: an attempt took effect, and its answer was lost.
                return session_from_item(item)
            return EndRefusal.BEING_ENDED
        return session_from_item(answer["Attributes"])

    def join(self, connection: Connection) -> JoinOutcome:
        """Write the record and the session's part of it in one transaction."""
        put: PutTypeDef = {
            "TableName": self._connections.name,
            "Item": connection_to_item(connection),
            "ConditionExpression": "attribute_not_exists(connectionId)",
        }
        match self._transact([{"Put": put}, {"Update": self._joining(connection)}]):
            case [] | [_Reason.CONDITION_FAILED, _]:
                # An id that is taken: this very join took effect before, for API Gateway does not
                # give an id twice. That holds whatever the session's own condition says by now.
                return JoinOutcome.JOINED
            case _:
                return _REFUSED_JOIN[_role_in_session(connection)]

    def leave(self, connection: Connection, *, now_ms: EpochMs) -> LeaveOutcome:
        """Remove the record and settle the session in one transaction."""
        delete: DeleteTypeDef = {
            "TableName": self._connections.name,
            "Key": {"connectionId": string(connection.connection_id)},
            "ConditionExpression": "attribute_exists(connectionId)",
        }
        settle = self._leaving(connection, now_ms)
        if settle is not None:
            match self._transact([{"Delete": delete}, {"Update": settle}]):
                case []:
                    return _LEFT[_role_in_session(connection)]
                case [_Reason.CONDITION_FAILED, _]:
                    return LeaveOutcome.ALREADY_LEFT
                case _:
                    # The session is missing, counts nobody, has ended or has another speaker:
                    # there is nothing to settle, and the record must still go.
                    pass
        removed = self._transact([{"Delete": delete}]) == []
        return LeaveOutcome.SESSION_UNTOUCHED if removed else LeaveOutcome.ALREADY_LEFT

    def _joining(self, connection: Connection) -> "UpdateTypeDef":
        match _role_in_session(connection):
            case Role.LISTENER:
                return self._session_update(
                    connection,
                    update="SET listenerCount = listenerCount + :one",
                    condition="isActive = :true",
                    values={":one": number(1), ":true": {"BOOL": True}},
                )
            case Role.SPEAKER:
                return self._session_update(
                    connection,
                    # Started again, a session keeps its count: earlier listeners may be leaving.
                    update=(
                        "SET isActive = :true, speakerConnectionId = :speaker, startedAt = :now,"
                        " listenerCount = if_not_exists(listenerCount, :zero)"
                        " REMOVE endedAt, expiresAt, claimExpiresAt, claimToken"
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
            case unexpected:
                assert_never(unexpected)

    def _leaving(self, connection: Connection, now_ms: EpochMs) -> "UpdateTypeDef | None":
        match role_of(connection):
            case None:
                return None
            case Role.LISTENER:
                return self._session_update(
                    connection,
                    update="SET listenerCount = listenerCount - :one",
                    condition="listenerCount > :zero",
                    values={":one": number(1), ":zero": number(0)},
                )
            case Role.SPEAKER:
                return self._session_update(
                    connection,
                    update=f"{_ENDING} REMOVE claimExpiresAt, claimToken",
                    condition=_IS_ITS_SPEAKER,
                    values=_ending_values(connection, now_ms),
                )
            case unexpected:
                assert_never(unexpected)

    def _session_update(
        self,
        connection: Connection,
        *,
        update: str,
        condition: str,
        values: dict[str, "UniversalAttributeValueTypeDef"],
    ) -> "UpdateTypeDef":
        return {
            "TableName": self._sessions.name,
            "Key": {"sessionId": string(connection.session_id or "")},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }

    def _transact(self, items: Sequence["TransactWriteItemTypeDef"]) -> list[str]:
        """Return ``[]`` if everything was written, else why each item was not (nothing was)."""
        token = uuid4()
        codes: list[str] = []

        def write() -> None:
            nonlocal token
            try:
                self._client.transact_write_items(
                    TransactItems=items, ClientRequestToken=str(token)
                )
            except ClientError as error:
                # Repeated with its token, a transaction that took effect unanswered succeeds
                # again. One that was cancelled is over: what follows is another.
                reasons = cancellation_codes(error)
                if reasons:
                    token = uuid4()
                # The record decides: where its condition fails, a conflict over the session's
                # part is not worth another attempt.
                if reasons[:1] == [_Reason.CONDITION_FAILED]:
                    codes[:] = [_Reason.CONDITION_FAILED, *["None"] * (len(reasons) - 1)]
                    return
                raise

        try:
            self._calls(
                "TransactWriteItems", write, table=self._either, max_attempts=_TRANSACTION_ATTEMPTS
            )
        except AnsweredError as error:
            reasons = cancellation_codes(error.answer)
            if reasons and all(code in (_Reason.CONDITION_FAILED, "None") for code in reasons):
                return reasons
            raise
        return codes


def _role_in_session(connection: Connection) -> Role:
    """Return the role of a connection that joins or leaves a session. Raises ``ValueError``."""
    role = role_of(connection)
    if role is None:
        raise ValueError(f"a connection with role {connection.role!r} is in no session")
    return role


def _ending_values(
    speaker: Connection, now_ms: EpochMs
) -> dict[str, "UniversalAttributeValueTypeDef"]:
    return {
        ":false": {"BOOL": False},
        ":speaker": string(speaker.connection_id),
        ":now": number(now_ms),
        ":expires": number(now_ms // 1000 + _ENDED_SESSION_TTL_S),
    }
